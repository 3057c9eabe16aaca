"""The sound of a file as a stream of blocks on the picture's clock: placed, mixed, resampled.

A decoded block says when it is heard. Blocks are laid on a grid of the file's own sample rate that
begins one second before the wanted start (so that the resampling filter has its past, and so that both
grids meet at whole samples); gaps become zeros, overlaps are cut; then soxr resamples the stream. A time
that the blocks after it contradict is a fault of the file, and the block follows its predecessor, as players
have it.
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
# The resampler looks ahead; this much of the future is read past the wanted end.
_TAIL_S = 0.1
# Time stamps were rounded to milliseconds somewhere on the way of many files; smaller steps are no gaps.
_SLACK_S = 0.002
# So many blocks, the one in question included, are looked at before a gap or overlap is believed.
_NUM_WITNESSES = 8
# The last block has none after it; it is believed where it is further off than times stagger.
_STAGGER_S = 0.1
# The first block has none before it; it is passed over where the next one is further off than this.
_WRONG_S = 10
# A damaged header names any rate, and a second of zeros at 1 GHz fills the memory.
_MIN_RATE_HZ, _MAX_RATE_HZ = 100, 1_000_000
# A track that never rises above this (-80 dB) is no sound, only the lack of it.
_SILENCE_PEAK = 1e-4
_FULL_SCALE = {'u8': 128.0, 's16': 2.0**15, 's32': 2.0**31, 's64': 2.0**63, 'flt': 1.0, 'dbl': 1.0}


def iterate_blocks(
  path: str | os.PathLike, sample_rate_hz: int, num_channels: int, start_s: float, duration_s: float
) -> Iterator[np.ndarray]:
  """Returns an iterator over pieces of wave_NA (float32), together round(duration_s * sample_rate_hz) long.

  Args:
    path: a video or a sound file; one without sound gives zeros.
    sample_rate_hz: samples a second wanted.
    num_channels: 1 or 2.
    start_s: seconds on the picture's clock, >= 0.
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
  """Returns whether the first `duration_s` seconds of a file hold any sound but silence."""
  return any(not is_silent(block_NA) for block_NA in iterate_blocks(path, 8000, 1, 0.0, duration_s))


def is_silent(wave_NA: np.ndarray) -> bool:
  """Returns whether a wave holds nothing but silence: no sample above -80 dB of full scale."""
  return level.peak(wave_NA) <= _SILENCE_PEAK


def _trimmed(
  path: pathlib.Path, sample_rate_hz: int, num_channels: int, start_s: float, duration_s: float
) -> Iterator[np.ndarray]:
  """Yields the resampled stream without its lead, filled with zeros to its length."""
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
  for block_NA, block_rate_hz in _placed(path, num_channels, start_s, duration_s):
    if block_rate_hz != rate_hz:
      if resampler is not None:
        yield resampler.resample_chunk(np.zeros((0, num_channels), np.float32), last=True)
      rate_hz, resampler = block_rate_hz, None
      if rate_hz != sample_rate_hz:
        resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, num_channels)
    yield block_NA if resampler is None else resampler.resample_chunk(block_NA)
  if resampler is not None:
    yield resampler.resample_chunk(np.zeros((0, num_channels), np.float32), last=True)


def _placed(
  path: pathlib.Path, num_channels: int, start_s: float, duration_s: float
) -> Iterator[tuple[np.ndarray, int]]:
  """Yields (block_NA, its rate): the sound without gaps, from one lead before start_s on."""
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
    place, rate_hz = None, None
    for (time_s, frame), *later in _with_followers(decoded, _NUM_WITNESSES):
      if not _MIN_RATE_HZ <= frame.sample_rate <= _MAX_RATE_HZ:
        raise errors.MediaError(
          f'{path}: its sound has {frame.sample_rate} samples a second; wanted '
          f'{_MIN_RATE_HZ}..{_MAX_RATE_HZ}.'
        )
      wanted = round((time_s - origin_s) * frame.sample_rate)
      is_first = place is None
      if is_first:
        if later and abs(later[0][0] - time_s) > _WRONG_S:
          continue
        place = min(wanted, 0)
      elif frame.sample_rate != rate_hz:
        place = round(place * frame.sample_rate / rate_hz)
      rate_hz = frame.sample_rate
      gap = wanted - place
      if not is_first and (abs(gap) <= _SLACK_S * rate_hz or not _is_believed(gap, time_s, frame, later)):
        gap = 0
      if place + max(0, gap) >= end_s * rate_hz:
        return
      for num_zeros in _pieces(max(0, gap) + min(0, place), rate_hz):
        yield np.zeros((num_zeros, num_channels), np.float32), rate_hz
      place += max(0, gap)
      # What lies before the origin or was heard already is dropped, but counted: counts are finer than times.
      block_NA = mixed(frame, num_channels)[max(0, -gap) :]
      if place + len(block_NA) > 0:
        yield block_NA[max(0, -place) :], rate_hz
      place += len(block_NA)


def _with_followers(items: Iterator, size: int) -> Iterator[tuple]:
  """Yields every item with those after it, up to `size` in all; fewer at the end."""
  window = collections.deque()
  for item in items:
    window.append(item)
    if len(window) == size:
      yield tuple(window)
      window.popleft()
  while window:
    yield tuple(window)
    window.popleft()


def _is_believed(gap: int, time_s: fractions.Fraction, frame: av.AudioFrame, later: list) -> bool:
  """Returns whether most of the blocks after `frame` agree with its time, counted from it.

  Args:
    gap: samples from the end of its predecessors to the time of `frame`.
    time_s: time of `frame`.
    frame: a block.
    later: (time, block) after it.
  """
  rate_hz, num_samples, num_agreeing = frame.sample_rate, frame.samples, 0
  if not later:
    return abs(gap) > _STAGGER_S * rate_hz
  for later_s, block in later:
    num_agreeing += abs((later_s - time_s) * rate_hz - num_samples) <= _SLACK_S * rate_hz
    num_samples += block.samples
  return 2 * num_agreeing >= len(later)


def _pieces(num_samples: int, most: int) -> Iterator[int]:
  while num_samples > 0:
    yield min(num_samples, most)
    num_samples -= most


def mixed(frame: av.AudioFrame, num_channels: int) -> np.ndarray:
  """Returns a decoded block as float32 block_NA of 1 or 2 channels."""
  kind = frame.format.name.removesuffix('p')
  data = frame.to_ndarray()
  block_NA = data.T if frame.format.is_planar else data.reshape(frame.samples, -1)
  block_NA = block_NA.astype(np.float32)
  if kind == 'u8':
    block_NA = block_NA - 128.0
  if _FULL_SCALE[kind] != 1.0:
    block_NA = block_NA / np.float32(_FULL_SCALE[kind])
  speakers = tuple(channel.name for channel in frame.layout.channels)
  return np.ascontiguousarray(block_NA @ channels.gains(speakers, num_channels))
