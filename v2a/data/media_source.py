"""Records for training from media records: decoded when they are read, or read from columns beside them.

Of a clip that is longer than `config.clip` a segment is read, and one of its captions; both are a function of
(seed, step, position in the batch), so that a step that is repeated reads the same. A clip that is shorter is
padded, and the padding does not train. A clip without sound or without video has none, see `record_schema`.

A share of the clips may be mirrored: left and right of the frames are exchanged, and so are the channels of
the sound. Latents and codes of such sound must be in the column. A clip whose texts name a side is not
mirrored.

Only the wanted fields are read. Where columns (`feature_columns`) have all of them, the media are not even
read from the disk:

  annotations  texts, duration, whether there is video; they replace those of the records
  frames       frames at the sync rate; a semantic frame is the last one that is not later
  latents      posterior of a kl codec, and which of its steps are silent
  codes        codes of an rvq codec, and which of their steps are silent
"""

from collections.abc import Collection
import dataclasses
import functools
import hashlib
import math
import re
from typing import Any

import numpy as np
import soundfile

from v2a import clip as clip_lib
from v2a import storage
from v2a.data import annotations as annotations_lib
from v2a.data import caption_choice
from v2a.data import contents as contents_lib
from v2a.data import feature_columns
from v2a.data import media_decoding
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import record_schema
from v2a.data import shards
from v2a.media import audio_reader
from v2a.media import errors

# Bottleneck of a codec -> the column of its latents or codes.
CODEC_COLUMNS = {'kl': 'latents', 'rvq': 'codes'}
_CODEC_FIELDS = {'latents': ('latent_mean_TC', 'latent_std_TC'), 'codes': ('codes_TK',)}
ANNOTATIONS, FRAMES = 'annotations', 'frames'
MIRRORED = 'mirrored_'  # prefix of arrays of sound whose channels are exchanged
_NAMES_A_SIDE = re.compile(r'\b(left|right)', re.IGNORECASE)
_FRAME_FIELDS = ('semantic_frame_MYX3', 'sync_frame_LYX3')
_FIRST: caption_choice.Key = (0, 0, 0)


@dataclasses.dataclass(frozen=True)
class ClipInfo:
  """What is known about a clip without its media; the values of the column `annotations`.

  Attributes:
    id: of the record.
    duration_s: of the clip.
    has_video: whether there is video.
    annotations: of the sound.
  """

  id: str
  duration_s: float
  has_video: bool
  annotations: annotations_lib.Annotations

  @classmethod
  def of(cls, media: media_records.MediaRecord) -> 'ClipInfo':
    """Returns what a media record says."""
    return cls(media.id, media.duration_s, bool(media.video), media.annotations)

  def to_row(self) -> feature_columns.Row:
    """Returns the row of the column `annotations`."""
    return feature_columns.Row(
      self.id,
      values={
        'duration_s': self.duration_s,
        'has_video': self.has_video,
        'annotations': self.annotations.to_json(),
      },
    )

  @classmethod
  def from_row(cls, row: feature_columns.Row) -> 'ClipInfo':
    """Returns the clip of a row.

    Raises:
      CorruptRecordError: it is none of that column.
    """
    try:
      values = dict(row.values)
      annotations = annotations_lib.Annotations.from_json(values.pop('annotations'))
      return cls(id=row.id, annotations=annotations, **values)
    except (KeyError, TypeError, ValueError) as error:
      raise shards.CorruptRecordError(f'the annotations of record {row.id!r} are corrupt: {error}') from error


