"""The audio of a file as a stream of blocks on the clock of the video: aligned, mixed, resampled.

Every decoded block has a timestamp. Blocks are placed on a grid of the file's own sample rate that
begins one second before the requested start (so that the resampling filter has its history, and both grids
meet at whole samples). Gaps are filled with zeros, overlaps are cut; then soxr resamples the stream. A
timestamp that contradicts those of the following blocks is ignored, and the block is placed after its
predecessor, as players do.
"""

import collections
from collections.abc import Iterator
import fractions
import math
import os
import pathlib

import av
import numpy as np
import soxr

from v2a.media import channels
from v2a.media import errors
from v2a.media import level
from v2a.media import source
from v2a.media import stills

_LEAD_S = 1
# The resampling filter needs this much audio past the requested end.
_TAIL_S = 0.1
# Timestamps of many files were rounded to milliseconds; smaller steps are not gaps.
_SLACK_S = 0.002
# Number of blocks, including the current one, that decide whether a gap or overlap is real.
_NUM_COMPARED = 8
# The last block has no successor; its timestamp is trusted if the gap exceeds usual jitter.
_JITTER_S = 0.1
# The first block has no predecessor; it is skipped if the next one is further away than this.
_MAX_FIRST_GAP_S = 10
# A damaged header may state any rate, and a second of zeros at 1 GHz would fill the memory.
_MIN_RATE_HZ, _MAX_RATE_HZ = 100, 1_000_000
# A track whose peak is at most this (-80 dB) counts as silent.
_SILENCE_PEAK = 1e-4
_FULL_SCALE = {'u8': 128.0, 's16': 2.0**15, 's32': 2.0**31, 's64': 2.0**63, 'flt': 1.0, 'dbl': 1.0}


def iterate_blocks(
  path: str | os.PathLike, sample_rate_hz: int, num_channels: int, start_s: float, duration_s: float
) -> Iterator[np.ndarray]:
  """Returns an iterator over blocks of wave_NA (float32) of round(duration_s * sample_rate_hz) samples.

  Args:
    path: a video or audio file; one without audio gives zeros.
    sample_rate_hz: samples per second of the result.
    num_channels: 1 or 2.
    start_s: seconds on the clock of the video, >= 0.
    duration_s: seconds, > 0.

  Raises:
    MediaError: the file cannot be read.
    ValueError: a number is out of range.
  """
  if sample_rate_hz < 1:
    raise ValueError(f'sample_rate_hz must be at least 1; got {sample_rate_hz}.')
  if num_channels not in (1, 2):
    raise ValueError(f'num_channels must be 1 or 2; got {num_channels}.')
  if not 0 <= start_s < math.inf:
    raise ValueError(f'start_s must be at least 0 s; got {start_s}.')
  if not 0 < duration_s < math.inf:
    raise ValueError(f'duration_s must be positive; got {duration_s}.')
  return _trimmed(pathlib.Path(path), sample_rate_hz, num_channels, start_s, duration_s)


def has_audible_audio(path: str | os.PathLike, duration_s: float) -> bool:
  """Returns whether the first `duration_s` seconds of a file have audio that is not silent."""
  return any(not is_silent(block_NA) for block_NA in iterate_blocks(path, 8000, 1, 0.0, duration_s))


def is_silent(wave_NA: np.ndarray) -> bool:
  """Returns whether a waveform is silent: no sample above -80 dB of full scale."""
  return level.peak(wave_NA) <= _SILENCE_PEAK


def _trimmed(
  path: pathlib.Path, sample_rate_hz: int, num_channels: int, start_s: float, duration_s: float
) -> Iterator[np.ndarray]:
  """Yields the resampled stream without its lead-in, padded with zeros to its length."""
  skip, left = _LEAD_S * sample_rate_hz, round(duration_s * sample_rate_hz)
  for block_NA in _resampled(path, sample_rate_hz, num_channels, start_s, duration_s):
    skipped = min(skip, len(block_NA))
    skip -= skipped
    block_NA = block_NA[skipped : skipped + left]
    left -= len(block_NA)
    if len(block_NA):
      yield block_NA
    if not left:
      return
  while left:
    num_zeros = min(left, sample_rate_hz)
    left -= num_zeros
    yield np.zeros((num_zeros, num_channels), np.float32)


def _resampled(
  path: pathlib.Path, sample_rate_hz: int, num_channels: int, start_s: float, duration_s: float
) -> Iterator[np.ndarray]:
  resampler, rate_hz = None, None
  for block_NA, block_rate_hz in _aligned(path, num_channels, start_s, duration_s):
    if block_rate_hz != rate_hz:
      if resampler is not None:
        yield resampler.resample_chunk(np.zeros((0, num_channels), np.float32), last=True)
      rate_hz, resampler = block_rate_hz, None
      if rate_hz != sample_rate_hz:
        resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, num_channels)
    yield block_NA if resampler is None else resampler.resample_chunk(block_NA)
  if resampler is not None:
    yield resampler.resample_chunk(np.zeros((0, num_channels), np.float32), last=True)


