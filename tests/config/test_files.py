"""Configurations by name, from JSON and from the command line."""

import json

import pytest

from v2a.config import files
from v2a.config import schema
from v2a.config import validation


@pytest.fixture
def c():
  return schema.base()


def test_a_warm_up_longer_than_training_becomes_a_tenth(c):
  def read(*words):
    notes = []
    changed = files.override(c, [f'--config.training.{word}' for word in words], notes.append)
    return changed, notes

  changed, notes = read('num_steps=60')
  validation.validate(changed)
  assert changed.training.warmup_steps == 6 and c.training.warmup_steps == 100
  assert notes == ['config.training.warmup_steps is 6, a tenth of num_steps=60: the 100 of base do not fit.']
  for words, warmup in (
    (['num_steps=1'], 0),
    (['num_steps=100'], 10),
    (['num_steps=101'], 100),
    (['num_steps=60', 'warmup_steps=7'], 7),
    (['batch_size=8'], 100),
  ):
    changed, notes = read(*words)
    validation.validate(changed)
    assert changed.training.warmup_steps == warmup and bool(notes) == (warmup not in (7, 100))
  with pytest.raises(ValueError, match='warmup_steps must be below num_steps=60; got 60'):
    validation.validate(read('num_steps=60', 'warmup_steps=60')[0])
  with pytest.raises(ValueError, match='num_steps must be above 0'):
    validation.validate(read('num_steps=0')[0])


def test_json_round_trip(c, tmp_path):
  c = files.override(c, ['--config.data.train=a,b', '--config.training.learning_rate=1e-3'])
  files.save(c, tmp_path / 'c.json')
  again = files.load(tmp_path / 'c.json')
  assert again == c and again.data.train == ('a', 'b')
  assert files.find(str(tmp_path / 'c.json')) == c
  assert [path.name for path in tmp_path.iterdir()] == ['c.json']


def test_a_key_that_an_older_file_lacks_has_its_default(c):
  values = json.loads(files.dumps(c))
  del values['training']['remat']
  assert files.loads(json.dumps(values)) == c


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{"training": {"batch_siz": 3}}', 'unknown key training.batch_siz. Did you mean batch_size'),
    ('{"training": {"batch_size": "3"}}', 'training.batch_size must be of type int'),
    ('{"training": 3}', 'training must be of type ConfigDict'),
    ('[]', 'must hold a JSON object'),
    ('{', 'is no JSON'),
  ],
)
def test_an_invalid_file_is_refused(text, message):
  with pytest.raises(ValueError, match=message):
    files.loads(text, 'file')


@pytest.mark.parametrize(
  ('argument', 'key', 'value'),
  [
    ('--config.training.batch_size=8', 'training.batch_size', 8),
    ('--config.training.clip_norm=2', 'training.clip_norm', 2.0),
    ('--config.training.betas=0.8,0.9', 'training.betas', (0.8, 0.9)),
    ('--config.data.bucket_s=2,4.5', 'data.bucket_s', (2.0, 4.5)),
    ('--config.data.synthetic_seeds=3', 'data.synthetic_seeds', (3,)),
    ('--config.data.train=(a, b)', 'data.train', ('a', 'b')),
    ('--config.data.train=', 'data.train', ()),
    ('--config.data.train=a]', 'data.train', ('a]',)),
    ('--config.data.train=set (1), set[2]', 'data.train', ('set (1)', 'set[2]')),
    ('--config.data.train=["a,b", "c]", " d"]', 'data.train', ('a,b', 'c]', ' d')),
    ('--config.data.train=["[a]"]', 'data.train', ('[a]',)),
    ('--config.data.train=[a, b]', 'data.train', ('a', 'b')),
    ('--config.data.train=[]', 'data.train', ()),
    ('--config.training.betas=[0.8, 0.9]', 'training.betas', (0.8, 0.9)),
    ('--config.training.betas=(0.8, 0.9)', 'training.betas', (0.8, 0.9)),
    ('--config.name=a=b', 'name', 'a=b'),
    ('--config.mesh.data=-1', 'mesh.data', -1),
  ],
)
def test_overrides_have_the_type_of_the_default(c, argument, key, value):
  section, _, last = key.rpartition('.')
  changed = files.override(c, [argument])
  got = changed[section][last] if section else changed[last]
  assert got == value and type(got) is type(value)
  assert changed.is_locked


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--config.training.batch_siz=8', r'batch_siz. Did you mean config.training.batch_size\?'),
    ('--config.batch_size=8', r'Did you mean config.training.batch_size\?'),
    ('--config.training=8', 'It is a section'),
    ('--config.training.batch_size=8.5', 'must be of type int'),
    ('--config.training.batch_size=1_000', 'batch_size must be of type int: wanted a whole number; got'),
    ('--config.training.learning_rate=inf', 'learning_rate must be of type float: wanted a number; got'),
    ('--config.seed=' + '9' * 401, r'config.seed must be of type int: wanted a whole number; got .*401 char'),
    ('--config.data.train=[a', 'config.data.train begins like a list, but is neither'),
    ('--config.data.train=(a]', r'got \(a\]. A name that begins with a bracket'),
    ('--config.data.train=[a],[b]', r'got \[a\],\[b\]'),
    ('--config.data.train=["a', r'got \["a'),
    ('--config.data.train=[true, null]', 'config.data.train must be a list of strings or numbers'),
    ('--config.training.batch_size', 'must look like'),
    ('--training.batch_size=8', 'must look like'),
  ],
)
def test_invalid_overrides_are_refused(c, argument, message):
  with pytest.raises(ValueError, match=message):
    files.override(c, [argument])


@pytest.mark.parametrize(('text', 'value'), [('true', True), ('False', False), ('1', True), ('0', False)])
def test_booleans_are_parsed(c, text, value):
  c.unlock().data.is_cached = not value
  assert files.override(c, [f'--config.data.is_cached={text}']).data.is_cached is value
  with pytest.raises(ValueError, match='must be true or false'):
    files.override(c, ['--config.data.is_cached=maybe'])


def test_find_by_path_and_name(tmp_path):
  path = tmp_path / 'mine.py'
  path.write_text(
    'from v2a.config import schema\n\ndef get_config():\n  c = schema.base()\n  c.name = "mine"\n  return c\n'
  )
  assert files.find(str(path)).name == 'mine'
  path.write_text('x = 1\n')
  with pytest.raises(ValueError, match=r'must define get_config\(\)'):
    files.find(str(path))
  for name in ('no_such_thing', '../secrets', str(tmp_path / 'other.py'), ''):
    with pytest.raises(FileNotFoundError, match='No configuration'):
      files.find(name)
