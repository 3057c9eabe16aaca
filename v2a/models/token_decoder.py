"""The autoregressive baseline: a transformer over codec tokens, causal or masked.

A step of K tokens, one a codebook, is the sum of K embeddings; one head a codebook tells its token:

  causal:  logit_t = heads(f(conditions, codes before t))                                        (1)
  masked:  logit_t = heads(f(conditions, codes of all steps, the unknown ones masked))           (2)

Either way the logits of step t tell the tokens of step t. In eq. 1 the network sees, at step t, the
tokens of step t - 1 (padding at the first): so the step is modulated by what moves at the instant it
is to sound. Steps are those of the codec, or of a codebook pattern (autoregressive.patterns).

Video, text and transcript tokens are a prefix: it reads itself, every step reads all of it. As in `mmdit`,
each stream keeps its own weights in the joint layers, layers of steps alone follow, and positions are seconds
(text has none); what differs is that the prefix does not read the steps, so that one pass over it serves all.
In the last joint layer the prefix is read alone, since nothing reads it after that.
Modulation (adaLN) is as there, without a diffusion time: c_B = pooled conditions for the prefix, and
c_BT = c_B + sync features for the steps.

Copet et al. 2023, arXiv 2306.05284, sec. 2 (summed embeddings, a head a codebook); Chang et al. 2022,
arXiv 2202.04200, sec. 3 (eq. 2).
"""

from flax import nnx
from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from v2a import shapes
from v2a.models import attention
from v2a.models import layers
from v2a.models import mmdit
from v2a.models import stack

PREFIX = mmdit.STREAMS[1:]


@struct.dataclass
class Prefix:
  """The conditions as tokens, by the name of their stream; S is all of them, one stream after the other.

  Attributes:
    streams: tokens.
    times: their seconds; of text None.
    mask_BS: which of them are read.
    c_B1D: pooled conditions, which modulate them.
  """

  streams: dict[str, jax.Array]
  times: dict[str, jax.Array | None]
  mask_BS: jax.Array
  c_B1D: jax.Array


@struct.dataclass
class Cache:
  """What later steps need of the conditions and of earlier steps.

  Attributes:
    joint: keys and values (each ZBSHE) of the joint layers; S is the prefix and then all T steps, with zeros
      for those that are still to come.
    alone: keys and values of the layers of steps alone; S is the T steps.
    mask_BS: which positions of the joint layers may be read once they are there.
    c_BTD: modulation of every step.
  """

  joint: tuple[jax.Array, jax.Array]
  alone: tuple[jax.Array, jax.Array]
  mask_BS: jax.Array
  c_BTD: jax.Array


