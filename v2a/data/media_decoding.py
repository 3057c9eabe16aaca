"""Decodes segments of media records at the rates of a configuration: waveforms, frames and spoken words."""

import fractions
import io
import math
import tempfile

import numpy as np
import soundfile
import soxr

from v2a import clip as clip_lib
from v2a.data import annotations as annotations_lib
from v2a.data import media_records
from v2a.media import read


def stored_wave(audio: bytes) -> tuple[np.ndarray, int]:
  """Returns the sound wave_NA of a record, float32, and its rate: of 16 bits, and clipped to full scale.

  Args:
    audio: content of a FLAC file.

  Raises:
    soundfile.LibsndfileError: it cannot be decoded.
  """
  return soundfile.read(io.BytesIO(audio), dtype='float32', always_2d=True)


def wave(media: media_records.MediaRecord, sample_rate_hz: int, num_channels: int) -> np.ndarray:
  """Returns the sound wave_NA of a clip, float32; (0, num_channels) without sound.

  Args:
    media: the clip.
    sample_rate_hz: wanted samples per second.
    num_channels: 1 or 2.

  Raises:
    soundfile.LibsndfileError: the sound cannot be decoded.
  """
  if not media.audio:
    return np.zeros((0, num_channels), np.float32)
  wave_NA, rate_hz = stored_wave(media.audio)
  if wave_NA.shape[1] != num_channels:  # mono and stereo only, see `media_records`
    wave_NA = wave_NA.mean(axis=1, keepdims=True).repeat(num_channels, axis=1)
  return wave_NA if rate_hz == sample_rate_hz else soxr.resample(wave_NA, rate_hz, sample_rate_hz)


def num_valid_samples(duration_s: float, spec: clip_lib.ClipSpec, start_s: float) -> int:
  """Returns the number of samples of a segment that are within a clip.

  Args:
    duration_s: of the clip.
    spec: length of the segment.
    start_s: start of the segment.
  """
  rest_s = min(float(spec.duration_s), duration_s - start_s)
  return min(spec.num_samples, max(1, round(rest_s * spec.sample_rate_hz)))


def padded_wave(media: media_records.MediaRecord, spec: clip_lib.ClipSpec, start_s: float) -> np.ndarray:
  """Returns the sound wave_NA of a segment, padded with silence.

  Args:
    media: the clip.
    spec: length and rate of the segment.
    start_s: start of the segment.

  Raises:
    soundfile.LibsndfileError: the sound cannot be decoded.
  """
  num_valid = num_valid_samples(media.duration_s, spec, start_s)
  wave_NA = np.zeros((spec.num_samples, spec.num_channels), np.float32)
  first = round(start_s * spec.sample_rate_hz)
  found_NA = wave(media, spec.sample_rate_hz, spec.num_channels)[first : first + num_valid]
  wave_NA[: len(found_NA)] = found_NA
  return wave_NA


def sync_frames(media: media_records.MediaRecord, spec: clip_lib.ClipSpec) -> np.ndarray:
  """Returns the frames frame_LYX3 of a whole clip with video, without its bars; frame k at k / sync_fps.

  Args:
    media: the clip.
    spec: rate and size of the frames.

  Raises:
    MediaError: the video cannot be decoded.
  """
  num_frames = max(
    1, math.ceil(fractions.Fraction(media.duration_s).limit_denominator(10**6) * spec.sync_fps)
  )
  tick_L = np.arange(num_frames, dtype=np.int64) * (spec.ticks_hz // spec.sync_fps)
  return _frames_at(media, tick_L, spec, 0.0)


def _frames_at(
  media: media_records.MediaRecord, tick_F: np.ndarray, spec: clip_lib.ClipSpec, start_s: float
) -> np.ndarray:
  """Returns the frames on screen at increasing ticks after a start."""
  with tempfile.NamedTemporaryFile(suffix=media.video_suffix) as file:
    file.write(media.video)
    file.flush()
    start_s += media.video_start_s
    size, length = spec.frame_size, len(tick_F)
    return next(read.iterate_frames_at(file.name, tick_F, spec.ticks_hz, size, start_s, length, media.crop))


def frames(
  media: media_records.MediaRecord, spec: clip_lib.ClipSpec, start_s: float
) -> tuple[np.ndarray, np.ndarray]:
  """Returns semantic and sync frames of a segment, without bars; zeros without video. In one pass.

  Args:
    media: the clip.
    spec: rates and size of the frames, and length of the segment.
    start_s: start of the segment.

  Raises:
    MediaError: the video cannot be decoded.
  """
  size = spec.frame_size
  if not media.video:
    shapes = ((count, size, size, 3) for count in (spec.num_semantic_frames, spec.num_sync_frames))
    semantic_frame_MYX3, sync_frame_LYX3 = (np.zeros(shape, np.uint8) for shape in shapes)
    return semantic_frame_MYX3, sync_frame_LYX3
  tick_F, inverse_F = np.unique(
    np.concatenate([spec.semantic_ticks(), spec.sync_ticks()]), return_inverse=True
  )
  frame_FYX3 = _frames_at(media, tick_F, spec, start_s)
  return frame_FYX3[inverse_F[: spec.num_semantic_frames]], frame_FYX3[inverse_F[spec.num_semantic_frames :]]


def spoken(
  annotations: annotations_lib.Annotations, duration_s: float, start_s: float, length_s: float
) -> str:
  """Returns the words of a segment; none where the clip is longer and its words have no times.

  Args:
    annotations: of the clip.
    duration_s: of the clip.
    start_s, length_s: the segment.
  """
  transcript = annotations.transcript
  if transcript.times_s is None:
    is_whole = not start_s and fractions.Fraction(duration_s) <= fractions.Fraction(length_s)
    return transcript.text if is_whole else ''
  return transcript.within(start_s, start_s + length_s).text
