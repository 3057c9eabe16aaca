"""Softmax attention, by one of three kernels.

  einsum  plain matrix products; every platform. On CPUs twice as fast as `jax.nn.dot_product_attention` (29
          against 61 ms for 12 heads, 512 tokens).
  cudnn   NVIDIA's fused kernel, which does not write logits to memory; bfloat16 or float16, heads of up to
          128, no sharded sequence.
  splash  the fused kernel for TPUs (jax.experimental.pallas.ops.tpu.splash_attention); head sizes that are
          multiples of 128.

All compute the same (Vaswani et al. 2017, arXiv 1706.03762, eq. 1), with sums in float32. On a mesh, the
batch and the heads are sharded without communication; where `context` shards the sequence of the queries,
every device reads all keys and values.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from v2a import execution
from v2a import shapes
from v2a.sharding import rules

RESIDUAL = 'attention'  # checkpoint name of the residuals of splash, for remat policies
_LANES = 128  # of a TPU: the smallest block and head size of its fused kernel
_BLOCK = 512  # positions in a block, where a sequence is longer than two blocks


def attend(
  q_BQHE: jax.Array,
  k_BSHE: jax.Array,
  v_BSHE: jax.Array,
  mask_BS: jax.Array | None = None,
  mask_QS: np.ndarray | None = None,
  kernel: str | None = None,
) -> jax.Array:
  """Returns attended values BQHE.

  Args:
    q_BQHE, k_BSHE, v_BSHE: queries, keys, values.
    mask_BS: which keys and values are read, at least one per row; None for all. Others may even hold NaN.
    mask_QS: which positions each query reads (causality), the same for all rows; None for all.
    kernel: einsum | cudnn | splash; None for that of `execution.current()`, and else for the
      fastest that platform, types and sizes allow.
  """
  shapes.check(q_BQHE=q_BQHE, k_BSHE=k_BSHE, v_BSHE=v_BSHE, mask_BS=mask_BS, mask_QS=mask_QS)
  if mask_BS is not None:
    keep_BS11 = mask_BS[:, :, None, None]
    k_BSHE = jnp.where(keep_BS11, k_BSHE, 0)
    v_BSHE = jnp.where(keep_BS11, v_BSHE, 0)
  q_BQHE = rules.constrain(q_BQHE, 'batch', 'time', 'heads', None)
  k_BSHE, v_BSHE = (rules.constrain(x_BSHE, 'batch', None, 'heads', None) for x_BSHE in (k_BSHE, v_BSHE))
  kernel = kernel or execution.current().attention_kernel or _fastest(q_BQHE, mask_QS)
  return {'einsum': _einsum, 'cudnn': _cudnn, 'splash': _splash}[kernel](
    q_BQHE, k_BSHE, v_BSHE, mask_BS, mask_QS
  )


def _fastest(q_BQHE: jax.Array, mask_QS: np.ndarray | None) -> str:
  config = execution.current()
  chip, is_sharded = config.device(), config.mesh_size('context') > 1
  num_queries, head_size = q_BQHE.shape[1], q_BQHE.shape[3]
  if chip.device_kind.startswith('NVIDIA'):
    is_half = q_BQHE.dtype in (jnp.bfloat16, jnp.float16)
    fits = is_half and num_queries > 1 and head_size <= 128 and not head_size % 8 and not is_sharded
    return 'cudnn' if fits else 'einsum'
  if chip.platform == 'tpu' and num_queries >= _LANES and not head_size % _LANES:
    # shard_map needs the mesh; and the kernel has one causal mask, not one for each shard of a sequence.
    has_mesh = config.mesh is not None or len(jax.devices()) == 1
    return 'splash' if has_mesh and not (is_sharded and mask_QS is not None) else 'einsum'
  return 'einsum'


def _einsum(q_BQHE, k_BSHE, v_BSHE, mask_BS, mask_QS):
  scale = q_BQHE.shape[-1] ** -0.5
  logits_BHQS = jnp.einsum('BQHE,BSHE->BHQS', q_BQHE * scale, k_BSHE, preferred_element_type=jnp.float32)
  if mask_BS is not None:
    logits_BHQS = jnp.where(mask_BS[:, None, None, :], logits_BHQS, -1e30)
  if mask_QS is not None:
    logits_BHQS = jnp.where(mask_QS[None, None], logits_BHQS, -1e30)
  weights_BHQS = jax.nn.softmax(logits_BHQS, axis=-1).astype(v_BSHE.dtype)
  return jnp.einsum('BHQS,BSHE->BQHE', weights_BHQS, v_BSHE)


def _cudnn(q_BQHE, k_BSHE, v_BSHE, mask_BS, mask_QS):
  num_queries, num_keys = q_BQHE.shape[1], k_BSHE.shape[1]
  # The backward pass of cuDNN requires even lengths.
  more_q, more_kv = num_queries % 2, num_keys % 2
  padded = lambda x_BSHE, more: jnp.pad(x_BSHE, ((0, 0), (0, more), (0, 0), (0, 0)))
  # Only square masks: under others, a key that pads an odd length would be read by later queries.
  is_causal = num_queries == num_keys and mask_QS is not None and bool((mask_QS == np.tri(num_keys)).all())
  if mask_BS is None and (is_causal or mask_QS is None and not more_kv):
    y_BQHE = jax.nn.dot_product_attention(
      padded(q_BQHE, more_q),
      padded(k_BSHE, more_kv),
      padded(v_BSHE, more_kv),
      is_causal=is_causal,
      implementation='cudnn',
    )
    return y_BQHE[:, :num_queries]
  mask_11QS = jnp.pad(
    jnp.ones((1, 1, num_queries, num_keys), bool) if mask_QS is None else jnp.asarray(mask_QS)[None, None],
    ((0, 0), (0, 0), (0, more_q), (0, more_kv)),
  )
  mask_11QS = mask_11QS.at[:, :, num_queries:, :1].set(True)  # padded queries read something
  if mask_BS is not None:
    mask_11QS &= jnp.pad(mask_BS, ((0, 0), (0, more_kv)))[:, None, None, :]
    mask_11QS = rules.constrain(mask_11QS, 'batch', None, None, None)
  y_BQHE = jax.nn.dot_product_attention(
    padded(q_BQHE, more_q),
    padded(k_BSHE, more_kv),
    padded(v_BSHE, more_kv),
    mask=mask_11QS,
    implementation='cudnn',
  )
  return y_BQHE[:, :num_queries]


def _splash(q_BQHE, k_BSHE, v_BSHE, mask_BS, mask_QS):
  if mask_BS is None:
    mask_BS = jnp.ones(k_BSHE.shape[:2], bool)
  kernel = functools.partial(_splash_shard, mask_QS=mask_QS)
  mesh = execution.current().mesh
  if mesh is None or mesh.size == 1:
    return kernel(q_BQHE, k_BSHE, v_BSHE, mask_BS)
  # XLA cannot shard a Pallas kernel by itself.
  spec = lambda x, *axes: rules.partition_spec(axes, x.shape, mesh)
  q_spec = spec(q_BQHE, 'batch', 'time', 'heads', None)
  kv_spec = spec(k_BSHE, 'batch', None, 'heads', None)
  return jax.shard_map(
    kernel,
    mesh=mesh,
    in_specs=(q_spec, kv_spec, kv_spec, spec(mask_BS, 'batch', None)),
    out_specs=q_spec,
    check_vma=False,
  )(q_BQHE, k_BSHE, v_BSHE, mask_BS)


def _splash_shard(q_BQHE, k_BSHE, v_BSHE, mask_BS, mask_QS):
  # Imported here: Pallas takes half a second.
  from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel
  from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask

  (_, num_queries, num_heads, head_size), num_keys = q_BQHE.shape, k_BSHE.shape[1]
  (block_q, more_q), (block_kv, more_kv) = _blocks(num_queries), _blocks(num_keys)
  padded = lambda x_BSHE, more: jnp.pad(x_BSHE, ((0, 0), (0, more), (0, 0), (0, 0))).swapaxes(1, 2)
  # Tokens attend within their segment: 0 for queries and for keys that are read, 1 for masked keys.
  segments = splash_attention_kernel.SegmentIds(
    q=jnp.zeros((q_BQHE.shape[0], num_queries + more_q), jnp.int32),
    kv=jnp.pad(1 - mask_BS.astype(jnp.int32), ((0, 0), (0, more_kv)), constant_values=1),
  )
  shape = num_queries + more_q, num_keys + more_kv
  mask = splash_attention_mask.FullMask(shape)
  if mask_QS is not None:
    # Padded queries read the first position, since a softmax over no position is NaN.
    whole = np.pad(np.asarray(mask_QS), ((0, more_q), (0, more_kv)))
    whole[num_queries:, 0] = True
    mask = splash_attention_mask.NumpyMask(whole)
  kernel = splash_attention_kernel.make_splash_mha_single_device(
    splash_attention_mask.MultiHeadMask([mask] * num_heads),
    block_sizes=splash_attention_kernel.BlockSizes(
      block_q=block_q,
      block_kv=block_kv,
      block_q_dkv=block_q,
      block_kv_dkv=block_kv,
      block_q_dq=block_q,
      block_kv_dq=block_kv,
    ),
    residual_checkpoint_name=RESIDUAL,
    interpret=execution.current().device().platform == 'cpu',
  )
  y_BHQE = jax.vmap(kernel)(
    padded(q_BQHE * head_size**-0.5, more_q), padded(k_BSHE, more_kv), padded(v_BSHE, more_kv), segments
  )
  return y_BHQE.swapaxes(1, 2)[:, :num_queries]


def _blocks(num: int) -> tuple[int, int]:
  """Returns the block size for a sequence, and the padding that makes it a multiple of the blocks."""
  whole = -(-num // _LANES) * _LANES
  if whole <= 2 * _BLOCK:
    return whole, whole - num
  return _BLOCK, -num % _BLOCK
