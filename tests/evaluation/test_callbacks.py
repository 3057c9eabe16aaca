"""Evaluation during training: metrics, audio and images in the event file."""

import dataclasses
import io

from PIL import Image
import pytest
import soundfile
from tensorboard.backend.event_processing import event_accumulator

from v2a.config import files
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import record_writer
from v2a.data import records
from v2a.data import synthetic_examples
from v2a.evaluation import callbacks
from v2a.training import loop
from v2a.training import tasks


def train(name, workdir, validation=(), **init_from):
  """Trains a tiny model for two steps, evaluates it after each, and returns the workdir and its events."""
  c = schema.tiny(files.find(name)).unlock()
  c.training.update(num_steps=2, evaluate_every_steps=1, checkpoint_every_steps=2)
  c.init_from.update(init_from)
  c.data.validation = validation
  task = tasks.make(c)
  loop.train(c, workdir, task, callbacks.make(c, task))
  events = event_accumulator.EventAccumulator(str(workdir / 'tensorboard'), {'audio': 0, 'images': 0})
  events.Reload()
  return workdir, events


def check(events, metrics, prefix='synthetic/'):
  """Checks that metrics, audio and images are logged with the prefix, once per step."""
  tags = events.Tags()
  for name in metrics:
    assert [event.step for event in events.Scalars(f'evaluation/{prefix}{name}')] == [1, 2], name
  sounds = [tag for tag in tags['audio'] if tag.startswith(f'evaluation/{prefix}sound/')]
  images = [tag for tag in tags['images'] if tag.startswith(f'evaluation/{prefix}spectrogram/')]
  assert len(sounds) == len(images) == callbacks.NUM_SHOWN
  wave_NA, rate_hz = soundfile.read(io.BytesIO(events.Audio(sounds[0])[-1].encoded_audio_string))
  assert wave_NA.shape == (2 * rate_hz, 2)
  image = Image.open(io.BytesIO(events.Images(images[0])[-1].encoded_image_string))
  assert image.size == (201, 128)


@pytest.fixture(scope='module')
def codec(tmp_path_factory):
  return train('codec_synthetic', tmp_path_factory.mktemp('runs') / 'codec')


@pytest.mark.slow  # compiles a codec three times
def test_evaluation_of_a_codec(codec):
  check(codec[1], ('log_mel_distance', 'envelope_l1'))


@pytest.mark.slow  # compiles a complete model for eight devices
def test_evaluation_of_a_generator(codec, tmp_path):
  _, events = train('flow_synthetic', tmp_path / 'flow', codec=str(codec[0]))
  check(events, ('log_mel_distance', 'panning_correlation'))


@pytest.fixture(scope='module')
def validation(tmp_path_factory):
  """Validation clips, longer than those of the training; the first three have no audio."""
  path = tmp_path_factory.mktemp('data') / 'validation'
  c = schema.tiny(files.find('flow_synthetic'))
  spec = dataclasses.replace(schema.clip_spec(c), clip_s=4.0)
  sizes = c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size
  items = [fake_records.make(spec, seed, *sizes) | {'has_audio': seed > 2} for seed in range(100)]
  record_writer.write(path, items, spec)
  return str(path)


@pytest.mark.slow
def test_validation_clips_are_used_where_they_are_set(codec, tmp_path, validation):
  _, events = train('flow_synthetic', tmp_path / 'flow', (validation,), codec=str(codec[0]))
  check(events, ('loss', 'log_mel_distance'), '')
  assert 'synthetic/' not in str(events.Tags())


def test_validation_clips_are_evenly_spread_and_only_those_are_read(validation, monkeypatch):
  read, get = [], records.FolderSource.__getitem__
  monkeypatch.setattr(records.FolderSource, '__getitem__', lambda self, k: read.append(k) or get(self, k))
  c = schema.tiny(files.find('flow_synthetic')).unlock()
  c.data.validation = (validation,)
  callbacks.ValidationLoss(c, tasks.make(c))
  assert len(read) == callbacks.NUM_LOSS_CLIPS and max(read) > 90 and len(set(read)) == len(read)
  read.clear()
  prefix, examples = callbacks._examples(c)
  assert prefix == '' and len(examples) == callbacks.NUM_CLIPS and len(read) < 20
  assert examples[0].wave_NA.shape == (schema.clip_spec(c).num_samples, 2)
  assert [example.name for example in callbacks._examples(c)[1]] == [example.name for example in examples]


def test_metrics_of_synthetic_clips_are_labelled(monkeypatch):
  monkeypatch.setattr(synthetic_examples, 'render', lambda *args: [])
  c = schema.tiny(files.find('flow_synthetic'))
  prefix, _ = callbacks._examples(c)
  assert callbacks._with_prefix(prefix, {'onset_f1': 0.5}) == {'synthetic/onset_f1': 0.5}


@pytest.mark.parametrize(
  ('mesh', 'expected'),
  [
    ({}, {'data': -1, 'tensor': 1, 'fsdp': 1}),
    ({'fsdp': 16}, {'data': -1, 'tensor': 1, 'fsdp': 8}),
    ({'fsdp': 12, 'tensor': 2}, {'data': -1, 'tensor': 2, 'fsdp': 4}),
    ({'data': 2, 'fsdp': -1}, {'data': -1, 'tensor': 1, 'fsdp': 8}),
  ],
)
def test_weights_are_sharded_as_in_training(mesh, expected):
  c = schema.base().unlock()
  c.mesh.update(mesh)
  assert callbacks._mesh_sizes(c) == expected


def test_evaluators_of_a_configuration(tmp_path):
  c = schema.tiny(files.find('flow_synthetic')).unlock()
  c.training.evaluate_every_steps = 0
  assert callbacks.make(c, tasks.make(c)) == []
  c.training.evaluate_every_steps = 5
  assert callbacks.make(c, tasks.make(c)) == [], 'without a codec there is no audio'
