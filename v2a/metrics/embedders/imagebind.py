"""ImageBind-huge: how well sound and picture agree, for the IB-score.

Girdhar et al. 2023, "ImageBind: one embedding space to bind them all", arXiv 2305.05665; the branches of
sound and picture of `imagebind_huge.pth`. As hkchengrex/av-benchmark takes it:

  sound    the first channel at 16 kHz; three clips of 2 s, the first at the start, the last at the end, the
           other between; of each Kaldi's filter bank of 128 mels, filled up with zeros or cut to 204 frames,
           then (x + 4.268) / 9.138. The clip's offset need not be taken away, since each frame loses its own.
  picture  one every 2 s, the last shown before 1 s, 3 s, 5 s, ... (as FFmpeg's filter `fps` rounds); the
           shorter side made 224 (bicubic), three squares along the longer one; normalised as CLIP's pictures;
           a clip is a square of two pictures that follow each other.

Embeddings are 1024 features of length 1 (of the sound, 20), their means over clips the branches' embeddings.
The IB-score is their cosine; papers print 100 times that.
"""

from collections.abc import Iterable
import fractions
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames as picture_lib
from v2a.metrics.embedders import waves
from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import spectrograms

NAME = 'imagebind'
VERSION = 1
METRICS = ('ib',)
RATE_HZ, SIZE = 16000, 224
CLIP_S, NUM_CLIPS = 2, 3
NUM_MELS, MEL_FRAMES = 128, 204
FRAME_INTERVAL_S = 2
CHECKPOINT = checkpoints.Checkpoint(
  'imagebind_huge.pth',
  'https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth',
  # Its publisher states none; others report this one of the file of 4,803,584,173 bytes.
  'sha256:d6f6c22bedcc90708448d5d2fbb7b2db9c73f505dc89bd0b2e09b23af1b62157',
  'CC-BY-NC-SA-4.0',
)
# Branches of the file that are not asked.
IGNORED = tuple(
  f'modality_{part}.{kind}.'
  for part in ('preprocessors', 'trunks', 'heads', 'postprocessors')
  for kind in ('text', 'depth', 'thermal', 'imu')
)
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
_HEAD_FEATURES = {'vision': 80, 'audio': 64}
_AUDIO_STRIDE, _PATCH = 10, (2, 14, 14)
_EPSILON = 1e-6
_MAX_SCALE = 100.0
_FRAME_SAMPLES = RATE_HZ * 25 // 1000


def audio_clip_spans(num_samples: int) -> list[slice]:
  """Returns the samples of each clip of a sound at RATE_HZ; clips of a sound under 2 s end with it."""
  # In the reference's order of roundings: a duration in floating point, then fractions of it.
  last_s = fractions.Fraction(max(num_samples / RATE_HZ - CLIP_S, 0))
  starts_s = [last_s / (NUM_CLIPS - 1) * clip for clip in range(NUM_CLIPS)]
  return [slice(int(start_s * RATE_HZ), int((start_s + CLIP_S) * RATE_HZ)) for start_s in starts_s]


def log_mels(wave_N: np.ndarray) -> np.ndarray:
  """Returns mel_BRJ, NUM_CLIPS of a mono wave at RATE_HZ."""
  made = []
  for span in audio_clip_spans(len(wave_N)):
    mel_JR = spectrograms.kaldi_fbank(wave_N[span], NUM_MELS)[:MEL_FRAMES]
    made.append(np.pad(mel_JR, ((0, MEL_FRAMES - len(mel_JR)), (0, 0))).T)
  return ((np.array(made) + 4.268) / 9.138).astype(np.float32)


