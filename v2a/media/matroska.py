"""Matroska features that PyAV does not expose: Video for Windows codec ids, and the pixel aspect ratio.

Codecs without a Matroska codec id of their own are stored as "Video for Windows" tracks, which all readers
support (codec id V_MS/VFW/FOURCC, private data a BITMAPINFOHEADER). PyAV accepts only codecs with an id of
their own. Packets are therefore written with the codec id of MPEG-4, whose private data are stored unchanged
and whose id has the same length, and then the id is replaced.

PyAV cannot set the pixel aspect ratio of a track, so the display size is written afterwards. The header then
grows, and the padding before it, which the muxer reserves for its seek head, shrinks by as much.

Matroska: RFC 9559 (5.1.4.1.28 for video settings); EBML: RFC 8794; Matroska codec mappings.
"""

import collections
from collections.abc import Iterator
import contextlib
import fractions
import heapq
import io
import pathlib
import struct

import av

from v2a.media import source
from v2a.media import timestamps

_PLACEHOLDER_ID = b'V_MPEG4/ISO/ASP'
_CODEC_ID = b'V_MS/VFW/FOURCC'
# The header holds the placeholder id, so it must be written without checksums.
CONTAINER_OPTIONS = {'write_crc32': '0'}
_MAX_REORDER_PACKETS = 16
_HEADER_BYTES = 1 << 16
# Codes of codecs that other containers store without a four-character code.
_TAGS = {
  'flv1': b'FLV1',
  'vp6f': b'VP6F',
  'vp6': b'VP60',
  'wmv1': b'WMV1',
  'wmv2': b'WMV2',
  'wmv3': b'WMV3',
  'vc1': b'WVC1',
  'huffyuv': b'HFYU',
  'ffvhuff': b'FFVH',
  'dvvideo': b'dvsd',
}


_UNCOMPRESSED = ('bgr24', 'bgr0', 'bgra')
# Elements (RFC 9559, 5).
_SEGMENT, _SEEK_HEAD, _VOID, _INFO = b'\x18\x53\x80\x67', b'\x11\x4d\x9b\x74', b'\xec', b'\x15\x49\xa9\x66'
_SEEK_ID, _SEEK_POSITION = b'\x53\xab', b'\x53\xac'
_TRACKS, _TRACK_ENTRY, _VIDEO = b'\x16\x54\xae\x6b', b'\xae', b'\xe0'
_PIXEL_WIDTH, _PIXEL_HEIGHT = b'\xb0', b'\xba'
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = b'\x54\xb0', b'\x54\xba', b'\x54\xb2'
_ASPECT_RATIO = 3  # of DisplayUnit


def fourcc(stream: av.VideoStream) -> bytes | None:
  """Returns the four-character code of a video codec; None if it has none."""
  context = stream.codec_context
  tag = source.codec_tag(stream).encode('ascii')
  if all(32 <= letter < 127 for letter in tag):
    return tag
  if context.codec.canonical_name == 'rawvideo' and context.pix_fmt in _UNCOMPRESSED:
    return bytes(4)  # BI_RGB
  return _TAGS.get(context.codec.canonical_name)


def add_stream(output: av.container.OutputContainer, stream: av.VideoStream) -> av.VideoStream:
  """Adds a track for copied video packets to an output opened with CONTAINER_OPTIONS.

  Raises:
    ValueError: its codec has no four-character code.
  """
  code, original = fourcc(stream), stream.codec_context
  if code is None:
    raise ValueError(f'{original.codec.canonical_name} has no four-character code')
  extradata = original.extradata or b''
  header = struct.pack(
    '<IiiHH4sIiiII',
    40 + len(extradata),
    original.width,
    original.height,
    1,
    original.bits_per_coded_sample or 24,
    code,
    original.width * original.height * 3,
    0,
    0,
    0,
    0,
  )
  with contextlib.closing(_template()) as template:
    added = output.add_stream_from_template(template.streams.video[0], opaque=True)
  context = added.codec_context
  context.width, context.height, context.extradata = original.width, original.height, header + extradata
  return added


def with_vfw_timestamps(
  packets: Iterator[tuple[fractions.Fraction, av.Packet]],
) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
  """Yields (decoding time, packet) of tracks whose timestamps are in decoding order, as in AVI.

  There the n-th packet in decoding order has the time of the n-th frame in presentation order.
  """
  waiting: collections.deque[tuple[fractions.Fraction, av.Packet]] = collections.deque()
  times: list[int] = []

  def pop() -> tuple[fractions.Fraction, av.Packet]:
    time_s, packet = waiting.popleft()
    packet.pts = packet.dts = heapq.heappop(times)
    return time_s, packet

  for time_s, packet in packets:
    waiting.append((time_s, packet))
    heapq.heappush(times, timestamps.pts(packet))
    if len(waiting) > _MAX_REORDER_PACKETS:
      yield pop()
  while waiting:
    yield pop()


def set_vfw_codec_id(path: pathlib.Path) -> None:
  """Sets the codec id of the track that `add_stream` added, in a finished file, to Video for Windows.

  Raises:
    ValueError: no track of the file is from `add_stream`.
  """
  with path.open('r+b') as file:
    position = file.read(_HEADER_BYTES).find(_PLACEHOLDER_ID)
    if position < 0:
      raise ValueError(f'{path}: wanted a video track written as {_PLACEHOLDER_ID.decode()}; got none.')
    file.seek(position)
    file.write(_CODEC_ID)


