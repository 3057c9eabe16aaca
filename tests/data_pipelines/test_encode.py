"""Latents and codes that codecs add to records, and models that are refused."""

from flax import nnx
import jax
import numpy as np
import pytest

from data_pipelines import encode
from v2a import builders
from v2a import weights
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.data import records


@pytest.fixture(scope='module')
def codecs(tmp_path_factory):
  """Returns the folder of a codec of each bottleneck, with random weights, and their spec."""
  root, rng = tmp_path_factory.mktemp('codecs'), np.random.default_rng(0)
  for bottleneck in ('kl', 'rvq'):
    c = schema.tiny(schema.base()).unlock()
    c.task, c.codec.bottleneck = 'codec', bottleneck
    shapes = nnx.state(nnx.eval_shape(lambda c=c: builders.codec(c, nnx.Rngs(0))))
    arrays = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes)
    weights.export(arrays, root / bottleneck, c.lock(), 'float32')
  return root, schema.clip_spec(c)


def test_records_may_have_both_latents_and_codes(codecs, tmp_path):
  root, spec = codecs
  record_writer.write(tmp_path / 'plain', [fake_records.make(spec, seed) for seed in range(3)], spec)
  for source, codec, output in (('plain', 'kl', 'latents'), ('latents', 'rvq', 'both')):
    arguments = {'records': tmp_path / source, 'codec': root / codec, 'output': tmp_path / output}
    assert encode.main([word for key, value in arguments.items() for word in (f'--{key}', str(value))]) == 0
  both = records.open(tmp_path / 'both')
  export = weights.load_export(root / 'rvq')
  codec = builders.codec(export.config, nnx.Rngs(0))
  weights.assign(codec, export.arrays)
  for index in range(3):
    record = both[index]
    assert record['id'] == f'fake/{index}' and record['latent_mean_TC'].shape == (spec.num_latents, 4)
    wave_BNA = record_schema.wave_to_float(record['wave_NA'])[None]
    codes_BTK = nnx.jit(lambda codec, wave_BNA: codec.encode_tokens(wave_BNA))(codec, wave_BNA)
    assert np.mean(record['codes_TK'] == codes_BTK[0]) > 0.98, 'codes may differ by rounding only'
  assert len(np.unique(record['codes_TK'])) > 4


def test_a_model_that_is_not_a_codec_is_refused(codecs, tmp_path, capsys):
  root, spec = codecs
  found = weights.load_export(root / 'kl')
  weights.export(found.arrays, tmp_path / 'other', found.config.copy_and_resolve_references().unlock())
  text = (tmp_path / 'other' / weights.CONFIG).read_text()
  (tmp_path / 'other' / weights.CONFIG).write_text(text.replace('"task": "codec"', '"task": "flow"'))
  record_writer.write(tmp_path / 'plain', [fake_records.make(spec)], spec)
  argv = ['--records', tmp_path / 'plain', '--codec', tmp_path / 'other', '--output', tmp_path / 'new']
  assert encode.main([str(word) for word in argv]) == 2
  assert 'must be a codec; got task flow' in capsys.readouterr().err
  assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
  ('fault', 'code', 'line'),
  [
    (KeyboardInterrupt(), 130, 'interrupted; nothing half-written remains'),
    (MemoryError(), 2, 'out of memory'),
    (OSError(28, 'No space left on device'), 2, 'No space left on device'),
  ],
)
def test_an_error_leaves_no_output(fault, code, line, codecs, tmp_path, monkeypatch, capsys):
  def broken(source, export):
    yield source[0]
    raise fault

  monkeypatch.setattr(encode, 'encoded', broken)
  spec = codecs[1]
  record_writer.write(tmp_path / 'plain', [fake_records.make(spec)], spec)
  argv = ['--records', tmp_path / 'plain', '--codec', codecs[0] / 'kl', '--output', tmp_path / 'new']
  assert encode.main([str(word) for word in argv]) == code
  assert capsys.readouterr().err.splitlines()[-1].endswith(f'data_pipelines.encode: {line}')
  assert [path.name for path in tmp_path.iterdir()] == ['plain']
