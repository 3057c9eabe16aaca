"""Filters of sound and video together: synchrony, and what needs a detector that is not available.

`sync` is DeSync of Synchformer, the mean absolute offset in seconds, where its weights are installed (see
v2a.models.published.checkpoints). `motion_onset_iou` is that of v2a.metrics.signal on the frames at 8 Hz; it
does not order real clips, so it has no threshold by default.
"""

import dataclasses
import functools
import importlib
import pathlib

from data_pipelines import decoded
from data_pipelines.filters import filter as filter_lib
from v2a.media import motion
from v2a.metrics import signal
from v2a.models.published import checkpoints

_SYNC_FPS = 25.0  # of sync_frame_LYX3


@dataclasses.dataclass(frozen=True)
class SynchformerFilter:
  """DeSync of Synchformer; its network is loaded on first use in each process.

  Attributes:
    weights: folder of published weights; None is the environment variable V2A_WEIGHTS.
    name, unit, description, needs_sync_frames: see `filter.Filter`.
  """

  weights: str | None = None
  name: str = 'sync'
  unit: str = 's'
  description: str = 'mean absolute offset of sound and video by Synchformer (DeSync)'
  needs_sync_frames: bool = True

  @property
  def unavailable_reason(self) -> str:
    """See `filter.Filter`."""
    # Imports JAX, which the other filters do not need.
    checkpoint = importlib.import_module('v2a.models.published.synchformer').CHECKPOINT
    return '' if checkpoints.find(checkpoint, self.weights) else checkpoint.missing_reason

  def measure(self, clip: decoded.DecodedClip) -> filter_lib.Measurement:
    """See `filter.Filter`."""
    reason = self.unavailable_reason or _missing(clip)
    if reason:
      return filter_lib.Measurement(None, reason)
    embedder_lib = importlib.import_module('v2a.metrics.embedders.embedder')
    frames_lib = importlib.import_module('v2a.metrics.embedders.frames')
    embedder = _synchformer(self.weights)
    assert clip.sync_frame_LYX3 is not None  # checked by _missing
    frames = frames_lib.Frames(clip.sync_frame_LYX3, _SYNC_FPS)
    try:
      arrays = embedder.embed(embedder_lib.Clip(clip.wave_NA, clip.sample_rate_hz, frames))
    except embedder_lib.UnsupportedClipError as error:
      return filter_lib.Measurement(None, str(error))
    return filter_lib.Measurement(float(embedder.scores(arrays)['desync']))


def _missing(clip: decoded.DecodedClip) -> str:
  if not clip.has_audio:
    return filter_lib.NO_SOUND
  if not clip.has_video:
    return filter_lib.NO_VIDEO
  return '' if clip.sync_frame_LYX3 is not None else 'the clip was decoded without frames at 25 Hz'


@functools.lru_cache(maxsize=1)
def _synchformer(weights: str | None):
  synchformer = importlib.import_module('v2a.metrics.embedders.synchformer')
  path = checkpoints.find(synchformer.FILES[0], weights)
  assert path is not None  # checked by unavailable_reason
  return synchformer.load(pathlib.Path(path))


def motion_onset_iou(clip: decoded.DecodedClip) -> float | str:
  """Returns the intersection over union of audio onsets and motion peaks."""
  if len(clip.frame_MYX3) < 3:
    return 'the video has fewer than three frames at 8 Hz'
  peak_s = signal.motion_peaks(motion.curve(clip.frame_MYX3), decoded.FRAMES_PER_S)
  found = signal.motion_onset_iou(clip.wave_NA, clip.sample_rate_hz, peak_s, decoded.FRAMES_PER_S)
  return 'no onset and no motion peak' if found is None else found


def make_filters(weights: str | None = None) -> tuple[filter_lib.Filter, ...]:
  """Returns the filters.

  Args:
    weights: folder of published weights; None is the environment variable V2A_WEIGHTS.
  """
  iou = filter_lib.FunctionFilter(
    'motion_onset_iou',
    '',
    'overlap of audio onsets and motion peaks; weak',
    motion_onset_iou,
    needs_audio=True,
    needs_video=True,
  )
  unavailable = (
    ('voice_over', '', 'share of speech while no mouth is visible', 'no detector of faces is installed'),
    ('text_overlay', '', 'share of the area with text', 'no detector of text is installed'),
    ('language', '', 'probability that speech is English', 'no detector of languages is installed'),
  )
  return (
    SynchformerFilter(weights),
    iou,
    *(filter_lib.UnavailableFilter(*each) for each in unavailable),
  )
