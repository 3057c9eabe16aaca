"""Detects missing bytes at the end of a file from the sizes that its container states.

A duration in a header may simply be wrong; a file counts as truncated only if bytes that it refers to are
missing.
"""

from collections.abc import Callable
import pathlib
import struct
from typing import BinaryIO

_HEAD_BYTES = 2**16
# ASF specification, 3.2: the GUID of the File Properties object, before its size, the file's GUID and length.
_ASF_PROPERTIES = bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')
_ASF_LENGTH_OFFSET, _ASF_FLAGS_OFFSET = 40, 88
_SEGMENT = b'\x18\x53\x80\x67'
_FLV_TAGS = (8, 9, 18)


def is_truncated(path: pathlib.Path, container: str) -> bool | None:
  """Returns whether a file is truncated; None if its container does not state a size.

  Args:
    path: the file.
    container: FFmpeg's name of the container.
  """
  for name in container.split(','):
    if name in _CHECKS:
      with path.open('rb') as file:
        return _CHECKS[name](file, path.stat().st_size)
  return None


def riff_bytes(file: BinaryIO, size: int) -> int:
  """Returns where the last RIFF chunk of a file ends by its header (OpenDML files have several chunks)."""
  offset = 0
  while offset + 8 <= size:
    file.seek(offset)
    name, length = struct.unpack('<4sI', file.read(8))
    # Programs that write to a pipe leave a length of all ones.
    if name != b'RIFF' or length == 2**32 - 1:
      break
    offset += 8 + length + length % 2
  return offset - 1 if offset == size + 1 else offset


def _is_riff_truncated(file: BinaryIO, size: int) -> bool:
  return riff_bytes(file, size) > size


def _is_flv_truncated(file: BinaryIO, size: int) -> bool:
  """An FLV file ends with the length of its last tag (FLV specification, annex E.3)."""
  head = file.read(_HEAD_BYTES)
  at = head.find(b'filesize\0')
  if 0 <= at <= len(head) - 17 and struct.unpack_from('>d', head, at + 9)[0] > size:
    return True
  file.seek(max(0, size - 4))
  last = int.from_bytes(file.read(4), 'big')
  if not 11 <= last <= size - 4:
    return True
  file.seek(size - 4 - last)
  tag = file.read(4)
  return tag[0] & 0x1F not in _FLV_TAGS or int.from_bytes(tag[1:], 'big') != last - 11


def _is_asf_truncated(file: BinaryIO, size: int) -> bool:
  head = file.read(_HEAD_BYTES)
  at = head.find(_ASF_PROPERTIES)
  if not 0 <= at <= len(head) - _ASF_FLAGS_OFFSET - 4:
    return False
  is_broadcast = struct.unpack_from('<I', head, at + _ASF_FLAGS_OFFSET)[0] & 1
  return not is_broadcast and struct.unpack_from('<Q', head, at + _ASF_LENGTH_OFFSET)[0] > size


def _is_matroska_truncated(file: BinaryIO, size: int) -> bool:
  """The Segment contains all but the first element of a file (RFC 9559, 5.1); its size may be unknown."""
  head = file.read(_HEAD_BYTES)
  at = head.find(_SEGMENT) + 4
  if at < 4 or not head[at]:
    return False
  num_bytes = 9 - head[at].bit_length()
  unknown = (1 << 7 * num_bytes) - 1
  length = int.from_bytes(head[at : at + num_bytes], 'big') & unknown
  return length != unknown and at + num_bytes + length > size


# The index of MP4 and AVI files is checked separately: see integrity.check_bytes.
_CHECKS: dict[str, Callable[[BinaryIO, int], bool]] = {
  'mov': lambda file, size: False,
  'avi': _is_riff_truncated,
  'wav': _is_riff_truncated,
  'flv': _is_flv_truncated,
  'asf': _is_asf_truncated,
  'matroska': _is_matroska_truncated,
}
