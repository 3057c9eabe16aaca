"""Trainings that are looked at while they run: figures, sounds and pictures in the event file."""

import io

from PIL import Image
import pytest
import soundfile
from tensorboard.backend.event_processing import event_accumulator

from v2a import config
from v2a import configfile
from v2a.evaluation import evaluators
from v2a.training import loop
from v2a.training import tasks


def train(name, workdir, **init_from):
  """Trains a tiny model for two steps, looking at it after each, and returns the workdir and its events."""
  c = config.tiny(configfile.find(name)).unlock()
  c.training.update(num_steps=2, evaluate_every_steps=1, checkpoint_every_steps=2)
  c.init_from.update(init_from)
  task = tasks.make(c)
  loop.train(c, workdir, task, evaluators.make(c, task))
  events = event_accumulator.EventAccumulator(str(workdir / 'tensorboard'), {'audio': 0, 'images': 0})
  events.Reload()
  return workdir, events


def check(events, figures):
  """Checks that figures, sounds and pictures are there under their prefix, once a step."""
  tags = events.Tags()
  for name in figures:
    assert [event.step for event in events.Scalars(f'evaluation/{name}')] == [1, 2], name
  sounds = [tag for tag in tags['audio'] if tag.startswith('evaluation/sound/')]
  pictures = [tag for tag in tags['images'] if tag.startswith('evaluation/spectrogram/')]
  assert len(sounds) == len(pictures) == evaluators.NUM_SHOWN
  wave_NA, rate_hz = soundfile.read(io.BytesIO(events.Audio(sounds[0])[-1].encoded_audio_string))
  assert wave_NA.shape == (2 * rate_hz, 2)
  picture = Image.open(io.BytesIO(events.Images(pictures[0])[-1].encoded_image_string))
  assert picture.size == (201, 128)


@pytest.fixture(scope='module')
def codec(tmp_path_factory):
  return train('codec_world', tmp_path_factory.mktemp('runs') / 'codec')


@pytest.mark.slow  # compiles a codec three times
def test_a_codec_is_heard(codec):
  check(codec[1], ('log_mel_distance', 'envelope_l1'))


@pytest.mark.slow  # compiles a whole model for eight devices
def test_a_generator_is_heard_and_measured(codec, tmp_path):
  _, events = train('flow_world', tmp_path / 'flow', codec=str(codec[0]))
  check(events, ('log_mel_distance', 'panning_correlation'))


@pytest.mark.parametrize(
  ('asked', 'wanted'),
  [
    ({}, {'data': -1, 'tensor': 1, 'fsdp': 1}),
    ({'fsdp': 16}, {'data': -1, 'tensor': 1, 'fsdp': 8}),
    ({'fsdp': 12, 'tensor': 2}, {'data': -1, 'tensor': 2, 'fsdp': 4}),
    ({'data': 2, 'fsdp': -1}, {'data': -1, 'tensor': 1, 'fsdp': 8}),
  ],
)
def test_weights_lie_in_parts_where_they_do_in_training(asked, wanted):
  c = config.base().unlock()
  c.mesh.update(asked)
  assert evaluators._mesh_sizes(c) == wanted


def test_who_is_looked_at_how(tmp_path):
  c = config.tiny(configfile.find('flow_world')).unlock()
  c.training.evaluate_every_steps = 0
  assert evaluators.make(c, tasks.make(c)) == []
  c.training.evaluate_every_steps = 5
  assert evaluators.make(c, tasks.make(c)) == [], 'without a codec there is no sound'
