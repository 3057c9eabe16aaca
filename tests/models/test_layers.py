"""Layers: rotary embedding, convolution, norms, mixed-precision linear maps, resampling."""

import re

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import execution
from v2a.models import layers
from v2a.models import vit
from v2a.sharding import mesh as mesh_lib
from v2a.sharding import rules


def test_rope_depends_only_on_time_differences():
  q, k = (jax.random.normal(jax.random.key(i), (1, 6, 2, 8)) for i in range(2))
  time_BS = jnp.array([[0.0, 0.04, 0.5, 1.0, 2.5, 4.0]])
  product = lambda shift_s: jnp.einsum(
    'BQHE,BSHE->BHQS', layers.rope(q, time_BS + shift_s), layers.rope(k, time_BS + shift_s)
  )
  np.testing.assert_allclose(product(0.0), product(3.2), atol=1e-3)


def test_depthwise_convolution_equals_numpy():
  x_BTD = jax.random.normal(jax.random.key(0), (1, 12, 3))
  kernel_SD = jax.random.normal(jax.random.key(1), (5, 3))
  found = np.asarray(layers.depthwise_conv(x_BTD, kernel_SD))[0]
  for d in range(3):
    wanted = np.convolve(np.asarray(x_BTD)[0, :, d], np.asarray(kernel_SD)[::-1, d], mode='same')
    np.testing.assert_allclose(found[:, d], wanted, atol=1e-5)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_layer_norm_and_its_gradient_equal_autodiff(dtype):
  x_BSD = (3 + 2 * jax.random.normal(jax.random.key(0), (2, 5, 64))).astype(dtype)

  def plain(x_BSD):
    x32 = x_BSD.astype(jnp.float32)
    centred = x32 - x32.mean(-1, keepdims=True)
    return (centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6)).astype(dtype)

  both = lambda norm: jax.value_and_grad(lambda x: jnp.sum(jnp.sin(2 * norm(x).astype(jnp.float32))))(x_BSD)
  (wanted, dx_wanted), (found, dx_found) = both(plain), both(layers.layer_norm)
  tolerance = {'atol': 1e-5} if dtype == jnp.float32 else {'atol': 3e-3}
  np.testing.assert_allclose(layers.layer_norm(x_BSD), plain(x_BSD), **tolerance | {'rtol': 1e-2})
  np.testing.assert_allclose(found, wanted, rtol=1e-3)
  np.testing.assert_allclose(dx_found.astype(jnp.float32), dx_wanted.astype(jnp.float32), **tolerance)


def test_a_constant_is_normalised_to_zero():
  x_BSD = jnp.full((1, 2, 8), 300.1)
  assert (
    np.abs(layers.layer_norm(x_BSD)).max() < 1e-1
    and np.isfinite(jax.grad(lambda x: layers.layer_norm(x).sum())(x_BSD)).all()
  )


def test_resampling_is_exact_on_straight_lines():
  ramp_BSD = jnp.asarray(layers.grid_times(50, 25.0))[None, :, None]
  found = layers.resample_time(ramp_BSD, 25.0, 86, 43.0)
  np.testing.assert_allclose(found[0, 2:-2, 0], layers.grid_times(86, 43.0)[2:-2], atol=1e-5)


def test_patches_are_ordered_by_row_and_column():
  frame_BLYX3 = jnp.arange(8 * 8 * 3.0).reshape(1, 1, 8, 8, 3)
  patch_BLPI = vit.patchify(frame_BLYX3, 4)
  np.testing.assert_array_equal(patch_BLPI[0, 0, 1].reshape(4, 4, 3), frame_BLYX3[0, 0, :4, 4:])
  with pytest.raises(ValueError, match='multiples of patch=3; got 8x8'):
    vit.patchify(frame_BLYX3, 3)


def test_width_not_divisible_by_heads_is_an_error():
  with pytest.raises(ValueError, match='even whole number; got 10 / 4'):
    layers.EncoderBlock(10, 4, rngs=nnx.Rngs(0))