class TokenDecoder(nnx.Module):
  """Tells tokens from conditions and other tokens.

  Attributes:
    padding_token: of places that hold none (patterns), and of the step before the first.
    mask_token: of places whose token is to be told (eq. 2).
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
    dtype=jnp.float32,
  ):
    """Args: the codec's books; rates of steps and pictures; width of the features; own sizes; eq. 1 or 2."""
    self.num_codebooks, self.codebook_size, self.is_causal = num_codebooks, codebook_size, is_causal
    self.padding_token, self.mask_token = codebook_size, codebook_size + 1
    self.latent_rate_hz, self.semantic_rate_hz, self.sync_rate_hz = (
      latent_rate_hz,
      semantic_rate_hz,
      sync_rate_hz,
    )
    linear = lambda i, o: layers.Linear(i, o, ('latent', 'embed'), rngs=rngs, dtype=dtype)
    table_KVD = jax.random.normal(rngs.params(), (num_codebooks, codebook_size + 2, width))
    self.table_KVD = nnx.Param(table_KVD / np.sqrt(num_codebooks), axes=(None, 'vocab', 'embed'))
    self.video_in = linear(condition_width, width)
    self.text_in = linear(condition_width, width)
    self.transcript_in = linear(condition_width, width)
    self.sync_in = layers.Mlp(condition_width, 2 * width, rngs=rngs, conv_size=3, dtype=dtype)
    self.sync_out = linear(condition_width, width)
    self.pool_in, self.pool_out = linear(3 * width, width), linear(width, width)
    # No convolution: it would look ahead, and a step would need more than its cache.
    block = (width, num_heads, mlp_ratio, 0)
    self.joint_blocks = stack.make(
      lambda rngs: mmdit.JointBlock(*block, rngs=rngs, dtype=dtype), num_joint_layers - 1, rngs
    )
    self.last_joint_block = mmdit.JointBlock(*block, is_last=True, rngs=rngs, dtype=dtype)
    self.audio_blocks = stack.make(
      lambda rngs: mmdit.AudioBlock(*block, rngs=rngs, dtype=dtype), num_audio_layers, rngs
    )
    self.final_modulation = mmdit.Modulation(width, 2, rngs=rngs, dtype=dtype)
    self.heads = layers.Linear(
      width, num_codebooks * codebook_size, ('embed', 'vocab'), rngs=rngs, scale=0.0, dtype=dtype
    )

  def __call__(self, code_BTK: jax.Array, condition) -> jax.Array:
    """Returns logit_BTKV of every step, float32.

    Args:
      code_BTK: tokens. In eq. 1 step t sees those before t; in eq. 2 all, of which some are `mask_token`.
      condition: a conditioning.bundle.Condition.
    """
    self._check(code_BTK.shape[-1])
    shapes.check(code_BTK=code_BTK, semantic_BMD=condition.semantic_BMD)
    num_steps = code_BTK.shape[1]
    if self.is_causal:
      rows = ((0, 0), (1, 0), (0, 0))
      code_BTK = jnp.pad(code_BTK[:, :-1], rows, constant_values=self.padding_token)
    prefix = self._prefix(condition)
    num_prefix = prefix.mask_BS.shape[1]
    mask_BS = _and_steps(prefix.mask_BS, num_steps)
    mask_QS = np.tri(num_steps, num_prefix + num_steps, num_prefix, bool) if self.is_causal else None
    c_BTD, time_1T = self._modulation(condition, prefix.c_B1D, num_steps), self._times(num_steps)

    def joint(block, carry, _):
      streams, x_BTD = carry
      streams, prefix_kv = _read_itself(block, streams, prefix)
      (q_BTHE, *kv), rest = block.audio.pre_attention(x_BTD, c_BTD, time_1T)
      kv = (jnp.concatenate(pair, axis=1) for pair in zip(prefix_kv, kv))
      return (
        streams,
        block.audio.post_attention(x_BTD, attention.attend(q_BTHE, *kv, mask_BS, mask_QS), rest),
      ), None

    def alone(block, x_BTD, _):
      qkv, rest = block.audio.pre_attention(x_BTD, c_BTD, time_1T)
      alone_QS = None if mask_QS is None else mask_QS[:, num_prefix:]
      return block.audio.post_attention(x_BTD, attention.attend(*qkv, None, alone_QS), rest), None

    carry, _ = stack.scan_with(joint, self.joint_blocks, (prefix.streams, self._embed(code_BTK)))
    (_, x_BTD), _ = stack.apply_one(joint, self.last_joint_block, carry)
    x_BTD, _ = stack.scan_with(alone, self.audio_blocks, x_BTD)
    return self._logits(x_BTD, c_BTD)

  def prefill(self, condition, num_steps: int) -> Cache:
    """Returns the cache for up to `num_steps` steps: conditions read, no step yet."""
    prefix = self._prefix(condition)
    read = lambda block, streams, _: _read_itself(block, streams, prefix)
    streams, kv = stack.scan_with(read, self.joint_blocks, prefix.streams)
    _, last_kv = stack.apply_one(read, self.last_joint_block, streams)
    last_kv = tuple(x_BSHE[None] for x_BSHE in last_kv)
    kv = last_kv if kv is None else [jnp.concatenate(pair) for pair in zip(kv, last_kv)]
    room = ((0, 0), (0, 0), (0, num_steps), (0, 0), (0, 0))
    joint = tuple(jnp.pad(x_ZBSHE, room) for x_ZBSHE in kv)
    num_layers = jax.tree.leaves(nnx.state(self.audio_blocks))[0].shape[0]
    empty_ZBSHE = jnp.zeros((num_layers, joint[0].shape[1], num_steps, *joint[0].shape[3:]), joint[0].dtype)
    return Cache(
      joint,
      (empty_ZBSHE, empty_ZBSHE),
      _and_steps(prefix.mask_BS, num_steps),
      self._modulation(condition, prefix.c_B1D, num_steps),
    )

  def step(self, code_BK: jax.Array, cache: Cache, index: jax.Array) -> tuple[jax.Array, Cache]:
    """Returns logit_BKV of one step of eq. 1, and the cache that knows it.

    Args:
      code_BK: tokens of the step before; all `padding_token` where index is 0.
      cache: which has seen the steps before index.
      index: of the step, below the cache's number of steps (not checked where it is traced).
    """
    if not self.is_causal:
      raise ValueError('a decoder with is_causal=False has no steps; use predict_masked.')
    self._check(code_BK.shape[-1])
    logit_BTKV, cache = self._extend(code_BK[:, None], cache, index)
    return logit_BTKV[:, 0], cache

  def predict_masked(self, code_BTK: jax.Array, cache: Cache) -> jax.Array:
    """Returns logit_BTKV of eq. 2, as `__call__` does, without reading the conditions again."""
    if self.is_causal:
      raise ValueError('a decoder with is_causal=True sees no later tokens; use step.')
    self._check(code_BTK.shape[-1])
    return self._extend(code_BTK, cache, 0)[0]

  def _check(self, num_codebooks: int) -> None:
    if num_codebooks != self.num_codebooks:
      raise ValueError(f'tokens must be of num_codebooks={self.num_codebooks}; got {num_codebooks}.')

  def _extend(self, code_BTK: jax.Array, cache: Cache, index) -> tuple[jax.Array, Cache]:
    """Logits of steps from `index` on, each of which reads them all and everything before."""
    num_new, num_steps = code_BTK.shape[1], cache.c_BTD.shape[1]
    num_prefix = cache.mask_BS.shape[1] - num_steps
    of_new = lambda x_BTX: jax.lax.dynamic_slice_in_dim(x_BTX, index, num_new, axis=1)
    c_BTD, time_1T = of_new(cache.c_BTD), of_new(self._times(num_steps))
    is_there_S = jnp.arange(num_prefix + num_steps) < num_prefix + index + num_new
    alone_BS = jnp.broadcast_to(is_there_S[None, num_prefix:], c_BTD.shape[:1] + (num_steps,))

    def through(blocks, x_BTD, kv, place, mask_BS, last_block=None):
      # The whole cache is carried and written in place; as a result of every layer it would be copied
      # (200 steps at width 128: 2.5 against 3.6 s).
      def layer(block, carry, depth):
        x_BTD, *kv = carry
        (q_BTHE, *new_kv), rest = block.audio.pre_attention(x_BTD, c_BTD, time_1T)
        kv = [
          jax.lax.dynamic_update_slice(old_ZBSHE, new_BTHE[None], (depth, 0, place, 0, 0))
          for old_ZBSHE, new_BTHE in zip(kv, new_kv)
        ]
        y_BTHE = attention.attend(q_BTHE, *(x_ZBSHE[depth] for x_ZBSHE in kv), mask_BS)
        return (block.audio.post_attention(x_BTD, y_BTHE, rest), *kv), None

      num_stacked = kv[0].shape[0] - (last_block is not None)
      carry, _ = stack.scan_with(layer, blocks, (x_BTD, *kv), jnp.arange(num_stacked))
      if last_block is not None:
        carry, _ = stack.apply_one(layer, last_block, carry, num_stacked)
      x_BTD, *kv = carry
      return x_BTD, tuple(kv)

    x_BTD, joint = through(
      self.joint_blocks,
      self._embed(code_BTK),
      cache.joint,
      num_prefix + index,
      cache.mask_BS & is_there_S[None],
      self.last_joint_block,
    )
    x_BTD, alone = through(self.audio_blocks, x_BTD, cache.alone, index, alone_BS)
    return self._logits(x_BTD, c_BTD), cache.replace(joint=joint, alone=alone)

  def _embed(self, code_BTK: jax.Array) -> jax.Array:
    table_KVD = self.table_KVD[...]
    return sum(table_KVD[k][code_BTK[..., k]] for k in range(self.num_codebooks))

  def _times(self, num_steps: int) -> jax.Array:
    return jnp.asarray(layers.grid_times(num_steps, self.latent_rate_hz))[None]

  def _prefix(self, condition) -> Prefix:
    """The conditions as tokens, and their modulation."""
    text_mask_BU, transcript_mask_BW = condition.text_mask_BU, condition.transcript_mask_BW
    # where: what is masked may hold NaN, which a product would spread.
    text_BUD = jnp.where(text_mask_BU[..., None], condition.text_BUD, 0)
    transcript_BWD = jnp.where(transcript_mask_BW[..., None], condition.transcript_BWD, 0)
    streams = {
      'video': self.video_in(condition.semantic_BMD),
      'text': self.text_in(text_BUD),
      'transcript': self.transcript_in(transcript_BWD),
    }
    masks = {
      'video': jnp.ones(condition.semantic_BMD.shape[:2], bool),
      'text': text_mask_BU,
      'transcript': transcript_mask_BW,
    }
    video_time_M = layers.grid_times(condition.semantic_BMD.shape[1], self.semantic_rate_hz)
    # Of the pictures, not of the steps: a pattern has more steps than the clip.
    clip_s = condition.sync_BLD.shape[1] / self.sync_rate_hz
    times = {
      'video': jnp.asarray(video_time_M)[None],
      'text': None,
      'transcript': mmdit.spread_times(transcript_mask_BW, clip_s),
    }
    pooled_BD = jnp.concatenate([layers.masked_mean(streams[name], masks[name]) for name in PREFIX], axis=-1)
    return Prefix(
      streams={name: streams[name].astype(jnp.float32) for name in PREFIX},
      times=times,
      mask_BS=jnp.concatenate([masks[name] for name in PREFIX], axis=1),
      c_B1D=self.pool_out(jax.nn.silu(self.pool_in(pooled_BD)))[:, None],
    )

  def _modulation(self, condition, c_B1D: jax.Array, num_steps: int) -> jax.Array:
    """c_BTD of the steps: pooled conditions, and what moves at each."""
    sync_BLD = condition.sync_BLD + self.sync_in(condition.sync_BLD)
    sync_BTD = layers.resample_time(sync_BLD, self.sync_rate_hz, num_steps, self.latent_rate_hz)
    return c_B1D + self.sync_out(sync_BTD)

  def _logits(self, x_BTD: jax.Array, c_BTD: jax.Array) -> jax.Array:
    shift, scale = self.final_modulation(c_BTD)
    logits = self.heads(layers.layer_norm(x_BTD) * (1 + scale) + shift).astype(jnp.float32)
    return logits.reshape(x_BTD.shape[:2] + (self.num_codebooks, self.codebook_size))


def _read_itself(block: mmdit.JointBlock, streams: dict, prefix: Prefix) -> tuple[dict, tuple]:
  """Returns the streams of the prefix after one layer, and their keys and values there."""
  conditions = dict.fromkeys(PREFIX, prefix.c_B1D)
  (queries, *kv), rests = mmdit.pre_attention(block, streams, conditions, prefix.times)
  return mmdit.post_attention(block, streams, mmdit.attend(queries, *kv, prefix.mask_BS), rests), tuple(kv)


def _and_steps(mask_BS: jax.Array, num_steps: int) -> jax.Array:
  """Returns the mask with `num_steps` more positions, all True."""
  return jnp.pad(mask_BS, ((0, 0), (0, num_steps)), constant_values=True)
