"""Records for training from media records: decoded when they are read, at the rates of a configuration.

Of a clip that is longer than `config.clip` a segment is read, and one of its captions; both are a function of
(seed, step, position in the batch), so that a step that is repeated reads the same. A clip that is shorter is
padded, and the padding does not train. A clip without sound or without video has none, see `record_schema`.
"""

import fractions
import io
import tempfile

import numpy as np
import soundfile
import soxr

from v2a import clip as clip_lib
from v2a import storage
from v2a.data import annotations as annotations_lib
from v2a.data import caption_choice
from v2a.data import contents as contents_lib
from v2a.data import feature_columns
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import record_schema
from v2a.data import shards
from v2a.media import audio_reader
from v2a.media import errors
from v2a.media import read

# Bottleneck of a codec -> the column of its latents or codes.
COLUMNS = {'kl': 'latents', 'rvq': 'codes'}
_FIRST: caption_choice.Key = (0, 0, 0)


class MediaSource:
  """Random access to the records of a folder of media records, see `records.RecordSource`.

  Attributes:
    folder: of the media records.
    path: of the folder.
    spec: lengths and rates of the records.
    hash: SHA-256 of the media records.
    shards: files of the folder, in order.
    codecs: bottleneck -> path and digest of the codec of the latents or codes, see `feature_columns`.
  """

  def __init__(self, path: str | storage.Path, spec: clip_lib.ClipSpec):
    """Opens a folder.

    Args:
      path: of the folder.
      spec: wanted lengths and rates.

    Raises:
      FileNotFoundError: the folder has no manifest.
      ValueError: its manifest is damaged.
    """
    self.folder = media_folder.MediaFolder(path)
    self.path, self.spec = self.folder.path, spec
    self.hash, self.shards = self.folder.hash, self.folder.shards
    self.codecs: dict[str, dict] = {}
    self._columns = {}
    for name in feature_columns.names(self.folder):
      if name in COLUMNS.values():
        self._columns[name] = feature_columns.Column(self.folder, name)
    for bottleneck, name in COLUMNS.items():
      if name in self._columns:
        self.codecs[bottleneck] = self._columns[name].about

  @property
  def folders(self) -> tuple['MediaSource', ...]:
    """This folder."""
    return (self,)

  def __len__(self) -> int:
    return len(self.folder)

  def __getitem__(self, index: int) -> dict:
    """Returns the record at the start of a clip, see `read`."""
    return self._decode(index, self.folder[index], 0.0, _FIRST)

  def read(self, index: int, key: caption_choice.Key) -> dict:
    """Returns a record.

    Args:
      index: of the clip.
      key: seed, step and position, by which a segment and a caption are chosen.

    Raises:
      CorruptRecordError: the record has changed, or its media cannot be decoded.
      OSError: the storage fails.
    """
    media = self.folder[index]
    return self._decode(index, media, random_start_s(media.duration_s, self.spec, key), key)

  def _decode(
    self, index: int, media: media_records.MediaRecord, start_s: float, key: caption_choice.Key
  ) -> dict:
    first = round(start_s * self.spec.sample_rate_hz) // self.spec.latent_hop_samples
    encoded = {
      name: _segment(array, first, self.spec.num_latents)
      for column in self._columns.values()
      for name, array in column.read(*self.folder.locate(index), media.id).items()
    }
    try:
      return decode(media, self.spec, start_s, key) | encoded
    except (errors.MediaError, soundfile.LibsndfileError) as error:
      raise shards.CorruptRecordError(
        f'record {media.id!r} of {self.path} cannot be decoded: {error}'
      ) from error

  def contents(self) -> contents_lib.Contents:
    """Returns the statistics of the manifest."""
    return contents_lib.Contents.from_json(self.folder.manifest['contents'])


def _segment(array: np.ndarray, first: int, length: int) -> np.ndarray:
  """Returns `length` steps of the first axis, padded with zeros after the end."""
  found = array[first : first + length]
  return np.concatenate([found, np.zeros((length - len(found), *array.shape[1:]), array.dtype)])


def random_start_s(duration_s: float, spec: clip_lib.ClipSpec, key: caption_choice.Key) -> float:
  """Returns the start of a segment, on the grid of the latents; 0 for a clip that is not longer.

  Args:
    duration_s: of the clip.
    spec: length of a segment, and duration of a latent step.
    key: seed, step and position.
  """
  step_s = spec.latent_hop_samples / spec.sample_rate_hz
  num_starts = int((duration_s - float(spec.duration_s)) / step_s) + 1
  if num_starts < 2:
    return 0.0
  return float(np.random.default_rng((*key, 0xC409)).integers(num_starts)) * step_s


