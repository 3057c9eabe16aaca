"""Data sets of TFDS: lossless media; and reading a real one where TFDS is installed."""

import functools
import importlib.util
import json
import os
import pathlib
import pickle
import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import serialization
from data_pipelines.sources import tfds
from v2a.data import annotations as annotations_lib

PROGRAM = pathlib.Path(__file__).with_name('read_tfds.py')
ROOT = pathlib.Path(__file__).resolve().parents[3]
INSTALLED = all(importlib.util.find_spec(name) for name in ('tensorflow', 'tensorflow_datasets'))
RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (7, 33, 47, 3), np.uint8)


def decoded(path: pathlib.Path) -> tuple[np.ndarray, list[float], np.ndarray | None]:
  with av.open(str(path)) as container:
    frames = list(container.decode(video=0))
  with av.open(str(path)) as container:
    has_audio = bool(container.streams.audio)
    blocks = [frame.to_ndarray() for frame in container.decode(audio=0)] if has_audio else []
    num = container.streams.audio[0].channels if has_audio else 0
  wave = np.concatenate(blocks, axis=1).reshape(-1, num) if blocks else None
  return (
    np.stack([frame.to_ndarray(format='rgb24') for frame in frames]),
    [float(frame.time) for frame in frames],
    wave,
  )


@pytest.mark.parametrize(
  'wave',
  [
    RNG.integers(-(1 << 15), 1 << 15, (4000, 2)),
    RNG.integers(-(1 << 31), 1 << 31, (4000, 1)),
    RNG.normal(size=(4000, 2)).astype(np.float32),
  ],
)
def test_frames_and_samples_are_lossless(wave, tmp_path):
  path = tfds.write_media(tmp_path, FRAMES, wave, 30000 / 1001, 44100)
  frame_FYX3, times_s, wave_NA = decoded(path)
  np.testing.assert_array_equal(frame_FYX3, FRAMES)
  np.testing.assert_allclose(times_s, np.arange(7) * 1001 / 30000, atol=1e-9)
  np.testing.assert_array_equal(wave_NA, wave)


@pytest.mark.parametrize(
  'wave', [RNG.integers(-(1 << 15), 1 << 15, 4000), RNG.integers(-(1 << 31), 1 << 31, (4000, 3))]
)
def test_samples_alone_are_lossless(wave, tmp_path):
  path = tfds.write_media(tmp_path, None, wave, None, 16000)
  read, rate_hz = soundfile.read(path, dtype='int32', always_2d=True)
  shift = 16 if wave.ndim == 1 else 0
  np.testing.assert_array_equal(read.astype(np.int64) >> shift, wave.reshape(4000, -1))
  assert rate_hz == 16000


def test_bytes_are_written_as_they_are(tmp_path):
  content = b'\0\0\0\x20ftypisom'
  path = tfds.write_media(tmp_path, content, None, None, None)
  assert path.suffix == '.mp4' and path.read_bytes() == content


@pytest.mark.parametrize(
  'video, audio, message',
  [
    (None, None, 'neither frames nor samples'),
    (b'x', b'y', 'as arrays, or one of them'),
    (FRAMES.astype(np.uint16), None, 'as uint8; got .* as uint16'),
    (FRAMES, np.zeros((4, 3), np.int16), 'wanted 1, 2, 6 or 8 channels; got 3'),
    (None, np.zeros((4, 3, 2)), 'got \\(4, 3, 2\\)'),
    (None, np.array([1 << 40]), 'at most 32 bits'),
  ],
)
def test_other_arrays_are_refused(video, audio, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    tfds.write_media(tmp_path, video, audio, 25.0, 16000)


def test_unknown_features_are_refused():
  with pytest.raises(ValueError, match=r"features has the unknown key 'vidoe'; did you mean video\?"):
    list(tfds.Tfds('x', {'vidoe': 'video'}))
  for features in ({'caption': 'text'}, {'media': 'file', 'audio': 'sound'}):
    with pytest.raises(ValueError, match='features must name media, or video or audio or both'):
      list(tfds.Tfds('x', features))


def entry(**values: str) -> items.Item:
  """Returns the item of an example whose features have one text each."""
  listed = {key: [text] for key, text in values.items()}
  make = functools.partial(tfds.TfdsMedia, 'x', None, 'train', 7, 'media', '', None, None)
  return tfds.Tfds('x')._entry(make, listed, 7, 'x/train[7]').item


def test_segments_and_annotations_of_an_example():
  annotations = annotations_lib.Annotations((annotations_lib.Caption('dog', 'label', 'tagger', 0.5),))
  texts = {'label': 'cat', 'annotations': json.dumps(annotations.to_json())}
  item = entry(**texts, start_us='1500000', end_us='3000001', suffix='.mp4')
  assert (item.id, item.start_s, item.end_s) == ('train-00000007', 1.5, 3.000001)
  assert item.annotations == annotations and item.media.name == 'x/train[7].mp4'
  whole = entry(label='cat', end_us='-1')
  assert (whole.start_s, whole.end_s, whole.annotations.captions[0].text) == (0.0, None, 'cat')


@pytest.mark.parametrize(
  'values, message',
  [
    ({'suffix': '/../x'}, "suffix must be like '.mp4'; got '/../x'"),
    ({'annotations': '{'}, 'annotations: '),
    ({'annotations': '[]'}, 'annotations: wanted annotations as JSON'),
    ({'transcript': 'WEBVTT\n\n00:00:01 --> x'}, 'transcript: '),
  ],
)
def test_malformed_examples_are_refused(values, message):
  with pytest.raises(entries.UnusableError) as refused:
    entry(**values)
  assert refused.value.kind == 'malformed' and refused.value.id == 'train-00000007'
  assert refused.value.reason.startswith(message)


@pytest.mark.skipif(INSTALLED, reason='TFDS is installed')
def test_without_tfds_the_message_names_the_extra():
  with pytest.raises(ValueError, match=r"pip install 'v2a\[tfds\]'"):
    list(tfds.Tfds('x', {'video': 'video'}))


@pytest.mark.tfds
@pytest.mark.skipif(not INSTALLED, reason='tensorflow-datasets and tensorflow are not installed')
def test_a_prepared_data_set_is_read(tmp_path):
  # In a process of its own, since TensorFlow must not be imported beside the other tests.
  environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
  ran = subprocess.run(
    [sys.executable, str(PROGRAM), str(tmp_path)],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert ran.returncode == 0 and ran.stdout.endswith('read\n'), ran.stderr[-3000:]


def test_media_is_stored_by_its_position():
  media = tfds.TfdsMedia('tiny', None, 'train', 3, 'video', '', 25.0, None)
  item = items.Item('x', media, 'x')
  assert serialization.item_from_json(json.loads(json.dumps(serialization.item_to_json(item)))) == item
  assert pickle.loads(pickle.dumps(media)) == media and media.name == 'tiny/train[3]'
