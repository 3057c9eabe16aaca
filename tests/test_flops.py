"""Counts of operations against known ones."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import builders
from v2a import execution
from v2a import flops
from v2a.conditioning import condition as condition_lib
from v2a.config import schema
from v2a.sharding import mesh as mesh_lib


def count(function, *shapes):
  """Returns the operations of a function of arrays of these shapes."""
  return flops.count(jax.make_jaxpr(function)(*(np.zeros(shape, np.float32) for shape in shapes)))


def test_products_count_two_operations_per_multiply_add():
  assert count(lambda a, b: a @ b, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
  assert count(lambda a, b: jnp.einsum('bij,bjk->bik', a, b), (2, 3, 5), (2, 5, 7)) == 2 * 2 * 3 * 5 * 7
  assert count(lambda a, b: jnp.tanh(a) + b, (3, 5), (3, 5)) == 0


def test_convolutions_count_by_outputs():
  def convolve(x, kernel, groups):
    return jax.lax.conv_general_dilated(
      x, kernel, (1,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC'), feature_group_count=groups
    )

  assert count(lambda x, k: convolve(x, k, 1), (2, 10, 3), (5, 3, 4)) == 2 * 5 * 3 * 2 * 10 * 4
  assert count(lambda x, k: convolve(x, k, 3), (2, 10, 3), (5, 1, 3)) == 2 * 5 * 2 * 10 * 3


def test_loops_count_by_length_and_branches_by_the_larger_one():
  def scanned(a, b):
    return jax.lax.scan(lambda carry, _: (carry @ b, None), a, None, length=11)[0]

  assert count(scanned, (3, 5), (5, 5)) == 11 * 2 * 3 * 5 * 5
  assert count(jax.jit(scanned), (3, 5), (5, 5)) == 11 * 2 * 3 * 5 * 5
  assert count(lambda a, b: jax.lax.fori_loop(0, 4, lambda _, x: x @ b, a), (3, 5), (5, 5)) == 4 * 150
  branch = lambda a, b: jax.lax.cond(a.sum() > 0, lambda: a @ b, lambda: a @ b @ b)
  assert count(branch, (3, 5), (5, 5)) == 2 * 150


def test_equations_without_results_count_nothing():
  nothing = jax.jit(lambda x: (x @ x, ())[1])
  jaxpr = jax.make_jaxpr(lambda x: (nothing(x), x @ x)[1])(jnp.ones((4, 4)))
  assert any(not equation.outvars for equation in jaxpr.eqns)
  assert flops.count(jaxpr) == 2 * 4**3


def test_operations_of_all_devices_are_counted():
  mesh = mesh_lib.make({'data': 4}, jax.devices()[:4])
  spec = jax.sharding.PartitionSpec
  run = jax.shard_map(lambda a, b: a @ b, mesh=mesh, in_specs=(spec('data'), spec()), out_specs=spec('data'))
  assert count(run, (8, 5), (5, 7)) == 2 * 8 * 5 * 7


def test_counts_of_a_model_match_the_compiler():
  c = schema.tiny(schema.base()).unlock()
  # Wide, so that products outweigh the other operations that the compiler counts: sums, norms, softmax.
  c.flow.update(width=256, num_joint_layers=2, num_audio_layers=2)
  spec, width = schema.clip_spec(c), c.conditioning.width
  graphdef, state = nnx.split(nnx.eval_shape(lambda: builders.flow(c, nnx.Rngs(0))))
  of = lambda *shape, dtype=jnp.float32: jax.ShapeDtypeStruct((2, *shape), dtype)
  mask_BU = of(8, dtype=jnp.bool_)
  condition = condition_lib.Condition(
    semantic_BMD=of(spec.num_semantic_frames, width),
    sync_BLD=of(spec.num_sync_frames, width),
    text_BUD=of(8, width),
    text_mask_BU=mask_BU,
    transcript_BWD=of(8, width),
    transcript_mask_BW=mask_BU,
  )
  arguments = state, of(spec.num_latents, c.codec.num_latent_channels), of(), condition

  def gradient(state, z_BTC, t_B, condition):
    return jax.grad(lambda state: nnx.merge(graphdef, state).velocity(z_BTC, t_B, condition).sum())(state)

  with execution.use(attention_kernel='einsum', unrolled=True):
    cost = jax.jit(gradient).lower(*arguments).compile().cost_analysis()
    unrolled = flops.count(jax.make_jaxpr(gradient)(*arguments))
  scanned = flops.count(jax.make_jaxpr(lambda *all_of: gradient(*all_of))(*arguments))
  assert scanned == unrolled
  assert 0.95 * cost['flops'] < unrolled <= cost['flops']