def set_aspect(path: pathlib.Path, aspect: fractions.Fraction) -> None:
  """Sets the pixel aspect ratio (width over height) of the video track of a finished file.

  Raises:
    ValueError: the layout of the header differs from that of FFmpeg's muxer.
  """
  with path.open('r+b') as file:
    header = file.read(_HEADER_BYTES)
    begin, _ = _sized(header, header.index(_SEGMENT) + len(_SEGMENT))
    extents = {kind: (start, data, end) for kind, start, data, end in _elements(header, begin, len(header))}
    if not {_SEEK_HEAD, _VOID, _INFO, _TRACKS} <= set(extents) or extents[_VOID][0] > extents[_INFO][0]:
      raise ValueError(f'{path}: wanted a Matroska header with padding before its tracks.')
    start, data, end = extents[_TRACKS]
    tracks = _with_aspect(header[data:end], aspect)
    tracks = _TRACKS + _size(len(tracks)) + tracks
    growth = len(tracks) - (end - start)
    void_start, _, void_end = extents[_VOID]
    left = void_end - void_start - growth
    seek_start, seek_data, seek_end = extents[_SEEK_HEAD]
    seeks = _moved(header[seek_data:seek_end], (_INFO, _TRACKS), growth)
    void = _VOID + (left - 9 | 1 << 56).to_bytes(8, 'big') + bytes(left - 9)
    file.seek(seek_start)
    file.write(
      header[seek_start:seek_data]
      + seeks
      + header[seek_end:void_start]
      + void
      + header[void_end:start]
      + tracks
    )


def _with_aspect(data: bytes, aspect: fractions.Fraction) -> bytes:
  """Returns the content of 'Tracks' with a display size in the entry of the video track."""
  entries = []
  for kind, start, begin, end in _elements(data, 0, len(data)):
    entry = [(name, data[first:last]) for name, _, first, last in _elements(data, begin, end)]
    if kind != _TRACK_ENTRY or _VIDEO not in dict(entry):
      entries.append(data[start:end])
      continue
    video = dict(entry)[_VIDEO]
    settings = {name: video[first:last] for name, _, first, last in _elements(video, 0, len(video))}
    width, height = (int.from_bytes(settings[name], 'big') for name in (_PIXEL_WIDTH, _PIXEL_HEIGHT))
    settings.pop(_DISPLAY_UNIT, None)
    # Rounding one side to whole pixels is inaccurate for small frames, so the ratio itself is stored.
    display_aspect = aspect * fractions.Fraction(width, height)
    display_aspect = display_aspect.limit_denominator(2**15)
    settings |= {
      _DISPLAY_WIDTH: _number(display_aspect.numerator),
      _DISPLAY_HEIGHT: _number(display_aspect.denominator),
      _DISPLAY_UNIT: _number(_ASPECT_RATIO),
    }
    entries.append(
      _TRACK_ENTRY
      + _packed([(name, _joined(settings) if name == _VIDEO else value) for name, value in entry])
    )
  return b''.join(entries)


def _joined(settings: dict[bytes, bytes]) -> bytes:
  return b''.join(name + _size(len(value)) + value for name, value in settings.items())


def _packed(elements: list[tuple[bytes, bytes]]) -> bytes:
  content = b''.join(name + _size(len(value)) + value for name, value in elements)
  return _size(len(content)) + content


def _moved(data: bytes, kinds: tuple[bytes, ...], growth: int) -> bytes:
  """Returns the content of a seek head with the positions of some elements reduced by `growth` bytes."""
  changed = bytearray(data)
  for _, _, begin, end in _elements(data, 0, len(data)):
    entry = {name: (first, last) for name, _, first, last in _elements(data, begin, end)}
    first, last = entry[_SEEK_ID]
    if bytes(data[first:last]) in kinds:
      first, last = entry[_SEEK_POSITION]
      position = int.from_bytes(data[first:last], 'big') - growth
      changed[first:last] = position.to_bytes(last - first, 'big')
  return bytes(changed)


def _elements(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
  """Yields (id, start of the element, start of its content, end) of complete elements."""
  offset = begin
  while offset < end:
    id_bytes = 9 - data[offset].bit_length()
    if offset + id_bytes + 8 > len(data) and offset + id_bytes >= end:
      return
    content, size = _sized(data, offset + id_bytes)
    if content + size > end:
      return
    yield data[offset : offset + id_bytes], offset, content, content + size
    offset = content + size


def _sized(data: bytes, offset: int) -> tuple[int, int]:
  """Reads an element size; returns the start and the length of the content."""
  num_bytes = 9 - data[offset].bit_length()
  value = int.from_bytes(data[offset : offset + num_bytes], 'big') & (1 << 7 * num_bytes) - 1
  return offset + num_bytes, value


def _size(value: int) -> bytes:
  num_bytes = next(num for num in range(1, 9) if value < (1 << 7 * num) - 1)
  return (value | 1 << 7 * num_bytes).to_bytes(num_bytes, 'big')


def _number(value: int) -> bytes:
  return value.to_bytes((value.bit_length() + 7) // 8 or 1, 'big')


def _template() -> av.container.InputContainer:
  """Returns an opened MPEG-4 video of one frame, whose stream serves as a template."""
  buffer = io.BytesIO()
  with av.open(buffer, 'w', format='matroska') as output:
    stream = output.add_stream('mpeg4', rate=25, width=16, height=16, pix_fmt='yuv420p')
    output.mux(stream.encode(av.VideoFrame(16, 16, 'yuv420p')))
    output.mux(stream.encode(None))
  buffer.seek(0)
  return av.open(buffer, 'r')
