"""Data sets of TensorFlow Datasets (TFDS) with video or sound.

tensorflow.org/datasets. A data set is named as for `tfds.load`, such as 'my_dataset:1.0.0', and must have
been prepared (`tfds build`). A map says which of its features hold what, with a '/' between the
parts of nested ones:

  video        frames as uint8 (tfds.features.Video), or bytes of a video file
  audio        samples (tfds.features.Audio), or bytes of a sound file
  caption      text, or a sequence of texts
  label        class label or text
  transcript   text, SRT or WebVTT
  id, group    texts or integers; the position in the split by default
  licence      text

TensorFlow is imported when a data set is read, not before. The media of an item is decoded when it is opened:
bytes are written as they are, arrays losslessly (FFV1 and PCM in NUT, or WAV). TFDS does not know the frame
rate of its videos; it is a setting.
"""

from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import difflib
import fractions
import functools
import importlib
import pathlib
import tempfile
from typing import Any

import av
import numpy as np
import soundfile

from data_pipelines.sources import entries
from data_pipelines.sources import items
from v2a.data import annotations as annotations_lib
from v2a.media import transcript as transcript_lib

KEYS = ('video', 'audio', 'caption', 'label', 'transcript', 'id', 'group', 'licence')
_MEDIA = ('video', 'audio')
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
_LAYOUTS = {1: 'mono', 2: 'stereo', 6: '5.1', 8: '7.1'}


@dataclasses.dataclass(frozen=True)
class TfdsMedia:
  """The video or sound of an example; see `items.Media`.

  Attributes:
    dataset, data_dir, split, index: the example.
    video, audio: its features; '' for none.
    frames_per_s: of the video.
    sample_rate_hz: of the sound.
  """

  dataset: str
  data_dir: str | None
  split: str
  index: int
  video: str
  audio: str
  frames_per_s: float | None
  sample_rate_hz: int | None

  @property
  def name(self) -> str:
    """See `items.Media`."""
    return f'{self.dataset}/{self.split}[{self.index}]'

  @contextlib.contextmanager
  def as_file(self) -> Generator[pathlib.Path]:
    """See `items.Media`; the file is temporary.

    Raises:
      OSError: the example is not there, or has neither frames nor samples.
    """
    split = f'{self.split}[{self.index}:{self.index + 1}]'
    builder = _builder(self.dataset, self.data_dir)
    example = next(iter(_load().as_numpy(builder.as_dataset(split=split))), None)
    if example is None:
      raise OSError(f'{self.name}: is not there.')
    video = _value(example, self.video) if self.video else None
    audio = _value(example, self.audio) if self.audio else None
    with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
      try:
        yield write_media(pathlib.Path(folder), video, audio, self.frames_per_s, self.sample_rate_hz)
      except ValueError as error:
        raise OSError(f'{self.name}: {error}') from error


@dataclasses.dataclass(frozen=True)
class Tfds:
  """A split of a data set of TFDS; see the module.

  Attributes:
    dataset: name, for `tfds.load`.
    features: name of the feature by each of KEYS that the data set has.
    split: name of the split, without a slice.
    data_dir: folder of the prepared data sets; None for that of TFDS.
    frames_per_s: of the videos.
    sample_rate_hz: of the sound; None for what the feature states.
    licence: of examples that name none.
    name: of the data set.
  """

  dataset: str
  features: Mapping[str, str]
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
    self._check_keys()
    data_dir = None if self.data_dir is None else str(self.data_dir)
    builder = _builder(self.dataset, data_dir)
    if self.split not in builder.info.splits:
      raise ValueError(
        f'{self.dataset}: has no split {self.split!r}; known are {", ".join(builder.info.splits)}.'
      )
    feature_of = {
      key: _feature(builder.info.features, self.features[key], self.dataset) for key in self.features
    }
    media = {key: self.features[key] for key in self.features if key in _MEDIA}
    texts = {key: self.features[key] for key in self.features if key not in _MEDIA}
    rate_hz = self.sample_rate_hz or getattr(feature_of.get('audio'), 'sample_rate', None)
    is_array = {key: feature_of[key].shape != () for key in media}
    if is_array.get('video') and not self.frames_per_s:
      raise ValueError(f'{self.dataset}: the setting frames_per_s is missing; TFDS does not know it.')
    if is_array.get('audio') and not rate_hz:
      raise ValueError(
        f'{self.dataset}: the setting sample_rate_hz is missing; feature {media["audio"]} has none.'
      )
    make = functools.partial(
      TfdsMedia,
      self.dataset,
      data_dir,
      self.split,
      video=media.get('video', ''),
      audio=media.get('audio', ''),
      frames_per_s=self.frames_per_s,
      sample_rate_hz=rate_hz,
    )
    yield from entries.checked(
      entries.attempt(
        lambda where, index=index, example=example: self._entry(
          make(index=index),
          {key: _text(feature_of[key], _value(example, texts[key])) for key in texts},
          where,
        ),
        f'{self.dataset}/{self.split}[{index}]',
      )
      for index, example in enumerate(_examples(builder, self.split, list(texts.values())))
    )

  def _check_keys(self) -> None:
    for key in self.features:
      if key not in KEYS:
        close = difflib.get_close_matches(key, KEYS, 1)
        hint = f'did you mean {close[0]}?' if close else f'known are {", ".join(KEYS)}.'
        raise ValueError(f'{self.dataset}: features has the unknown key {key!r}; {hint}')
    if not set(_MEDIA) & set(self.features):
      raise ValueError(f'{self.dataset}: features must name video or audio; got {dict(self.features)}.')

  def _entry(self, media: TfdsMedia, values: dict[str, list[str]], where: str) -> entries.Entry:
    first = {key: texts[0].strip() for key, texts in values.items() if texts}
    name = first.get('id') or f'{self.split}-{media.index:08d}'
    captions = tuple(
      annotations_lib.Caption(' '.join(text.split()), 'short')
      for text in values.get('caption', ())
      if text.strip()
    )
    try:
      transcript = transcript_lib.parse(first.get('transcript', ''))
    except ValueError as error:
      raise entries.UnusableError('malformed', f'transcript: {error}', name) from error
    item = items.Item(
      name,
      media,
      first.get('group') or name,
      annotations=annotations_lib.Annotations(
        entries.label_captions(*values.get('label', ())) + captions, transcript
      ),
      licence=first.get('licence') or self.licence,
      split=entries.split_of(self.split),
    )
    # Clips of one group have no common time.
    return entries.Entry(item, where, 0.0, 0.0)


