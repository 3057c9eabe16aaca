"""Whether a file is whole: what its headers promise against what is there."""

import fractions
import struct

import av

from v2a.media import errors
from v2a.media import source

# A header may promise a little more than the last packet gives; beyond this the file was cut.
_CUT_SHARE = 0.05
_CUT_S = 1.0
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
      wanted = struct.unpack('<4sI', file.read(8))[1] + 8
    # Programs that stream into a file leave a length of all ones.
    wanted = 0 if wanted >= 2**32 - 1 else wanted
  for stream in opened.container.streams:
    if len(stream.index_entries):
      last = stream.index_entries[len(stream.index_entries) - 1]
      wanted = max(wanted, last.pos + last.size)
  if wanted > size:
    raise errors.MediaError(f'{opened.path}: is cut short: it wants {wanted} bytes, but has {size}.')


def check_length(opened: source.Source, start_s: fractions.Fraction, end_s: fractions.Fraction) -> None:
  """Raises MediaError where all streams end long before the length that the header promises.

  Args:
    opened: a file that was just opened.
    start_s, end_s: extent of one of its streams, in the container's seconds.
  """
  if not opened.container.duration:
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
    raise errors.MediaError(f'{opened.path}: is cut short: its header promises {promised_s:.1f} s, but it '
                            f'ends at {float(end_s - start_s):.1f} s.')


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
