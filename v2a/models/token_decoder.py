"""A transformer over codec tokens, causal or masked.

The input of a step is the sum of K token embeddings, one per codebook; one output head per codebook gives
the logits of its token:

  causal:  logit_t = heads(f(conditions, codes before t))                                        (1)
  masked:  logit_t = heads(f(conditions, codes of all steps, the unknown ones masked))           (2)

Either way the logits of step t predict the tokens of step t. In eq. 1 the input at step t is the tokens of
step t - 1 (padding at the first): so the step is modulated by what moves at the instant of its sound. Steps
are those of the codec, or of a codebook pattern (autoregressive.patterns).

Video, text and transcript tokens are a prefix: its positions attend to the prefix alone, every step attends
to all of it. As in `mmdit`, each stream keeps its own weights in the joint layers, audio-only layers follow,
and positions are seconds. Unlike there, the prefix does not attend to the steps, so that its keys and values
are computed once. In the last joint layer the prefix has keys and values alone, since nothing reads it after
that. Modulation (adaLN) is that of `condition_projection`, eq. 1 for the prefix and eq. 2 for the steps.

Copet et al. 2023, arXiv 2306.05284, sec. 2 (summed embeddings, one head per codebook); Chang et al. 2022,
arXiv 2202.04200, sec. 3 (eq. 2).
"""

import dataclasses

from flax import nnx
from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from v2a import shapes
from v2a.models import attention
from v2a.models import condition_projection
from v2a.models import joint_attention
from v2a.models import layers
from v2a.models import stack

PREFIX_STREAMS = condition_projection.STREAMS


@struct.dataclass
class Prefix:
  """The conditions as tokens, by the names of PREFIX_STREAMS; S is all of them, one stream after the other.

  Attributes:
    streams: tokens (BSD), float32.
    times: positions in seconds; None for text.
    mask_BS: which tokens are read.
    c_B1D: their modulation.
  """

  streams: dict[str, jax.Array]
  times: dict[str, jax.Array | None]
  mask_BS: jax.Array
  c_B1D: jax.Array


@struct.dataclass
class Cache:
  """The KV cache, and the modulation of all steps.

  Attributes:
    joint_kv: keys and values (each ZBSHE) of the joint layers; S is the prefix and then all T steps, with
      zeros for those that are still to come.
    audio_kv: keys and values of the audio-only layers; S is the T steps.
    mask_BS: which positions of the joint layers may be read, once they are computed.
    c_BTD: modulation of every step.
  """

  joint_kv: tuple[jax.Array, jax.Array]
  audio_kv: tuple[jax.Array, jax.Array]
  mask_BS: jax.Array
  c_BTD: jax.Array


