"""The index of an MP4 or MOV file, for what FFmpeg's muxer does not do: VP8, and pictures that end early.

VP8 has a registered sample entry, 'vp08' (VP Codec ISO Media File Format Binding, version 1.0), which FFmpeg,
and so most players, can read but not write. Therefore the packets are written under another codec's name,
and then the sample entry is replaced. A box is (type, payload or list of boxes); ISO 14496-12, 4.2.
"""

from collections.abc import Iterator
import fractions
import pathlib
import struct

# A codec that FFmpeg's MP4 muxer takes as it is, and its sample entry in MP4 and in MOV.
STAND_IN = 'png'
_STAND_IN_ENTRIES = (b'mp4v', b'png ')
_PARENTS = (b'moov', b'trak', b'mdia', b'minf', b'stbl', b'edts')
# Bytes of a VisualSampleEntry before its own boxes, without its box header (ISO 14496-12, 12.1.3).
_ENTRY_BYTES = 78
# profile 0, level unknown, 8 bits 4:2:0 limited range, colours unspecified, no initialisation data.
_VPCC = struct.pack('>IBBBBBBH', 1 << 24, 0, 0, 8 << 4 | 1 << 1, 2, 2, 2, 0)
# Where the length stands in a payload, and its layout, in versions 0 and 1 (ISO 14496-12, 8.2.2 and 8.3.2).
_DURATION = {b'mvhd': ((16, '>I'), (24, '>Q')), b'tkhd': ((20, '>I'), (28, '>Q'))}


class Index:
  """The index ('moov') of a finished file; change it, then `save`."""

  def __init__(self, path: pathlib.Path):
    """Reads the index.

    Args:
      path: a file as FFmpeg's muxer leaves it, its index at its end.

    Raises:
      ValueError: it is laid out in another way.
    """
    self._path = path
    with path.open('rb') as file:
      self._offset = _find(file)
      file.seek(self._offset)
      (self._kind, self._boxes), = _parse(file.read())

  def declare_vp8(self) -> None:
    """Says that the picture, written as STAND_IN, is VP8."""
    stbl = self._picture_table()
    place, (_, content) = next((i, box) for i, box in enumerate(stbl) if box[0] == b'stsd')
    (entry, payload), = _parse(content[8:])
    if entry not in _STAND_IN_ENTRIES:
      raise ValueError(f'{self._path}: wanted a picture written as {STAND_IN}; got {entry!r}.')
    inner = [box for box in _parse(payload[_ENTRY_BYTES:]) if box[0] != b'esds']
    vp8 = (b'vp08', payload[:_ENTRY_BYTES] + _serialize([(b'vpcC', _VPCC), *inner]))
    stbl[place] = (b'stsd', content[:8] + _serialize([vp8]))

  def end_picture(self, duration_s: fractions.Fraction) -> None:
    """Lets the picture be shown for duration_s, though its packets may last longer."""
    header = dict(self._boxes)[b'mvhd']
    rate_hz, = struct.unpack_from('>I', header, 20 if header[0] else 12)
    ticks, track = round(duration_s * rate_hz), self._picture_track()
    _replace(track, b'tkhd', lambda payload: _with_duration(b'tkhd', payload, ticks))
    edits = next(content for kind, content in track if kind == b'edts')
    _replace(edits, b'elst', lambda payload: _with_edit(payload, ticks))
    longest = max(_duration(b'tkhd', dict(other)[b'tkhd']) for kind, other in self._boxes if kind == b'trak')
    _replace(self._boxes, b'mvhd', lambda payload: _with_duration(b'mvhd', payload, longest))

  def save(self) -> None:
    """Writes the index back."""
    with self._path.open('r+b') as file:
      file.seek(self._offset)
      file.write(_serialize([(self._kind, self._boxes)]))
      file.truncate()

  def _picture_track(self) -> list:
    for kind, content in self._boxes:
      if kind == b'trak':
        handler = dict(dict(content)[b'mdia'])[b'hdlr']
        if handler[8:12] == b'vide':
          return content
    raise ValueError(f'{self._path}: wanted a picture track; got none.')

  def _picture_table(self) -> list:
    return dict(dict(dict(self._picture_track())[b'mdia'])[b'minf'])[b'stbl']


def _find(file) -> int:
  """Returns where the last box begins, which must be 'moov'."""
  offset, end = 0, file.seek(0, 2)
  while offset < end:
    file.seek(offset)
    size, kind = struct.unpack('>I4s', file.read(8))
    if size == 1:
      size, = struct.unpack('>Q', file.read(8))
    if kind == b'moov' and offset + size == end:
      return offset
    if size < 8:
      break
    offset += size
  raise ValueError('Wanted an MP4 file with its index (moov) at the end.')


def _walk(data: bytes) -> Iterator[tuple[bytes, bytes]]:
  offset = 0
  while offset + 8 <= len(data):
    size, kind = struct.unpack_from('>I4s', data, offset)
    yield kind, data[offset + 8:offset + size]
    offset += size


def _parse(data: bytes) -> list:
  return [(kind, _parse(payload) if kind in _PARENTS else payload) for kind, payload in _walk(data)]


def _serialize(boxes: list) -> bytes:
  chunks = []
  for kind, content in boxes:
    payload = _serialize(content) if isinstance(content, list) else content
    chunks.append(struct.pack('>I4s', len(payload) + 8, kind) + payload)
  return b''.join(chunks)


def _replace(boxes: list, wanted: bytes, change) -> None:
  for index, (kind, content) in enumerate(boxes):
    if kind == wanted:
      boxes[index] = (kind, change(content))


def _duration(kind: bytes, payload: bytes) -> int:
  offset, layout = _DURATION[kind][payload[0]]
  return struct.unpack_from(layout, payload, offset)[0]


def _with_duration(kind: bytes, payload: bytes, ticks: int) -> bytes:
  offset, layout = _DURATION[kind][payload[0]]
  changed = bytearray(payload)
  struct.pack_into(layout, changed, offset, ticks)
  return bytes(changed)


def _with_edit(payload: bytes, ticks: int) -> bytes:
  """Returns an edit list whose last entry lasts so long that the whole list lasts `ticks`."""
  layout, size = ('>Qq', 20) if payload[0] else ('>Ii', 12)
  changed, count = bytearray(payload), struct.unpack_from('>I', payload, 4)[0]
  for index in range(count):
    duration, media_time = struct.unpack_from(layout, payload, 8 + index * size)
    if index == count - 1:
      struct.pack_into(layout, changed, 8 + index * size, max(0, ticks), media_time)
    ticks -= duration
  return bytes(changed)
