"""Synchformer audio-visual synchronization model (Iashin et al. 2024, arXiv 2401.16423).

"Synchformer: efficient synchronization from sparse cues", the checkpoint `24-01-04T16-39-21` (AudioSet) as
MMAudio publishes it. Audio and video are encoded in segments of 0.64 s every 0.32 s; a transformer over the
tokens of NUM_SEGMENTS segments (4.8 s) classifies the offset between them into OFFSETS_S.

  video   25 frames per second; the shorter side resized to 224 (bicubic), center crop, scaled to [-1, 1];
          segments of 16 frames every 8
  audio   16 kHz mono; segments of 10240 samples every 5120, each with its own log-mel spectrogram: 128 bands,
          400 samples every 160, 1024-point FFT, reflected at both ends, ln(x + 1e-6), zero-padded to 66
          frames before it is normalised as (x + 4.2677393) / (2 * 4.5689974)
"""

from collections.abc import Iterable
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a import mel
from v2a.models.published import checkpoints
from v2a.models.published import layers
from v2a.models.published import resizing
from v2a.models.published import spectrograms

RATE_HZ, FPS, SIZE = 16000, 25, 224
SEGMENT_SAMPLES, STEP_SAMPLES = 10240, 5120
SEGMENT_FRAMES, STEP_FRAMES = 16, 8
NUM_SEGMENTS = 14
NUM_MELS, MEL_FRAMES = 128, 66
OFFSETS_S = np.linspace(-2.0, 2.0, 21)
CHECKPOINT = checkpoints.Checkpoint(
  'synchformer_state_dict.pth',
  'https://github.com/hkchengrex/MMAudio/releases/download/v0.1/synchformer_state_dict.pth',
  None,
  'MIT',
)
INPUTS = (
  jax.ShapeDtypeStruct((NUM_SEGMENTS, 3, SEGMENT_FRAMES, SIZE, SIZE), np.float32),
  jax.ShapeDtypeStruct((NUM_SEGMENTS, NUM_MELS, MEL_FRAMES), np.float32),
)
# Video is embedded in patches of two frames (patch_embed_3d); these of one frame are unused.
IGNORED = ('vfeat_extractor.patch_embed.',)
_HEAD_FEATURES, _JOINT_HEAD_FEATURES = 64, 96
_AUDIO_STRIDE = 10


def center_crops(images: Iterable[np.ndarray]) -> np.ndarray:
  """Returns frame_L3YX in [-1, 1] of frames (uint8, any size), resized and cropped."""
  cropped = []
  for image_YX3 in images:
    image = resizing.resize_short_side(image_YX3, SIZE)
    left, top = (round((side - SIZE) / 2.0) for side in image.size)
    cropped.append(np.asarray(image.crop((left, top, left + SIZE, top + SIZE))))
  return (np.stack(cropped).transpose(0, 3, 1, 2) / 127.5 - 1.0).astype('f4')


def log_mels(wave_N: np.ndarray) -> np.ndarray:
  """Returns mel_GRJ of each segment of a mono waveform at RATE_HZ."""
  window_N = np.pad(spectrograms.hann(400, is_periodic=True), 312)
  matrix_FR = mel.filterbank(RATE_HZ, 1024, NUM_MELS, 0.0, RATE_HZ / 2, scale='htk')
  mels = []
  for segment_N in spectrograms.frames(wave_N, SEGMENT_SAMPLES, STEP_SAMPLES):
    frame_JN = spectrograms.frames(np.pad(segment_N, 512, mode='reflect'), 1024, 160)
    mel_JR = np.log(np.abs(np.fft.rfft(frame_JN * window_N)) ** 2 @ matrix_FR + 1e-6)
    mels.append(np.pad(mel_JR, ((0, MEL_FRAMES - len(mel_JR)), (0, 0))).T)
  return ((np.array(mels) + 4.2677393) / (2 * 4.5689974)).astype(np.float32)


