"""Synchformer: by how many seconds sound and picture are apart, for DeSync.

Iashin et al. 2024, "Synchformer: efficient synchronization from sparse cues", arXiv 2401.16423; the weights
`24-01-04T16-39-21` (AudioSet) as MMAudio publishes them. As hkchengrex/av-benchmark takes it: pictures at 25
a second, the shorter side made 224 (bicubic), the middle square, from -1 to 1, segments of 16 every 8; the
mean of the channels at 16 kHz (its offset stays), segments of 10240 samples every 5120, each by itself 128
mels of power (400 samples every 160, 1024 bins, mirrored at the ends), ln(x + 1e-6), filled up to 66 frames
with 0 before (x + 4.2677393) / (2 * 4.5689974). The first 14 and the last 14 segments, 4.8 s each, give a
distribution over 21 offsets from -2 to 2 s each; DeSync is the mean of both most likely offsets' sizes.
"""

from collections.abc import Iterable
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

NAME = 'synchformer'
VERSION = 1
METRICS = ('desync',)
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
_HEAD_FEATURES, _JOINT_HEAD_FEATURES = 64, 96
_AUDIO_STRIDE = 10


def center_crops(shown: Iterable[np.ndarray]) -> np.ndarray:
  """Returns frame_L3YX from -1 to 1: pictures (uint8, of any size) scaled and cut as the protocol says."""
  scaled = []
  for picture_YX3 in shown:
    picture = picture_lib.resize_short_side(picture_YX3, SIZE)
    left, top = (round((side - SIZE) / 2.0) for side in picture.size)
    scaled.append(np.asarray(picture.crop((left, top, left + SIZE, top + SIZE))))
  return (np.stack(scaled).transpose(0, 3, 1, 2) / 127.5 - 1.0).astype('f4')


def log_mels(wave_N: np.ndarray) -> np.ndarray:
  """Returns mel_GRJ, one a segment of a mono wave at RATE_HZ."""
  window_N = np.pad(spectrograms.hann(400, is_periodic=True), 312)
  matrix_FR = spectrograms.mel_matrix(1024, RATE_HZ, NUM_MELS, 0.0, RATE_HZ / 2, False)
  made = []
  for segment_N in spectrograms.frames(wave_N, SEGMENT_SAMPLES, STEP_SAMPLES):
    frame_JN = spectrograms.frames(np.pad(segment_N, 512, mode='reflect'), 1024, 160)
    mel_JR = np.log(np.abs(np.fft.rfft(frame_JN * window_N)) ** 2 @ matrix_FR + 1e-6)
    made.append(np.pad(mel_JR, ((0, MEL_FRAMES - len(mel_JR)), (0, 0))).T)
  return ((np.array(made) + 4.2677393) / (2 * 4.5689974)).astype(np.float32)