def decode(
  media: media_records.MediaRecord, spec: clip_lib.ClipSpec, start_s: float, key: caption_choice.Key
) -> dict:
  """Returns a segment of a clip as a record of `record_schema.FIELDS`.

  Args:
    media: the clip.
    spec: lengths and rates.
    start_s: start of the segment.
    key: by which a caption is chosen.

  Raises:
    MediaError: the video cannot be decoded.
    soundfile.LibsndfileError: the sound cannot be decoded.
  """
  wave_NA, num_valid = _padded_wave(media, spec, start_s)
  semantic_frame_MYX3, sync_frame_LYX3 = _frames(media, spec, start_s)
  caption = caption_choice.choose(media.annotations.captions, key)
  return {
    'id': media.id,
    'wave_NA': record_schema.wave_to_int16(wave_NA),
    'semantic_frame_MYX3': semantic_frame_MYX3,
    'sync_frame_LYX3': sync_frame_LYX3,
    'text': '' if caption is None else caption.text,
    'transcript': _spoken(media.annotations, media.duration_s, start_s, float(spec.duration_s)),
    'truth': '',
    'has_video': bool(media.video),
    'has_audio': bool(media.audio) and not audio_reader.is_silent(wave_NA[:num_valid]),
    'num_valid_samples': num_valid,
    **record_schema.NOT_ENCODED,
  }


def wave(media: media_records.MediaRecord, sample_rate_hz: int, num_channels: int) -> np.ndarray:
  """Returns the sound wave_NA of a clip, float32; (0, num_channels) without sound.

  Args:
    media: the clip.
    sample_rate_hz: wanted samples per second.
    num_channels: 1 or 2.

  Raises:
    soundfile.LibsndfileError: the sound cannot be decoded.
  """
  if not media.audio:
    return np.zeros((0, num_channels), np.float32)
  wave_NA, rate_hz = soundfile.read(io.BytesIO(media.audio), dtype='float32', always_2d=True)
  if wave_NA.shape[1] != num_channels:  # mono and stereo only, see `media_records`
    wave_NA = wave_NA.mean(axis=1, keepdims=True).repeat(num_channels, axis=1)
  return wave_NA if rate_hz == sample_rate_hz else soxr.resample(wave_NA, rate_hz, sample_rate_hz)


def _padded_wave(
  media: media_records.MediaRecord, spec: clip_lib.ClipSpec, start_s: float
) -> tuple[np.ndarray, int]:
  """Returns the sound of a segment, padded with silence, and the number of samples before the padding."""
  rest_s = min(float(spec.duration_s), media.duration_s - start_s)
  num_valid = min(spec.num_samples, max(1, round(rest_s * spec.sample_rate_hz)))
  wave_NA = np.zeros((spec.num_samples, spec.num_channels), np.float32)
  first = round(start_s * spec.sample_rate_hz)
  found_NA = wave(media, spec.sample_rate_hz, spec.num_channels)[first : first + num_valid]
  wave_NA[: len(found_NA)] = found_NA
  return wave_NA, num_valid


def _frames(
  media: media_records.MediaRecord, spec: clip_lib.ClipSpec, start_s: float
) -> tuple[np.ndarray, np.ndarray]:
  """Returns semantic and sync frames of a segment; zeros without video. Both are decoded in one pass."""
  size = spec.frame_size
  if not media.video:
    shapes = ((count, size, size, 3) for count in (spec.num_semantic_frames, spec.num_sync_frames))
    semantic_frame_MYX3, sync_frame_LYX3 = (np.zeros(shape, np.uint8) for shape in shapes)
    return semantic_frame_MYX3, sync_frame_LYX3
  tick_F, inverse_F = np.unique(
    np.concatenate([spec.semantic_ticks(), spec.sync_ticks()]), return_inverse=True
  )
  with tempfile.NamedTemporaryFile(suffix=media.video_suffix) as file:
    file.write(media.video)
    file.flush()
    chunks = read.iterate_frames_at(
      file.name, tick_F, spec.ticks_hz, size, media.video_start_s + start_s, len(tick_F)
    )
    frame_FYX3 = next(chunks)
  return frame_FYX3[inverse_F[: spec.num_semantic_frames]], frame_FYX3[inverse_F[spec.num_semantic_frames :]]


def _spoken(
  annotations: annotations_lib.Annotations, duration_s: float, start_s: float, length_s: float
) -> str:
  """Returns the words of a segment; none where the clip is longer and its words have no times."""
  spoken = annotations.transcript
  if spoken.times_s is None:
    is_whole = not start_s and fractions.Fraction(duration_s) <= fractions.Fraction(length_s)
    return spoken.text if is_whole else ''
  return spoken.within(start_s, start_s + length_s).text