def write_media(
  folder: pathlib.Path, video: Any, audio: Any, frames_per_s: float | None, sample_rate_hz: int | None
) -> pathlib.Path:
  """Writes video and sound to one file, losslessly.

  Args:
    folder: where the file is written.
    video: frames (frames, height, width, 1 or 3) as uint8, bytes of a file, or None.
    audio: samples (samples,) or (samples, channels), bytes of a file, or None.
    frames_per_s, sample_rate_hz: of arrays.

  Returns:
    The path of the file.

  Raises:
    ValueError: both are None, or an array has another shape or type.
  """
  whole = next((each for each in (video, audio) if isinstance(each, bytes)), None)
  if whole is not None:
    if video is not None and audio is not None:
      raise ValueError('wanted video and audio as arrays, or one of them as the bytes of a file with both.')
    suffix = next((suffix for at, magic, suffix in _MAGIC if whole[at : at + len(magic)] == magic), '')
    path = folder / f'media{suffix}'
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


@functools.cache
def _load() -> Any:
  """Returns the module of TFDS, and keeps TensorFlow off the accelerators."""
  try:
    module = importlib.import_module('tensorflow_datasets')
    tensorflow = importlib.import_module('tensorflow')
  except ImportError as error:
    raise ValueError(
      f"data sets of TFDS need tensorflow-datasets and tensorflow; pip install 'v2a[tfds]' ({error})."
    ) from error
  tensorflow.config.set_visible_devices([], 'GPU')
  return module


@functools.lru_cache(maxsize=8)
def _builder(dataset: str, data_dir: str | None) -> Any:
  """Returns the builder of a prepared data set."""
  module = _load()
  try:
    builder = module.builder(dataset, data_dir=data_dir)
  except (module.core.DatasetNotFoundError, AssertionError) as error:
    raise ValueError(f'{dataset}: TFDS knows no such data set: {str(error).splitlines()[0]}') from error
  if not builder.info.splits:
    raise ValueError(f'{dataset}: is not prepared in {builder.data_dir}; run: tfds build {dataset}')
  return builder


def _examples(builder: Any, split: str, features: list[str]) -> Iterator[Mapping[str, Any]]:
  """Yields the examples of a split with some features only, in the order of their positions."""
  if not features:
    yield from ({} for _ in range(builder.info.splits[split].num_examples))
    return
  module, wanted = _load(), {}
  for path in features:
    *parents, last = path.split('/')
    inner = wanted
    for part in parents:
      inner = inner.setdefault(part, {})
    inner[last] = True
  # One file after the other: several at a time would be in another order than the positions.
  data = builder.as_dataset(
    split=split,
    decoders=module.decode.PartialDecoding(wanted),
    read_config=module.ReadConfig(interleave_cycle_length=1),
    shuffle_files=False,
  )
  yield from module.as_numpy(data)


def _feature(features: Any, path: str, dataset: str) -> Any:
  """Returns a feature by its path."""
  found = features
  for part in path.split('/'):
    if part not in found:
      raise ValueError(f'{dataset}: has no feature {path!r}; known are {", ".join(found)}.')
    found = found[part]
  return found


def _value(example: Mapping[str, Any], path: str) -> Any:
  for part in path.split('/'):
    example = example[part]
  return example


def _text(feature: Any, value: Any) -> list[str]:
  """Returns the texts of a feature; class labels become their names."""
  to_name = getattr(getattr(feature, 'feature', feature), 'int2str', None)
  texts = []
  for each in np.atleast_1d(np.asarray(value, dtype=object)):
    if isinstance(each, bytes):
      texts.append(each.decode('utf-8', 'replace'))
    else:
      texts.append(to_name(int(each)) if to_name else str(each))
  return texts
