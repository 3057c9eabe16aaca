"""Whether a file is whole: what its headers promise against what is there."""

import fractions
import itertools
import os
import struct

import av

from v2a.media import errors
from v2a.media import source
from v2a.media import truncation

# A header may promise a little more than the last packet gives; beyond this the file was cut.
_CUT_SHARE = 0.05
_CUT_S = 1.0
# Their headers say how long they are, and nothing of bytes; of others FFmpeg guesses by the bit rate.
_PROMISING = ('flac', 'mxf', 'mxf_opatom', 'caf', 'w64', 'aiff', 'ivf', 'rm', 'dv')
# No picture is held longer than this without a sound beside it.
_MAX_HOLE_S = 3600
# Presentation times are out of order by no more than this, decoding times by none but rounding.
_MAX_BACK_S = 10
_MAX_DECODING_BACK_S = 1
# Parts of an MP4 file; what else stands behind the last of them is no part of it.
_BOXES = (b'ftyp', b'moov', b'mdat', b'moof', b'mfra', b'sidx', b'free', b'skip', b'wide', b'uuid')


def check_bytes(opened: source.Source) -> None:
  """Raises MediaError where an MP4 or AVI file names bytes beyond its end."""
  size, names = opened.path.stat().st_size, opened.container.format.name.split(',')
  wanted = 0
  if 'mov' in names:
    wanted = _wanted_by_boxes(opened, size)
  elif 'avi' in names:
    with opened.path.open('rb') as file:
      wanted = truncation.riff_bytes(file, size)
  for stream in opened.container.streams:
    if len(stream.index_entries):
      last = stream.index_entries[len(stream.index_entries) - 1]
      wanted = max(wanted, last.pos + last.size)
  if wanted > size:
    raise errors.MediaError(f'{opened.path}: is cut short: it wants {wanted} bytes, but has {size}.')


def check_length(opened: source.Source, start_s: fractions.Fraction, end_s: fractions.Fraction) -> None:
  """Raises MediaError where all streams end long before the length that the header promises, and bytes lack.

  A header may also be wrong: where the container can tell that no bytes are missing, all of it is played.

  Args:
    opened: a file that was just opened.
    start_s, end_s: extent of one of its streams, in the container's seconds.
  """
  # Where timestamps jump, the header's length is FFmpeg's difference of the last and the first.
  if opened.has_discontinuities:
    return
  name = opened.container.format.name
  is_cut = truncation.is_truncated(opened.path, name)
  if is_cut is False or (is_cut is None and name not in _PROMISING):
    return
  if not opened.container.duration:
    # FFmpeg does not believe the header of an ASF file that is cut.
    if is_cut:
      raise errors.MediaError(f'{opened.path}: is cut short: it has fewer bytes than its header says.')
    return
  promised_s = opened.container.duration / av.time_base
  least_s = promised_s * (1 - _CUT_SHARE) - _CUT_S
  if end_s - start_s >= least_s:
    return
  for packet in opened.packets(None):
    time_s = opened.time_s(packet)
    if time_s is not None and packet.size:
      end_s = max(end_s, time_s + (packet.duration or 0) * packet.time_base)
      start_s = min(start_s, time_s)
  if end_s - start_s < least_s:
    raise errors.MediaError(
      f'{opened.path}: is cut short: its header promises {promised_s:.1f} s, but it '
      f'ends at {float(end_s - start_s):.1f} s.'
    )


class TimestampChecker:
  """Watches that the presentation times of a stream can be one timeline: a wrong one would last for hours."""

  def __init__(self, path: str | os.PathLike, index: int):
    """Args: path: the file. index: of the stream."""
    self._path, self._index = path, index
    self._latest_s: fractions.Fraction | None = None
    self._decoding_s: fractions.Fraction | None = None
    self._holes: list[tuple[fractions.Fraction, fractions.Fraction]] = []

  def add(self, time_s: fractions.Fraction) -> None:
    """Takes the time of the next packet. Raises MediaError where times go back as no order of frames does."""
    if self._latest_s is not None:
      if time_s < self._latest_s - _MAX_BACK_S:
        raise errors.MediaError(
          f'{self._path}: its timestamps go back from {float(self._latest_s):.3f} s to '
          f'{float(time_s):.3f} s; the file is damaged.'
        )
      if time_s - self._latest_s > _MAX_HOLE_S:
        self._holes.append((self._latest_s, time_s))
    self._latest_s = time_s if self._latest_s is None else max(self._latest_s, time_s)

  def add_decoding(self, time_s: fractions.Fraction) -> None:
    """Takes the decoding time of the next packet. Raises MediaError where these go back."""
    if self._decoding_s is not None and time_s < self._decoding_s - _MAX_DECODING_BACK_S:
      raise errors.MediaError(
        f'{self._path}: its timestamps go back from {float(self._decoding_s):.3f} s to '
        f'{float(time_s):.3f} s; files were joined as they were, or it is damaged.'
      )
    self._decoding_s = time_s

  def check(self, end_s: fractions.Fraction) -> None:
    """Raises MediaError where a packet lasts for hours and no other stream goes on meanwhile.

    Args:
      end_s: where the last packet ends.
    """
    if end_s - self._latest_s > _MAX_HOLE_S:
      self._holes.append((self._latest_s, end_s))
    if not self._holes:
      return
    with source.Source(self._path) as opened:
      others = [
        opened.time_s(packet)
        for packet in opened.packets(None)
        if packet.size and packet.stream_index != self._index and packet.stream.type in ('audio', 'video')
      ]
    times_s = sorted(time_s for time_s in others if time_s is not None)
    for begin_s, stop_s in self._holes:
      inside = [begin_s, *(time_s for time_s in times_s if begin_s < time_s < stop_s), stop_s]
      for before_s, after_s in itertools.pairwise(inside):
        if after_s - before_s > _MAX_HOLE_S:
          raise errors.MediaError(
            f'{self._path}: its timestamps jump from {float(before_s):.3f} s to {float(after_s):.3f} s; '
            f'wanted no hole of more than {_MAX_HOLE_S} s.'
          )


def _wanted_by_boxes(opened: source.Source, size: int) -> int:
  """Returns where the last box of an MP4 file ends by its own word (ISO 14496-12, 4.2)."""
  offset = 0
  with opened.path.open('rb') as file:
    while offset + 16 <= size:
      file.seek(offset)
      length, kind, large = struct.unpack('>I4sQ', file.read(16))
      length = large if length == 1 else length
      # Length 0: to the end of the file.
      if kind not in _BOXES or length < 8:
        break
      offset += length
  return offset