class MediaSource:
  """Random access to the records of a folder of media records, see `records.RecordSource`.

  Attributes:
    folder: of the media records.
    path: of the folder.
    spec: lengths and rates of the records.
    hash: SHA-256 of the media records, and of their column of annotations.
    shards: files of the folder, in order.
    codecs: bottleneck -> path and digest of the codec of the latents or codes, see `feature_columns`.
    fields: names of the fields that are read.
    columns: by name, those that are used.
    mirror_probability: share of clips that `read` mirrors.
    notes: what is decoded at every step although a column has it, with the reason; lines to log.
  """

  def __init__(
    self,
    path: str | storage.Path,
    spec: clip_lib.ClipSpec,
    fields: Collection[str] = record_schema.ALL,
    mirror_probability: float = 0.0,
  ):
    """Opens a folder.

    Args:
      path: of the folder.
      spec: wanted lengths and rates.
      fields: of `record_schema.FIELDS` that are wanted; records lack the other arrays.
      mirror_probability: share of clips that `read` mirrors.

    Raises:
      FileNotFoundError: the folder has no manifest.
      ValueError: its manifest is damaged, or clips are to be mirrored whose latents or codes are not.
    """
    self.folder = media_folder.MediaFolder(path)
    self.path, self.spec, self.fields = self.folder.path, spec, frozenset(fields)
    self.hash, self.shards = self.folder.hash, self.folder.shards
    self.columns: dict[str, feature_columns.Column] = {
      name: feature_columns.Column(self.folder, name)
      for name in feature_columns.names(self.folder)
      if name in (ANNOTATIONS, FRAMES, *CODEC_COLUMNS.values())
    }
    self.codecs: dict[str, dict] = {
      bottleneck: self.columns[name].about
      for bottleneck, name in CODEC_COLUMNS.items()
      if name in self.columns
    }
    if ANNOTATIONS in self.columns:
      of_both = f'{self.hash} {self.columns[ANNOTATIONS].hash}'
      self.hash = hashlib.sha256(of_both.encode()).hexdigest()
    self.notes: list[str] = []
    self._check_frames()
    self.mirror_probability = mirror_probability
    self._check_mirrored()
    self._step_s = spec.latent_hop_samples / spec.sample_rate_hz
    if FRAMES in self.columns and self.has_fields(_FRAME_FIELDS):
      self._step_s = _common_multiple_s(spec)

  def has_fields(self, names: Collection[str]) -> bool:
    """Returns whether one of several fields is wanted."""
    return bool(self.fields.intersection(names))

  def _check_frames(self) -> None:
    """Leaves out a column of frames of another size or rate."""
    if FRAMES not in self.columns:
      return
    about, spec = self.columns[FRAMES].about, self.spec
    if (about['frame_size'], about['sync_fps']) != (spec.frame_size, spec.sync_fps):
      del self.columns[FRAMES]
      self.notes.append(
        f'The column {FRAMES!r} of {self.path} has {about["frame_size"]} pixels at {about["sync_fps"]} Hz; '
        f'config.clip wants {spec.frame_size} at {spec.sync_fps} Hz, so video is decoded at every step.'
      )

  def _check_mirrored(self) -> None:
    for name, fields in _CODEC_FIELDS.items():
      is_used = name in self.columns and self.has_fields(fields)
      if self.mirror_probability and is_used and not self.columns[name].about.get('is_mirrored'):
        raise ValueError(
          f'config.data.mirror_probability={self.mirror_probability} needs {name} of mirrored sound, which '
          f'the column {name!r} of {self.path} does not have; encode it with --mirrored --replace.'
        )

  @property
  def folders(self) -> tuple['MediaSource', ...]:
    """This folder."""
    return (self,)

  def __len__(self) -> int:
    return len(self.folder)

  def __getitem__(self, index: int) -> dict:
    """Returns the record at the start of a clip, see `read`."""
    return _Reading(self, index, self.spec).record(0.0, _FIRST)

  def read(self, index: int, key: caption_choice.Key, clip_s: float | None = None) -> dict:
    """Returns a record.

    Args:
      index: of the clip.
      key: seed, step and position, by which a segment and a caption are chosen.
      clip_s: length of the record; None for that of `spec`.

    Raises:
      CorruptRecordError: the record has changed, or its media cannot be decoded.
      OSError: the storage fails.
    """
    spec = self.spec if clip_s is None else dataclasses.replace(self.spec, clip_s=clip_s)
    reading = _Reading(self, index, spec)
    return reading.record(random_start_s(reading.info.duration_s, spec, key, self._step_s), key)

  def contents(self) -> contents_lib.Contents:
    """Returns the statistics of the manifest; of texts, those of the column of annotations."""
    found = dict(self.folder.manifest['contents'])
    if ANNOTATIONS in self.columns:
      found |= self.columns[ANNOTATIONS].about.get('contents', {})
    return contents_lib.Contents.from_json(found)