class TokenDecoder(condition_projection.ConditionProjection):
  """Predicts tokens from conditions and other tokens.

  Attributes:
    padding_token: where a pattern has no token, and in the step before the first.
    mask_token: in place of tokens to be predicted (eq. 2).
  """

  def __init__(
    self,
    *,
    num_codebooks: int,
    codebook_size: int,
    latent_rate_hz: float,
    semantic_rate_hz: float,
    sync_rate_hz: float,
    condition_width: int,
    width: int,
    num_heads: int,
    num_joint_layers: int,
    num_audio_layers: int,
    mlp_ratio: float,
    is_causal: bool = True,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the network.

    Args:
      num_codebooks, codebook_size: of the codec.
      latent_rate_hz, semantic_rate_hz, sync_rate_hz: of steps and of both kinds of video features.
      condition_width: of the features of a condition.
      width: of all streams.
      num_heads: of every attention.
      num_joint_layers: joint layers, the last one included.
      num_audio_layers: audio-only layers.
      mlp_ratio: hidden units of an MLP over the width.
      is_causal: eq. 1, else eq. 2.
      rngs: for initial weights.
      dtype: of products.
    """
    self.num_codebooks, self.codebook_size, self.is_causal = num_codebooks, codebook_size, is_causal
    self.padding_token, self.mask_token = codebook_size, codebook_size + 1
    table_KVD = jax.random.normal(rngs.params(), (num_codebooks, codebook_size + 2, width))
    self.table_KVD = nnx.Param(table_KVD / np.sqrt(num_codebooks), axes=(None, 'vocab', 'embed'))
    super().__init__(
      condition_width=condition_width,
      width=width,
      latent_rate_hz=latent_rate_hz,
      semantic_rate_hz=semantic_rate_hz,
      sync_rate_hz=sync_rate_hz,
      rngs=rngs,
      dtype=dtype,
    )
    self.add_pooling(width, rngs=rngs, dtype=dtype)
    # No convolution: it would see later steps, and a step would need more than its cache.
    sizes = (width, num_heads, mlp_ratio, 0)
    self.joint_blocks = stack.make(
      lambda rngs: joint_attention.JointBlock(*sizes, rngs=rngs, dtype=dtype), num_joint_layers - 1, rngs
    )
    self.last_joint_block = joint_attention.JointBlock(*sizes, is_last=True, rngs=rngs, dtype=dtype)
    self.audio_blocks = stack.make(
      lambda rngs: joint_attention.AudioBlock(*sizes, rngs=rngs, dtype=dtype), num_audio_layers, rngs
    )
    self.final_modulation = joint_attention.Modulation(width, 2, rngs=rngs, dtype=dtype)
    self.heads = layers.Linear(
      width, num_codebooks * codebook_size, ('embed', 'vocab'), rngs=rngs, scale=0.0, dtype=dtype
    )

  def __call__(self, code_BTK: jax.Array, condition: condition_projection.Condition) -> jax.Array:
    """Returns logit_BTKV of every step, float32.

    Args:
      code_BTK: tokens. In eq. 1 step t sees those before t; in eq. 2 all, of which some are `mask_token`.
      condition: of the same batch.
    """
    self._check(code_BTK.shape[-1])
    shapes.check(code_BTK=code_BTK, semantic_BMD=condition.semantic_BMD)
    num_steps = code_BTK.shape[1]
    if self.is_causal:
      widths = ((0, 0), (1, 0), (0, 0))
      code_BTK = jnp.pad(code_BTK[:, :-1], widths, constant_values=self.padding_token)
    prefix = self._prefix(condition)
    num_prefix = prefix.mask_BS.shape[1]
    mask_BS = _append_steps(prefix.mask_BS, num_steps)
    mask_QS = np.tri(num_steps, num_prefix + num_steps, num_prefix, bool) if self.is_causal else None
    c_BTD = self.step_modulation(condition, prefix.c_B1D, num_steps)
    time_1T = self.latent_times(num_steps)

    def joint(block, carry, _):
      streams, x_BTD = carry
      streams, prefix_kv = _attend_prefix(block, streams, prefix)
      (q_BTHE, *kv), modulation = block.audio.pre_attention(x_BTD, c_BTD, time_1T)
      k_BSHE, v_BSHE = (jnp.concatenate(pair, axis=1) for pair in zip(prefix_kv, kv))
      y_BTHE = attention.attend(q_BTHE, k_BSHE, v_BSHE, mask_BS, mask_QS)
      return (streams, block.audio.post_attention(x_BTD, y_BTHE, modulation)), None

    def audio_only(block, x_BTD, _):
      (q_BTHE, k_BTHE, v_BTHE), modulation = block.audio.pre_attention(x_BTD, c_BTD, time_1T)
      step_mask_QS = None if mask_QS is None else mask_QS[:, num_prefix:]
      y_BTHE = attention.attend(q_BTHE, k_BTHE, v_BTHE, mask_QS=step_mask_QS)
      return block.audio.post_attention(x_BTD, y_BTHE, modulation), None

    carry, _ = stack.scan_with(joint, self.joint_blocks, (prefix.streams, self._embed(code_BTK)))
    (_, x_BTD), _ = stack.apply_one(joint, self.last_joint_block, carry)
    x_BTD, _ = stack.scan_with(audio_only, self.audio_blocks, x_BTD)
    return self._logits(x_BTD, c_BTD)

  def prefill(self, condition: condition_projection.Condition, num_steps: int) -> Cache:
    """Returns the cache with the prefix in it, and room for `num_steps` steps."""
    prefix = self._prefix(condition)
    attend_prefix = lambda block, streams, _: _attend_prefix(block, streams, prefix)
    streams, kv = stack.scan_with(attend_prefix, self.joint_blocks, prefix.streams)
    _, last_kv = stack.apply_one(attend_prefix, self.last_joint_block, streams)
    last_kv = tuple(x_BSHE[None] for x_BSHE in last_kv)
    kv = last_kv if kv is None else [jnp.concatenate(pair) for pair in zip(kv, last_kv)]
    widths = ((0, 0), (0, 0), (0, num_steps), (0, 0), (0, 0))
    k_ZBSHE, v_ZBSHE = (jnp.pad(x_ZBSHE, widths) for x_ZBSHE in kv)
    num_layers = jax.tree.leaves(nnx.state(self.audio_blocks))[0].shape[0]
    _, batch_size, _, *head_shape = k_ZBSHE.shape
    empty_ZBSHE = jnp.zeros((num_layers, batch_size, num_steps, *head_shape), k_ZBSHE.dtype)
    return Cache(
      (k_ZBSHE, v_ZBSHE),
      (empty_ZBSHE, empty_ZBSHE),
      _append_steps(prefix.mask_BS, num_steps),
      self.step_modulation(condition, prefix.c_B1D, num_steps),
    )

  def step(self, code_BK: jax.Array, cache: Cache, index: jax.Array) -> tuple[jax.Array, Cache]:
    """Returns logit_BKV of one step of eq. 1, and the cache with that step.

    Args:
      code_BK: tokens of the step before; all `padding_token` where index is 0.
      cache: holds the steps before index.
      index: of the step, below the cache's number of steps (not checked where it is traced).

    Raises:
      ValueError: the decoder is not causal, or the tokens are of another number of codebooks.
    """
    if not self.is_causal:
      raise ValueError('a decoder with is_causal=False has no steps; use predict_masked.')
    self._check(code_BK.shape[-1])
    logit_BTKV, cache = self._extend(code_BK[:, None], cache, index)
    return logit_BTKV[:, 0], cache

  def predict_masked(self, code_BTK: jax.Array, cache: Cache) -> jax.Array:
    """Returns logit_BTKV of eq. 2, as `__call__` does, with the prefix from a cache.

    Args:
      code_BTK: all steps, of which some are `mask_token`.
      cache: from `prefill`; it is not changed.

    Raises:
      ValueError: the decoder is causal, or the tokens are of another number of codebooks.
    """
    if self.is_causal:
      raise ValueError('a decoder with is_causal=True sees no later tokens; use step.')
    self._check(code_BTK.shape[-1])
    return self._extend(code_BTK, cache, 0)[0]

  def _check(self, num_codebooks: int) -> None:
    if num_codebooks != self.num_codebooks:
      raise ValueError(f'tokens must be of num_codebooks={self.num_codebooks}; got {num_codebooks}.')

  def _extend(self, code_BTK: jax.Array, cache: Cache, index) -> tuple[jax.Array, Cache]:
    """Returns logits of the steps from `index` on; each attends to all of them and to everything before."""
    num_new, num_steps = code_BTK.shape[1], cache.c_BTD.shape[1]
    num_prefix = cache.mask_BS.shape[1] - num_steps
    of_new = lambda x_BTX: jax.lax.dynamic_slice_in_dim(x_BTX, index, num_new, axis=1)
    c_BTD, time_1T = of_new(cache.c_BTD), of_new(self.latent_times(num_steps))
    is_computed_S = jnp.arange(num_prefix + num_steps) < num_prefix + index + num_new
    step_mask_BS = jnp.broadcast_to(is_computed_S[None, num_prefix:], c_BTD.shape[:1] + (num_steps,))

    def apply_layers(blocks, x_BTD, kv, position, mask_BS, last_block=None):
      # The whole cache is carried and updated in place; as an output of every layer it would be copied
      # (200 steps at width 128: 2.5 against 3.6 s).
      def layer(block, carry, depth):
        x_BTD, *kv = carry
        (q_BTHE, *new_kv), modulation = block.audio.pre_attention(x_BTD, c_BTD, time_1T)
        kv = [
          jax.lax.dynamic_update_slice(old_ZBSHE, new_BTHE[None], (depth, 0, position, 0, 0))
          for old_ZBSHE, new_BTHE in zip(kv, new_kv)
        ]
        y_BTHE = attention.attend(q_BTHE, kv[0][depth], kv[1][depth], mask_BS)
        return (block.audio.post_attention(x_BTD, y_BTHE, modulation), *kv), None

      num_stacked = kv[0].shape[0] - (last_block is not None)
      carry, _ = stack.scan_with(layer, blocks, (x_BTD, *kv), jnp.arange(num_stacked))
      if last_block is not None:
        carry, _ = stack.apply_one(layer, last_block, carry, num_stacked)
      x_BTD, *kv = carry
      return x_BTD, tuple(kv)

    x_BTD, joint_kv = apply_layers(
      self.joint_blocks,
      self._embed(code_BTK),
      cache.joint_kv,
      num_prefix + index,
      cache.mask_BS & is_computed_S[None],
      self.last_joint_block,
    )
    x_BTD, audio_kv = apply_layers(self.audio_blocks, x_BTD, cache.audio_kv, index, step_mask_BS)
    return self._logits(x_BTD, c_BTD), dataclasses.replace(cache, joint_kv=joint_kv, audio_kv=audio_kv)

  def _embed(self, code_BTK: jax.Array) -> jax.Array:
    table_KVD = self.table_KVD[...]
    return sum(table_KVD[k][code_BTK[..., k]] for k in range(self.num_codebooks))

  def _prefix(self, condition: condition_projection.Condition) -> Prefix:
    """Returns the conditions as tokens, and their modulation."""
    # Not from the number of steps: a pattern has more steps than the clip.
    clip_s = condition.sync_BLD.shape[1] / self.sync_rate_hz
    tokens = self.condition_tokens(condition, clip_s)
    return Prefix(
      streams={name: tokens.streams[name].astype(jnp.float32) for name in PREFIX_STREAMS},
      times=tokens.times,
      mask_BS=jnp.concatenate([tokens.masks[name] for name in PREFIX_STREAMS], axis=1),
      c_B1D=tokens.c_BD[:, None],
    )

  def _logits(self, x_BTD: jax.Array, c_BTD: jax.Array) -> jax.Array:
    shift, scale = self.final_modulation(c_BTD)
    logits = self.heads(layers.layer_norm(x_BTD) * (1 + scale) + shift).astype(jnp.float32)
    return logits.reshape(x_BTD.shape[:2] + (self.num_codebooks, self.codebook_size))


def _attend_prefix(block: joint_attention.JointBlock, streams: dict, prefix: Prefix) -> tuple[dict, tuple]:
  """Returns the streams of the prefix after one layer, and their keys and values in it."""
  conditions = dict.fromkeys(PREFIX_STREAMS, prefix.c_B1D)
  (queries, *kv), modulations = joint_attention.pre_attention(block, streams, conditions, prefix.times)
  attended = joint_attention.attend(queries, *kv, prefix.mask_BS)
  return joint_attention.post_attention(block, streams, attended, modulations), tuple(kv)


def _append_steps(mask_BS: jax.Array, num_steps: int) -> jax.Array:
  """Returns the mask with `num_steps` more positions, all True."""
  return jnp.pad(mask_BS, ((0, 0), (0, num_steps)), constant_values=True)
