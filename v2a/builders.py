"""Whole models from a configuration: codec, sync model, flow model, token model.

Networks and encoders come from packages that do not import each other; here they are combined, for training
and generation alike.
"""

import fractions
import math

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import clip
from v2a.autoregressive import patterns
from v2a.codecs import autoencoder
from v2a.codecs import magnitude
from v2a.codecs import phase
from v2a.codecs import stereo_magnitude
from v2a.codecs import waveform
from v2a.conditioning import condition as condition_lib
from v2a.conditioning import video
from v2a.config import schema
from v2a.models import layers
from v2a.models import mmdit
from v2a.models import stack
from v2a.models import token_decoder

# Keys of config.codec that are arguments of all codecs, and of one; the others are settings of training.
_CODEC_ARGUMENTS = ('num_latent_channels', 'width', 'bottleneck', 'num_codebooks', 'codebook_size')
_STFT_ARGUMENTS = ('n_fft', 'num_encoder_layers', 'num_decoder_layers')
_CODECS = {
  'magnitude': (
    magnitude.MagnitudeAutoencoder,
    (*_STFT_ARGUMENTS, 'num_channel_level_bands', 'num_griffin_lim_iterations'),
  ),
  'stereo_magnitude': (
    stereo_magnitude.StereoMagnitudeAutoencoder,
    (*_STFT_ARGUMENTS, 'num_griffin_lim_iterations'),
  ),
  'phase': (phase.PhaseAutoencoder, _STFT_ARGUMENTS),
  'waveform': (waveform.WaveformAutoencoder, ('strides', 'encoder_width', 'decoder_width')),
}


def dtype(c: ml_collections.ConfigDict) -> jnp.dtype:
  """Returns the type of matrix products."""
  return jnp.dtype(c.training.compute_dtype)


def codec(c: ml_collections.ConfigDict, rngs: nnx.Rngs) -> autoencoder.Autoencoder:
  """Returns a codec with initial weights."""
  of_class, own = _CODECS[c.codec.architecture]
  arguments = {key: c.codec[key] for key in (*_CODEC_ARGUMENTS, *own)}
  return of_class(schema.clip_spec(c), rngs=rngs, dtype=dtype(c), **arguments)


def flow(c: ml_collections.ConfigDict, rngs: nnx.Rngs) -> 'FlowModel':
  """Returns a flow model with initial weights."""
  return FlowModel(c, rngs=rngs)


def tokens(c: ml_collections.ConfigDict, rngs: nnx.Rngs) -> 'TokensModel':
  """Returns a token model with initial weights."""
  return TokensModel(c, rngs=rngs)


def sync(c: ml_collections.ConfigDict, rngs: nnx.Rngs) -> 'SyncModel':
  """Returns an audio-video sync model with initial weights."""
  return SyncModel(c, rngs=rngs)


def _conditioner(c: ml_collections.ConfigDict, rngs: nnx.Rngs) -> condition_lib.Conditioner:
  sections = c.conditioning.to_dict()
  return condition_lib.Conditioner(
    schema.clip_spec(c),
    width=c.conditioning.width,
    semantic=sections['semantic'],
    sync=sections['sync'],
    text_encoder=sections['text_encoder'],
    transcript_encoder=sections['transcript_encoder'],
    ablate=c.conditioning.ablate,
    rngs=rngs,
    dtype=dtype(c),
  )


class FlowModel(nnx.Module):
  """Conditioner and MMDiT: predicts velocities of noisy latents from conditions."""

  def __init__(self, c: ml_collections.ConfigDict, *, rngs: nnx.Rngs):
    spec = schema.clip_spec(c)
    self.conditioner = _conditioner(c, rngs)
    self.transformer = mmdit.MMDiT(
      num_latent_channels=c.codec.num_latent_channels,
      latent_rate_hz=spec.latent_rate_hz,
      semantic_rate_hz=spec.semantic_fps,
      sync_rate_hz=spec.sync_fps,
      condition_width=c.conditioning.width,
      width=c.flow.width,
      num_heads=c.flow.num_heads,
      num_joint_layers=c.flow.num_joint_layers,
      num_audio_layers=c.flow.num_audio_layers,
      mlp_ratio=c.flow.mlp_ratio,
      conv_size=c.flow.conv_size,
      rngs=rngs,
      dtype=dtype(c),
    )

  def velocity(self, z_BTC: jax.Array, t_B: jax.Array, condition: condition_lib.Condition) -> jax.Array:
    """Returns the predicted velocity BTC at times t_B in [0, 1]."""
    return self.transformer(z_BTC, t_B, condition)


