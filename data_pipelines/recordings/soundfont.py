"""Reads the samples of a SoundFont 2 file (SoundFont Technical Specification 2.04, sections 5 to 7).

The file is RIFF: the list `sdta` holds all samples one after another (`smpl`, 16 bits, mono), and in the list
`pdta` each header of `shdr` has a name, start, end, rate, type (mono, left, right) and the index of the other
channel. Presets and generators, which make an instrument of the samples, are not read.

Some editors leave the index of the other channel 0; a left and a right sample with the same name but for the
channel, and of one rate, are then one stereo sample. A loop stays as it is: the samples from start to end.
"""

from collections.abc import Iterator
import dataclasses
import re
import struct

import numpy as np

_HEADER = struct.Struct('<20sIIIIIBbHH')
_MONO, _RIGHT, _LEFT, _LINKED = 1, 2, 4, 8
_ROM = 0x8000  # the samples are in a chip of the sound card
_CHANNEL = re.compile(r'[\s(_-]*([LR])\)?$')
_MAX_RATE_HZ = 655_350  # of FLAC


@dataclasses.dataclass(frozen=True)
class Sample:
  """A sample of a SoundFont.

  Attributes:
    name: without the channel.
    wave_NA: int16, one or two channels.
    sample_rate_hz: samples per second.
  """

  name: str
  wave_NA: np.ndarray
  sample_rate_hz: int


@dataclasses.dataclass(frozen=True)
class _Header:
  name: str
  start: int
  end: int
  rate_hz: int
  link: int
  kind: int

  @property
  def stem(self) -> str:
    """The name without the channel."""
    return _CHANNEL.sub('', self.name) if self.kind in (_LEFT, _RIGHT) else self.name


def read(content: bytes) -> Iterator[Sample]:
  """Yields the samples of a file in its order, channels that belong together as one.

  Raises:
    ValueError: it is no SoundFont 2, is damaged, or refers to samples in the ROM of a sound card.
  """
  if content[:4] != b'RIFF' or content[8:12] != b'sfbk':
    raise ValueError('is no SoundFont 2 file.')
  lists = dict(_chunks(content[12:], is_list=True))
  pcm_N = np.frombuffer(_chunk(lists, b'sdta', b'smpl'), '<i2')
  headers = _headers(_chunk(lists, b'pdta', b'shdr'), len(pcm_N))
  pairs = _pairs(headers)
  for index, header in enumerate(headers):
    other = headers[pairs[index]] if index in pairs else None
    if other is not None and pairs[index] < index:
      continue  # was yielded with the other channel
    channels = [header] if other is None else sorted((header, other), key=lambda h: h.kind != _LEFT)
    length = min(channel.end - channel.start for channel in channels)
    wave_NA = np.stack([pcm_N[channel.start : channel.start + length] for channel in channels], axis=1)
    yield Sample(header.stem if other else header.name, wave_NA, header.rate_hz)


def _chunks(content: bytes, is_list: bool = False) -> Iterator[tuple[bytes, bytes]]:
  """Yields identifier and body of the chunks of a list; of lists in it, their kind and what follows it."""
  position = 0
  while position + 8 <= len(content):
    name, num_bytes = struct.unpack_from('<4sI', content, position)
    body = content[position + 8 : position + 8 + num_bytes]
    if len(body) < num_bytes:
      raise ValueError(f'the chunk {name.decode("ascii", "replace")} is not whole.')
    yield (body[:4], body[4:]) if is_list else (name, body)
    position += 8 + num_bytes + num_bytes % 2


def _chunk(lists: dict[bytes, bytes], kind: bytes, name: bytes) -> bytes:
  for found, body in _chunks(lists.get(kind, b'')):
    if found == name:
      return body
  raise ValueError(f'has no chunk {name.decode()} in the list {kind.decode()}.')


def _headers(content: bytes, num_samples: int) -> list[_Header]:
  """Returns the headers of samples; the last one is the end of the list."""
  found = []
  for start in range(0, len(content) - 2 * _HEADER.size + 1, _HEADER.size):
    name, begin, end, _, _, rate_hz, _, _, link, kind = _HEADER.unpack_from(content, start)
    text = name.split(b'\0')[0].decode('latin-1').strip()
    if kind & _ROM:
      raise ValueError(f'sample {text!r} is in the ROM of a sound card.')
    if not begin <= end <= num_samples or not 1 <= rate_hz <= _MAX_RATE_HZ:
      raise ValueError(f'sample {text!r} has the range {begin} to {end} of {num_samples} at {rate_hz} Hz.')
    if end > begin:
      found.append(_Header(text, begin, end, rate_hz, link, kind))
  return found


def _pairs(headers: list[_Header]) -> dict[int, int]:
  """Returns index -> index of the other channel, both ways."""
  found: dict[int, int] = {}
  for index, header in enumerate(headers[:-1]):
    for other in dict.fromkeys((header.link, index + 1)):
      if index in found or other in found or not index < other < len(headers):
        continue
      if _are_channels(
        header, headers[other], is_linked=header.link == other and headers[other].link == index
      ):
        found[index], found[other] = other, index
  return found


def _are_channels(one: _Header, other: _Header, is_linked: bool) -> bool:
  if {one.kind, other.kind} != {_LEFT, _RIGHT} or one.rate_hz != other.rate_hz:
    return False
  return is_linked or (one.stem == other.stem and one.name != other.name)
