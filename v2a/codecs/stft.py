"""Short-time Fourier transform and its inverse, on a grid aligned with latents.

Frame j is centred at (j + 0.5) * hop, so N samples give exactly N / hop frames, and frames
[p * T, p * (T + 1)) belong to latent step T. Hann windows; the inverse adds overlapping frames and
divides by the summed squared windows, which reconstructs exactly (Griffin and Lim 1984, eq. 6).
"""

import jax
import jax.numpy as jnp
import numpy as np

from v2a import workarounds


def hann(size: int) -> np.ndarray:
  """Returns the periodic Hann window."""
  return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def _check(num_samples: int, n_fft: int, hop_samples: int) -> None:
  if num_samples % hop_samples or n_fft % hop_samples or (n_fft - hop_samples) % 2:
    raise ValueError(
      f'num_samples and n_fft must be multiples of hop_samples, and n_fft - hop_samples even; '
      f'got {num_samples}, {n_fft}, {hop_samples}.'
    )


def forward(wave_BNA: jax.Array, n_fft: int, hop_samples: int) -> jax.Array:
  """Returns the complex spectrogram spec_BAJF, F = n_fft / 2 + 1.

  Args:
    wave_BNA: waveforms; N a multiple of hop_samples.
    n_fft: window length, a multiple of hop_samples.
    hop_samples: samples between frames.

  Raises:
    ValueError: N or n_fft is no multiple of hop_samples, or n_fft - hop_samples is odd.
  """
  B, N, A = wave_BNA.shape
  _check(N, n_fft, hop_samples)
  pad = (n_fft - hop_samples) // 2
  wave_BAN = jnp.pad(wave_BNA.transpose(0, 2, 1), ((0, 0), (0, 0), (pad, pad)))
  num_frames, folds = N // hop_samples, n_fft // hop_samples
  # n_fft = folds * hop: a frame is a concatenation of neighbouring hop-sized pieces, without a gather.
  tail = (num_frames + folds - 1) * hop_samples - wave_BAN.shape[-1]
  pieces = jnp.pad(wave_BAN, ((0, 0), (0, 0), (0, tail))).reshape(B, A, -1, hop_samples)
  frames = jnp.concatenate([pieces[:, :, i : i + num_frames] for i in range(folds)], axis=-1)
  return workarounds.rfft(frames * hann(n_fft)[None, None, None])


def inverse(spec_BAJF: jax.Array, n_fft: int, hop_samples: int) -> jax.Array:
  """Returns wave_BNA of a complex spectrogram; see `forward`."""
  B, A, J, _ = spec_BAJF.shape
  folds, pad = n_fft // hop_samples, (n_fft - hop_samples) // 2
  window = hann(n_fft)
  frames = workarounds.irfft(spec_BAJF, n_fft) * window[None, None, None]
  pieces = frames.reshape(B, A, J, folds, hop_samples)
  shifted = [jnp.pad(pieces[:, :, :, i], ((0, 0), (0, 0), (i, folds - 1 - i), (0, 0))) for i in range(folds)]
  total = sum(shifted, start=jnp.zeros(()))
  wave_BAN = total.reshape(B, A, -1)[..., pad : pad + J * hop_samples]
  envelope_N = _envelope(J, window, hop_samples)[pad : pad + J * hop_samples]
  return (wave_BAN / jnp.asarray(envelope_N)[None, None]).transpose(0, 2, 1)


def _envelope(num_frames: int, window: np.ndarray, hop_samples: int) -> np.ndarray:
  """Returns the sum of squared windows of all frames, with a floor where only tails of windows overlap."""
  total = np.zeros((num_frames - 1) * hop_samples + len(window), np.float32)
  for j in range(num_frames):
    total[j * hop_samples : j * hop_samples + len(window)] += np.square(window)
  return np.maximum(total, 1e-2)
