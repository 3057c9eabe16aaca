"""ImageBind-huge audio and video encoders (Girdhar et al. 2023, arXiv 2305.05665).

"ImageBind: one embedding space to bind them all"; the audio and vision branches of `imagebind_huge.pth`. Each
gives embeddings of 1024 features, of unit norm for video and of norm 20 (the learned scale) for audio.

  audio   16 kHz mono; three clips of 2 s, evenly spaced from the start to the end; Kaldi's filter bank of 128
          mel bands, zero-padded or cut to 204 frames, then (x + 4.268) / 9.138; a constant offset of the
          waveform has no effect, since the mean of each frame is subtracted
  video   one frame every 2 s; the shorter side resized to 224 (bicubic), three square crops along the longer
          side, normalised with CLIP's mean and deviation; a clip is a crop of two consecutive frames
"""

from collections.abc import Iterable
import fractions
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import resizing
from v2a.models.published import spectrograms

RATE_HZ, SIZE = 16000, 224
CLIP_S, NUM_CLIPS = 2, 3
NUM_MELS, MEL_FRAMES = 128, 204
FRAME_INTERVAL_S, CLIP_FRAMES = 2, 2
# The shortest audio that gives one frame of the filter bank.
MIN_SAMPLES = RATE_HZ * 25 // 1000
CHECKPOINT = checkpoints.Checkpoint(
  'imagebind_huge.pth',
  'https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth',
  # Its publisher states none; others report this one for the file of 4,803,584,173 bytes.
  'sha256:d6f6c22bedcc90708448d5d2fbb7b2db9c73f505dc89bd0b2e09b23af1b62157',
  'CC-BY-NC-SA-4.0',
)
INPUTS = (
  jax.ShapeDtypeStruct((3, 3, CLIP_FRAMES, SIZE, SIZE), np.float32),
  jax.ShapeDtypeStruct((NUM_CLIPS, NUM_MELS, MEL_FRAMES), np.float32),
)
# Branches of the file for other modalities.
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


def audio_clip_spans(num_samples: int) -> list[slice]:
  """Returns the samples of each clip of audio at RATE_HZ; audio under 2 s is used whole for each clip."""
  # In the order of roundings of the reference: a duration in floating point, then fractions of it.
  last_s = fractions.Fraction(max(num_samples / RATE_HZ - CLIP_S, 0))
  starts_s = [last_s / (NUM_CLIPS - 1) * clip for clip in range(NUM_CLIPS)]
  return [slice(int(start_s * RATE_HZ), int((start_s + CLIP_S) * RATE_HZ)) for start_s in starts_s]


def log_mels(wave_N: np.ndarray) -> np.ndarray:
  """Returns mel_BRJ of the NUM_CLIPS clips of a mono waveform at RATE_HZ."""
  mels = []
  for span in audio_clip_spans(len(wave_N)):
    mel_JR = spectrograms.kaldi_fbank(wave_N[span], NUM_MELS)[:MEL_FRAMES]
    mels.append(np.pad(mel_JR, ((0, MEL_FRAMES - len(mel_JR)), (0, 0))).T)
  return ((np.array(mels) + 4.268) / 9.138).astype(np.float32)


def three_crops(images: Iterable[np.ndarray]) -> np.ndarray:
  """Returns frame_G3LYX, normalised: the left or upper, the middle and the right or lower crop of frames.

  Args:
    images: frames, uint8, of one size.
  """
  resized = [resizing.resize_short_side(image_YX3, SIZE) for image_YX3 in images]
  width, height = resized[0].size
  middle_x, middle_y = -((SIZE - width) // 2), -((SIZE - height) // 2)
  if height > width:
    corners = [(middle_x, 0), (middle_x, middle_y), (middle_x, height - SIZE)]
  else:
    corners = [(0, middle_y), (middle_x, middle_y), (width - SIZE, middle_y)]
  frame_LYX3 = np.stack([np.asarray(image) for image in resized])
  crop_GLYX3 = np.stack([frame_LYX3[:, y : y + SIZE, x : x + SIZE] for x, y in corners])
  return ((crop_GLYX3 / np.float32(255.0) - _MEAN) / _DEVIATION).transpose(0, 4, 1, 2, 3)


def _encode_patches(weights: layers.Weights, kind: str, x_BSF: jax.Array) -> jax.Array:
  """Returns embedding_BF of unit norm, of the patches of one modality ('vision' or 'audio')."""
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
  """Returns embedding_BF of clips of CLIP_FRAMES frames."""
  stem = 'modality_preprocessors.vision.rgbt_stem'
  x_BFLYX = layers.convolve(weights, f'{stem}.proj.1', frame_B3LYX, stride=_PATCH)
  return _encode_patches(weights, 'vision', x_BFLYX.reshape(*x_BFLYX.shape[:2], -1).swapaxes(1, 2))


def encode_audio(weights: layers.Weights, mel_BRJ: jax.Array) -> jax.Array:
  """Returns embedding_BF of clips of MEL_FRAMES frames."""
  stem = 'modality_preprocessors.audio.rgbt_stem'
  x_BFRJ = layers.convolve(weights, f'{stem}.proj', mel_BRJ[:, None], stride=_AUDIO_STRIDE)
  x_BSF = x_BFRJ.reshape(*x_BFRJ.shape[:2], -1).swapaxes(1, 2)
  embedding_BF = _encode_patches(weights, 'audio', layers.layer_norm(weights, f'{stem}.norm_layer', x_BSF))
  scale = jnp.exp(weights['modality_postprocessors.audio.1.log_logit_scale'])
  return embedding_BF * jnp.minimum(scale, _MAX_SCALE)


def apply(weights: layers.Weights, frame_B3LYX: jax.Array, mel_BRJ: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns embedding_BF of video and of audio."""
  return encode_video(weights, frame_B3LYX), encode_audio(weights, mel_BRJ)


def load_weights(path: pathlib.Path) -> layers.Weights:
  """Returns the weights that `apply` reads from a file.

  Raises:
    ValueError: the file does not hold this network.
  """
  return layers.load(path, apply, INPUTS, ignored=IGNORED)