class _Reading:
  """Reads one record of a source: each column, and the media, at most once and only if it is needed."""

  def __init__(self, source: MediaSource, index: int, spec: clip_lib.ClipSpec):
    self._source, self._index, self._spec = source, index, spec

  @functools.cached_property
  def _media(self) -> media_records.MediaRecord:
    return self._source.folder[self._index]

  @functools.cached_property
  def info(self) -> ClipInfo:
    """What is known without the media."""
    if ANNOTATIONS not in self._source.columns:
      return ClipInfo.of(self._media)
    return ClipInfo.from_row(self._row(ANNOTATIONS))

  def _row(self, column: str) -> feature_columns.Row:
    where = self._source.folder.locate(self._index)
    return self._source.columns[column].read(*where, None if column == ANNOTATIONS else self.info.id)

  def record(self, start_s: float, key: caption_choice.Key) -> dict:
    """Returns the record of a segment, see `MediaSource.read`."""
    try:
      return self._record(start_s, key)
    except (errors.MediaError, soundfile.LibsndfileError) as error:
      raise shards.CorruptRecordError(
        f'record {self.info.id!r} of {self._source.path} cannot be decoded: {error}'
      ) from error

  def _record(self, start_s: float, key: caption_choice.Key) -> dict:
    info, spec = self.info, self._spec
    caption = caption_choice.choose(info.annotations.captions, key)
    num_valid = media_decoding.num_valid_samples(info.duration_s, spec, start_s)
    record: dict[str, Any] = {
      'id': info.id,
      'text': '' if caption is None else caption.text,
      'transcript': media_decoding.spoken(info.annotations, info.duration_s, start_s, float(spec.duration_s)),
      'truth': '',
      'has_video': info.has_video,
      'num_valid_samples': num_valid,
    }
    is_mirrored = self._is_mirrored(f'{record["text"]} {record["transcript"]}', key)
    record |= self._frames(start_s) | self._encoded(start_s, num_valid, is_mirrored)
    wanted = self._source.fields
    if 'wave_NA' in wanted or 'has_audio' not in record:
      wave_NA = media_decoding.padded_wave(self._media, spec, start_s)
      record['wave_NA'] = record_schema.wave_to_int16(wave_NA)
      record['has_audio'] = bool(self._media.audio) and not audio_reader.is_silent(wave_NA[:num_valid])
      if is_mirrored:
        record['wave_NA'] = record['wave_NA'][:, ::-1]
    if is_mirrored:
      record |= {name: record[name][:, :, ::-1] for name in _FRAME_FIELDS if name in record}
    return {name: value for name, value in record.items() if name in wanted}

  def _is_mirrored(self, text: str, key: caption_choice.Key) -> bool:
    probability = self._source.mirror_probability
    if not probability or _NAMES_A_SIDE.search(text):
      return False
    return np.random.default_rng((*key, 0x3122)).random() < probability

  def _frames(self, start_s: float) -> dict[str, np.ndarray]:
    if not self._source.has_fields(_FRAME_FIELDS):
      return {}
    if FRAMES not in self._source.columns:
      return dict(zip(_FRAME_FIELDS, media_decoding.frames(self._media, self._spec, start_s)))
    found_LYX3 = self._row(FRAMES).arrays['sync_frame_LYX3']
    first = round(start_s * self._spec.sync_fps)
    index_L = first + np.arange(self._spec.num_sync_frames)
    # The last frame stays, as where video is decoded; without video there are no frames.
    if not len(found_LYX3):
      sync_frame_LYX3 = np.zeros((len(index_L), *found_LYX3.shape[1:]), np.uint8)
    else:
      sync_frame_LYX3 = found_LYX3[np.minimum(index_L, len(found_LYX3) - 1)]
    return dict(zip(_FRAME_FIELDS, (sync_frame_LYX3[self._spec.semantic_of_sync_M], sync_frame_LYX3)))

  def _encoded(self, start_s: float, num_valid: int, is_mirrored: bool) -> dict:
    """Returns latents, codes and `has_audio` of the columns of codecs; empty arrays where there are none."""
    hop, num_steps = self._spec.latent_hop_samples, self._spec.num_latents
    first = round(start_s * self._spec.sample_rate_hz / hop)
    record: dict[str, Any] = dict(record_schema.NOT_ENCODED)
    for name, fields in _CODEC_FIELDS.items():
      if name not in self._source.columns or not self._source.has_fields(fields):
        continue
      arrays = self._row(name).arrays
      is_silent_T = arrays['is_silent_T']
      record['has_audio'] = not is_silent_T[first : first + -(-num_valid // hop)].all()
      for key in fields:
        record[key] = _segment(arrays[MIRRORED + key if is_mirrored else key], first, num_steps)
    return record


def _segment(array: np.ndarray, first: int, length: int) -> np.ndarray:
  """Returns `length` steps of the first axis, padded with zeros after the end."""
  found = array[first : first + length]
  return np.concatenate([found, np.zeros((length - len(found), *array.shape[1:]), array.dtype)])


def _common_multiple_s(spec: clip_lib.ClipSpec) -> float:
  """Returns the shortest time that is a whole number of latent steps and of frames at the sync rate."""
  latent_ticks = spec.latent_hop_samples * (spec.ticks_hz // spec.sample_rate_hz)
  return math.lcm(latent_ticks, spec.ticks_hz // spec.sync_fps) / spec.ticks_hz


def random_start_s(
  duration_s: float, spec: clip_lib.ClipSpec, key: caption_choice.Key, step_s: float | None = None
) -> float:
  """Returns the start of a segment; 0 for a clip that is not longer.

  Args:
    duration_s: of the clip.
    spec: length of a segment, and duration of a latent step.
    key: seed, step and position.
    step_s: the start is a multiple of it; None for that of a latent step.
  """
  step_s = step_s or spec.latent_hop_samples / spec.sample_rate_hz
  num_starts = int((duration_s - float(spec.duration_s)) / step_s) + 1
  if num_starts < 2:
    return 0.0
  return float(np.random.default_rng((*key, 0xC409)).integers(num_starts)) * step_s