@pytest.mark.parametrize('shape', [(3, 64), (2, 5, 64)])
def test_cast_kernels_get_float32_gradients(shape):
  layer = layers.Linear(64, 16, ('embed', 'mlp'), rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
  graphdef, params = nnx.split(layer)
  x = jax.random.normal(jax.random.key(1), shape)

  def gradient(gradient_dtype):
    def total(params):
      cast = params if gradient_dtype is None else layers.cast(params, gradient_dtype)
      return jnp.sum(jnp.sin(nnx.merge(graphdef, cast)(x).astype(jnp.float32)))

    return jax.value_and_grad(total)(params)

  (wanted, plain), (found, exact), (_, rounded) = (gradient(each) for each in (None, 'float32', 'bfloat16'))
  assert float(found) == float(wanted)  # what is computed forward does not change
  is_rounded = lambda leaf: bool((leaf == leaf.astype(jnp.bfloat16)).all())
  kernels = [tree['kernel_IO'].get_value() for tree in (exact, rounded, plain)]
  assert [kernel.dtype for kernel in kernels] == 3 * [jnp.float32]
  assert [is_rounded(kernel) for kernel in kernels] == [False, True, True]
  np.testing.assert_allclose(kernels[0], kernels[1], rtol=2**-7, atol=1e-6)
  assert not is_rounded(exact['bias_O'].get_value())


def test_rope_rotates_a_pair_once_per_period():
  # The first pair's period is the shortest: a quarter of it takes (1, 0) to (0, 1).
  x_BSHE = jnp.zeros((1, 3, 1, 8)).at[..., 0].set(1.0)
  time_BS = layers.ROPE_MIN_PERIOD_S * jnp.array([[0.0, 0.25, 1.0]])
  turned = np.asarray(layers.rope(x_BSHE, time_BS))[0, :, 0]
  np.testing.assert_allclose(turned[:, [0, 4]], [[1, 0], [0, 1], [1, 0]], atol=1e-5)
  # The last pair's is the longest.
  x_BSHE = jnp.zeros((1, 1, 1, 8)).at[..., 3].set(1.0)
  turned = layers.rope(x_BSHE, jnp.array([[layers.ROPE_MAX_PERIOD_S / 4]]))
  np.testing.assert_allclose(turned[0, 0, 0, jnp.array([3, 7])], [0, 1], atol=1e-5)


@pytest.mark.parametrize('gradient_dtype', ['float32', 'bfloat16'])
def test_devices_sum_kernel_gradients_in_the_gradient_dtype(gradient_dtype):
  mesh = mesh_lib.make({'data': 2, 'fsdp': 4})
  layer = layers.Linear(64, 32, ('embed', 'mlp'), rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
  graphdef, params = nnx.split(layer)
  shardings = rules.shardings(params, mesh)

  def total(params, x_BF):
    with execution.use(mesh=mesh):
      return jnp.sum(nnx.merge(graphdef, layers.cast(params, gradient_dtype))(x_BF).astype(jnp.float32) ** 2)

  step = jax.jit(
    jax.grad(total), in_shardings=(shardings, mesh_lib.batch_sharding(mesh)), out_shardings=shardings
  )
  text = step.lower(params, jnp.ones((16, 64))).compile().as_text()
  sums = [line for line in text.splitlines() if re.search(r' (all-reduce|reduce-scatter)\(', line)]
  # CPUs sum bfloat16 in float32, and name that sum "promoted".
  assert sums and any('promoted' in line or 'bf16' in line for line in sums) == (gradient_dtype == 'bfloat16')


def test_inputs_without_gradient_cost_no_product():
  graphdef, params = nnx.split(layers.Linear(8, 4, ('embed', 'mlp'), rngs=nnx.Rngs(0), dtype=jnp.bfloat16))
  total = lambda params, x: nnx.merge(graphdef, layers.cast(params))(x).astype(jnp.float32).sum()
  for argnums, num_products in ((0, 2), ((0, 1), 3)):
    program = str(jax.make_jaxpr(jax.grad(total, argnums))(params, jnp.ones((3, 8))))
    assert program.count('dot_general[') == num_products
