"""Packaged models are listed by the contents of their folder."""

import json
import pathlib
import shutil

from flax import nnx
import numpy as np
import pytest

from v2a import weights
from v2a.cli import main
from v2a.cli import models
from v2a.config import schema
from v2a.sampling import bundle

DATA = {'hash': '0123456789abcdef', 'num_records': 38, 'licences': {'CC-BY-4.0': 30, 'unknown': 8}}


def make(folder, name, readme='# Name\n\nKnows bells.\nMore.\n', has_config=True, has_weights=True):
  """Creates the folder of a model."""
  path = folder / name
  path.mkdir(parents=True)
  if readme is not None:
    (path / 'README.md').write_text(readme)
  for part in ('codec', 'flow'):
    (path / part).mkdir()
    if has_config:
      (path / part / 'config.json').write_text('{}')
    if has_weights:
      (path / part / 'model.safetensors').write_bytes(bytes(750))


def test_only_whole_models_are_listed(tmp_path):
  make(tmp_path, 'small')
  make(tmp_path, 'bare', readme=None)
  make(tmp_path, 'no-config', has_config=False)
  make(tmp_path, 'no-weights', has_weights=False)
  (tmp_path / 'file').write_text('')
  found = models.packaged(tmp_path)
  assert [(model['name'], model['size_bytes'], model['summary']) for model in found] == [
    ('bare', 1500, ''),
    ('small', 1500, 'Knows bells.'),
  ]


def test_no_models(tmp_path, monkeypatch, capsys):
  assert models.packaged(tmp_path / 'absent') == []
  monkeypatch.setattr(models, 'packaged', list)
  monkeypatch.setattr(models, 'packaged_codecs', list)
  assert main.main(['models']) == 0
  assert 'No models' in capsys.readouterr().out


def test_packing_wants_a_folder(capsys):
  assert main.main(['models', '--pack', 'runs/x']) == 2
  assert capsys.readouterr().err == 'v2a: --pack needs --output, a new folder or a packed model to extend.\n'


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
  """A folder with the export of every part of a model, of random weights."""
  root, rng = tmp_path_factory.mktemp('parts'), np.random.default_rng(0)
  for part, make in bundle.PART_BUILDERS.items():
    c = schema.tiny(schema.base()).unlock()
    c.task = {'codec_rvq': 'codec', 'masked': 'tokens'}.get(part, part)
    c.codec.bottleneck = 'rvq' if part in ('codec_rvq', 'tokens', 'masked') else 'kl'
    c.tokens.is_causal = part != 'masked'
    shapes = weights.flatten(nnx.state(nnx.eval_shape(lambda make=make, c=c: make(c, nnx.Rngs(0)))))
    arrays = {name: rng.standard_normal(leaf.shape).astype(leaf.dtype) for name, leaf in shapes.items()}
    weights.export(arrays, root / part, c.lock(), 'float32')
  return root


def run_of(parts, path, *names):
  """Returns the path of a model with these parts, to be packed."""
  for name in names:
    shutil.copytree(parts / name, path / name)
  return str(path)


def content(folder):
  return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_a_packed_model_is_extended_and_nothing_in_it_replaced(parts, tmp_path, capsys):
  flow = run_of(parts, tmp_path / 'flow', 'codec', 'sync', 'flow')
  tokens = run_of(parts, tmp_path / 'tokens', 'codec', 'codec_rvq', 'sync', 'tokens')
  masked = run_of(parts, tmp_path / 'masked', 'codec_rvq', 'masked')
  output = tmp_path / 'out' / 'mine'
  pack = lambda *runs: main.main(['models', '--pack', *runs, '--output', str(output)])
  assert pack(flow) == 0
  (output / 'README.md').write_text('mine')
  before = content(output)
  for runs in ((flow, tokens), (masked,), (flow,), (flow, tokens)):  # the last two have nothing to add
    assert pack(*runs) == 0, capsys.readouterr().err
    assert content(output).items() >= before.items()
  assert bundle.load(output).generator_names == ('flow', 'tokens', 'masked')
  assert set(bundle.load(output).exports) == set(bundle.PART_BUILDERS)
  assert [path.name for path in output.parent.iterdir()] == ['mine'], 'nothing is left over'


