import contextlib

import jax
from jax.experimental.compilation_cache import compilation_cache
import numpy as np
import pytest
import toy

from v2a import weights
from v2a.data import loader
from v2a.sharding import mesh as mesh_lib
from v2a.training import compiled_step
from v2a.training import loop
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import step as step_lib

DEVICES = jax.devices()[:2]


@contextlib.contextmanager
def uncached():
  """Disables the compilation cache: on CPUs, an executable from the cache cannot be serialized again."""
  folder = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', None)
  compilation_cache.reset_cache()
  yield
  jax.config.update('jax_compilation_cache_dir', folder)
  compilation_cache.reset_cache()


@pytest.fixture(scope='module')
def executable_path(tmp_path_factory):
  """The compiled step of the toy task on two devices."""
  c, task = toy.configuration(), toy.Task()
  optimizer, mesh = optimizer_lib.make(c.training), mesh_lib.make(c.mesh.to_dict(), DEVICES)
  abstract = state_lib.abstract(task, optimizer, mesh)
  step = step_lib.make(c, task, state_lib.graph(task), optimizer, mesh, abstract)
  lowered = step.lower(jax.tree.leaves(abstract), loader.abstract_batch(c, task, mesh))
  path = tmp_path_factory.mktemp('executable') / 'step'
  with uncached():
    compiled_step.save(lowered, lowered.compile(), path)
  return path


def test_training_loads_a_compiled_step(executable_path, tmp_path, monkeypatch, capsys):
  compiled = loop.train(toy.configuration(), tmp_path / 'a', toy.Task(), devices=DEVICES)
  make = step_lib.make

  class Uncompiled:
    """A step that can be lowered, but not called."""

    def __init__(self, *arguments):
      self.lower = make(*arguments).lower

  monkeypatch.setattr(step_lib, 'make', Uncompiled)
  assert 'Compiled in' in capsys.readouterr().out
  loaded = loop.train(
    toy.configuration(), tmp_path / 'b', toy.Task(), devices=DEVICES, executable_path=executable_path
  )
  assert 'Compil' not in capsys.readouterr().out
  wanted, found = (weights.load_export(path).arrays for path in (compiled, loaded))
  for name, value in wanted.items():
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
  'other', [{'learning_rate': 0.5}, {'batch_size': 16}, {'devices': jax.devices()[:4]}]
)
def test_an_executable_of_another_step_is_refused(executable_path, tmp_path, other):
  settings = dict(other)
  devices = settings.pop('devices', DEVICES)
  c = toy.configuration(**settings)
  with pytest.raises(ValueError, match='was compiled for another step'):
    loop.train(c, tmp_path, toy.Task(), devices=devices, executable_path=executable_path)


def test_a_file_that_is_no_executable_is_refused(tmp_path):
  path = tmp_path / 'text'
  path.write_bytes(b'no pickle')
  with pytest.raises(ValueError, match='holds no executable'):
    loop.train(toy.configuration(), tmp_path / 'run', toy.Task(), devices=DEVICES, executable_path=path)