def _aligned(
  path: pathlib.Path, num_channels: int, start_s: float, duration_s: float
) -> Iterator[tuple[np.ndarray, int]]:
  """Yields (block_NA, its sample rate): gapless audio from _LEAD_S before start_s on."""
  if stills.image_format(path) is not None:
    return
  origin_s = source.clock_origin_s(path) + fractions.Fraction(start_s).limit_denominator(10**6) - _LEAD_S
  end_s = _LEAD_S + duration_s + _TAIL_S
  with source.Source(path) as opened:
    stream = opened.audio_stream
    if stream is None:
      return
    opened.select_stream(stream)
    decoded = opened.decoded_from(stream, origin_s) if start_s > 2 * _LEAD_S else opened.decoded(stream)
    position, rate_hz = None, None
    for (time_s, frame), *later in _with_followers(decoded, _NUM_COMPARED):
      if not _MIN_RATE_HZ <= frame.sample_rate <= _MAX_RATE_HZ:
        raise errors.MediaError(
          f'{path}: its audio has {frame.sample_rate} samples per second; wanted '
          f'{_MIN_RATE_HZ}..{_MAX_RATE_HZ}.'
        )
      target = round((time_s - origin_s) * frame.sample_rate)
      is_first = position is None
      if is_first:
        if later and abs(later[0][0] - time_s) > _MAX_FIRST_GAP_S:
          continue
        position = min(target, 0)
      elif frame.sample_rate != rate_hz:
        position = round(position * frame.sample_rate / rate_hz)
      rate_hz = frame.sample_rate
      gap = target - position
      if not is_first and (abs(gap) <= _SLACK_S * rate_hz or not _is_trusted(gap, time_s, frame, later)):
        gap = 0
      if position + max(0, gap) >= end_s * rate_hz:
        return
      for num_zeros in _split(max(0, gap) + min(0, position), rate_hz):
        yield np.zeros((num_zeros, num_channels), np.float32), rate_hz
      position += max(0, gap)
      # Samples before the origin and overlaps are dropped but counted: counts are more precise than
      # timestamps.
      block_NA = mixed(frame, num_channels)[max(0, -gap) :]
      if position + len(block_NA) > 0:
        yield block_NA[max(0, -position) :], rate_hz
      position += len(block_NA)


def _with_followers(items: Iterator, size: int) -> Iterator[tuple]:
  """Yields every item together with its successors, `size` items in total, fewer at the end."""
  window = collections.deque()
  for item in items:
    window.append(item)
    if len(window) == size:
      yield tuple(window)
      window.popleft()
  while window:
    yield tuple(window)
    window.popleft()


def _is_trusted(gap: int, time_s: fractions.Fraction, frame: av.AudioFrame, later: list) -> bool:
  """Returns whether the timestamps of most of the following blocks agree with that of `frame`.

  Args:
    gap: samples from the end of its predecessor to the timestamp of `frame`.
    time_s: timestamp of `frame`.
    frame: a decoded block.
    later: (timestamp, block) of its successors.
  """
  rate_hz, num_samples, num_agreeing = frame.sample_rate, frame.samples, 0
  if not later:
    return abs(gap) > _JITTER_S * rate_hz
  for later_s, block in later:
    num_agreeing += abs((later_s - time_s) * rate_hz - num_samples) <= _SLACK_S * rate_hz
    num_samples += block.samples
  return 2 * num_agreeing >= len(later)


def _split(num_samples: int, max_samples: int) -> Iterator[int]:
  while num_samples > 0:
    yield min(num_samples, max_samples)
    num_samples -= max_samples


def mixed(frame: av.AudioFrame, num_channels: int) -> np.ndarray:
  """Returns a decoded block as block_NA, float32, mixed to 1 or 2 channels."""
  sample_format = frame.format.name.removesuffix('p')
  data = frame.to_ndarray()
  block_NA = data.T if frame.format.is_planar else data.reshape(frame.samples, -1)
  block_NA = block_NA.astype(np.float32)
  if sample_format == 'u8':
    block_NA = block_NA - 128.0
  if _FULL_SCALE[sample_format] != 1.0:
    block_NA = block_NA / np.float32(_FULL_SCALE[sample_format])
  speakers = tuple(channel.name for channel in frame.layout.channels)
  return np.ascontiguousarray(block_NA @ channels.gains(speakers, num_channels))
