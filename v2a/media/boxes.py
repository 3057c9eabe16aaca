"""The boxes of an MP4 file, for what FFmpeg's muxer refuses: VP8.

VP8 has a registered sample entry, 'vp08' (VP Codec ISO Media File Format Binding, version 1.0), which FFmpeg,
and so most players, can read but not write. Therefore the packets are written under another codec's name,
and then the sample entry is replaced. A box is (type, payload or list of boxes); ISO 14496-12, 4.2.
"""

import pathlib
import struct

# A codec that FFmpeg's MP4 muxer takes as it is, and its sample entry.
STAND_IN = 'png'
_STAND_IN_ENTRY = b'mp4v'
_PARENTS = (b'moov', b'trak', b'mdia', b'minf', b'stbl')
# Bytes of a VisualSampleEntry before its own boxes, without its box header (ISO 14496-12, 12.1.3).
_ENTRY_BYTES = 78
# profile 0, level unknown, 8 bits 4:2:0 limited range, colours unspecified, no initialisation data.
_VPCC = struct.pack('>IBBBBBBH', 1 << 24, 0, 0, 8 << 4 | 1 << 1, 2, 2, 2, 0)


def declare_vp8(path: pathlib.Path) -> None:
  """Gives the one picture track of an MP4 file, whose index lies at its end, the sample entry 'vp08'.

  Args:
    path: the file, written with the codec STAND_IN; changed in place.

  Raises:
    ValueError: the file is not laid out as FFmpeg's muxer does.
  """
  with path.open('r+b') as file:
    offset = _index_offset(file)
    file.seek(offset)
    tree = _parse(file.read())
    if _rename(tree) != 1:
      raise ValueError(f'{path}: wanted one sample entry {_STAND_IN_ENTRY!r} in its index.')
    file.seek(offset)
    file.write(_serialize(tree))
    file.truncate()


def _index_offset(file) -> int:
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


def _parse(data: bytes) -> list:
  boxes, offset = [], 0
  while offset + 8 <= len(data):
    size, kind = struct.unpack('>I4s', data[offset:offset + 8])
    payload = data[offset + 8:offset + size]
    boxes.append((kind, _parse(payload) if kind in _PARENTS else payload))
    offset += size
  return boxes


def _serialize(boxes: list) -> bytes:
  chunks = []
  for kind, content in boxes:
    payload = _serialize(content) if isinstance(content, list) else content
    chunks.append(struct.pack('>I4s', len(payload) + 8, kind) + payload)
  return b''.join(chunks)


def _rename(boxes: list) -> int:
  """Replaces sample entries in place and returns how many."""
  count = 0
  for index, (kind, content) in enumerate(boxes):
    if isinstance(content, list):
      count += _rename(content)
    elif kind == b'stsd':
      entries = _parse(content[8:])
      for place, (entry, payload) in enumerate(entries):
        if entry == _STAND_IN_ENTRY:
          inner = [box for box in _parse(payload[_ENTRY_BYTES:]) if box[0] != b'esds']
          entries[place] = (b'vp08', payload[:_ENTRY_BYTES] + _serialize([(b'vpcC', _VPCC), *inner]))
          count += 1
      boxes[index] = (kind, content[:8] + _serialize(entries))
  return count
