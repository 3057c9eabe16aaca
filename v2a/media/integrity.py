"""Integrity checks: what the headers of a file state, compared with its actual content."""

import fractions
import itertools
import os
import struct

import av

from v2a.media import errors
from v2a.media import source
from v2a.media import timestamps
from v2a.media import truncation

# A header may state slightly more than the packets hold; beyond this the file counts as truncated.
_DURATION_TOLERANCE = 0.05
_DURATION_SLACK_S = 1.0
# Headers of these state a duration but no size in bytes; for other containers FFmpeg estimates from the bit
# rate.
_WITH_DURATION = ('flac', 'mxf', 'mxf_opatom', 'caf', 'w64', 'aiff', 'ivf', 'rm', 'dv')
# No frame is shown longer than this without audio packets meanwhile.
_MAX_GAP_S = 3600
# Presentation times may be out of order by at most this, decoding times by rounding only.
_MAX_BACKWARD_S = 10
_MAX_DECODING_BACKWARD_S = 1
# Boxes of an MP4 file; data after the last of them do not belong to it.
_BOXES = (b'ftyp', b'moov', b'mdat', b'moof', b'mfra', b'sidx', b'free', b'skip', b'wide', b'uuid')


def check_bytes(opened: source.Source) -> None:
  """Raises MediaError if an MP4 or AVI file refers to bytes beyond its end."""
  size, names = opened.path.stat().st_size, opened.container.format.name.split(',')
  stated = 0
  if 'mov' in names:
    stated = _size_by_boxes(opened, size)
  elif 'avi' in names:
    with opened.path.open('rb') as file:
      stated = truncation.riff_bytes(file, size)
  for stream in opened.container.streams:
    if len(stream.index_entries):
      last = stream.index_entries[len(stream.index_entries) - 1]
      stated = max(stated, last.pos + last.size)
  if stated > size:
    raise errors.MediaError(f'{opened.path}: is cut short: it should have {stated} bytes, but has {size}.')


def check_length(opened: source.Source, start_s: fractions.Fraction, end_s: fractions.Fraction) -> None:
  """Raises MediaError if all streams end well before the duration in the header, and bytes are missing.

  A header may also be wrong: if the container shows that no bytes are missing, the file is accepted.

  Args:
    opened: a freshly opened file.
    start_s, end_s: extent of one of its streams, in the container's seconds.
  """
  # If timestamps jump, FFmpeg's duration is the meaningless difference of the last and the first.
  if opened.has_discontinuities:
    return
  name = opened.container.format.name
  is_cut = truncation.is_truncated(opened.path, name)
  if is_cut is False or (is_cut is None and name not in _WITH_DURATION):
    return
  if not opened.container.duration:
    # FFmpeg ignores the header of a truncated ASF file.
    if is_cut:
      raise errors.MediaError(f'{opened.path}: is cut short: it has fewer bytes than its header states.')
    return
  header_s = opened.container.duration / av.time_base
  least_s = header_s * (1 - _DURATION_TOLERANCE) - _DURATION_SLACK_S
  if end_s - start_s >= least_s:
    return
  for packet in opened.packets(None):
    time_s = opened.time_s(packet)
    if time_s is not None and packet.size:
      end_s = max(end_s, time_s + timestamps.duration_s(packet))
      start_s = min(start_s, time_s)
  if end_s - start_s < least_s:
    raise errors.MediaError(
      f'{opened.path}: is cut short: its header states {header_s:.1f} s, but it '
      f'ends at {float(end_s - start_s):.1f} s.'
    )


class TimestampChecker:
  """Checks that the timestamps of a stream form one timeline."""

  def __init__(self, path: str | os.PathLike, index: int):
    """Args: path: the file. index: of the stream."""
    self._path, self._index = path, index
    self._latest_s: fractions.Fraction | None = None
    self._decoding_s: fractions.Fraction | None = None
    self._gaps: list[tuple[fractions.Fraction, fractions.Fraction]] = []

  def add(self, time_s: fractions.Fraction) -> None:
    """Adds the time of the next packet; raises MediaError if times go back by more than frame reordering."""
    if self._latest_s is not None:
      if time_s < self._latest_s - _MAX_BACKWARD_S:
        raise errors.MediaError(
          f'{self._path}: its timestamps go back from {float(self._latest_s):.3f} s to '
          f'{float(time_s):.3f} s; the file is damaged.'
        )
      if time_s - self._latest_s > _MAX_GAP_S:
        self._gaps.append((self._latest_s, time_s))
    self._latest_s = time_s if self._latest_s is None else max(self._latest_s, time_s)

  def add_decoding(self, time_s: fractions.Fraction) -> None:
    """Adds the decoding time of the next packet; raises MediaError if decoding times go back."""
    if self._decoding_s is not None and time_s < self._decoding_s - _MAX_DECODING_BACKWARD_S:
      raise errors.MediaError(
        f'{self._path}: its timestamps go back from {float(self._decoding_s):.3f} s to '
        f'{float(time_s):.3f} s; the file is damaged, or was concatenated without remuxing.'
      )
    self._decoding_s = time_s

  def check(self, end_s: fractions.Fraction) -> None:
    """Raises MediaError if there is a gap of hours in which no other stream has packets.

    Args:
      end_s: where the last packet ends.
    """
    if self._latest_s is not None and end_s - self._latest_s > _MAX_GAP_S:
      self._gaps.append((self._latest_s, end_s))
    if not self._gaps:
      return
    with source.Source(self._path) as opened:
      others = [
        opened.time_s(packet)
        for packet in opened.packets(None)
        if packet.size and packet.stream_index != self._index and packet.stream.type in ('audio', 'video')
      ]
    times_s = sorted(time_s for time_s in others if time_s is not None)
    for start_s, stop_s in self._gaps:
      times_in_gap_s = [start_s, *(time_s for time_s in times_s if start_s < time_s < stop_s), stop_s]
      for before_s, after_s in itertools.pairwise(times_in_gap_s):
        if after_s - before_s > _MAX_GAP_S:
          raise errors.MediaError(
            f'{self._path}: its timestamps jump from {float(before_s):.3f} s to {float(after_s):.3f} s; '
            f'wanted no gap of more than {_MAX_GAP_S} s.'
          )


def _size_by_boxes(opened: source.Source, size: int) -> int:
  """Returns where the last box of an MP4 file ends by its header (ISO 14496-12, 4.2)."""
  offset = 0
  with opened.path.open('rb') as file:
    while offset + 16 <= size:
      file.seek(offset)
      length, kind, large = struct.unpack('>I4sQ', file.read(16))
      length = large if length == 1 else length
      # Length 0 means to the end of the file.
      if kind not in _BOXES or length < 8:
        break
      offset += length
  return offset
