"""Checks at the start of training: codecs that do not fit, records without audio, truncated texts."""

from flax import nnx
import jax
import numpy as np
import pytest

from data_pipelines import encode
from v2a import builders
from v2a import weights
from v2a.cli import main
from v2a.config import files
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import record_writer
from v2a.data import records
from v2a.training import loop
from v2a.training import preflight
from v2a.training import tasks


def _codec(folder, seed=0, **changes):
  words = [f'--config.{key}={value}' for key, value in ({'task': 'codec'} | changes).items()]
  c = files.override(schema.tiny(schema.base()), words)
  rng, shapes = np.random.default_rng(seed), nnx.state(nnx.eval_shape(lambda: builders.codec(c, nnx.Rngs(0))))
  weights.export(
    jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes),
    folder,
    c,
    'float32',
  )
  return folder


def _encode(source, codec, output):
  words = ['--records', source, '--codec', codec, '--output', output]
  assert encode.main([str(word) for word in words]) == 0


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """A codec, another one, one of codes, and records with latents of the first."""
  root, spec = tmp_path_factory.mktemp('start'), schema.clip_spec(schema.tiny(schema.base()))
  for name, changes in {'codec': {}, 'other': {'seed': 1}, 'codes': {'codec.bottleneck': 'rvq'}}.items():
    _codec(root / name, **changes)
  record_writer.write(root / 'plain', [fake_records.make(spec, seed) for seed in range(8)], spec)
  for name, source in (('codec', 'plain'), ('codes', 'of_codec')):
    _encode(root / source, root / name, root / f'of_{name}')
  return root


def _configuration(root, data='of_codec', codec='codec', **changes):
  c = schema.tiny(schema.base()).unlock()
  c.data.update(num_fake_records=0, train=(str(root / data),))
  c.init_from.codec = str(root / codec) if codec else ''
  return files.override(c.lock(), [f'--config.{key}={value}' for key, value in changes.items()])


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'codec': ''}, 'config.init_from.codec must name the codec that encoded the latents of the records'),
    ({'codec': '', 'task': 'tokens', 'codec.bottleneck': 'rvq'}, 'the codec that encoded the codes'),
    ({'codec': 'other'}, 'than config.init_from.codec=.*other: they were encoded by .*codec with digest'),
    ({'codec': 'other', 'task': 'sync'}, 'holds latents of another codec'),
    ({'codec': 'codes'}, "must have the kl bottleneck for config.task='flow'; got 'rvq'"),
    ({'task': 'tokens', 'codec.bottleneck': 'rvq'}, "must have the rvq bottleneck .* got 'kl'"),
    ({'codec': 'nowhere'}, 'No model at .*nowhere'),
    ({'data': 'plain'}, 'has no latents; encode the records by data_pipelines.encode with --codec .*codec'),
    ({'codec.num_latent_channels': 3}, 'codec.num_latent_channels=4; config.codec.num_latent_channels is 3'),
    ({'clip.hop_samples': 320, 'clip.patch_frames': 2}, 'hop_samples=160; config.clip.hop_samples is 320'),
    (
      {
        'codec': 'codes',
        'data': 'of_codes',
        'task': 'tokens',
        'codec.bottleneck': 'rvq',
        'codec.codebook_size': 8,
      },
      'has codec.codebook_size=16; config.codec.codebook_size is 8',
    ),
  ],
)
def test_a_codec_that_does_not_fit_is_refused_before_anything_is_trained(root, tmp_path, changes, message):
  c = _configuration(root, **changes)
  with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
    loop.train(c, tmp_path / 'run', tasks.make(c))
  assert '\n' not in str(caught.value) and not (tmp_path / 'run').exists()


def test_records_store_the_codec_of_latents_and_of_codes(root):
  (folder,) = records.open(root / 'of_codes').folders
  digests = {
    name: weights.codec_digest(weights.load_export(root / name)) for name in ('codec', 'codes', 'other')
  }
  assert len(set(digests.values())) == 3
  assert {name: each['digest'] for name, each in folder.codecs.items()} == {
    'kl': digests['codec'],
    'rvq': digests['codes'],
  }
  for task, bottleneck, codec in (
    ('flow', 'kl', 'codec'),
    ('tokens', 'rvq', 'codes'),
    ('sync', 'kl', 'codec'),
  ):
    c = _configuration(root, 'of_codes', codec, **{'task': task, 'codec.bottleneck': bottleneck})
    digest, notes = preflight.check_codec(c, bottleneck, records.open(*c.data.train))
    assert digest == digests[codec] and not notes