class TokensModel(nnx.Module):
  """Conditioner and token decoder: predicts codec tokens from conditions, causally or masked.

  Attributes:
    delays: of each codebook in steps (autoregressive.patterns); all 0 where masked.
  """

  def __init__(self, c: ml_collections.ConfigDict, *, rngs: nnx.Rngs):
    spec, sizes = schema.clip_spec(c), c.tokens
    self.delays = patterns.codebook_delays(
      sizes.pattern if sizes.is_causal else 'parallel', c.codec.num_codebooks
    )
    self.conditioner = _conditioner(c, rngs)
    self.decoder = token_decoder.TokenDecoder(
      num_codebooks=c.codec.num_codebooks,
      codebook_size=c.codec.codebook_size,
      latent_rate_hz=spec.latent_rate_hz,
      semantic_rate_hz=spec.semantic_fps,
      sync_rate_hz=spec.sync_fps,
      condition_width=c.conditioning.width,
      width=sizes.width,
      num_heads=sizes.num_heads,
      num_joint_layers=sizes.num_joint_layers,
      num_audio_layers=sizes.num_audio_layers,
      mlp_ratio=sizes.mlp_ratio,
      is_causal=sizes.is_causal,
      rngs=rngs,
      dtype=dtype(c),
    )


def latent_rate(spec: clip.ClipSpec) -> fractions.Fraction:
  """Returns the exact number of latent steps per second."""
  return fractions.Fraction(spec.sample_rate_hz, spec.latent_hop_samples)


def segment_edges(spec: clip.ClipSpec, segment_s: float, rate_hz: int | fractions.Fraction) -> list[int]:
  """Returns the first step of each segment of a sync model, and the end of the last.

  A segment has the steps whose centre is inside.

  Args:
    spec: of the clips.
    segment_s: length of a segment in seconds.
    rate_hz: steps per second.
  """
  length_s = fractions.Fraction(segment_s).limit_denominator(10**6)
  num_segments = spec.duration_s // length_s  # the same for video and audio
  half = fractions.Fraction(1, 2)
  return [math.ceil(index * length_s * rate_hz - half) for index in range(num_segments + 1)]


class SyncModel(nnx.Module):
  """Two encoders, of video and audio, into one embedding space, with one vector per segment.

  Trained contrastively (audio of the same segment against all other segments of the batch). Its video encoder
  initializes the sync encoder of generators, and its similarity ranks samples.
  """

  def __init__(self, c: ml_collections.ConfigDict, *, rngs: nnx.Rngs):
    spec = schema.clip_spec(c)
    self.spec, self.segment_s = spec, c.sync.segment_s
    width = c.conditioning.width
    self.video = video.SyncEncoder(
      frame_size=spec.frame_size, width=width, rngs=rngs, dtype=dtype(c), **c.conditioning.sync.to_dict()
    )
    self.video_out = layers.Linear(width, c.sync.width, ('embed', None), rngs=rngs)
    self.audio_in = layers.Linear(c.codec.num_latent_channels, width, ('latent', 'embed'), rngs=rngs)
    self.audio_blocks = stack.make(
      lambda rngs: layers.ConvNeXtBlock(width, rngs=rngs, mlp_ratio=2.0, dtype=dtype(c)),
      c.sync.num_audio_layers,
      rngs,
    )
    self.audio_out = layers.Linear(width, c.sync.width, ('embed', None), rngs=rngs)
    self.log_scale = nnx.Param(jnp.asarray(2.3, jnp.float32), axes=())

  def embed_video(self, sync_frame_BLYX3: jax.Array) -> jax.Array:
    """Returns unit vectors BSD, one per segment, of frames at the sync rate."""
    x_BLD = layers.layer_norm(self.video(sync_frame_BLYX3))
    return self._segments(self.video_out(x_BLD), self.spec.sync_fps)

  def embed_audio(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns unit vectors BSD, one per segment, of normalised latents."""
    x_BTD = layers.layer_norm(stack.scan(self.audio_blocks, self.audio_in(latent_BTC)))
    return self._segments(self.audio_out(x_BTD), latent_rate(self.spec))

  def _segments(self, x_BTD: jax.Array, rate_hz: int | fractions.Fraction) -> jax.Array:
    """Returns unit vectors BSD: of each segment the mean of the steps whose centre is inside."""
    edges = segment_edges(self.spec, self.segment_s, rate_hz)
    num_segments, steps = len(edges) - 1, set(np.diff(edges).tolist())
    if not num_segments or 0 in steps or edges[-1] > x_BTD.shape[1]:
      raise ValueError(f'sync.segment_s={self.segment_s} does not fit a stream of {x_BTD.shape[1]} steps.')
    if len(steps) == 1:
      x_BSD = x_BTD[:, : edges[-1]].reshape(x_BTD.shape[0], num_segments, *steps, -1).mean(axis=2)
    else:
      x_BSD = jnp.stack([x_BTD[:, first:last].mean(axis=1) for first, last in zip(edges, edges[1:])], axis=1)
    return x_BSD / jnp.sqrt(jnp.sum(jnp.square(x_BSD), axis=-1, keepdims=True) + 1e-6)

  def similarity(self, sync_frame_BLYX3: jax.Array, latent_BTC: jax.Array) -> jax.Array:
    """Returns the mean cosine similarity of video and audio (B) over all segments, used for ranking."""
    return jnp.mean(jnp.sum(self.embed_video(sync_frame_BLYX3) * self.embed_audio(latent_BTC), -1), -1)


def num_parameters(model: nnx.Module) -> int:
  """Returns the number of trained parameters of a model."""
  return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
