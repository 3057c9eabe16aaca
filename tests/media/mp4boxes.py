"""Changes boxes of MP4 files whose index is last (ISO 14496-12, 4.2), to imitate files of other programs."""

from collections.abc import Callable
import pathlib
import struct


def change(path: pathlib.Path, names: tuple[bytes, ...], make: Callable[[bytes], bytes]) -> None:
  """Replaces the payload of the first box with a path such as (b'moov', b'trak', b'edts', b'elst')."""
  path.write_bytes(_changed(path.read_bytes(), names, make))


def _changed(data: bytes, names: tuple[bytes, ...], make: Callable[[bytes], bytes]) -> bytes:
  offset = 0
  while offset < len(data):
    size, kind = struct.unpack_from('>I4s', data, offset)
    if kind == names[0]:
      payload = data[offset + 8 : offset + size]
      payload = make(payload) if len(names) == 1 else _changed(payload, names[1:], make)
      return data[:offset] + struct.pack('>I4s', len(payload) + 8, kind) + payload + data[offset + size :]
    offset += size
  raise ValueError(f'no box {names[0]!r}')


def set_edit_list(path: pathlib.Path, entries: list[tuple[float | None, float]]) -> None:
  """Sets the edit list of the video (the first track): (start, duration) in seconds of each shown section.

  The start of a pause is None. Durations in the headers of movie and track are updated.
  """
  data = path.read_bytes()
  (movie_hz,) = struct.unpack_from('>I', data, data.index(b'mvhd') + 4 + 12)
  (media_hz,) = struct.unpack_from('>I', data, data.index(b'mdhd') + 4 + 12)
  position = data.index(b'elst') + 4
  (zero,) = struct.unpack_from('>i', data, position + 12)
  media_time = lambda start_s: -1 if start_s is None else zero + round(start_s * media_hz)
  total = round(sum(duration_s for _, duration_s in entries) * movie_hz)
  payload = struct.pack('>II', 0, len(entries)) + b''.join(
    struct.pack('>IiI', round(duration_s * movie_hz), media_time(start_s), 1 << 16)
    for start_s, duration_s in entries
  )
  change(path, (b'moov', b'trak', b'edts', b'elst'), lambda _: payload)
  change(path, (b'moov', b'trak', b'tkhd'), lambda old: old[:20] + struct.pack('>I', total) + old[24:])
  change(path, (b'moov', b'mvhd'), lambda old: old[:16] + struct.pack('>I', total) + old[20:])


def add_to_sample_entry(path: pathlib.Path, kind: bytes, payload: bytes) -> None:
  """Adds a box to the sample entry of the video, the first track."""
  box = struct.pack('>I4s', len(payload) + 8, kind) + payload

  def longer(old: bytes) -> bytes:
    (size,) = struct.unpack_from('>I', old, 8)
    return old[:8] + struct.pack('>I', size + len(box)) + old[12:] + box

  change(path, (b'moov', b'trak', b'mdia', b'minf', b'stbl', b'stsd'), longer)
