"""Stacks of layers: scanned and unrolled, remat policies, constraints of the residual stream."""

import re
import types

from flax import nnx
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import execution
from v2a.models import attention
from v2a.models import layers
from v2a.models import stack
from v2a.sharding import mesh as mesh_lib


@pytest.mark.parametrize('remat', sorted(stack.REMAT_POLICIES))
def test_scan_equals_a_loop_over_layers(remat):
  blocks = stack.make(lambda rngs: layers.ConvNeXtBlock(8, rngs=rngs), 3, nnx.Rngs(0))
  x_BTD = jax.random.normal(jax.random.key(0), (1, 6, 8))
  graphdef, state = nnx.split(blocks)
  wanted = x_BTD
  for layer in range(3):
    wanted = nnx.merge(graphdef, jax.tree.map(lambda leaf, layer=layer: leaf[layer], state))(wanted)
  np.testing.assert_allclose(stack.scan(blocks, x_BTD), wanted, atol=1e-5)

  # What is saved and what is recomputed shows in the gradient's program, not in its values.
  def gradient(remat):
    return jax.grad(lambda x_BTD: jnp.sum(jnp.sin(stack.scan(blocks, x_BTD, remat=remat))))

  np.testing.assert_allclose(gradient(remat)(x_BTD), gradient('none')(x_BTD), atol=1e-5)
  program = str(jax.make_jaxpr(gradient(remat))(x_BTD))
  plain = str(jax.make_jaxpr(gradient('none'))(x_BTD))
  assert (program.count('rsqrt') > plain.count('rsqrt')) == (remat != 'none')
  assert ('<host>' in program or 'host' in program) == (remat == 'offload')
  assert (program.count('dot_general') > plain.count('dot_general')) == (remat == 'full')
  with execution.use(remat=remat):  # which has the same effect as the argument
    total = lambda x_BTD: jnp.sum(jnp.sin(stack.scan(blocks, x_BTD)))
    assert str(jax.make_jaxpr(jax.grad(total))(x_BTD)).count('rsqrt') == program.count('rsqrt')
  kernels = np.asarray(blocks.up.kernel_IO[...])
  assert not np.allclose(kernels[0], kernels[1])


def test_scan_saves_only_costly_residuals(monkeypatch):
  blocks = stack.make(lambda rngs: layers.EncoderBlock(8, 2, rngs=rngs), 3, nnx.Rngs(0))
  costly = 'dot_general', 'exp', 'rsqrt', 'reduce_sum', 'reduce_max'

  def found():
    total = lambda x_BTD: jnp.sum(stack.scan(blocks, x_BTD))  # a new function, since JAX caches traces
    jaxpr = jax.make_jaxpr(jax.grad(total))(jnp.ones((1, 6, 8)))
    forward = next(eqn for eqn in jaxpr.eqns if eqn.primitive.name == 'scan')
    return (
      sum(out.aval.size for out in forward.outvars),
      {name: len(re.findall(rf'= {name}\b', str(jaxpr))) for name in costly},
    )

  num_saved, num_costly = found()
  monkeypatch.setitem(stack.REMAT_POLICIES, 'none', jax.checkpoint_policies.everything_saveable)
  assert num_saved < 0.8 * found()[0] and num_costly == found()[1]
  assert all(num_costly.values())


def test_unrolled_layers_equal_scanned_ones_without_a_loop():
  blocks = stack.make(lambda rngs: layers.ConvNeXtBlock(8, rngs=rngs), 3, nnx.Rngs(0))
  x_BTD = jax.random.normal(jax.random.key(0), (1, 6, 8))
  run = lambda **kwargs: jax.jit(lambda x_BTD: stack.scan(blocks, x_BTD, **kwargs)).lower(x_BTD)
  scanned, unrolled = run(), run(unrolled=True)
  assert 'while' in scanned.as_text() and 'while' not in unrolled.as_text()
  np.testing.assert_allclose(unrolled.compile()(x_BTD), scanned.compile()(x_BTD), atol=1e-6)
  with execution.use(unrolled=True):
    assert 'while' not in run().as_text() and 'while' in run(unrolled=False).as_text()


def test_scan_keeps_the_carry_sharded_over_the_batch():
  blocks = stack.make(lambda rngs: layers.ConvNeXtBlock(8, rngs=rngs), 2, nnx.Rngs(0))
  x_BTD = jnp.ones((8, 6, 8))
  with execution.use(mesh=mesh_lib.make({'data': 2, 'fsdp': 4})):
    found = jax.jit(lambda x_BTD: stack.scan(blocks, x_BTD))(x_BTD)
  assert found.sharding.shard_shape(found.shape) == (1, 6, 8)


def test_remat_dots_saves_residuals_of_fused_attention():
  kernel = lambda x: jnp.sin(checkpoint_name(jnp.sin(x), attention.RESIDUAL))
  grad = lambda remat: str(
    jax.make_jaxpr(
      jax.grad(lambda x: jax.checkpoint(lambda x: kernel(x).sum(), policy=stack.REMAT_POLICIES[remat])(x))
    )(jnp.ones(3))
  )
  assert grad('dots').count('sin ') < grad('full').count('sin ')


def test_residual_streams_on_gpus_are_stored_with_features_innermost(monkeypatch):
  block = lambda rngs: layers.ConvNeXtBlock(8, rngs=rngs)
  blocks, x_BTD = stack.make(block, 3, nnx.Rngs(0)), jnp.ones((1, 6, 8))
  traced = lambda: str(jax.make_jaxpr(lambda x_BTD: stack.scan(blocks, x_BTD))(x_BTD))
  assert 'layout_constraint' not in traced()
  monkeypatch.setattr(
    execution.ExecutionConfig, 'device', lambda config: types.SimpleNamespace(platform='gpu')
  )
  assert 'layout_constraint' in traced()