def _divided_attention(weights: layers.Weights, name: str, x_BSF: jax.Array, num_frames: int, in_time: bool):
  """Returns attention of patches over their place in time or their picture; the first token's over all."""
  size, _, width = x_BSF.shape
  num_heads = width // _HEAD_FEATURES
  parts = jnp.split(layers.linear(weights, f'{name}.qkv', x_BSF), 3, axis=-1)

  def grouped(x_BSF: jax.Array) -> jax.Array:
    x_BLPF = x_BSF[:, 1:].reshape(size, num_frames, -1, width)
    x_BGSF = x_BLPF.swapaxes(1, 2) if in_time else x_BLPF
    return x_BGSF.reshape(-1, x_BGSF.shape[2], width)

  q_BSF, k_BSF, v_BSF = (grouped(part) for part in parts)
  first_k_BSF, first_v_BSF = (jnp.repeat(part[:, :1], len(q_BSF) // size, axis=0) for part in parts[1:])
  k_BSF = jnp.concatenate([first_k_BSF, k_BSF], axis=1)
  v_BSF = jnp.concatenate([first_v_BSF, v_BSF], axis=1)
  taken_BGSF = layers.attention(q_BSF, k_BSF, v_BSF, num_heads).reshape(size, -1, q_BSF.shape[1], width)
  taken_BLPF = taken_BGSF.swapaxes(1, 2) if in_time else taken_BGSF
  first_BSF = layers.attention(parts[0][:, :1], parts[1], parts[2], num_heads)
  taken_BSF = jnp.concatenate([first_BSF, taken_BLPF.reshape(size, -1, width)], axis=1)
  return layers.linear(weights, f'{name}.proj', taken_BSF)


def _gather(weights: layers.Weights, name: str, x_BSF: jax.Array) -> jax.Array:
  """Returns feature_BF: the class token after one layer of torch.nn.TransformerEncoderLayer, norms first."""
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
  """Returns token_BLF, one for two pictures of each segment."""
  name = 'vfeat_extractor.'
  x_BFLYX = layers.convolve(weights, f'{name}patch_embed_3d.proj', frame_B3LYX, stride=(2, 16, 16))
  num_frames = x_BFLYX.shape[2]
  x_BSF = x_BFLYX.reshape(*x_BFLYX.shape[:2], -1).swapaxes(1, 2)
  class_BSF = jnp.broadcast_to(weights[f'{name}cls_token'], (len(x_BSF), 1, x_BSF.shape[2]))
  place_1SF, time_1LF = weights[f'{name}pos_embed'], weights[f'{name}temp_embed']
  place_1LPF = place_1SF[:, None, 1:] + time_1LF[:, :, None]
  place_1SF = jnp.concatenate([place_1SF[:, :1], place_1LPF.reshape(1, -1, x_BSF.shape[2])], axis=1)
  x_BSF = jnp.concatenate([class_BSF, x_BSF], axis=1) + place_1SF
  for i in range(layers.count_layers(weights, name + 'blocks.{}.norm1.weight')):
    block = f'{name}blocks.{i}'
    for part, norm, in_time in (('timeattn', 'norm3', True), ('attn', 'norm1', False)):
      normed_BSF = layers.layer_norm(weights, f'{block}.{norm}', x_BSF, 1e-6)
      x_BSF = x_BSF + _divided_attention(weights, f'{block}.{part}', normed_BSF, num_frames, in_time)
    normed_BSF = layers.layer_norm(weights, f'{block}.norm2', x_BSF, 1e-6)
    hidden_BSF = jax.nn.gelu(layers.linear(weights, f'{block}.mlp.fc1', normed_BSF), approximate=False)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.mlp.fc2', hidden_BSF)
  x_BSF = layers.layer_norm(weights, f'{name}norm', x_BSF[:, 1:], 1e-6)
  size, _, width = x_BSF.shape
  token_BF = _gather(weights, f'{name}spatial_attn_agg', x_BSF.reshape(size * num_frames, -1, width))
  return token_BF.reshape(size, num_frames, width)


def encode_audio(weights: layers.Weights, mel_BRJ: jax.Array) -> jax.Array:
  """Returns token_BJF, six of each segment."""
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
    parts = [
      layers.linear(weights, f'{block}.attention.attention.{part}', normed_BSF)
      for part in ('query', 'key', 'value')
    ]
    taken_BSF = layers.attention(*parts, width // _HEAD_FEATURES)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.attention.output.dense', taken_BSF)
    normed_BSF = layers.layer_norm(weights, f'{block}.layernorm_after', x_BSF, 1e-12)
    hidden_BSF = layers.linear(weights, f'{block}.intermediate.dense', normed_BSF)
    hidden_BSF = jax.nn.gelu(hidden_BSF, approximate=False)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.output.dense', hidden_BSF)
  x_BSF = layers.layer_norm(weights, f'{name}layernorm', x_BSF, 1e-12)[:, 2:]
  x_BJRF = x_BSF.reshape(size, num_bands, num_steps, width).swapaxes(1, 2)
  token_BF = _gather(weights, 'afeat_extractor.freq_attn_agg', x_BJRF.reshape(-1, num_bands, width))
  return token_BF.reshape(size, num_steps, width)


def predict_offset(weights: layers.Weights, seen_BSF: jax.Array, heard_BSF: jax.Array) -> jax.Array:
  """Returns logits_BO of OFFSETS_S, of the tokens of NUM_SEGMENTS segments, in their order."""
  name = 'transformer.'
  token = lambda kind: jnp.broadcast_to(weights[f'{name}{kind}_tok'], (len(seen_BSF), 1, seen_BSF.shape[2]))
  seen_BSF = layers.layer_norm(weights, f'{name}vis_in_lnorm', layers.linear(weights, 'vproj', seen_BSF))
  heard_BSF = layers.layer_norm(weights, f'{name}aud_in_lnorm', layers.linear(weights, 'aproj', heard_BSF))
  x_BSF = jnp.concatenate([token('OFF'), seen_BSF, token('MOD'), heard_BSF], axis=1)
  x_BSF = x_BSF + weights[f'{name}pos_emb_cfg.pos_emb']
  for i in range(layers.count_layers(weights, name + 'blocks.{}.ln1.weight')):
    block = f'{name}blocks.{i}'
    normed_BSF = layers.layer_norm(weights, f'{block}.ln1', x_BSF)
    parts = [layers.linear(weights, f'{block}.attn.{part}', normed_BSF) for part in ('query', 'key', 'value')]
    taken_BSF = layers.attention(*parts, x_BSF.shape[2] // _JOINT_HEAD_FEATURES)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.attn.proj', taken_BSF)
    normed_BSF = layers.layer_norm(weights, f'{block}.ln2', x_BSF)
    hidden_BSF = jax.nn.gelu(layers.linear(weights, f'{block}.mlp.0', normed_BSF), approximate=False)
    x_BSF = x_BSF + layers.linear(weights, f'{block}.mlp.2', hidden_BSF)
  return layers.linear(weights, f'{name}off_head', layers.layer_norm(weights, f'{name}ln_f', x_BSF[:, 0]))


def apply(weights: layers.Weights, frame_G3LYX: jax.Array, mel_GRJ: jax.Array) -> jax.Array:
  """Returns logits_BO of one clip of NUM_SEGMENTS segments."""
  seen_GSF, heard_GSF = encode_video(weights, frame_G3LYX), encode_audio(weights, mel_GRJ)
  tokens = [x_GSF.reshape(1, -1, x_GSF.shape[2]) for x_GSF in (seen_GSF, heard_GSF)]
  return predict_offset(weights, *tokens)


class Synchformer(embedder_lib.Embedder):
  """Synchformer under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('wave', 'pictures'), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._encode_video, self._encode_audio, self._predict_offset = (
      jax.jit(encode_video),
      jax.jit(encode_audio),
      jax.jit(predict_offset),
    )

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns the logits of the first and of the last 4.8 s as offset_logits_NO.

    Raises:
      Refusal: the clip is shorter than that.
    """
    wave_N = waves.mono(clip.wave_NA, clip.sample_rate_hz, RATE_HZ, is_centred=False)
    num_frames = int(clip.pictures.duration_s * FPS + 1e-6)
    num_segments = min(
      (len(wave_N) - SEGMENT_SAMPLES) // STEP_SAMPLES + 1, (num_frames - SEGMENT_FRAMES) // STEP_FRAMES + 1
    )
    if num_segments < NUM_SEGMENTS:
      length_s = min(len(wave_N) / RATE_HZ, num_frames / FPS)
      raise embedder_lib.UnsupportedClipError(
        f'Synchformer needs 4.8 s of sound and picture; a clip has {length_s:.3f} s'
      )
    frame_L3YX = center_crops(clip.pictures.frames_at_fps(FPS, num_frames))
    mel_GRJ = log_mels(wave_N)
    # A segment at a time: 1569 tokens of each picture's twelve layers are memory enough.
    seen_GSF, heard_GSF = [], []
    for g in range(num_segments):
      frame_13LYX = frame_L3YX[g * STEP_FRAMES :][:SEGMENT_FRAMES].transpose(1, 0, 2, 3)[None]
      seen_GSF.append(np.asarray(self._encode_video(self._weights, frame_13LYX))[0])
      heard_GSF.append(np.asarray(self._encode_audio(self._weights, mel_GRJ[g : g + 1]))[0])
    logits = []
    for part in (slice(NUM_SEGMENTS), slice(num_segments - NUM_SEGMENTS, None)):
      tokens = [np.concatenate(found[part])[None] for found in (seen_GSF, heard_GSF)]
      logits.append(np.asarray(self._predict_offset(self._weights, *tokens))[0])
    return {'offset_logits_NO': np.stack(logits)}

  def scores(self, arrays: embedder_lib.Arrays) -> dict[str, float]:
    """Returns the mean size of the most likely offsets in seconds; less is better."""
    return {'desync': float(np.abs(OFFSETS_S[arrays['offset_logits_NO'].argmax(axis=1)]).mean())}


def load(path: pathlib.Path) -> Synchformer:
  """Returns the network with the weights of a file."""
  inputs = (
    jax.ShapeDtypeStruct((NUM_SEGMENTS, 3, SEGMENT_FRAMES, SIZE, SIZE), np.float32),
    jax.ShapeDtypeStruct((NUM_SEGMENTS, NUM_MELS, MEL_FRAMES), np.float32),
  )
  # Pictures are cut into patches of two at a time; those of single pictures are left from before.
  weights = layers.load(path, apply, inputs, ignored=('vfeat_extractor.patch_embed.',))
  return Synchformer(weights, checkpoints.embedder_digest(NAME, VERSION, {path: CHECKPOINT}))