def test_a_codec_is_packed_by_itself_and_found_by_its_name(parts, tmp_path, capsys, monkeypatch):
  folder = tmp_path / 'codecs'
  argv = ['models', '--pack', str(parts / 'codec'), '--output', str(folder / 'mine')]
  assert main.main(argv) == 0, capsys.readouterr().err
  assert {path.name for path in (folder / 'mine').iterdir()} == {'model.safetensors', 'config.json'}
  assert main.main(argv) == 2 and 'exists already' in capsys.readouterr().err
  monkeypatch.setattr(weights, 'CODECS_FOLDER', folder)
  monkeypatch.chdir(tmp_path)
  found, own = weights.load_export('mine'), weights.load_export(parts / 'codec')
  assert found.config.codec == own.config.codec
  for name, array in own.arrays.items():
    np.testing.assert_allclose(found.arrays[name], array, rtol=1e-3, atol=1e-6)
  with pytest.raises(FileNotFoundError, match='packaged codecs are mine'):
    weights.load_export('yours')
  (tmp_path / 'mine').mkdir()  # a folder of that name comes first
  with pytest.raises(FileNotFoundError):
    weights.load_export('mine')


def test_the_data_of_a_model_are_packed_and_shown(parts, tmp_path, capsys):
  source = pathlib.Path(run_of(parts, tmp_path / 'source', 'codec', 'flow'))
  found = weights.load_export(source / 'flow')
  about = {'name': 'mine', 'step': 7, 'data': [DATA]}
  weights.export(found.arrays, source / 'flow', found.config, 'float32', about)
  output = tmp_path / 'packed'
  assert main.main(['models', '--pack', str(source), '--output', str(output)]) == 0
  for path in (source, output):
    capsys.readouterr()
    assert main.main(['models', '--show', str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
      'codec: unnamed, step unknown',
      '  an unknown number of records: unknown',
      'flow: mine, step 7',
      '  38 records (0123456789ab): CC-BY-4.0 30, unknown 8',
    ]
  assert main.main(['models', '--show', str(output), '--json']) == 0
  assert json.loads(capsys.readouterr().out)['flow'] == about
  shutil.copytree(source / 'flow', tmp_path / 'run' / 'model')  # a training folder
  assert main.main(['models', '--show', str(tmp_path / 'run')]) == 0
  assert capsys.readouterr().out.splitlines()[0] == 'model: mine, step 7'


def test_what_is_no_model_has_no_data(tmp_path, capsys):
  assert main.main(['models', '--show', 'default']) == 0
  assert 'flow: ' in capsys.readouterr().out
  (tmp_path / 'model').mkdir()
  (tmp_path / 'model' / 'config.json').write_text('{}')
  (tmp_path / 'model' / 'model.safetensors').write_bytes(b'no weights')
  for path, message in ((tmp_path / 'absent', 'No model at'), (tmp_path, 'is damaged')):
    assert main.main(['models', '--show', str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_packing_where_something_else_is_leaves_it(parts, tmp_path, capsys):
  flow = run_of(parts, tmp_path / 'flow', 'codec', 'flow')

  def refused(run, output):
    before = content(tmp_path)
    assert main.main(['models', '--pack', run, '--output', str(output)]) == 2
    assert content(tmp_path) == before and not list(tmp_path.glob('.*'))
    (line,) = capsys.readouterr().err.splitlines()
    return line

  (tmp_path / 'file').write_text('mine')
  run_of(parts, tmp_path / 'folder', 'codec')
  (tmp_path / 'link').symlink_to('nowhere')
  for name in ('file', 'folder', 'link'):
    assert f'{name} exists already and is no packed model' in refused(flow, tmp_path / name)
  # Another model of one part.
  run_of(parts, tmp_path / 'other', 'codec', 'flow')
  found = weights.load_export(parts / 'flow')
  changed = {name: array + 1 for name, array in found.arrays.items()}
  weights.export(changed, tmp_path / 'other' / 'flow', found.config)
  assert main.main(['models', '--pack', str(tmp_path / 'other'), '--output', str(tmp_path / 'mine')]) == 0
  assert 'mine/flow exists already and is another model; wanted the same' in refused(flow, tmp_path / 'mine')
  # Generators whose clips differ.
  tokens = run_of(parts, tmp_path / 'tokens', 'codec_rvq', 'tokens')
  c = weights.load_export(parts / 'tokens').config.copy_and_resolve_references().unlock()
  c.clip.clip_s = 1.0
  weights.export(weights.load_export(parts / 'tokens').arrays, tmp_path / 'tokens' / 'tokens', c)
  assert 'generators of one model must have one clip' in refused(tokens, tmp_path / 'mine')
