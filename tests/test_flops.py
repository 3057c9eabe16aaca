"""Operations counted where the answer is known."""

import jax
import jax.numpy as jnp
import numpy as np

from v2a import flops
from v2a.sharding import mesh as mesh_lib


def count(function, *shapes):
  """Returns the operations of a function of arrays of these shapes."""
  return flops.count(jax.make_jaxpr(function)(*(np.zeros(shape, np.float32) for shape in shapes)))


def test_products_count_twice_their_multiply_adds():
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


def test_loops_count_by_their_length_and_branches_by_the_dearer_one():
  def scanned(a, b):
    return jax.lax.scan(lambda carry, _: (carry @ b, None), a, None, length=11)[0]

  assert count(scanned, (3, 5), (5, 5)) == 11 * 2 * 3 * 5 * 5
  assert count(jax.jit(scanned), (3, 5), (5, 5)) == 11 * 2 * 3 * 5 * 5
  assert count(lambda a, b: jax.lax.fori_loop(0, 4, lambda _, x: x @ b, a), (3, 5), (5, 5)) == 4 * 150
  branch = lambda a, b: jax.lax.cond(a.sum() > 0, lambda: a @ b, lambda: a @ b @ b)
  assert count(branch, (3, 5), (5, 5)) == 2 * 150


def test_devices_count_together():
  mesh = mesh_lib.make({'data': 4}, jax.devices()[:4])
  spec = jax.sharding.PartitionSpec
  run = jax.shard_map(lambda a, b: a @ b, mesh=mesh, in_specs=(spec('data'), spec()), out_specs=spec('data'))
  assert count(run, (8, 5), (5, 7)) == 2 * 8 * 5 * 7
