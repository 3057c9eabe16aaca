"""Fake records: random but reproducible clips in place of data, for tests and `--tiny`."""

import numpy as np

from v2a import clip
from v2a.data import record_schema


def make(
  spec: clip.ClipSpec,
  seed: int = 0,
  num_latent_channels: int = 0,
  num_codebooks: int = 0,
  codebook_size: int = 2,
) -> dict:
  """Returns a fake record: a square moves across the frames, and the audio is a chirp.

  Args:
    spec: lengths.
    seed: equal seeds give equal records.
    num_latent_channels: channels of random latents; 0 for no latents.
    num_codebooks, codebook_size: of random codes; 0 codebooks for no codes.
  """
  rng = np.random.default_rng((seed, 0xFA4E))
  start_hz, end_hz = rng.uniform(100, 0.2 * spec.sample_rate_hz, 2)
  t_N = np.arange(spec.num_samples) / spec.sample_rate_hz
  phase_N = 2 * np.pi * (start_hz * t_N + (end_hz - start_hz) * t_N**2 / (2 * float(spec.duration_s)))
  gain_A = rng.uniform(0.2, 0.6, spec.num_channels)
  encoded = dict(record_schema.NOT_ENCODED)
  if num_latent_channels:
    latent_TC = rng.standard_normal((spec.num_latents, num_latent_channels)).astype(np.float16)
    encoded |= {'latent_mean_TC': latent_TC, 'latent_std_TC': np.full_like(latent_TC, 0.1)}
  color = rng.integers(64, 256, 3)
  if num_codebooks:
    encoded['codes_TK'] = rng.integers(0, codebook_size, (spec.num_latents, num_codebooks), np.uint16)
  return {
    'id': f'fake/{seed}',
    'wave_NA': record_schema.wave_to_int16(np.sin(phase_N)[:, None] * gain_A),
    'semantic_frame_MYX3': _frames(spec.num_semantic_frames, spec.frame_size, color),
    'sync_frame_LYX3': _frames(spec.num_sync_frames, spec.frame_size, color),
    'text': f'a tone from {start_hz:.0f} to {end_hz:.0f} hertz',
    'transcript': '',
    'truth': '',
    'has_video': True,
    'has_audio': True,
    'num_valid_samples': spec.num_samples,
    **encoded,
  }


def _frames(num_frames: int, size: int, color: np.ndarray) -> np.ndarray:
  frame_LYX3 = np.zeros((num_frames, size, size, 3), np.uint8)
  side = max(1, size // 4)
  for index in range(num_frames):
    left = index * (size - side) // max(1, num_frames - 1)
    frame_LYX3[index, left : left + side, left : left + side] = color
  return frame_LYX3
