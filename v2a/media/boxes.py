"""Reading and editing the index of MP4 and MOV files where FFmpeg cannot: VP8 tracks and raw edit lists.

VP8 has a registered sample entry, 'vp08' (VP Codec ISO Media File Format Binding, version 1.0), which FFmpeg
(and thus most players) can read but not write. The packets are therefore written with the sample entry of a
placeholder codec, which is then replaced. A box is (type, payload or list of boxes); ISO 14496-12, 4.2.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import fractions
import pathlib
import struct

# A codec that FFmpeg's MP4 muxer accepts without an encoder, and its sample entries in MP4 and MOV.
PLACEHOLDER_CODEC = 'png'
_PLACEHOLDER_ENTRIES = (b'mp4v', b'png ')
_PARENTS = (b'moov', b'trak', b'mdia', b'minf', b'stbl', b'edts')
# Bytes of a VisualSampleEntry between its header and its child boxes (ISO 14496-12, 12.1.3).
_ENTRY_BYTES = 78
# Profile 0, level unknown, 8 bits 4:2:0 limited range, colours unspecified, no initialisation data.
_VPCC = struct.pack('>IBBBBBBH', 1 << 24, 0, 0, 8 << 4 | 1 << 1, 2, 2, 2, 0)
# Offset and layout of the duration in a payload, for versions 0 and 1 (ISO 14496-12, 8.2.2 and 8.3.2).
_DURATION = {b'mvhd': ((16, '>I'), (24, '>Q')), b'tkhd': ((20, '>I'), (28, '>Q'))}


@dataclasses.dataclass(frozen=True)
class Edit:
  """One entry of an edit list (ISO 14496-12, 8.6.6).

  Attributes:
    duration_s: duration of the edit.
    media_s: start time in the track; None for an empty edit, which shows nothing.
  """

  duration_s: fractions.Fraction
  media_s: fractions.Fraction | None


def edits(path: pathlib.Path, track_id: int) -> list[Edit]:
  """Returns the edit list of a track; empty if it has none or the index cannot be read."""
  boxes = _read_index(path)
  track = _track(boxes, track_id)
  if track is None:
    return []
  lists = next((content for kind, content in track if kind == b'edts'), [])
  payload = dict(lists).get(b'elst')
  if payload is None:
    return []
  movie_hz, media_hz = _rate_hz(dict(boxes)[b'mvhd']), _rate_hz(dict(dict(track)[b'mdia'])[b'mdhd'])
  return [
    Edit(fractions.Fraction(duration, movie_hz), None if media < 0 else fractions.Fraction(media, media_hz))
    for duration, media in _entries(payload)
  ]


def chapter_tracks(path: pathlib.Path) -> set[int]:
  """Returns the ids of chapter tracks (QuickTime's track reference 'chap')."""
  found = set()
  for kind, content in _read_index(path):
    references = dict(content).get(b'tref') if kind == b'trak' else None
    for name, payload in _walk(references or b''):
      if name == b'chap':
        found |= set(struct.unpack(f'>{len(payload) // 4}I', payload[: len(payload) // 4 * 4]))
  return found


def index_bytes(path: pathlib.Path) -> bytes:
  """Returns the raw index of a file including its box header; empty if there is none."""
  with path.open('rb') as file:
    found = next((extent for kind, *extent in _top_level(file) if kind == b'moov'), None)
    if found is None:
      return b''
    file.seek(found[0])
    return file.read(found[1])


def _read_index(path: pathlib.Path) -> list:
  """Returns the boxes of the index; empty if there is none or it cannot be parsed."""
  try:
    return _parse(index_bytes(path))[0][1]
  except (struct.error, IndexError):
    return []


def _track(boxes: list, track_id: int) -> list | None:
  for kind, content in boxes:
    if kind == b'trak':
      header = dict(content)[b'tkhd']
      (found,) = struct.unpack_from('>I', header, 20 if header[0] else 12)
      if found == track_id:
        return content
  return None


def _rate_hz(header: bytes) -> int:
  """Returns the time scale of 'mvhd' or 'mdhd', in ticks per second."""
  return struct.unpack_from('>I', header, 20 if header[0] else 12)[0]


def _entries(payload: bytes) -> list[tuple[int, int]]:
  """Returns (duration, media time) of the entries of an 'elst', in ticks of the movie and of the track."""
  layout, size = ('>Qq', 20) if payload[0] else ('>Ii', 12)
  (count,) = struct.unpack_from('>I', payload, 4)
  return [struct.unpack_from(layout, payload, 8 + index * size) for index in range(count)]


class Index:
  """The index ('moov') of a finished file; edit it, then call `save`."""

  def __init__(self, path: pathlib.Path):
    """Reads the index.

    Args:
      path: a file as FFmpeg's muxer writes it, with its index at the end.

    Raises:
      ValueError: the layout of the file differs.
    """
    self._path = path
    with path.open('rb') as file:
      self._offset = _find(file)
      file.seek(self._offset)
      ((self._kind, self._boxes),) = _parse(file.read())

  def declare_vp8(self, aspect: fractions.Fraction | None = None) -> None:
    """Declares the video, which was written as PLACEHOLDER_CODEC, as VP8.

    Args:
      aspect: pixel aspect ratio (width over height), if known (ISO 14496-12, 12.1.4: pasp).

    Raises:
      ValueError: the video was written as another codec.
    """
    stbl = self._sample_table()
    position, (_, content) = next((i, box) for i, box in enumerate(stbl) if box[0] == b'stsd')
    ((entry, payload),) = _parse(content[8:])
    if entry not in _PLACEHOLDER_ENTRIES:
      raise ValueError(f'{self._path}: wanted a video track written as {PLACEHOLDER_CODEC}; got {entry!r}.')
    child_boxes = [box for box in _parse(payload[_ENTRY_BYTES:]) if box[0] != b'esds']
    pasp = [(b'pasp', struct.pack('>II', aspect.numerator, aspect.denominator))] if aspect else []
    vp8 = (b'vp08', payload[:_ENTRY_BYTES] + _serialize([(b'vpcC', _VPCC), *pasp, *child_boxes]))
    stbl[position] = (b'stsd', content[:8] + _serialize([vp8]))

  def set_edit_list(self, edit_list: Sequence[tuple[fractions.Fraction | None, fractions.Fraction]]) -> None:
    """Sets the edit list of the video track.

    Args:
      edit_list: (start on the clock of the timestamps passed to the muxer, None for a pause; duration), in
        seconds.
    """
    header = dict(self._boxes)[b'mvhd']
    movie_hz, track = _rate_hz(header), self._video_track()
    media_hz = _rate_hz(dict(dict(track)[b'mdia'])[b'mdhd'])
    written = next(content for kind, content in track if kind == b'edts')
    # The muxer writes the media time of timestamp 0, after an empty edit if the video begins later.
    *pauses, (_, zero) = _entries(dict(written)[b'elst'])
    entries = [
      (round(duration_s * movie_hz), -1 if begin_s is None else zero + round(begin_s * media_hz))
      for begin_s, duration_s in edit_list
    ]
    payload = struct.pack('>II', 1 << 24, len(pauses) + len(entries)) + b''.join(
      struct.pack('>Qqi', duration, media, 1 << 16) for duration, media in [*pauses, *entries]
    )
    _replace(written, b'elst', lambda _: payload)
    ticks = sum(duration for duration, _ in [*pauses, *entries])
    _replace(track, b'tkhd', lambda old: _with_duration(b'tkhd', old, ticks))
    longest = max(_duration(b'tkhd', dict(other)[b'tkhd']) for kind, other in self._boxes if kind == b'trak')
    _replace(self._boxes, b'mvhd', lambda old: _with_duration(b'mvhd', old, longest))

  def save(self) -> None:
    """Writes the index back."""
    with self._path.open('r+b') as file:
      file.seek(self._offset)
      file.write(_serialize([(self._kind, self._boxes)]))
      file.truncate()

  def _video_track(self) -> list:
    for kind, content in self._boxes:
      if kind == b'trak':
        handler = dict(dict(content)[b'mdia'])[b'hdlr']
        if handler[8:12] == b'vide':
          return content
    raise ValueError(f'{self._path}: wanted a video track; got none.')

  def _sample_table(self) -> list:
    return dict(dict(dict(self._video_track())[b'mdia'])[b'minf'])[b'stbl']


def _top_level(file) -> Iterator[tuple[bytes, int, int]]:
  """Yields (type, offset, size) of the top-level boxes of a file, up to the first invalid one."""
  offset, end = 0, file.seek(0, 2)
  while offset + 8 <= end:
    file.seek(offset)
    size, kind = struct.unpack('>I4s', file.read(8))
    if size == 1 and offset + 16 <= end:
      (size,) = struct.unpack('>Q', file.read(8))
    elif size == 0:
      size = end - offset
    if size < 8:
      return
    yield kind, offset, size
    offset += size


def _find(file) -> int:
  """Returns the offset of the last box, which must be 'moov'."""
  end = file.seek(0, 2)
  for kind, offset, size in _top_level(file):
    if kind == b'moov' and offset + size == end:
      return offset
  raise ValueError('Wanted an MP4 file with its index (moov) at the end.')


def _walk(data: bytes) -> Iterator[tuple[bytes, bytes]]:
  offset = 0
  while offset + 8 <= len(data):
    size, kind = struct.unpack_from('>I4s', data, offset)
    if size < 8:
      return
    yield kind, data[offset + 8 : offset + size]
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
