"""The schema of training records: names, types, and encoding as bytes.

A record is one training clip: a dict with exactly the keys of `FIELDS`. Its bytes are

  b'V2AR' | header length, uint32 little endian | header, JSON | arrays, each padded to 8 bytes    (1)

Arrays are stored raw, so decoding copies nothing; the ArrayRecord file around them compresses (zstd, 1).

Times of all media are in seconds; t=0 is the presentation time of the first frame that is shown.
Sample k of the waveform is at k / sample_rate_hz, frame k at k / fps.
"""

import json
import math
import struct

import numpy as np

from v2a import clip

VERSION = 1

# Key -> type: the NumPy dtype and rank of an array, or a Python type.
FIELDS: dict[str, type | tuple[np.dtype, int]] = {
  'id': str,  # unique within a folder
  'wave_NA': (np.dtype('int16'), 2),  # full scale at 32767
  'semantic_frame_MYX3': (np.dtype('uint8'), 4),  # RGB at clip.semantic_fps
  'sync_frame_LYX3': (np.dtype('uint8'), 4),  # RGB at clip.sync_fps
  'text': str,  # annotation of the sound, or ''
  'transcript': str,  # spoken words, or ''
  'truth': str,  # JSON of the ground truth of a rendered clip, or ''
  'has_video': bool,  # False: the frames are zeros and stand for nothing
  'has_audio': bool,  # False: the waveform is silence and stands for nothing
  'num_valid_samples': int,  # of the waveform, from its start; the rest is padding, as are the frames there
  'latent_mean_TC': (np.dtype('float16'), 2),  # codec posterior; shape (0, 0) where not encoded yet
  'latent_std_TC': (np.dtype('float16'), 2),
  'codes_TK': (np.dtype('uint16'), 2),  # of an rvq codec; shape (0, 0) where not encoded yet
}
ALL = tuple(FIELDS)
# Fields that codecs fill in later. Older records lack some of them, and open as if they were empty.
NOT_ENCODED = {
  'latent_mean_TC': np.zeros((0, 0), np.float16),
  'latent_std_TC': np.zeros((0, 0), np.float16),
  'codes_TK': np.zeros((0, 0), np.uint16),
}
_MAGIC = b'V2AR'
_ALIGNMENT = 8


def wave_to_int16(wave_NA: np.ndarray) -> np.ndarray:
  """Returns a float waveform in [-1, 1] as int16; values outside are clipped."""
  return np.round(np.clip(wave_NA, -1.0, 1.0) * 32767.0).astype(np.int16)


def wave_to_float(wave_NA: np.ndarray) -> np.ndarray:
  """Returns an int16 waveform as float32 in [-1, 1]."""
  return wave_NA.astype(np.float32) / 32767.0


def validate(record: dict, spec: clip.ClipSpec | None = None) -> None:
  """Checks a record against the schema, and its lengths against a ClipSpec where one is given.

  Raises:
    ValueError: naming the record, the field, what was got and what was wanted.
  """
  name = f'record {record.get("id", "without id")!r}'
  if set(record) != set(FIELDS):
    missing, extra = sorted(set(FIELDS) - set(record)), sorted(set(record) - set(FIELDS))
    raise ValueError(
      f'{name} must have exactly the keys of v2a.data.record_schema.FIELDS; missing {missing}, extra {extra}.'
    )
  for key, wanted in FIELDS.items():
    _check_type(name, key, record[key], wanted)
  if not record['id']:
    raise ValueError('A record must have an id; got an empty one.')
  mean, std = record['latent_mean_TC'].shape, record['latent_std_TC'].shape
  if mean != std:
    raise ValueError(f'{name}: latent_mean_TC has shape {mean}, but latent_std_TC has {std}.')
  if spec is not None:
    _check_lengths(name, record, spec)
  if not 0 <= record['num_valid_samples'] <= len(record['wave_NA']):
    raise ValueError(
      f'{name}: num_valid_samples must be in 0..{len(record["wave_NA"])}, the length of '
      f'wave_NA; got {record["num_valid_samples"]}.'
    )


