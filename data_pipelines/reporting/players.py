"""Players of the clips of a page: small videos with their sound, thumbnails and spectrograms as data URLs.

A record is decoded and encoded again, small: browsers do not play every codec of a record, and its video and
its sound are separate files. At most PREVIEW_S are played. Videos are H.264 with AAC in MP4; sound alone is
MP3.
"""

from collections.abc import Iterator
import dataclasses
import fractions
import io
import math
import pathlib
import tempfile

import numpy as np
from PIL import Image
import soundfile
import soxr

from v2a import input_errors
from v2a.data import media_decoding
from v2a.data import media_records
from v2a.media import crop
from v2a.media import preview
from v2a.media import write
from v2a.reports import inline_images
from v2a.reports import spectrogram

PREVIEW_S = 10.0
_MAX_HEIGHT, _MAX_WIDTH = 240, 426
_POSTER_QUALITY = 75
_SPECTROGRAM_COLUMNS = 480
_NUM_BANDS = 80
# Of MP3; other rates are resampled.
_MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MP3_FALLBACK_RATE_HZ = 44100


@dataclasses.dataclass(frozen=True)
class Player:
  """What a page shows of a clip.

  Attributes:
    duration_s: of what is played: the clip, or its first PREVIEW_S.
    has_video, has_audio: of the clip.
    media: data URL of a video or a sound; '' if it cannot be decoded, or the page would be too large.
    poster: data URL of the frame in the middle; '' without video.
    spectrogram: data URL; '' without sound.
    width, height: of the video; 0 without.
    problem: why there is no media; '' where there is.
  """

  duration_s: float
  has_video: bool
  has_audio: bool
  media: str = ''
  poster: str = ''
  spectrogram: str = ''
  width: int = 0
  height: int = 0
  problem: str = ''


def make(record: media_records.MediaRecord, max_characters: int) -> Player:
  """Returns the player of a clip; one that cannot be decoded has a problem in place of its media.

  Args:
    record: the clip.
    max_characters: of the data URL of its media.
  """
  duration_s = min(PREVIEW_S, record.duration_s)
  player = Player(duration_s, bool(record.video), bool(record.audio))
  try:
    player = _make(record, player)
  except Exception as error:
    if input_errors.is_of_machine(error):
      raise
    return dataclasses.replace(player, problem=f'cannot be decoded: {input_errors.format_error(error)}')
  if len(player.media) > max_characters:
    return dataclasses.replace(player, media='', problem='no player: the page has reached its size')
  return player


def _make(record: media_records.MediaRecord, player: Player) -> Player:
  wave_NA, rate_hz = _wave(record, player.duration_s)
  sound = ''
  if len(wave_NA):
    level_RJ = spectrogram.mel_spectrogram(wave_NA, rate_hz, _NUM_BANDS)
    sound = inline_images.spectrogram(_narrowed(level_RJ))
  if not record.video:
    return dataclasses.replace(
      player, media=inline_images.url(_mp3(wave_NA, rate_hz), 'audio/mpeg'), spectrogram=sound
    )
  with tempfile.TemporaryDirectory(prefix='v2a-') as name:
    folder = pathlib.Path(name)
    source, path = folder / f'record{record.video_suffix}', folder / 'silent.mp4'
    source.write_bytes(record.video)
    middle_YX3 = _encode(source, path, record.video_start_s, player.duration_s, record.crop)
    if len(wave_NA):
      path = write.mux(path, wave_NA, rate_hz, folder / 'preview.mp4').path
    media = inline_images.url(path.read_bytes(), 'video/mp4')
  return dataclasses.replace(
    player,
    media=media,
    poster=inline_images.jpeg(middle_YX3, _POSTER_QUALITY),
    spectrogram=sound,
    width=middle_YX3.shape[1],
    height=middle_YX3.shape[0],
  )


def _wave(record: media_records.MediaRecord, duration_s: float) -> tuple[np.ndarray, int]:
  """Returns the first seconds of the sound of a clip, and its rate; no samples without sound."""
  if not record.audio:
    return np.zeros((0, 1), np.float32), 1
  info = soundfile.info(io.BytesIO(record.audio))
  wave_NA = media_decoding.wave(record, info.samplerate, min(info.channels, 2))
  return wave_NA[: math.ceil(duration_s * info.samplerate)], info.samplerate


def _narrowed(level_RJ: np.ndarray) -> np.ndarray:
  """Returns a spectrogram of fewer columns, the loudest level of each span."""
  columns = np.array_split(level_RJ, min(_SPECTROGRAM_COLUMNS, level_RJ.shape[1]), axis=1)
  return np.stack([column.max(axis=1) for column in columns], axis=1)


def _mp3(wave_NA: np.ndarray, rate_hz: int) -> bytes:
  if rate_hz not in _MP3_RATES_HZ:
    wave_NA, rate_hz = soxr.resample(wave_NA, rate_hz, _MP3_FALLBACK_RATE_HZ), _MP3_FALLBACK_RATE_HZ
  file = io.BytesIO()
  soundfile.write(file, np.clip(wave_NA, -1, 1), rate_hz, format='MP3', subtype='MPEG_LAYER_III')
  return file.getvalue()


def _encode(
  source: pathlib.Path, path: pathlib.Path, start_s: float, duration_s: float, box: crop.CropBox | None
) -> np.ndarray:
  """Writes a part of a video, small and without sound; returns the frame of its middle."""
  begin_s, length_s = fractions.Fraction(start_s), fractions.Fraction(duration_s)
  middle: list[np.ndarray] = []

  def seen() -> Iterator[preview.TimedFrame]:
    for time_s, frame_YX3 in _from(preview.read_frames(source, begin_s + length_s), begin_s):
      small_YX3 = _resized(frame_YX3 if box is None else np.ascontiguousarray(box.apply(frame_YX3)))
      if not middle or time_s <= length_s / 2:
        middle[:] = [small_YX3]
      yield time_s, small_YX3

  preview.write(path, seen(), length_s)
  return middle[0]


def _from(frames: Iterator[preview.TimedFrame], start_s: fractions.Fraction) -> Iterator[preview.TimedFrame]:
  """Yields the frames on screen from a time on, which is their time 0; the first one begins there."""
  waiting, is_first = None, True
  for time_s, frame_YX3 in frames:
    if time_s > start_s and waiting is not None:
      yield (fractions.Fraction(0) if is_first else waiting[0] - start_s), waiting[1]
      is_first = False
    waiting = time_s, frame_YX3
  if waiting is not None:
    yield (fractions.Fraction(0) if is_first else waiting[0] - start_s), waiting[1]


def _resized(frame_YX3: np.ndarray) -> np.ndarray:
  """Returns a frame that fits the maximum, with even sides."""
  height, width = frame_YX3.shape[:2]
  scale = min(1.0, _MAX_HEIGHT / height, _MAX_WIDTH / width)
  size = max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))
  image = Image.fromarray(frame_YX3)
  return np.asarray(image if size == image.size else image.resize(size, Image.Resampling.BOX))
