"""Jobs of a pipeline: an input with its request, cut into windows, and the batches that are made of them."""

from collections.abc import Sequence
import dataclasses
import time

import numpy as np

from v2a import clip
from v2a import files
from v2a import flags
from v2a import input_errors
from v2a.conditioning import text as text_lib
from v2a.media import errors
from v2a.media import probe as probe_lib
from v2a.sampling import bundle as bundle_lib
from v2a.sampling import frames as frames_lib
from v2a.sampling import request as request_lib
from v2a.sampling import windows

_CLOCK_ERROR_S = 1e-9  # of a difference of two times


class Job:
  """One input with its request: frames, transcripts and what is sampled so far of each sample."""

  def __init__(
    self,
    bundle: bundle_lib.Bundle,
    index: int,
    source: request_lib.AnyInput,
    request: request_lib.Request,
    resolved: request_lib.ResolvedRequest,
    truncate_texts: bool = False,
  ):
    """Reads the frames, and cuts the transcript into windows.

    Args:
      bundle: the model.
      index: number of the job in the order of requests.
      source: video, frames, or a duration alone.
      request: prompts, transcript, seed and number of samples.
      resolved: settings of the request for this model, with defaults filled in.
      truncate_texts: whether a transcript longer than the model reads is cut, instead of being an error.

    Raises:
      MediaError: the file cannot be read, or has no video.
      ValueError: the duration is unknown or out of range, or a transcript is too long.
    """
    start = time.perf_counter()
    spec, generator = bundle.clip_spec, bundle.generator(request.generator)
    self.index, self.source, self.request, self.resolved = index, source, request, resolved
    self.batch_key = resolved.batch_key
    self.duration_s = soundtrack_duration_s(source, spec)
    self.num_audio_samples = round(self.duration_s * spec.sample_rate_hz)
    path = source.path if isinstance(source, request_lib.Input) else None
    # Before the frames are read, so that a later change of the file is noticed.
    self.input_fingerprint = None if path is None else files.fingerprint(path)
    self.starts = windows.starts(spec, self.num_audio_samples, generator.config.generation.overlap_s)
    self.transcripts = self._window_transcripts(spec)
    if not truncate_texts:
      self._check_transcripts(spec)
    self.frames = self._read_frames(spec)
    num_steps = self.starts[-1] + spec.num_latents
    self.encoded = [generator.initial_canvas(num_steps) for _ in range(request.num_samples)]
    self.num_left = request.num_samples
    self.timings_s = {'read': time.perf_counter() - start, 'sample': 0.0}

  @property
  def start_s(self) -> float:
    """Begin of the clip within its video."""
    return self.source.start_s if isinstance(self.source, request_lib.Input) else 0.0

  def _window_transcripts(self, spec: clip.ClipSpec) -> list[str]:
    """Returns the words of each window."""
    transcript, times_s = (self.request.transcript or '').strip(), self.request.word_times_s
    if times_s is None and len(self.starts) == 1:
      return [transcript]
    if times_s is not None:
      times_s = tuple(time_s - self.start_s for time_s in times_s)
    begins = [spec.time_s(first) for first in self.starts]
    return [
      windows.transcript_in_window(
        transcript, float(begin_s), float(begin_s + spec.duration_s), self.duration_s, times_s
      )
      for begin_s in begins
    ]

  def _check_transcripts(self, spec: clip.ClipSpec) -> None:
    """Raises ValueError where a window has more words than the model reads."""
    for first, transcript in zip(self.starts, self.transcripts):
      size = len(transcript.encode())
      if size > spec.num_transcript_bytes:
        path = self.source.path if isinstance(self.source, request_lib.Input) else None
        begin_s = self.start_s + float(spec.time_s(first))
        raise ValueError(
          f'{"the clip" if path is None else path}: the window from {begin_s:g} s to '
          f'{begin_s + float(spec.duration_s):g} s must hold at most {spec.num_transcript_bytes} bytes of '
          f'transcript; got {size}.'
        )

  def _read_frames(self, spec: clip.ClipSpec) -> frames_lib.Frames:
    source = self.source
    if isinstance(source, request_lib.FrameInput):
      return frames_lib.ArrayFrames(source.semantic_frame_MYX3, source.sync_frame_LYX3, spec, self.starts)
    if source.path is None:
      return frames_lib.NoFrames(spec)
    return frames_lib.FileFrames(source.path, spec, self.starts, source.start_s, self.duration_s)


