"""Stacks of equal layers: one module whose parameters have a leading layer axis.

Layers are applied by a scan, so that compile time does not grow with depth, or unrolled. A remat policy
(rematerialization, activation checkpointing) decides what the backward pass reads from memory and what it
recomputes. Both are arguments of the functions
here; where they are None, those of `execution.current()` apply.
"""

from collections.abc import Callable
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import execution
from v2a import workarounds
from v2a.models import attention
from v2a.models import layers
from v2a.sharding import rules


def _is_attention_residual(primitive, *_, **params) -> bool:
  """Whether the backward pass of a fused attention kernel needs this: its output and softmax statistics."""
  return (
    primitive.name.startswith('dot_product_attention_fwd')  # cuDNN's, which has no checkpoint name
    or primitive.name == 'name'
    and params['name'] == attention.RESIDUAL
  )


_COSTLY = ('dot_general', 'conv_general_dilated', 'exp', 'rsqrt', 'reduce_sum', 'reduce_max')


def _is_costly(primitive, *_, **params) -> bool:
  """Whether reading this in the backward pass is cheaper than recomputing it.

  Elementwise functions fuse with the product or sum that reads them, except the exponentials of attention.
  """
  return (
    primitive.name in _COSTLY or primitive.name == 'name' and params['name'] == layers.DEPTHWISE_CONV_OUTPUT
  )


REMAT_POLICIES = {
  # Without a policy, a scan stacks all that the backward pass reads, even what is a sum of two other arrays.
  'none': jax.checkpoint_policies.save_from_both_policies(_is_costly, _is_attention_residual),
  # Saves products and the residuals of attention; recomputes kernels that are bound by memory bandwidth.
  'dots': jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _is_attention_residual
  ),
  'full': jax.checkpoint_policies.nothing_saveable,
  'offload': jax.checkpoint_policies.offload_dot_with_no_batch_dims('device', 'pinned_host'),
}


def make(make_block: Callable[[nnx.Rngs], nnx.Module], num_layers: int, rngs: nnx.Rngs) -> nnx.Module | None:
  """Returns a stack of layers.

  Args:
    make_block: makes one layer.
    num_layers: 0 returns None.
    rngs: each layer is initialized with its own keys.
  """
  if not num_layers:
    return None

  @nnx.split_rngs(splits=num_layers)
  @nnx.vmap(in_axes=(0,), out_axes=0)
  def make_all(rngs):
    return make_block(rngs)

  return make_all(rngs)


def scan(
  blocks: nnx.Module | None,
  carry: Any,
  *args: Any,
  unrolled: bool | None = None,
  remat: str | None = None,
) -> Any:
  """Applies stacked layers one after the other: carry = block(carry, *args).

  Args:
    blocks: see `make`.
    carry: the residual stream (any pytree); cast to float32, whatever type products run in.
    *args: given to every layer.
    unrolled, remat: see `scan_with`.

  Returns:
    The last carry.
  """
  carry = jax.tree.map(lambda x: x.astype(jnp.float32), carry)
  apply = lambda block, carry, _: (block(carry, *args), None)
  return scan_with(apply, blocks, carry, unrolled=unrolled, remat=remat)[0]


def scan_with(
  apply: Callable,
  blocks: nnx.Module | None,
  carry: Any,
  xs: Any = None,
  *,
  unrolled: bool | None = None,
  remat: str | None = None,
) -> tuple[Any, Any]:
  """Applies stacked layers one after the other: carry, y = apply(block, carry, x).

  Args:
    apply: see above.
    blocks: see `make`.
    carry: any pytree; its types must not change on the way.
    xs: inputs of each layer: a pytree with a leading layer axis, or None.
    unrolled: whether to unroll the loop. The values do not change, but parameters and residuals need not be
      sliced out of stacks. None for `execution.current().unrolled`.
    remat: a key of REMAT_POLICIES. Where unrolled, 'none' leaves the choice to XLA. None for
      `execution.current().remat`.

  Returns:
    The last carry, and every layer's y stacked along a leading layer axis; None for y without layers.
  """
  if blocks is None:
    return carry, None
  config = execution.current()
  unrolled = config.unrolled if unrolled is None else unrolled
  remat = config.remat if remat is None else remat
  body, state = _body(apply, blocks)
  if remat != 'none' or not unrolled:  # unrolled, XLA itself finds what is cheap to recompute
    # Inside a loop, XLA's common subexpression elimination cannot undo the recomputation; unrolled it can.
    body = jax.checkpoint(body, policy=REMAT_POLICIES[remat], prevent_cse=unrolled)
  return jax.lax.scan(body, carry, (state, xs), unroll=unrolled or 1)


def apply_one(
  apply: Callable, block: nnx.Module, carry: Any, x: Any = None, *, remat: str | None = None
) -> tuple[Any, Any]:
  """Applies a single layer that differs from those of a stack, as `scan_with` applies each of them.

  Args:
    apply, carry: see `scan_with`.
    block: a layer, without a layer axis.
    x: its input.
    remat: see `scan_with`.

  Returns:
    carry, y = apply(block, carry, x).
  """
  remat = execution.current().remat if remat is None else remat
  body, state = _body(apply, block)
  if remat != 'none':
    body = jax.checkpoint(body, policy=REMAT_POLICIES[remat])
  return body(carry, (state, x))


def _body(apply: Callable, blocks: nnx.Module):
  """Returns (carry, (state of one layer, x)) -> (carry, y), and the state of all layers."""
  graphdef, state = nnx.split(blocks)

  def body(carry, layer):
    layer_state, x = layer
    carry = jax.tree.map(_constrain, carry)
    return apply(nnx.merge(graphdef, layer_state), carry, x)

  return body, state


def _constrain(x: jax.Array) -> jax.Array:
  """Returns a residual stream (BSD) sharded over the batch and context axes; other arrays as they are.

  Without the constraint, XLA may gather the batch where parameters are sharded (`fsdp`).
  """
  if x.ndim != 3:  # KV caches, which only their own layer reads
    return x
  config = execution.current()
  num_devices = 1 if config.mesh is None else config.mesh.size
  x = workarounds.pin_row_major(x, config.device().platform, num_devices)
  return rules.constrain(x, 'batch', 'time', None)
