"""The execution config: defaults, nesting, and what is restored."""

import jax
import pytest

from v2a import execution
from v2a.sharding import mesh as mesh_lib


def test_changes_nest_and_end_with_their_block():
  assert execution.current() == execution.ExecutionConfig()
  with execution.use(remat='dots', unrolled=True):
    with execution.use(remat='full') as inner:
      assert execution.current() is inner
      assert (inner.remat, inner.unrolled) == ('full', True)
    assert execution.current().remat == 'dots'
  assert execution.current() == execution.ExecutionConfig()


def test_the_config_is_restored_after_an_error():
  with pytest.raises(RuntimeError), execution.use(remat='dots'):
    raise RuntimeError
  assert execution.current().remat == 'none'


def test_unknown_attributes_are_errors():
  with pytest.raises(TypeError, match='rematerialize'), execution.use(rematerialize='dots'):
    pass


def test_device_and_axis_sizes_are_those_of_the_mesh():
  config = execution.ExecutionConfig()
  assert config.device() == jax.devices()[0] and config.mesh_size('context') == 1
  config = execution.ExecutionConfig(mesh=mesh_lib.make({'context': 2}, jax.devices()[2:4]))
  assert config.device() == jax.devices()[2] and config.mesh_size('context') == 2
