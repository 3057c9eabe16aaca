"""Reading files of torch.save without torch; goldens/torchfile.py writes them."""

import pathlib
import pickle

import numpy as np
import pytest
import safetensors.numpy

from v2a.models.published import torchfile

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
WHOLE = np.arange(6, dtype=np.float32).reshape(2, 3)
EXPECTED = {
  'model.net.whole': WHOLE,
  'model.net.turned': WHOLE.T,
  'model.net.row': WHOLE[1],
  'model.net.half': np.array([0.5, -2.0]),
  'model.net.brain': np.array([1.5, 3.0]),
  'model.net.count': np.array(7),
  'model.net.parameter': np.array([1.0, 2.0]),
}


@pytest.mark.parametrize('name', ['zip.pt', 'stream.pt'])
def test_exactly_the_tensors_are_found(name):
  found = torchfile.load(GOLDENS / name)
  assert set(found) == set(EXPECTED)
  for key, value in EXPECTED.items():
    array = found[key].array()
    np.testing.assert_array_equal(array.astype(np.float64), value)
    assert array.shape == found[key].shape and array.dtype == found[key].dtype
  assert found['model.net.half'].dtype == np.float16 and found['model.net.count'].dtype == np.int64
  assert found['model.net.brain'].dtype.name == 'bfloat16'


def test_safetensors_file_is_read(tmp_path):
  safetensors.numpy.save_file({'a.b': WHOLE}, tmp_path / 'x.safetensors')
  found = torchfile.load(tmp_path / 'x.safetensors')
  assert found['a.b'].shape == (2, 3) and found['a.b'].dtype == np.float32
  np.testing.assert_array_equal(found['a.b'].array(), WHOLE)


def test_pickled_code_is_not_executed(tmp_path):
  class Malicious:
    def __reduce__(self):
      return (pathlib.Path.touch, (tmp_path / 'executed',))

  with (tmp_path / 'x.pt').open('wb') as file:
    for part in (torchfile._MAGIC, 1001, {}, {'a': Malicious()}, []):
      pickle.dump(part, file, protocol=2)
  assert torchfile.load(tmp_path / 'x.pt') == {}
  assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('name', ['zip.pt', 'stream.pt'])
def test_truncated_file_is_named_in_the_error(tmp_path, name):
  path = tmp_path / name
  path.write_bytes((GOLDENS / name).read_bytes()[:-20])
  with pytest.raises(ValueError, match=name):
    torchfile.load(path)


def test_other_and_missing_files_are_named_in_the_error(tmp_path):
  (tmp_path / 'x.pt').write_bytes(b'text\n')
  with pytest.raises(ValueError, match='x.pt'):
    torchfile.load(tmp_path / 'x.pt')
  with pytest.raises(FileNotFoundError, match='missing.pt'):
    torchfile.load(tmp_path / 'missing.pt')


def test_other_values_are_read_without_objects_and_tensors():
  assert torchfile.load_values(GOLDENS / 'zip.pt') == {'iteration': 5, 'sampler': {'pointer': 4}}


def test_written_files_are_read(tmp_path):
  values = {
    'sizes': {
      'rates': [2, 5],
      'is_odd': True,
      'share': 0.5,
      'name': 'a\nb',
      'none': None,
      'pair': (1, -70000),
    }
  }
  torchfile.save(tmp_path / 'x.pth', {'state': {'whole': WHOLE, 'scalar': np.ones((), np.float32)}, **values})
  found = torchfile.load(tmp_path / 'x.pth')
  assert set(found) == {'state.whole', 'state.scalar'} and found['state.scalar'].shape == ()
  np.testing.assert_array_equal(found['state.whole'].array(), WHOLE)
  assert torchfile.load_values(tmp_path / 'x.pth') == values


def test_other_types_are_not_written(tmp_path):
  with pytest.raises(TypeError, match='only float32 arrays are written; got int64'):
    torchfile.save(tmp_path / 'x.pth', {'a': np.arange(3)})
  with pytest.raises(TypeError, match='set cannot be written'):
    torchfile.save(tmp_path / 'x.pth', {'a': {1}})
  assert not list(tmp_path.iterdir())