def three_crops(shown: Iterable[np.ndarray]) -> np.ndarray:
  """Returns frame_G3LYX, normalised: the left or upper, the middle and the right or lower square of pictures.

  Args:
    shown: pictures, uint8, of one size.
  """
  shown = [picture_lib.resize_short_side(picture_YX3, SIZE) for picture_YX3 in shown]
  width, height = shown[0].size
  middle_x, middle_y = -((SIZE - width) // 2), -((SIZE - height) // 2)
  if height > width:
    corners = [(middle_x, 0), (middle_x, middle_y), (middle_x, height - SIZE)]
  else:
    corners = [(0, middle_y), (middle_x, middle_y), (width - SIZE, middle_y)]
  picture_LYX3 = np.stack([np.asarray(picture) for picture in shown])
  cut_GLYX3 = np.stack([picture_LYX3[:, y : y + SIZE, x : x + SIZE] for x, y in corners])
  return ((cut_GLYX3 / np.float32(255.0) - _MEAN) / _DEVIATION).transpose(0, 4, 1, 2, 3)


def _branch(weights: layers.Weights, kind: str, x_BSF: jax.Array) -> jax.Array:
  """Returns embedding_BF of length 1, of the patches of one kind."""
  first, trunk, head = (f'modality_{part}.{kind}' for part in ('preprocessors', 'trunks', 'heads'))
  class_BSF = jnp.broadcast_to(weights[f'{first}.cls_token'], (len(x_BSF), 1, x_BSF.shape[2]))
  x_BSF = jnp.concatenate([class_BSF, x_BSF], axis=1) + weights[f'{first}.pos_embedding_helper.pos_embed']
  if f'{trunk}.pre_transformer_layer.0.weight' in weights:
    x_BSF = layers.layer_norm(weights, f'{trunk}.pre_transformer_layer.0', x_BSF, _EPSILON)
  num_heads = x_BSF.shape[2] // _HEAD_FEATURES[kind]
  for i in range(layers.count_layers(weights, trunk + '.blocks.{}.norm_1.weight')):
    block = f'{trunk}.blocks.{i}'
    normed_BSF = layers.layer_norm(weights, f'{block}.norm_1', x_BSF, _EPSILON)
    x_BSF = x_BSF + layers.self_attention(weights, f'{block}.attn', normed_BSF, num_heads)
    hidden_BSF = layers.layer_norm(weights, f'{block}.norm_2', x_BSF, _EPSILON)
    hidden_BSF = jax.nn.gelu(layers.linear(weights, f'{block}.mlp.fc1', hidden_BSF), approximate=False)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.mlp.fc2', hidden_BSF)
  x_BF = layers.layer_norm(weights, f'{head}.0', x_BSF[:, 0], _EPSILON)
  x_BF = layers.linear(weights, f'{head}.2', x_BF)
  return x_BF / jnp.maximum(jnp.linalg.norm(x_BF, axis=1, keepdims=True), 1e-12)


def encode_video(weights: layers.Weights, frame_B3LYX: jax.Array) -> jax.Array:
  """Returns embedding_BF of clips of two pictures."""
  stem = 'modality_preprocessors.vision.rgbt_stem'
  x_BFLYX = layers.convolve(weights, f'{stem}.proj.1', frame_B3LYX, stride=_PATCH)
  return _branch(weights, 'vision', x_BFLYX.reshape(*x_BFLYX.shape[:2], -1).swapaxes(1, 2))


def encode_audio(weights: layers.Weights, mel_BRJ: jax.Array) -> jax.Array:
  """Returns embedding_BF of clips of MEL_FRAMES frames."""
  stem = 'modality_preprocessors.audio.rgbt_stem'
  x_BFRJ = layers.convolve(weights, f'{stem}.proj', mel_BRJ[:, None], stride=_AUDIO_STRIDE)
  x_BSF = x_BFRJ.reshape(*x_BFRJ.shape[:2], -1).swapaxes(1, 2)
  embedding_BF = _branch(weights, 'audio', layers.layer_norm(weights, f'{stem}.norm_layer', x_BSF))
  scale = jnp.exp(weights['modality_postprocessors.audio.1.log_logit_scale'])
  return embedding_BF * jnp.minimum(scale, _MAX_SCALE)


def apply(weights: layers.Weights, frame_B3LYX: jax.Array, mel_BRJ: jax.Array):
  """Returns the embeddings of pictures and of sounds."""
  return encode_video(weights, frame_B3LYX), encode_audio(weights, mel_BRJ)


class ImageBind(embedder_lib.Embedder):
  """ImageBind under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('wave', 'pictures'), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._encode_video, self._encode_audio = jax.jit(encode_video), jax.jit(encode_audio)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns the embeddings seen_F and heard_F.

    Raises:
      Refusal: the clip has not two pictures, or not one frame of a spectrum.
    """
    length_s = clip.pictures.duration_s
    num_pictures = int(length_s / FRAME_INTERVAL_S + 1e-6)
    if num_pictures < 2:
      raise embedder_lib.UnsupportedClipError(f'ImageBind needs 4 s of picture; a clip has {length_s:.3f} s')
    wave_N = waves.resample(clip.wave_NA[:, 0], clip.sample_rate_hz, RATE_HZ)
    if len(wave_N) < _FRAME_SAMPLES:
      raise embedder_lib.UnsupportedClipError(
        f'ImageBind needs 25 ms of sound; a clip has {len(wave_N) / RATE_HZ:.3f} s'
      )
    frame_G3LYX = three_crops(clip.pictures.frames_at_fps(1 / FRAME_INTERVAL_S, num_pictures))
    # Two pictures at a time, so that clips of any length are of one size.
    seen = [
      np.asarray(self._encode_video(self._weights, frame_G3LYX[:, :, l : l + 2]))
      for l in range(num_pictures - 1)
    ]
    heard_BF = np.asarray(self._encode_audio(self._weights, log_mels(wave_N)))
    return {'seen_F': np.concatenate(seen).mean(axis=0), 'heard_F': heard_BF.mean(axis=0)}

  def scores(self, arrays: embedder_lib.Arrays) -> dict[str, float]:
    """Returns the cosine of what is seen and heard; more is better."""
    seen_F, heard_F = arrays['seen_F'], arrays['heard_F']
    lengths = [max(np.linalg.norm(x_F), 1e-8) for x_F in (seen_F, heard_F)]
    return {'ib': float(seen_F @ heard_F / (lengths[0] * lengths[1]))}


def load(path: pathlib.Path) -> ImageBind:
  """Returns the network with the weights of a file."""
  inputs = (
    jax.ShapeDtypeStruct((3, 3, 2, SIZE, SIZE), np.float32),
    jax.ShapeDtypeStruct((NUM_CLIPS, NUM_MELS, MEL_FRAMES), np.float32),
  )
  weights = layers.load(path, apply, inputs, ignored=IGNORED)
  return ImageBind(weights, checkpoints.embedder_digest(NAME, VERSION, {path: CHECKPOINT}))
