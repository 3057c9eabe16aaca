"""The interface of embedders: a clip in, named arrays out.

Names of the arrays:

  rows_NF       embeddings of the audio, one or several for each clip, for distances between sets
  logits_O      class logits of the audio, before any sigmoid or softmax
  anything else belongs to one network, and is read by its own `Embedder.scores`

An embedder raises UnsupportedClipError for a clip that its protocol does not support, such as one that is
too short; such clips are counted. An embedder whose weights or package are not installed is a `Missing`,
whose note a report prints in place of its metrics.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Protocol

import numpy as np

from v2a.metrics.embedders import frames as frames_lib
from v2a.models.published import checkpoints

EMBEDDINGS, LOGITS = 'rows_NF', 'logits_O'
Arrays = dict[str, np.ndarray]
# Inputs that a network may read, and the fields of a clip that hold them.
INPUT_FIELDS = {
  'audio': ('wave_NA', 'sample_rate_hz'),
  'video': ('frames',),
  'text': ('text',),
}


class UnsupportedClipError(ValueError):
  """A clip that the protocol of an embedder does not support; the message says why."""


@dataclasses.dataclass(frozen=True)
class Clip:
  """A clip to embed.

  Attributes:
    wave_NA: waveform, full scale 1.
    sample_rate_hz: its rate.
    frames: of the video, or None.
    text: the prompt, or None.
  """

  wave_NA: np.ndarray
  sample_rate_hz: int
  frames: frames_lib.FrameSource | None = None
  text: str | None = None

  def __post_init__(self):
    if self.wave_NA.ndim != 2 or 0 in self.wave_NA.shape:
      raise ValueError(f'a clip needs a waveform of shape (samples, channels); got {self.wave_NA.shape}.')
    if not np.isfinite(self.wave_NA).all():
      num_bad = int((~np.isfinite(self.wave_NA)).sum())
      raise ValueError(f'a clip needs a finite waveform; got {num_bad} samples that are not finite.')


class Embedder(Protocol):
  """A network with the protocol by which it embeds clips.

  Attributes:
    name: a key of `catalog.EMBEDDERS`.
    digest: hash of the weights and of the version of the code, for the cache.
    reads: keys of INPUT_FIELDS; a clip that lacks one of them is not supported.
    metrics: names of the metrics that are computed from its arrays: distances between sets of embeddings,
      metrics of logits, and its own scores.
  """

  name: str
  digest: str
  reads: tuple[str, ...]
  metrics: tuple[str, ...]

  def embed(self, clip: Clip) -> Arrays:
    """Returns the named arrays of a clip, see the module.

    Raises:
      UnsupportedClipError: the protocol does not support this clip.
    """
    ...

  def scores(self, arrays: Arrays) -> Mapping[str, float]:
    """Returns the network's own metrics of one clip, such as audio-video similarity; empty by default."""
    del arrays
    return {}


@dataclasses.dataclass(frozen=True)
class Missing:
  """An embedder (or speech recognizer) whose weights or package are not installed.

  Attributes:
    name: as in the catalog.
    reason: what is missing, such as 'weights vggish-10086976.pth missing'.
    metrics: those that are not computed.
  """

  name: str
  reason: str
  metrics: tuple[str, ...] = ()

  @property
  def note(self) -> str:
    """What a report prints in place of a metric."""
    return f'not computed: {self.reason}'


def video_frames(clip: Clip) -> frames_lib.FrameSource:
  """Returns the frames of a clip.

  Raises:
    UnsupportedClipError: the clip has no video.
  """
  if clip.frames is None:
    raise UnsupportedClipError('the clip has no video')
  return clip.frames


def missing_inputs(clip: Clip, reads: tuple[str, ...]) -> str | None:
  """Returns which inputs a clip lacks, as a message, or None."""
  missing = [name for name in reads if any(getattr(clip, field) is None for field in INPUT_FIELDS[name])]
  return f'the clip has no {" and no ".join(missing)}' if missing else None


def content_hash(clip: Clip, reads: tuple[str, ...]) -> str:
  """Returns a hash of those inputs of a clip that a network reads."""
  found = hashlib.sha256()
  for name in reads:
    for field in INPUT_FIELDS[name]:
      value = getattr(clip, field)
      if isinstance(value, np.ndarray):
        found.update(json.dumps([field, value.dtype.str, value.shape]).encode())
        found.update(np.ascontiguousarray(value).data)
      else:
        found.update(json.dumps([field, value.digest() if field == 'frames' else value]).encode())
  return found.hexdigest()


def weights_digest(
  name: str, version: int, paths: Mapping[pathlib.Path, checkpoints.Checkpoint | None]
) -> str:
  """Returns the digest of an embedder: of its name, the version of its code, and its verified files.

  Args:
    name: of the embedder.
    version: of its code.
    paths: checkpoint by path; None verifies nothing.

  Raises:
    ValueError: a file is not the published one.
  """
  parts = [name, str(version), *(checkpoints.digest(path, each) for path, each in paths.items())]
  return hashlib.sha256(' '.join(parts).encode()).hexdigest()
