from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import weights
from v2a.config import schema


class Model(nnx.Module):
  def __init__(self):
    self.part = nnx.List([nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 1, rngs=nnx.Rngs(1))])
    self.mean = nnx.Variable(jnp.full((), 0.25))
    self.count = nnx.Variable(jnp.arange(3))


NAMES = {'part.0.kernel', 'part.0.bias', 'part.1.kernel', 'part.1.bias', 'mean', 'count'}


@pytest.mark.parametrize(('dtype', 'tolerance'), [('float32', 0), ('float16', 1e-3)])
def test_round_trip(tmp_path, dtype, tolerance):
  model, c = Model(), schema.base()
  weights.export(model, tmp_path / 'a', c, dtype, {'step': 7})
  export = weights.load_export(tmp_path / 'a')
  assert set(export.arrays) == NAMES and export.config == c and export.about == {'step': 7}
  assert export.arrays['mean'].shape == () and export.arrays['count'].dtype == np.int32
  other = Model()
  other.part[0].kernel[...] = jnp.zeros((2, 3))
  weights.assign(other, export.arrays)
  np.testing.assert_allclose(other.part[0].kernel[...], model.part[0].kernel[...], rtol=tolerance)
  assert other.part[0].kernel[...].dtype == jnp.float32
  assert sorted(path.name for path in (tmp_path / 'a').iterdir()) == ['config.json', 'model.safetensors']


def test_assign_selects_a_part_of_a_larger_model():
  model = Model()
  arrays = {'part.1.kernel': np.ones((3, 1)), 'part.1.bias': np.ones(1), 'part.10.bias': np.ones(1)}
  weights.assign(model.part[1], arrays, 'part.1')
  assert float(model.part[1].kernel[0, 0]) == 1.0


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'part.0.kernel': np.zeros((3, 2))}, r'part.0.kernel has shape \(3, 2\), wanted \(2, 3\)'),
    ({'extra': np.zeros(1)}, 'missing none, unknown extra'),
    ({'mean': None}, 'missing mean, unknown none'),
  ],
)
def test_weights_of_another_model_are_errors(change, message):
  arrays = dict(weights.flatten(nnx.state(Model()))) | change
  arrays = {name: array for name, array in arrays.items() if array is not None}
  with pytest.raises(ValueError, match=message):
    weights.assign(Model(), arrays)
  with pytest.raises(ValueError, match='The weights of runs/a do not fit the model: .*' + message):
    weights.assign(Model(), arrays, source='runs/a')


@pytest.mark.parametrize(('value', 'dtype'), [(np.nan, 'float32'), (1e5, 'float16')])
def test_only_finite_weights_are_written(tmp_path, value, dtype):
  model = Model()
  model.mean[...] = jnp.full((), value)
  with pytest.raises(ValueError, match=f'mean holds values that are not finite in {dtype}'):
    weights.export(model, tmp_path / 'a', schema.base(), dtype)
  assert not (tmp_path / 'a').exists()


def test_missing_or_damaged_files_are_errors(tmp_path):
  with pytest.raises(FileNotFoundError, match='No model at'):
    weights.load_export(tmp_path)
  weights.export(Model(), tmp_path / 'model', schema.base())
  assert weights.locate(tmp_path) == tmp_path / 'model'
  file = tmp_path / 'model' / weights.WEIGHTS
  file.write_bytes(file.read_bytes()[:-10])
  with pytest.raises(ValueError, match='is damaged'):
    weights.load_export(tmp_path)
