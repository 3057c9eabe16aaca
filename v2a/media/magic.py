"""Detects the format of image files from their content; file names are ignored."""

from collections.abc import Iterator
import os
import struct
from typing import BinaryIO

_HEAD_BYTES = 4096
_MAGIC = {
  b'\x89PNG\r\n\x1a\n': 'png',
  b'\xff\xd8\xff': 'jpeg',
  b'GIF87a': 'gif',
  b'GIF89a': 'gif',
  b'BM': 'bmp',
  b'II*\0': 'tiff',
  b'MM\0*': 'tiff',
  b'II+\0': 'tiff',
  b'MM\0+': 'tiff',
}
# Brands of ISO 23008-12 and AVIF; neutral brands leave the decision to the compatible brands.
_BRANDS = dict.fromkeys((b'avif', b'avis'), 'avif') | dict.fromkeys(
  (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'hevm', b'hevs'), 'heif'
)
_NEUTRAL_BRANDS = (b'mif1', b'mif2', b'msf1', b'miaf')


def image_format(file: BinaryIO) -> str | None:
  """Returns 'png', 'jpeg', 'gif', 'webp', 'bmp', 'tiff', 'avif' or 'heif'; None for any other content.

  Videos give None, too: Motion JPEG, AVIF with an audio track, and HEIC with any track.

  Args:
    file: opened, at position 0.
  """
  head = file.read(_HEAD_BYTES)
  for magic, name in _MAGIC.items():
    if head.startswith(magic):
      return None if name == 'jpeg' and _is_motion_jpeg(file) else name
  if head[:4] == b'RIFF' and head[8:12] == b'WEBP':
    return 'webp'
  if head[4:8] != b'ftyp':
    return None
  name = _by_brands(head)
  if name is None:
    return None
  handlers = _handlers(file)
  return None if b'soun' in handlers or (handlers and name == 'heif') else name


def _by_brands(head: bytes) -> str | None:
  """Returns the format named by the brands of an ftyp box (major brand, version, compatible brands)."""
  end = min(int.from_bytes(head[:4], 'big'), len(head))
  major, *others = (head[at : at + 4] for at in (8, *range(16, end, 4)))
  brands = [major, *others] if major in _NEUTRAL_BRANDS else [major]
  return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)


def _is_motion_jpeg(file: BinaryIO) -> bool:
  """Returns whether several JPEG images follow each other (Motion JPEG) without an index (MPO)."""
  file.seek(2)
  while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != 0xDA:
    segment = file.read(max(0, int.from_bytes(head[2:], 'big') - 2))
    if head[1] == 0xE2 and segment.startswith(b'MPF\0'):
      return False
  # Within coded image data a byte 0xff is never followed by 0xd9.
  rest = file.read()
  end = rest.find(b'\xff\xd9') + 2
  return end >= 2 and rest[end : end + 64].lstrip(b'\0').startswith(b'\xff\xd8\xff')


def _handlers(file: BinaryIO) -> set[bytes]:
  """Returns the track handlers of an MP4 file (ISO 14496-12, 8.4.3): b'soun', b'vide', b'pict', ..."""
  offset, size = 0, os.fstat(file.fileno()).st_size
  while offset + 16 <= size:
    file.seek(offset)
    length, name, large = struct.unpack('>I4sQ', file.read(16))
    length = large if length == 1 else length or size - offset
    if name == b'moov':
      moov = file.read(length - 16)
      return {moov[at + 12 : at + 16] for at in _find_all(moov, b'hdlr')}
    if length < 8:
      break
    offset += length
  return set()


def _find_all(data: bytes, word: bytes) -> Iterator[int]:
  at = data.find(word)
  while at >= 0:
    yield at
    at = data.find(word, at + 1)
