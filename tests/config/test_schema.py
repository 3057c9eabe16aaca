"""Configurations: defaults, shipped files, tiny."""

import pathlib

import pytest

from v2a import clip
from v2a.config import files
from v2a.config import schema
from v2a.config import validation

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


@pytest.fixture
def c():
  return schema.base()


def test_base_and_tiny_are_valid(c):
  validation.validate(c)
  validation.validate(schema.tiny(c))
  assert schema.tiny(c).training.batch_size < c.training.batch_size
  assert schema.tiny(schema.tiny(c)) == schema.tiny(c)
  assert schema.base() == c, 'tiny must not change what it is given'
  assert schema.tiny(c).is_locked


@pytest.mark.parametrize('name', files.available())
def test_every_shipped_configuration_is_valid(name):
  c = files.find(name)
  validation.validate(c)
  validation.validate(schema.tiny(c))
  assert schema.keys(c) == schema.keys(schema.base()), 'a configuration adds no keys'
  source = (CONFIGS / f'{name}.py').read_text()
  assert source.startswith('"""') and len(source.splitlines()) <= 90


def test_tiny_on_records_keeps_their_sizes(c):
  c = c.copy_and_resolve_references().unlock()
  c.clip.update(frame_size=128, clip_s=8.0, num_text_bytes=512)
  c.conditioning.sync.patch = 16
  c = c.lock()
  shrunk = schema.tiny(c, has_records=True)
  validation.validate(shrunk)
  assert shrunk.clip == c.clip and shrunk.conditioning.sync.patch == 16
  assert shrunk.training.checkpoint_every_steps == c.training.checkpoint_every_steps, 'saves take time'
  assert shrunk.data.num_fake_records == 0 and shrunk.flow == schema.tiny(c).flow
  assert files.tiny(c, ['--config.seed=1', '--config.data.train=a,b']) == shrunk
  for words in ([], ['--config.data.train='], ['--config.data.validation=a']):
    assert files.tiny(c, words) == schema.tiny(c)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'clip_s': float('nan')}, 'clip_s must be positive; got nan'),
    ({'clip_s': float('inf')}, 'clip_s must be positive; got inf'),
    ({'clip_s': 1e15}, 'clip_s must be at most 86400'),
    ({'clip_s': 1e-9}, 'clip_s must be at least 0.000001; got 1e-09'),
    ({'frame_size': 10**400}, 'frame_size must be at most 8192'),
    ({'sample_rate_hz': 10**6}, 'sample_rate_hz must be at most 768000'),
  ],
)
def test_invalid_clip_lengths_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    clip.ClipSpec(**change)


def test_an_unknown_key_is_refused(c):
  with pytest.raises(AttributeError, match='Did you mean "batch_size"'):
    c.training.batch_siz = 8
