"""Data sets of TensorFlow Datasets (TFDS) with video or sound.

tensorflow.org/datasets. A data set is named as for `tfds.load`, such as 'my_dataset:1.0.0', and must have
been prepared (`tfds build`). A map says which of its features hold what, with a '/' between the
parts of nested ones; without a map, the features have these names, as in the data sets that
`data_pipelines.tfds` builds:

  video        frames as uint8 (tfds.features.Video), or bytes of a video file
  audio        samples (tfds.features.Audio), or bytes of a sound file
  media        bytes of a file with video, sound or both
  suffix       of the file, such as '.mp4'; by default found from its first bytes
  start_us, end_us   segment of the media in microseconds; end_us -1 is its end; the whole media by default
  caption      text, or a sequence of texts
  label        class label or text
  transcript   text, SRT or WebVTT
  annotations  all annotations as JSON (see `v2a.data.annotations`), in place of the three above
  id, group    texts or integers; the position in the split by default
  licence      text

The media of an item is decoded when it is opened: bytes are written as they are, arrays losslessly (FFV1 and
PCM in NUT, or WAV). TFDS does not know the frame rate of its videos; it is a setting.
"""

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import difflib
import fractions
import functools
import json
import pathlib
import re
import tempfile
from typing import Any

import av
import numpy as np
import soundfile

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import tfds_reader
from v2a.data import annotations as annotations_lib
from v2a.media import transcript as transcript_lib

_MEDIA = ('video', 'audio', 'media')
_TEXTS = ('caption', 'label', 'transcript', 'annotations', 'id', 'group', 'licence')
KEYS = (*_MEDIA, 'suffix', 'start_us', 'end_us', *_TEXTS)
# Beginnings of files: (offset, bytes, suffix).
_MAGIC = (
  (4, b'ftyp', '.mp4'),
  (0, b'\x1aE\xdf\xa3', '.mkv'),
  (8, b'WAVE', '.wav'),
  (8, b'AVI ', '.avi'),
  (0, b'fLaC', '.flac'),
  (0, b'OggS', '.ogg'),
  (0, b'ID3', '.mp3'),
)
_SUFFIX = re.compile(r'\.\w{1,8}')
_LAYOUTS = {1: 'mono', 2: 'stereo', 6: '5.1', 8: '7.1'}


@dataclasses.dataclass(frozen=True)
class TfdsMedia:
  """The video or sound of an example; see `items.Media`.

  Attributes:
    dataset, data_dir, split, index: the example.
    video, audio: its features; '' for none. A file with both is a video.
    frames_per_s: of the video.
    sample_rate_hz: of the sound.
    suffix: of the file whose bytes a feature holds; '' to find it from its first bytes.
  """

  dataset: str
  data_dir: str | None
  split: str
  index: int
  video: str
  audio: str
  frames_per_s: float | None
  sample_rate_hz: int | None
  suffix: str = ''

  @property
  def name(self) -> str:
    """See `items.Media`."""
    return f'{self.dataset}/{self.split}[{self.index}]{self.suffix}'

  @contextlib.contextmanager
  def as_file(self) -> Generator[pathlib.Path]:
    """See `items.Media`; the file is temporary.

    Raises:
      OSError: the example is not there, or has neither frames nor samples.
    """
    example = tfds_reader.example(tfds_reader.builder(self.dataset, self.data_dir), self.split, self.index)
    if example is None:
      raise OSError(f'{self.name}: is not there.')
    video = tfds_reader.value(example, self.video) if self.video else None
    audio = tfds_reader.value(example, self.audio) if self.audio else None
    rates = self.frames_per_s, self.sample_rate_hz
    with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
      try:
        path = write_media(pathlib.Path(folder), video, audio, *rates, self.suffix)
      except ValueError as error:
        raise OSError(f'{self.name}: {error}') from error
      with items.named_in_errors(path, self.name):
        yield path


