"""Reads the sounds of OpenTTD's base sound sets (`.cat`, the format of catcodec).

An index of pairs of 32-bit little-endian numbers (offset, bytes), as many as the first offset has room for;
its highest bit says that the sounds have the new form: a byte with the length of a name, the name and a zero;
the file of the sound (WAV) and a zero; a byte with the length of the name of the source file, the name and a
zero.
OpenSFX writes title, authors and licence of each sound in its name.
"""

from collections.abc import Iterator
import dataclasses
import struct

_IS_NEW = 1 << 31


@dataclasses.dataclass(frozen=True)
class Entry:
  """A sound.

  Attributes:
    description: what the set says about it.
    file_name: of the source.
    wav: content of a WAV file.
  """

  description: str
  file_name: str
  wav: bytes


def read(content: bytes) -> Iterator[Entry]:
  """Yields the sounds in their order.

  Raises:
    ValueError: the file is damaged, or of the old form, which has no names of files.
  """
  try:
    first = struct.unpack_from('<I', content)[0]
    if not first & _IS_NEW:
      raise ValueError('is a sound set of the old form, without names of files.')
    for index in range((first & ~_IS_NEW) // 8):
      offset, num_bytes = struct.unpack_from('<II', content, 8 * index)
      description, start = _text(content, offset & ~_IS_NEW)
      wav = content[start : start + num_bytes]
      file_name, _ = _text(content, start + num_bytes + 1)
      if wav[:4] != b'RIFF':
        raise ValueError(f'sound {index} is no WAV file.')
      yield Entry(description, file_name, wav)
  except (struct.error, IndexError) as error:
    raise ValueError(f'is no sound set of OpenTTD, or is not whole ({error}).') from error


def _text(content: bytes, start: int) -> tuple[str, int]:
  """Returns a text whose length is in the byte before it, and the position after its final zero."""
  end = start + 1 + content[start]
  return content[start + 1 : end].rstrip(b'\0').decode('utf-8', 'replace'), end