def test_a_copy_in_half_precision_is_the_same_codec(root, tmp_path):
  export = weights.load_export(root / 'codec')
  weights.export(export.arrays, tmp_path / 'half', export.config, 'float16')
  assert weights.codec_digest(weights.load_export(tmp_path / 'half')) == weights.codec_digest(export)


def test_records_of_older_versions_do_not_store_their_codec(root, tmp_path, monkeypatch):
  source = records.open(root / 'of_codec')
  record_writer.write(tmp_path / 'older', [source[index] for index in range(8)], source.spec)
  c = _configuration(tmp_path, 'older', root / 'codec')
  _, notes = preflight.check_codec(c, 'kl', records.open(*c.data.train))
  assert len(notes) == 1 and 'does not record which codec encoded its latents' in notes[0]


def test_sync_without_a_codec_requires_latents_of_one_codec(root, tmp_path):
  _encode(root / 'plain', root / 'other', tmp_path / 'of_other')
  c = _configuration(root, codec='', task='sync')
  assert preflight.check_codec(c, 'kl', records.open(*c.data.train)) == (None, [])
  with pytest.raises(ValueError, match='holds latents of 2 codecs; expected one codec'):
    preflight.check_codec(c, 'kl', records.open(*c.data.train, tmp_path / 'of_other'))


def _contents(tmp_path, items, spec, is_older=False):
  record_writer.write(tmp_path / 'data', items, spec)
  source = records.open(tmp_path / 'data')
  if is_older:
    del source.folders[0].manifest['contents']
  return source


@pytest.mark.parametrize('is_older', [False, True])
def test_records_without_audio_and_truncated_texts_are_counted(tmp_path, is_older):
  c = files.override(schema.tiny(schema.base()), ['--config.clip.num_text_bytes=16'])
  spec = schema.clip_spec(c)
  texts = lambda seed: {'text': 'ä' * seed, 'transcript': 'b' * 9 * seed}
  items = [fake_records.make(spec, seed) | {'has_audio': seed > 2} | texts(seed) for seed in range(12)]
  source = _contents(tmp_path, items, spec, is_older)
  assert preflight.check_contents(c, source) == [
    '3 of 12 records have no audio; the loss excludes them.',
    '3 of 12 annotations are longer than the 16 bytes that the model reads (config.clip.num_text_bytes), '
    'the longest 22; their ends are not read.',
    '10 of 12 transcripts are longer than the 16 bytes that the model reads '
    '(config.clip.num_transcript_bytes), the longest 99; their ends are not read.',
  ]
  c = files.override(c, ['--config.task=codec'])
  assert len(preflight.check_contents(c, source)) == 1, 'codecs read no texts'


def test_records_of_older_versions_are_counted_in_a_sample(tmp_path, monkeypatch):
  monkeypatch.setattr(records, '_NUM_COUNTED', 4)
  c = schema.tiny(schema.base())
  items = [
    fake_records.make(schema.clip_spec(c), seed) | {'has_audio': seed == 7, 'text': ''} for seed in range(12)
  ]
  source = _contents(tmp_path, items, schema.clip_spec(c), is_older=True)
  assert preflight.check_contents(c, source) == ['11 of 12 records have no audio; the loss excludes them.']
  items = [item | {'has_audio': True, 'text': 'a' * 99} for item in items]
  source = _contents(tmp_path / 'b', items, schema.clip_spec(c), is_older=True)
  notes = preflight.check_contents(c, source)
  assert notes[0].startswith('4 of 4 annotations') and 'Counted in a sample of the 12 records' in notes[1]


@pytest.mark.parametrize('is_older', [False, True])
def test_records_without_any_audio_are_bad_input(tmp_path, capsys, is_older):
  c = files.override(schema.tiny(schema.base()), ['--config.task=codec'])
  spec = schema.clip_spec(c)
  silent = [fake_records.make(spec, seed) | {'has_audio': False} for seed in range(3)]
  record_writer.write(tmp_path / 'data', silent, spec)
  if is_older:
    source = records.open(tmp_path / 'data')
    del source.folders[0].manifest['contents']
    with pytest.raises(ValueError, match='None of the 3 records'):
      preflight.check_contents(c, source)
    return
  files.save(c, tmp_path / 'c.json')
  words = [
    '--config',
    str(tmp_path / 'c.json'),
    '--workdir',
    str(tmp_path / 'run'),
    '--config.data.num_fake_records=0',
    f'--config.data.train={tmp_path / "data"}',
  ]
  assert main.main(['train', *words]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert 'None of the 3 records of config.data.train' in line and 'has audio' in line
  assert not (tmp_path / 'run').exists()
