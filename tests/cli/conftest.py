"""A whole model of the smallest size with random weights, and small videos to generate for."""

import fractions
import pathlib

import av
from flax import nnx
import numpy as np
import pytest

from v2a import weights
from v2a.cli import main
from v2a.config import schema
from v2a.sampling import bundle as bundle_lib


@pytest.fixture(scope='session')
def bundle(tmp_path_factory) -> pathlib.Path:
  """Returns the folder of a model: right in all but what it has learned, which is nothing."""
  folder = tmp_path_factory.mktemp('models') / 'untrained'
  rng = np.random.default_rng(0)
  for part in ('codec', 'codec_rvq', 'flow', 'tokens', 'sync'):
    make = bundle_lib.PART_BUILDERS[part]
    c = schema.tiny(schema.base()).unlock()
    c.task = 'codec' if part == 'codec_rvq' else part
    c.codec.bottleneck = 'rvq' if part in ('codec_rvq', 'tokens') else 'kl'
    c.generation.overlap_s = 0.0  # windows of a second leave no room for more
    # Shapes alone are traced; numbers from NumPy spare the tests from compiling initial values.
    wanted = weights.flatten(nnx.state(nnx.eval_shape(lambda make=make, c=c: make(c, nnx.Rngs(0)))))
    arrays = {
      name: (0.05 * rng.normal(size=array.shape)).astype(array.dtype) for name, array in wanted.items()
    }
    weights.export(arrays, folder / part, c.lock())
  return folder


@pytest.fixture(scope='session')
def video(tmp_path_factory) -> pathlib.Path:
  """Returns a silent video of one second: a square that moves."""
  path = tmp_path_factory.mktemp('films') / 'film.mp4'
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=fractions.Fraction(25), options={'preset': 'ultrafast'})
    stream.width, stream.height = 64, 48
    stream.pix_fmt = 'yuv420p'
    for number in range(25):
      frame_YX3 = np.zeros((48, 64, 3), np.uint8)
      frame_YX3[10:22, number * 2 : number * 2 + 12] = 255
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_YX3, format='rgb24')))
    container.mux(stream.encode(None))
  return path


@pytest.fixture(scope='session')
def loaded_bundle(bundle) -> bundle_lib.Bundle:
  """Returns the model of the tests, loaded once."""
  return bundle_lib.load(bundle)


@pytest.fixture
def run_generate(bundle, loaded_bundle, tmp_path, capsys, monkeypatch):
  """Returns a function that runs the program and gives its exit code, stdout and lines of stderr."""
  load = bundle_lib.load

  def known(name, **kwargs):
    is_plain = name == str(bundle) and kwargs == {'generator': None, 'mesh_sizes': None}
    return loaded_bundle if is_plain else load(name, **kwargs)

  monkeypatch.setattr(bundle_lib, 'load', known)

  def run(*words) -> tuple[int, str, list[str]]:
    words = [str(word) for word in words]
    model = () if '--model' in words else ('--model', str(bundle))
    output = () if '--output' in words else ('--output', str(tmp_path / 'out'))
    code = main.main(['generate', *model, *output, *words])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()

  return run


@pytest.fixture(autouse=True)
def without_user_cache(monkeypatch):
  """Leaves the cache that all tests share in place."""
  monkeypatch.setenv('V2A_CACHE', '')
