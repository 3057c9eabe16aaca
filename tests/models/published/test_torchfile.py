"""Files that torch.save wrote, read without torch; see goldens/torchfile.py for what is in them."""

import pathlib
import pickle

import numpy as np
import pytest
import safetensors.numpy

from v2a.models.published import torchfile

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
WHOLE = np.arange(6, dtype=np.float32).reshape(2, 3)
KNOWN = {
  'model.net.whole': WHOLE,
  'model.net.turned': WHOLE.T,
  'model.net.row': WHOLE[1],
  'model.net.half': np.array([0.5, -2.0]),
  'model.net.brain': np.array([1.5, 3.0]),
  'model.net.count': np.array(7),
  'model.net.parameter': np.array([1.0, 2.0]),
}


@pytest.mark.parametrize('name', ['zip.pt', 'stream.pt'])
def test_every_tensor_is_found_and_nothing_else(name):
  found = torchfile.load(GOLDENS / name)
  assert set(found) == set(KNOWN)
  for key, value in KNOWN.items():
    array = found[key].array()
    np.testing.assert_array_equal(array.astype(np.float64), value)
    assert array.shape == found[key].shape and array.dtype == found[key].dtype
  assert found['model.net.half'].dtype == np.float16 and found['model.net.count'].dtype == np.int64
  assert found['model.net.brain'].dtype.name == 'bfloat16'


def test_safetensors(tmp_path):
  safetensors.numpy.save_file({'a.b': WHOLE}, tmp_path / 'x.safetensors')
  found = torchfile.load(tmp_path / 'x.safetensors')
  assert found['a.b'].shape == (2, 3) and found['a.b'].dtype == np.float32
  np.testing.assert_array_equal(found['a.b'].array(), WHOLE)


def test_nothing_of_a_pickle_is_run(tmp_path):
  class Harmful:
    def __reduce__(self):
      return (pathlib.Path.touch, (tmp_path / 'harm',))

  with (tmp_path / 'x.pt').open('wb') as file:
    for part in (torchfile._MAGIC, 1001, {}, {'a': Harmful()}, []):
      pickle.dump(part, file, protocol=2)
  assert torchfile.load(tmp_path / 'x.pt') == {}
  assert not (tmp_path / 'harm').exists()


@pytest.mark.parametrize('name', ['zip.pt', 'stream.pt'])
def test_a_file_that_is_cut_off_is_named(tmp_path, name):
  path = tmp_path / name
  path.write_bytes((GOLDENS / name).read_bytes()[:-20])
  with pytest.raises(ValueError, match=name):
    torchfile.load(path)


def test_what_is_no_file_of_torch(tmp_path):
  (tmp_path / 'x.pt').write_bytes(b'text\n')
  with pytest.raises(ValueError, match='x.pt'):
    torchfile.load(tmp_path / 'x.pt')
  with pytest.raises(FileNotFoundError, match='gone.pt'):
    torchfile.load(tmp_path / 'gone.pt')
