import json
import pathlib

import pytest

from v2a import clip
from v2a.config import files
from v2a.config import schema

CONFIGS = pathlib.Path(__file__).parents[2] / 'configs'


@pytest.fixture
def c():
  return schema.base()


def test_base_and_tiny_are_valid(c):
  schema.validate(c)
  schema.validate(schema.tiny(c))
  assert schema.tiny(c).training.batch_size < c.training.batch_size
  assert schema.tiny(schema.tiny(c)) == schema.tiny(c)
  assert schema.base() == c, 'tiny must not change what it is given'
  assert schema.tiny(c).is_locked


@pytest.mark.parametrize('name', files.available())
def test_every_shipped_configuration(name):
  c = files.find(name)
  schema.validate(c)
  schema.validate(schema.tiny(c))
  assert schema.keys(c) == schema.keys(schema.base()), 'a configuration adds no keys'
  source = (CONFIGS / f'{name}.py').read_text()
  assert source.startswith('"""') and len(source.splitlines()) <= 90


def test_tiny_on_records_keeps_their_sizes(c):
  c = c.copy_and_resolve_references().unlock()
  c.clip.update(frame_size=128, clip_s=8.0, num_text_bytes=512)
  c.conditioning.sync.patch = 16
  c = c.lock()
  shrunk = schema.tiny(c, has_records=True)
  schema.validate(shrunk)
  assert shrunk.clip == c.clip and shrunk.conditioning.sync.patch == 16
  assert shrunk.training.checkpoint_every_steps == c.training.checkpoint_every_steps, 'saves take time'
  assert shrunk.data.num_fake_records == 0 and shrunk.flow == schema.tiny(c).flow
  assert files.tiny(c, ['--config.seed=1', '--config.data.train=a,b']) == shrunk
  for words in ([], ['--config.data.train='], ['--config.data.validation=a']):
    assert files.tiny(c, words) == schema.tiny(c)


def test_a_warm_up_that_does_not_fit_few_steps_becomes_a_tenth(c):
  def read(*words):
    notes = []
    changed = files.override(c, [f'--config.training.{word}' for word in words], notes.append)
    return changed, notes

  changed, notes = read('num_steps=60')
  schema.validate(changed)
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
    schema.validate(changed)
    assert changed.training.warmup_steps == warmup and bool(notes) == (warmup not in (7, 100))
  with pytest.raises(ValueError, match='warmup_steps must be below num_steps=60; got 60'):
    schema.validate(read('num_steps=60', 'warmup_steps=60')[0])
  with pytest.raises(ValueError, match='num_steps must be above 0'):
    schema.validate(read('num_steps=0')[0])


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
def test_a_wrong_file_is_refused(text, message):
  with pytest.raises(ValueError, match=message):
    files.loads(text, 'file')


@pytest.mark.parametrize(
  ('argument', 'key', 'value'),
  [
    ('--config.training.batch_size=8', 'training.batch_size', 8),
    ('--config.training.clip_norm=2', 'training.clip_norm', 2.0),
    ('--config.training.betas=0.8,0.9', 'training.betas', (0.8, 0.9)),
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
def test_wrong_overrides(c, argument, message):
  with pytest.raises(ValueError, match=message):
    files.override(c, [argument])


@pytest.mark.parametrize(('text', 'value'), [('true', True), ('False', False), ('1', True), ('0', False)])
def test_a_truth_is_read_as_written(c, text, value):
  c.unlock().data.is_cached = not value
  assert files.override(c, [f'--config.data.is_cached={text}']).data.is_cached is value
  with pytest.raises(ValueError, match='must be true or false'):
    files.override(c, ['--config.data.is_cached=maybe'])


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
def test_lengths_that_no_clip_has(change, message):
  with pytest.raises(ValueError, match=message):
    clip.ClipSpec(**change)


def test_a_typo_in_a_configuration_file_is_refused(c):
  with pytest.raises(AttributeError, match='Did you mean "batch_size"'):
    c.training.batch_siz = 8


@pytest.mark.parametrize(
  'arguments',
  [
    ['--config.task=melody'],
    ['--config.training.batch_size=0'],
    ['--config.training.microbatches=3'],
    ['--config.training.schedule=linear'],
    ['--config.training.betas=0.9'],
    ['--config.training.betas=0.9,1.0'],
    ['--config.training.compute_dtype=float64'],
    ['--config.seed=2147483648'],
    ['--config.training.warmup_steps=1000'],
    ['--config.training.num_steps=60', '--config.training.warmup_steps=60'],
    ['--config.training.local_checkpoint_every_steps=5'],
    ['--config.mesh.data=-1', '--config.mesh.fsdp=-1'],
    ['--config.mesh.tensor=0'],
    ['--config.clip.clip_s=0'],
    ['--config.training.learning_rate=nan'],
    ['--config.data.train=a', '--config.data.num_fake_records=3'],
  ],
)
def test_validate_refuses(c, arguments):
  with pytest.raises(ValueError, match='config|must be'):
    schema.validate(files.override(c, arguments))


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
