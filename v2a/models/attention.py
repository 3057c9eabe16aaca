"""Softmax attention, by the kernel that the platform has.

  einsum  plain products; every platform. On CPUs twice as fast as `jax.nn.dot_product_attention` (29 against
          61 ms for 12 heads, 512 tokens).
  cudnn   NVIDIA's fused kernel, which never writes the logits; bfloat16 or float16, heads of up to 128, no
          sequence in parts.
  splash  the fused kernel for TPUs (jax.experimental.pallas.ops.tpu.splash_attention); heads of 128.

All compute the same (Vaswani et al. 2017, arXiv 1706.03762, eq. 1); sums are kept in float32. On a mesh,
clips and heads lie apart and need nothing of each other; where `context` splits the queries' sequence, every
member reads all keys and values.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from v2a import execution
from v2a import shapes
from v2a.sharding import rules

RESIDUAL = 'attention'  # name of what splash keeps for its backward pass, for policies of what to keep
_LANES = 128  # of a TPU: the least a block and a head of the fused kernel can be
_BLOCK = 512  # positions a block, where a sequence is longer than two of them


def attend(
  q_BQHE: jax.Array,
  k_BSHE: jax.Array,
  v_BSHE: jax.Array,
  mask_BS: jax.Array | None = None,
  mask_QS: np.ndarray | None = None,
  kernel: str | None = None,
) -> jax.Array:
  """Returns attended values BQHE; positions where mask_BS is False are never read, even if they hold NaN.

  Args:
    q_BQHE, k_BSHE, v_BSHE: queries, keys, values.
    mask_BS: which positions are read, at least one a clip; None for all.
    mask_QS: which positions a query reads (causality), of all clips.
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
  chip, is_split = config.device(), config.mesh_size('context') > 1
  num_queries, head_size = q_BQHE.shape[1], q_BQHE.shape[3]
  if chip.device_kind.startswith('NVIDIA'):
    is_half = q_BQHE.dtype in (jnp.bfloat16, jnp.float16)
    fits = is_half and num_queries > 1 and head_size <= 128 and not head_size % 8 and not is_split
    return 'cudnn' if fits else 'einsum'
  if chip.platform == 'tpu' and num_queries >= _LANES and not head_size % _LANES:
    # XLA cannot split a kernel over a mesh that is not named, nor has each part of a split sequence its own
    # causal mask.
    is_named = config.mesh is not None or len(jax.devices()) == 1
    return 'splash' if is_named and not (is_split and mask_QS is not None) else 'einsum'
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
  # Its backward pass wants even lengths.
  more_q, more_kv = num_queries % 2, num_keys % 2
  padded = lambda x_BSHE, more: jnp.pad(x_BSHE, ((0, 0), (0, more), (0, 0), (0, 0)))
  # Of square masks alone: a key that fills up an odd length would be read by queries after it.
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
  part = functools.partial(_splash_part, mask_QS=mask_QS)
  mesh = execution.current().mesh
  if mesh is None or mesh.size == 1:
    return part(q_BQHE, k_BSHE, v_BSHE, mask_BS)
  # XLA cannot split a kernel of its own accord.
  spec = lambda x, *axes: rules.partition_spec(axes, x.shape, mesh)
  q_spec = spec(q_BQHE, 'batch', 'time', 'heads', None)
  kv_spec = spec(k_BSHE, 'batch', None, 'heads', None)
  return jax.shard_map(
    part,
    mesh=mesh,
    in_specs=(q_spec, kv_spec, kv_spec, spec(mask_BS, 'batch', None)),
    out_specs=q_spec,
    check_vma=False,
  )(q_BQHE, k_BSHE, v_BSHE, mask_BS)


def _splash_part(q_BQHE, k_BSHE, v_BSHE, mask_BS, mask_QS):
  # Pallas takes half a second to import.
  from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel
  from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask

  (_, num_queries, num_heads, head_size), num_keys = q_BQHE.shape, k_BSHE.shape[1]
  (block_q, more_q), (block_kv, more_kv) = _blocks(num_queries), _blocks(num_keys)
  padded = lambda x_BSHE, more: jnp.pad(x_BSHE, ((0, 0), (0, more), (0, 0), (0, 0))).swapaxes(1, 2)
  # Positions read each other within a segment: 0 is what is read, 1 the rest. All queries are in 0.
  segments = splash_attention_kernel.SegmentIds(
    q=jnp.zeros((q_BQHE.shape[0], num_queries + more_q), jnp.int32),
    kv=jnp.pad(1 - mask_BS.astype(jnp.int32), ((0, 0), (0, more_kv)), constant_values=1),
  )
  shape = num_queries + more_q, num_keys + more_kv
  mask = splash_attention_mask.FullMask(shape)
  if mask_QS is not None:
    # Padded queries read the first position, since a softmax over nothing is NaN.
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
  """Returns the size of the blocks of a sequence, and how many positions it lacks for whole ones."""
  whole = -(-num // _LANES) * _LANES
  if whole <= 2 * _BLOCK:
    return whole, whole - num
  return _BLOCK, -num % _BLOCK