@dataclasses.dataclass(eq=False)
class Slot:
  """One sample of one job, at one of its windows."""

  job: Job
  sample: int
  window: int = 0

  def row(self, num_latents: int) -> 'Row':
    """Returns the inputs of the current window."""
    job, first = self.job, self.job.starts[self.window]
    num_prefix = job.starts[self.window - 1] + num_latents - first if self.window else 0
    return Row(
      job.request,
      self.sample,
      first,
      job.transcripts[self.window],
      job.frames.has_video,
      *job.frames.window(self.window),
      job.encoded[self.sample][first : first + num_latents],
      num_prefix,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
  """One window of one sample, to be sampled.

  Attributes:
    request: its prompts and seed are read here; its transcript is not.
    sample: number of the sample.
    first: latent step of the clip at which the window begins.
    transcript: words of the window; what is longer than the model reads is cut.
    has_video: whether the frames are a condition.
    semantic_frame_MYX3, sync_frame_LYX3: frames of the window.
    prefix_TF: the window as far as it is sampled.
    num_prefix: steps of it that are.
  """

  request: request_lib.Request
  sample: int
  first: int
  transcript: str
  has_video: bool
  semantic_frame_MYX3: np.ndarray
  sync_frame_LYX3: np.ndarray
  prefix_TF: np.ndarray
  num_prefix: int = 0


def stack(
  bundle: bundle_lib.Bundle, resolved: request_lib.ResolvedRequest, rows: Sequence[Row]
) -> dict[str, np.ndarray]:
  """Returns the inputs of Bundle.sample for a batch of rows.

  Args:
    bundle: the model.
    resolved: of all rows.
    rows: of one batch key.
  """
  spec, generator = bundle.clip_spec, bundle.generator(resolved.static['generator'])
  text_byte_BU, text_length_B = text_lib.to_bytes(
    [row.request.prompt or '' for row in rows], spec.num_text_bytes
  )
  negative_byte_BU, negative_length_B = text_lib.to_bytes(
    [request_lib.negative_prompt(bundle, row.request) for row in rows], spec.num_text_bytes
  )
  transcript_byte_BW, transcript_length_B = text_lib.to_bytes(
    [row.transcript for row in rows], spec.num_transcript_bytes
  )
  return {
    'semantic_frame_BMYX3': np.stack([row.semantic_frame_MYX3 for row in rows]),
    'sync_frame_BLYX3': np.stack([row.sync_frame_LYX3 for row in rows]),
    'has_video_B': np.array([row.has_video for row in rows]),
    'prefix_BTF': np.stack([row.prefix_TF for row in rows]),
    'prefix_mask_BT': np.stack([np.arange(spec.num_latents) < row.num_prefix for row in rows]),
    **generator.initial_noise(
      [row.request.seed for row in rows], [row.sample for row in rows], [row.first for row in rows]
    ),
    'text_byte_BU': text_byte_BU,
    'text_length_B': text_length_B,
    'negative_byte_BU': negative_byte_BU,
    'negative_length_B': negative_length_B,
    'transcript_byte_BW': transcript_byte_BW,
    'transcript_length_B': transcript_length_B,
  }


def soundtrack_duration_s(source: request_lib.AnyInput, spec: clip.ClipSpec) -> float:
  """Returns the length of the soundtrack in seconds.

  Raises:
    MediaError: the file cannot be read, or has no video.
    ValueError: it is not defined, or not within flags.MIN_DURATION_S and MAX_DURATION_S.
  """
  if isinstance(source, request_lib.FrameInput):
    if source.num_audio_samples is None:
      return len(source.sync_frame_LYX3) / spec.sync_fps
    return source.num_audio_samples / spec.sample_rate_hz
  duration_s = _duration_of_part(source)
  if not flags.MIN_DURATION_S <= duration_s + _CLOCK_ERROR_S or not duration_s <= flags.MAX_DURATION_S:
    name = '' if source.path is None else f'{source.path}: '
    raise ValueError(
      f'{name}the part from {source.start_s:.12g} s on lasts {duration_s:.3g} s; wanted '
      f'{flags.MIN_DURATION_S:g}..{flags.MAX_DURATION_S:g} s.'
    )
  return duration_s


def _duration_of_part(source: request_lib.Input) -> float:
  if source.duration_s is not None and not source.duration_s > 0:
    raise ValueError(f'duration must be positive; got {source.duration_s} s.')
  if not source.start_s >= 0:
    raise ValueError(f'start must be at least 0 s; got {source.start_s} s.')
  if source.path is None:
    if source.duration_s is None:
      raise input_errors.ArgumentError('without a video, a duration is needed: {duration_s}.', 'duration_s')
    return source.duration_s
  try:
    info = probe_lib.probe(source.path)
  except errors.FormatError as error:
    raise errors.MediaError(f'{source.path}: {error.reason}; wanted a video or an image.') from error
  if not info.has_video:
    raise errors.MediaError(f'{source.path}: has no video stream; wanted a video or an image.')
  if info.is_image:
    if source.duration_s is None:
      raise input_errors.ArgumentError(
        f'{source.path}: is a still image; wanted its duration in seconds, {{duration_s}}.', 'duration_s'
      )
    return source.duration_s
  left_s = info.duration_s - source.start_s
  if left_s <= 0:
    raise ValueError(
      f'{source.path}: lasts {info.duration_s:.3f} s; wanted a start before that, got {source.start_s} s.'
    )
  return left_s if source.duration_s is None else min(left_s, source.duration_s)