def _check_type(name: str, key: str, value, wanted: type | tuple[np.dtype, int]) -> None:
  if isinstance(wanted, type):
    if type(value) is not wanted:
      raise ValueError(f'{name}: {key} must be a {wanted.__name__}; got {type(value).__name__}.')
    return
  dtype, rank = wanted
  if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != rank:
    got = f'{value.dtype} of shape {value.shape}' if isinstance(value, np.ndarray) else type(value).__name__
    raise ValueError(f'{name}: {key} must be an array of {dtype} with {rank} axes; got {got}.')


def _check_lengths(name: str, record: dict, spec: clip.ClipSpec) -> None:
  size = spec.frame_size
  wanted = {
    'wave_NA': (spec.num_samples, spec.num_channels),
    'semantic_frame_MYX3': (spec.num_semantic_frames, size, size, 3),
    'sync_frame_LYX3': (spec.num_sync_frames, size, size, 3),
  }
  for key, shape in wanted.items():
    if record[key].shape != shape:
      raise ValueError(f'{name}: {key} must have shape {shape}; got {record[key].shape}. Wanted by {spec}.')
  for key in NOT_ENCODED:
    num_steps = record[key].shape[0]
    if num_steps not in (0, spec.num_latents):
      raise ValueError(f'{name}: {key} must have 0 or {spec.num_latents} steps; got {num_steps}.')


def encode(record: dict) -> bytes:
  """Returns a valid record as bytes (eq. 1). Equal records give equal bytes."""
  validate(record)
  header: dict = {'version': VERSION}
  chunks, offset = [], 0
  for key, wanted in FIELDS.items():
    if isinstance(wanted, type):
      header[key] = record[key]
      continue
    data = np.ascontiguousarray(record[key]).tobytes()
    padding = -len(data) % _ALIGNMENT
    header[key] = [offset, list(record[key].shape)]
    chunks.append(data + bytes(padding))
    offset += len(data) + padding
  text = json.dumps(header, ensure_ascii=False, separators=(',', ':')).encode()
  text += b' ' * (-(len(text) + len(_MAGIC) + 4) % _ALIGNMENT)
  return b''.join([_MAGIC, struct.pack('<I', len(text)), text, *chunks])


def decode(data: bytes) -> dict:
  """Returns the record of `encode`'s bytes; its arrays are read-only views of them.

  Raises:
    ValueError: the bytes are no record, are truncated, or have another version.
  """
  header, start = _read_header(data)
  record = {}
  for key, wanted in FIELDS.items():
    if key == 'num_valid_samples':
      # Records older than this field have no padding. FIELDS has the waveform before it.
      record[key] = header.get(key, len(record['wave_NA']))
    elif isinstance(wanted, type):
      record[key] = header[key]
    elif key in NOT_ENCODED and key not in header:
      record[key] = NOT_ENCODED[key]
    else:
      record[key] = _read_array(data, start, header, key, wanted[0])
  return record


def _read_header(data: bytes) -> tuple[dict, int]:
  """Returns the header, and where the arrays begin."""
  start = len(_MAGIC) + 4
  if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
    raise ValueError(f'Not a record: wanted bytes that begin with {_MAGIC!r}; got {bytes(data[:8])!r}.')
  (length,) = struct.unpack('<I', data[len(_MAGIC) : start])
  try:
    header = json.loads(data[start : start + length])
  except ValueError as error:
    raise ValueError(f'A record has a damaged header: {error}.') from error
  if header.pop('version', None) != VERSION:
    raise ValueError(f'A record was written by another version of the schema; wanted {VERSION}.')
  return header, start + length


def _read_array(data: bytes, start: int, header: dict, key: str, dtype: np.dtype) -> np.ndarray:
  offset, shape = header[key]
  count = math.prod(shape)
  end = start + offset + count * dtype.itemsize
  if end > len(data):
    raise ValueError(
      f'Record {header["id"]!r} is cut short: {key} ends at byte {end}, but it has {len(data)}.'
    )
  return np.frombuffer(data, dtype, count, start + offset).reshape(shape)
