"""The multimodal diffusion transformer (MMDiT).

Joint blocks over four streams (audio latents, video, text, transcript), then audio-only blocks that refine
the latents; see `joint_attention`. Every block is modulated by

  c_B  = time embedding + pooled conditions                                  (1)
  c_BT = c_B + sync features on the latent grid                              (2)

eq. 2 for the audio stream, the audio-only blocks and the final layer, so that each latent step knows what
moves at that instant; eq. 1 for the other streams. Positions are seconds; see `condition_projection`.
"""

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import shapes
from v2a.models import condition_projection
from v2a.models import joint_attention
from v2a.models import layers
from v2a.models import stack


class MMDiT(condition_projection.ConditionProjection):
  """Predicts the velocity of noisy latents from a time and conditions."""

  def __init__(
    self,
    *,
    num_latent_channels: int,
    latent_rate_hz: float,
    semantic_rate_hz: float,
    sync_rate_hz: float,
    condition_width: int,
    width: int,
    num_heads: int,
    num_joint_layers: int,
    num_audio_layers: int,
    mlp_ratio: float,
    conv_size: int,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the network.

    Args:
      num_latent_channels: of the codec.
      latent_rate_hz, semantic_rate_hz, sync_rate_hz: of latent steps and of both kinds of video features.
      condition_width: of the features of a condition.
      width: of all streams.
      num_heads: of every attention.
      num_joint_layers: joint blocks, the last one included.
      num_audio_layers: audio-only blocks.
      mlp_ratio: hidden units of an MLP over the width.
      conv_size: taps of the convolutions in MLPs of audio and video; 0 for none.
      rngs: for initial weights.
      dtype: of products.
    """
    self.width = width
    linear = lambda num_in: layers.Linear(num_in, width, ('latent', 'embed'), rngs=rngs, dtype=dtype)
    self.latent_in = linear(num_latent_channels)
    self.latent_conv = layers.DepthwiseConv(width, 7, rngs=rngs)
    super().__init__(
      condition_width=condition_width,
      width=width,
      latent_rate_hz=latent_rate_hz,
      semantic_rate_hz=semantic_rate_hz,
      sync_rate_hz=sync_rate_hz,
      rngs=rngs,
      dtype=dtype,
    )
    self.time_in, self.time_out = linear(width), linear(width)
    self.add_pooling(width, rngs=rngs, dtype=dtype)
    sizes = (width, num_heads, mlp_ratio, conv_size)
    self.joint_blocks = stack.make(
      lambda rngs: joint_attention.JointBlock(*sizes, rngs=rngs, dtype=dtype), num_joint_layers - 1, rngs
    )
    self.last_joint_block = joint_attention.JointBlock(*sizes, is_last=True, rngs=rngs, dtype=dtype)
    self.audio_blocks = stack.make(
      lambda rngs: joint_attention.AudioBlock(*sizes, rngs=rngs, dtype=dtype), num_audio_layers, rngs
    )
    self.final_modulation = joint_attention.Modulation(width, 2, rngs=rngs, dtype=dtype)
    self.final = layers.Linear(
      width, num_latent_channels, ('embed', 'latent'), rngs=rngs, scale=0.0, dtype=dtype
    )

  def __call__(
    self, z_BTC: jax.Array, t_B: jax.Array, condition: condition_projection.Condition
  ) -> jax.Array:
    """Returns velocities BTC.

    Args:
      z_BTC: noisy latents.
      t_B: times in [0, 1], 1 is noise.
      condition: of the same batch.
    """
    shapes.check(z_BTC=z_BTC, t_B=t_B, semantic_BMD=condition.semantic_BMD)
    num_latents = z_BTC.shape[1]
    tokens = self.condition_tokens(condition, num_latents / self.latent_rate_hz)
    streams = {'audio': self.latent_conv(self.latent_in(z_BTC)), **tokens.streams}
    masks = {'audio': jnp.ones(z_BTC.shape[:2], bool), **tokens.masks}
    times = {'audio': self.latent_times(num_latents), **tokens.times}
    c_B1D = (self._time_embedding(t_B) + tokens.c_BD)[:, None]
    c_BTD = self.step_modulation(condition, c_B1D, num_latents)
    conditions = dict.fromkeys(joint_attention.STREAMS, c_B1D) | {'audio': c_BTD}
    streams = stack.scan(self.joint_blocks, streams, conditions, times, masks)
    joint = lambda block, streams, _: (block(streams, conditions, times, masks), None)
    streams, _ = stack.apply_one(joint, self.last_joint_block, streams)
    x_BTD = stack.scan(self.audio_blocks, streams['audio'], c_BTD, times['audio'])
    shift, scale = self.final_modulation(c_BTD)
    return self.final(layers.layer_norm(x_BTD) * (1 + scale) + shift)

  def _time_embedding(self, t_B: jax.Array) -> jax.Array:
    features_BD = layers.timestep_features(t_B, self.width)
    return self.time_out(jax.nn.silu(self.time_in(features_BD)))