@dataclasses.dataclass(frozen=True)
class Tfds:
  """A split of a data set of TFDS; see the module.

  Attributes:
    dataset: name, for `tfds.load`.
    features: name of the feature by each of KEYS that the data set has; None for features of these names.
    split: name of the split, without a slice.
    data_dir: folder of the prepared data sets; None for that of TFDS.
    frames_per_s: of the videos.
    sample_rate_hz: of the sound; None for what the feature states.
    licence: of examples that name none.
    name: of the data set.
  """

  dataset: str
  features: Mapping[str, str] | None = None
  split: str = 'train'
  data_dir: pathlib.Path | None = None
  frames_per_s: float | None = None
  sample_rate_hz: int | None = None
  licence: str | None = None
  name: str = 'tfds'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item or a problem for each example, in the order of the files.

    Raises:
      ValueError: TFDS is not installed, the data set is not prepared, or lacks a split or feature.
    """
    _check_keys(self.dataset, self.features)
    data_dir = None if self.data_dir is None else str(self.data_dir)
    builder = tfds_reader.builder(self.dataset, data_dir)
    if self.split not in builder.info.splits:
      raise ValueError(
        f'{self.dataset}: has no split {self.split!r}; known are {", ".join(builder.info.splits)}.'
      )
    path_of = self.features or {key: key for key in KEYS if key in builder.info.features}
    _check_keys(self.dataset, path_of)
    feature_of = {
      key: tfds_reader.feature(builder.info.features, path, self.dataset) for key, path in path_of.items()
    }
    make = self._make_media(data_dir, path_of, feature_of)
    texts = {key: path for key, path in path_of.items() if key not in _MEDIA}
    yield from entries.checked(
      entries.attempt(
        lambda where, index=index, example=example: self._entry(
          functools.partial(make, index=index),
          {key: tfds_reader.texts(feature_of[key], tfds_reader.value(example, texts[key])) for key in texts},
          index,
          where,
        ),
        f'{self.dataset}/{self.split}[{index}]',
      )
      for index, example in enumerate(tfds_reader.examples(builder, self.split, list(texts.values())))
    )

  def _make_media(
    self, data_dir: str | None, path_of: Mapping[str, str], feature_of: Mapping[str, Any]
  ) -> Callable[..., TfdsMedia]:
    """Returns what makes the media of an example from its index and suffix."""
    rate_hz = self.sample_rate_hz or getattr(feature_of.get('audio'), 'sample_rate', None)
    is_array = {key: feature_of[key].shape != () for key in path_of if key in _MEDIA}
    if is_array.get('video') and not self.frames_per_s:
      raise ValueError(f'{self.dataset}: the setting frames_per_s is missing; TFDS does not know it.')
    if is_array.get('audio') and not rate_hz:
      raise ValueError(
        f'{self.dataset}: the setting sample_rate_hz is missing; feature {path_of["audio"]} has none.'
      )
    if is_array.get('media'):
      raise ValueError(f'{self.dataset}: feature {path_of["media"]} must be the bytes of a file.')
    return functools.partial(
      TfdsMedia,
      self.dataset,
      data_dir,
      self.split,
      video=path_of.get('media') or path_of.get('video', ''),
      audio=path_of.get('audio', ''),
      frames_per_s=self.frames_per_s,
      sample_rate_hz=rate_hz,
    )

  def _entry(
    self, make: Callable[..., TfdsMedia], values: dict[str, list[str]], index: int, where: str
  ) -> entries.Entry:
    first = {key: texts[0].strip() for key, texts in values.items() if texts}
    name = first.get('id') or f'{self.split}-{index:08d}'
    suffix, end_us = first.get('suffix', ''), int(first.get('end_us', -1))
    try:
      if suffix and not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"suffix must be like '.mp4'; got {suffix!r}")
      annotations = _annotations(values, first)
    except ValueError as error:
      raise entries.UnusableError('malformed', str(error), name) from error
    item = items.Item(
      name,
      make(suffix=suffix),
      first.get('group') or name,
      start_s=int(first.get('start_us', 0)) / 1e6,
      end_s=None if end_us < 0 else end_us / 1e6,
      annotations=annotations,
      licence=first.get('licence') or self.licence,
      split=entries.split_of(self.split),
    )
    # Clips of one group have no common time.
    return entries.Entry(item, where, 0.0, 0.0)


def _check_keys(dataset: str, features: Mapping[str, str] | None) -> None:
  """Raises ValueError if features have an unknown key, or none of the media; None is unknown yet."""
  if features is None:
    return
  for key in features:
    if key not in KEYS:
      close = difflib.get_close_matches(key, KEYS, 1)
      hint = f'did you mean {close[0]}?' if close else f'known are {", ".join(KEYS)}.'
      raise ValueError(f'{dataset}: features has the unknown key {key!r}; {hint}')
  media = [key for key in _MEDIA if key in features]
  if not media or ('media' in media and len(media) > 1):
    raise ValueError(f'{dataset}: features must name media, or video or audio or both; got {dict(features)}.')


def _annotations(values: Mapping[str, list[str]], first: Mapping[str, str]) -> annotations_lib.Annotations:
  """Returns the annotations of an example.

  Args:
    values: texts by key.
    first: the first of each.

  Raises:
    ValueError: a text is malformed.
  """
  if text := first.get('annotations'):
    try:
      return annotations_lib.Annotations.from_json(json.loads(text))
    except ValueError as error:
      raise ValueError(f'annotations: {error}') from error
  captions = tuple(
    annotations_lib.Caption(' '.join(text.split()), 'short')
    for text in values.get('caption', ())
    if text.strip()
  )
  try:
    transcript = transcript_lib.parse(first.get('transcript', ''))
  except ValueError as error:
    raise ValueError(f'transcript: {error}') from error
  return annotations_lib.Annotations(entries.label_captions(*values.get('label', ())) + captions, transcript)


def write_media(
  folder: pathlib.Path,
  video: Any,
  audio: Any,
  frames_per_s: float | None,
  sample_rate_hz: int | None,
  suffix: str = '',
) -> pathlib.Path:
  """Writes video and sound to one file, losslessly.

  Args:
    folder: where the file is written.
    video: frames (frames, height, width, 1 or 3) as uint8, bytes of a file, or None.
    audio: samples (samples,) or (samples, channels), bytes of a file, or None.
    frames_per_s, sample_rate_hz: of arrays.
    suffix: of the file if it is given as bytes; '' to find it from its first bytes.

  Returns:
    The path of the file.

  Raises:
    ValueError: both are None, or an array has another shape or type.
  """
  whole = next((each for each in (video, audio) if isinstance(each, bytes)), None)
  if whole is not None:
    if video is not None and audio is not None:
      raise ValueError('wanted video and audio as arrays, or one of them as the bytes of a file with both.')
    found = next((suffix for at, magic, suffix in _MAGIC if whole[at : at + len(magic)] == magic), '')
    path = folder / f'media{suffix or found}'
    path.write_bytes(whole)
    return path
  wave_NA = None if audio is None else _samples(np.asarray(audio))
  if video is None:
    if wave_NA is None:
      raise ValueError('has neither frames nor samples.')
    path = folder / 'media.wav'
    if not sample_rate_hz:
      raise ValueError('the sample rate of the sound is not known.')
    subtype = {'int16': 'PCM_16', 'int32': 'PCM_32', 'float32': 'FLOAT'}[wave_NA.dtype.name]
    soundfile.write(path, wave_NA, sample_rate_hz, subtype=subtype)
    return path
  path = folder / 'media.nut'
  _write_nut(path, _frames(np.asarray(video)), wave_NA, float(frames_per_s or 0), int(sample_rate_hz or 0))
  return path


def _frames(frame_FYXC: np.ndarray) -> np.ndarray:
  """Returns RGB frames."""
  if frame_FYXC.ndim != 4 or frame_FYXC.shape[-1] not in (1, 3) or frame_FYXC.dtype != np.uint8:
    raise ValueError(
      f'wanted frames (frames, height, width, 1 or 3) as uint8; got {frame_FYXC.shape} as {frame_FYXC.dtype}.'
    )
  return np.broadcast_to(frame_FYXC, (*frame_FYXC.shape[:3], 3))


def _samples(wave: np.ndarray) -> np.ndarray:
  """Returns samples as int16, int32 or float32, whichever holds them; TFDS stores integers as int64."""
  wave_NA = wave[:, None] if wave.ndim == 1 else wave
  if wave_NA.ndim != 2:
    raise ValueError(f'wanted samples (samples,) or (samples, channels); got {wave.shape}.')
  if np.issubdtype(wave_NA.dtype, np.floating):
    return wave_NA.astype(np.float32)
  highest = max(-int(wave_NA.min(initial=0)) - 1, int(wave_NA.max(initial=0)))
  if highest > np.iinfo(np.int32).max:
    raise ValueError(f'wanted samples of at most 32 bits; got {highest}.')
  return wave_NA.astype(np.int16 if highest <= np.iinfo(np.int16).max else np.int32)


def _write_nut(
  path: pathlib.Path,
  frame_FYX3: np.ndarray,
  wave_NA: np.ndarray | None,
  frames_per_s: float,
  sample_rate_hz: int,
) -> None:
  """Writes FFV1 and PCM; NUT, since its time stamps are exact at any frame rate."""
  rate = fractions.Fraction(frames_per_s).limit_denominator(1001)
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('ffv1', rate=rate)
    stream.height, stream.width = frame_FYX3.shape[1:3]
    stream.pix_fmt = 'bgr0'
    sound = None
    if wave_NA is not None:
      layout = _LAYOUTS.get(wave_NA.shape[1])
      if layout is None:
        raise ValueError(f'wanted 1, 2, 6 or 8 channels; got {wave_NA.shape[1]}.')
      codec, form = {
        'int16': ('pcm_s16le', 's16'),
        'int32': ('pcm_s32le', 's32'),
        'float32': ('pcm_f32le', 'flt'),
      }[wave_NA.dtype.name]
      sound = container.add_stream(codec, rate=sample_rate_hz, layout=layout)
      block = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave_NA).reshape(1, -1), form, layout)
      block.sample_rate, block.pts = sample_rate_hz, 0
      block.time_base = fractions.Fraction(1, sample_rate_hz)
    for index, frame_YX3 in enumerate(frame_FYX3):
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_YX3), 'rgb24').reformat(format='bgr0')
      frame.pts, frame.time_base = index, 1 / rate
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    if sound is not None:
      container.mux(sound.encode(block))
      container.mux(sound.encode(None))