def _divided_attention(
  weights: layers.Weights, name: str, x_BSF: jax.Array, num_frames: int, is_temporal: bool
) -> jax.Array:
  """Returns divided space-time attention; the class token attends to all tokens.

  Args:
    weights, name: of the layer.
    x_BSF: the class token and the patches, frame by frame.
    num_frames: number of frames.
    is_temporal: whether a patch attends to its position in all frames, or to all patches of its frame.
  """
  size, _, width = x_BSF.shape
  num_heads = width // _HEAD_FEATURES
  parts = jnp.split(layers.linear(weights, f'{name}.qkv', x_BSF), 3, axis=-1)

  def grouped(x_BSF: jax.Array) -> jax.Array:
    x_BLPF = x_BSF[:, 1:].reshape(size, num_frames, -1, width)
    x_BGSF = x_BLPF.swapaxes(1, 2) if is_temporal else x_BLPF
    return x_BGSF.reshape(-1, x_BGSF.shape[2], width)

  q_BSF, k_BSF, v_BSF = (grouped(part) for part in parts)
  class_k_BSF, class_v_BSF = (jnp.repeat(part[:, :1], len(q_BSF) // size, axis=0) for part in parts[1:])
  k_BSF = jnp.concatenate([class_k_BSF, k_BSF], axis=1)
  v_BSF = jnp.concatenate([class_v_BSF, v_BSF], axis=1)
  out_BGSF = layers.attention(q_BSF, k_BSF, v_BSF, num_heads).reshape(size, -1, q_BSF.shape[1], width)
  out_BLPF = out_BGSF.swapaxes(1, 2) if is_temporal else out_BGSF
  class_BSF = layers.attention(parts[0][:, :1], parts[1], parts[2], num_heads)
  out_BSF = jnp.concatenate([class_BSF, out_BLPF.reshape(size, -1, width)], axis=1)
  return layers.linear(weights, f'{name}.proj', out_BSF)


def _aggregate(weights: layers.Weights, name: str, x_BSF: jax.Array) -> jax.Array:
  """Returns feature_BF: the class token after one pre-norm layer of torch.nn.TransformerEncoderLayer."""
  class_BSF = jnp.broadcast_to(weights[f'{name}.cls_token'], (len(x_BSF), 1, x_BSF.shape[2]))
  x_BSF = jnp.concatenate([class_BSF, x_BSF], axis=1)
  normed_BSF = layers.layer_norm(weights, f'{name}.norm1', x_BSF, 1e-6)
  num_heads = x_BSF.shape[2] // _HEAD_FEATURES
  x_BF = (x_BSF + layers.self_attention(weights, f'{name}.self_attn', normed_BSF, num_heads))[:, 0]
  hidden_BF = layers.linear(
    weights, f'{name}.linear1', layers.layer_norm(weights, f'{name}.norm2', x_BF, 1e-6)
  )
  return x_BF + layers.linear(weights, f'{name}.linear2', jax.nn.gelu(hidden_BF, approximate=False))


def encode_video(weights: layers.Weights, frame_B3LYX: jax.Array) -> jax.Array:
  """Returns token_BLF: one token for every two frames of each segment."""
  name = 'vfeat_extractor.'
  x_BFLYX = layers.convolve(weights, f'{name}patch_embed_3d.proj', frame_B3LYX, stride=(2, 16, 16))
  num_frames = x_BFLYX.shape[2]
  x_BSF = x_BFLYX.reshape(*x_BFLYX.shape[:2], -1).swapaxes(1, 2)
  class_BSF = jnp.broadcast_to(weights[f'{name}cls_token'], (len(x_BSF), 1, x_BSF.shape[2]))
  position_1SF, time_1LF = weights[f'{name}pos_embed'], weights[f'{name}temp_embed']
  position_1LPF = position_1SF[:, None, 1:] + time_1LF[:, :, None]
  position_1SF = jnp.concatenate([position_1SF[:, :1], position_1LPF.reshape(1, -1, x_BSF.shape[2])], axis=1)
  x_BSF = jnp.concatenate([class_BSF, x_BSF], axis=1) + position_1SF
  for i in range(layers.count_layers(weights, name + 'blocks.{}.norm1.weight')):
    block = f'{name}blocks.{i}'
    for part, norm, is_temporal in (('timeattn', 'norm3', True), ('attn', 'norm1', False)):
      normed_BSF = layers.layer_norm(weights, f'{block}.{norm}', x_BSF, 1e-6)
      x_BSF = x_BSF + _divided_attention(weights, f'{block}.{part}', normed_BSF, num_frames, is_temporal)
    normed_BSF = layers.layer_norm(weights, f'{block}.norm2', x_BSF, 1e-6)
    hidden_BSF = jax.nn.gelu(layers.linear(weights, f'{block}.mlp.fc1', normed_BSF), approximate=False)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.mlp.fc2', hidden_BSF)
  x_BSF = layers.layer_norm(weights, f'{name}norm', x_BSF[:, 1:], 1e-6)
  size, _, width = x_BSF.shape
  token_BF = _aggregate(weights, f'{name}spatial_attn_agg', x_BSF.reshape(size * num_frames, -1, width))
  return token_BF.reshape(size, num_frames, width)


def encode_audio(weights: layers.Weights, mel_BRJ: jax.Array) -> jax.Array:
  """Returns token_BJF: six tokens of each segment."""
  name = 'afeat_extractor.ast.'
  patches = f'{name}embeddings.patch_embeddings.projection'
  x_BFRJ = layers.convolve(weights, patches, mel_BRJ[:, None], stride=_AUDIO_STRIDE)
  size, width, num_bands, num_steps = x_BFRJ.shape
  tokens = [weights[f'{name}embeddings.{part}_token'] for part in ('cls', 'distillation')]
  tokens = [jnp.broadcast_to(token, (size, 1, width)) for token in tokens]
  x_BSF = jnp.concatenate([*tokens, x_BFRJ.reshape(size, width, -1).swapaxes(1, 2)], axis=1)
  x_BSF = x_BSF + weights[f'{name}embeddings.position_embeddings']
  for i in range(layers.count_layers(weights, name + 'encoder.layer.{}.layernorm_before.weight')):
    block = f'{name}encoder.layer.{i}'
    normed_BSF = layers.layer_norm(weights, f'{block}.layernorm_before', x_BSF, 1e-12)
    q_BSF, k_BSF, v_BSF = (
      layers.linear(weights, f'{block}.attention.attention.{part}', normed_BSF)
      for part in ('query', 'key', 'value')
    )
    attended_BSF = layers.attention(q_BSF, k_BSF, v_BSF, width // _HEAD_FEATURES)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.attention.output.dense', attended_BSF)
    normed_BSF = layers.layer_norm(weights, f'{block}.layernorm_after', x_BSF, 1e-12)
    hidden_BSF = layers.linear(weights, f'{block}.intermediate.dense', normed_BSF)
    hidden_BSF = jax.nn.gelu(hidden_BSF, approximate=False)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.output.dense', hidden_BSF)
  x_BSF = layers.layer_norm(weights, f'{name}layernorm', x_BSF, 1e-12)[:, 2:]
  x_BJRF = x_BSF.reshape(size, num_bands, num_steps, width).swapaxes(1, 2)
  token_BF = _aggregate(weights, 'afeat_extractor.freq_attn_agg', x_BJRF.reshape(-1, num_bands, width))
  return token_BF.reshape(size, num_steps, width)


def predict_offset(weights: layers.Weights, video_BSF: jax.Array, audio_BSF: jax.Array) -> jax.Array:
  """Returns logits_BO over OFFSETS_S.

  Args:
    weights: of Synchformer.
    video_BSF, audio_BSF: tokens of NUM_SEGMENTS segments in order, see `encode_video`, `encode_audio`.
  """
  name = 'transformer.'
  token = lambda kind: jnp.broadcast_to(weights[f'{name}{kind}_tok'], (len(video_BSF), 1, video_BSF.shape[2]))
  video_BSF = layers.layer_norm(weights, f'{name}vis_in_lnorm', layers.linear(weights, 'vproj', video_BSF))
  audio_BSF = layers.layer_norm(weights, f'{name}aud_in_lnorm', layers.linear(weights, 'aproj', audio_BSF))
  x_BSF = jnp.concatenate([token('OFF'), video_BSF, token('MOD'), audio_BSF], axis=1)
  x_BSF = x_BSF + weights[f'{name}pos_emb_cfg.pos_emb']
  for i in range(layers.count_layers(weights, name + 'blocks.{}.ln1.weight')):
    block = f'{name}blocks.{i}'
    normed_BSF = layers.layer_norm(weights, f'{block}.ln1', x_BSF)
    q_BSF, k_BSF, v_BSF = (
      layers.linear(weights, f'{block}.attn.{part}', normed_BSF) for part in ('query', 'key', 'value')
    )
    attended_BSF = layers.attention(q_BSF, k_BSF, v_BSF, x_BSF.shape[2] // _JOINT_HEAD_FEATURES)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.attn.proj', attended_BSF)
    normed_BSF = layers.layer_norm(weights, f'{block}.ln2', x_BSF)
    hidden_BSF = jax.nn.gelu(layers.linear(weights, f'{block}.mlp.0', normed_BSF), approximate=False)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.mlp.2', hidden_BSF)
  return layers.linear(weights, f'{name}off_head', layers.layer_norm(weights, f'{name}ln_f', x_BSF[:, 0]))


def apply(weights: layers.Weights, frame_G3LYX: jax.Array, mel_GRJ: jax.Array) -> jax.Array:
  """Returns logits_BO over OFFSETS_S of one clip of NUM_SEGMENTS segments."""
  video_GSF, audio_GSF = encode_video(weights, frame_G3LYX), encode_audio(weights, mel_GRJ)
  tokens = [x_GSF.reshape(1, -1, x_GSF.shape[2]) for x_GSF in (video_GSF, audio_GSF)]
  return predict_offset(weights, *tokens)


def load_weights(path: pathlib.Path) -> layers.Weights:
  """Returns the weights that `apply` reads from a file.

  Raises:
    ValueError: the file does not hold this network.
  """
  return layers.load(path, apply, INPUTS, ignored=IGNORED)
