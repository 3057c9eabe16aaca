"""What the front ends of the published networks share: frames, mel triangles, Kaldi's filter bank, cepstra.

Every network has its own spectrogram, and each difference is part of its protocol: v2a.metrics.spectra,
which the project's own tools hear with, is none of them. Mel is 1127 ln(1 + f / 700) throughout.
"""

import functools

import numpy as np


def frames(wave_N: np.ndarray, size: int, hop: int) -> np.ndarray:
  """Returns frame_JN: `size` samples every `hop`; an incomplete last one is dropped."""
  if len(wave_N) < size:
    return np.zeros((0, size), wave_N.dtype)
  return np.lib.stride_tricks.sliding_window_view(wave_N, size)[::hop]


def hann(size: int, is_periodic: bool) -> np.ndarray:
  """Returns a Hann window: one period of a cosine, or one that ends on its first value."""
  return np.hanning(size + 1)[:-1] if is_periodic else np.hanning(size)


@functools.lru_cache(maxsize=16)
def mel_matrix(
  num_fft: int, rate_hz: float, num_mels: int, low_hz: float, high_hz: float, is_straight_in_mel: bool
) -> np.ndarray:
  """Returns triangles of height 1, evenly spaced in mel, as matrix_FR with num_fft // 2 + 1 rows.

  Args:
    num_fft: size of the Fourier transform.
    rate_hz: of the wave.
    num_mels: triangles.
    low_hz, high_hz: where the first begins and the last ends.
    is_straight_in_mel: whether their sides are straight over mel (Kaldi, VGGish) or over Hz (torchaudio).
  """
  edge_R = np.linspace(_mel(low_hz), _mel(high_hz), num_mels + 2)
  bin_F = np.arange(num_fft // 2 + 1) * rate_hz / num_fft
  if is_straight_in_mel:
    bin_F = _mel(bin_F)
  else:
    edge_R = 700.0 * np.expm1(edge_R / 1127.0)
  rise_FR = (bin_F[:, None] - edge_R[:-2]) / (edge_R[1:-1] - edge_R[:-2])
  fall_FR = (edge_R[2:] - bin_F[:, None]) / (edge_R[2:] - edge_R[1:-1])
  return np.clip(np.minimum(rise_FR, fall_FR), 0.0, None)


def _mel(hz):
  return 1127.0 * np.log1p(np.asarray(hz) / 700.0)


def kaldi_fbank(wave_N: np.ndarray, num_mels: int, rate_hz: int = 16000) -> np.ndarray:
  """Returns Kaldi's log mel filter bank as level_JR: 25 ms every 10 ms, Hann window, 20 Hz to half the rate.

  Each frame loses its mean and is pre-emphasised by 0.97, its first sample against itself; the floor of the
  power is float32's epsilon; no dither.

  Args:
    wave_N: samples.
    num_mels: bands.
    rate_hz: of the wave.
  """
  size, hop = rate_hz * 25 // 1000, rate_hz * 10 // 1000
  num_fft = 1 << (size - 1).bit_length()
  frame_JN = frames(wave_N.astype(np.float64), size, hop)
  frame_JN = frame_JN - frame_JN.mean(axis=1, keepdims=True)
  frame_JN = frame_JN - 0.97 * np.concatenate([frame_JN[:, :1], frame_JN[:, :-1]], axis=1)
  power_JF = np.abs(np.fft.rfft(frame_JN * hann(size, is_periodic=False), num_fft)) ** 2
  # Kaldi's bank has no column for half the rate.
  matrix_FR = mel_matrix(num_fft, rate_hz, num_mels, 20.0, rate_hz / 2, True)[:-1]
  return np.log(np.maximum(power_JF[:, :-1] @ matrix_FR, np.finfo(np.float32).eps))


def mfcc(wave_N: np.ndarray) -> np.ndarray:
  """Returns 13 cepstral coefficients every 10 ms as cepstrum_JF, as python_speech_features by default.

  Pre-emphasis by 0.97 over the whole sound; 25 ms without a window, the last filled up with zeros; 512 bins
  of power, over 512; 26 triangles of mel, corners on whole bins; a cosine transform (II, orthonormal) of the
  logarithms; lifter 22; the first coefficient is the logarithm of the frame's power. 0 is float64's epsilon.

  Args:
    wave_N: at 16 kHz, full scale 32768.
  """
  wave_N = np.concatenate([wave_N[:1], wave_N[1:] - 0.97 * wave_N[:-1]])
  num_frames = 1 + max(0, -(-(len(wave_N) - 400) // 160))
  frame_JN = frames(np.pad(wave_N, (0, (num_frames - 1) * 160 + 400 - len(wave_N))), 400, 160)
  power_JF = np.abs(np.fft.rfft(frame_JN, 512)) ** 2 / 512
  level_JR = power_JF @ _cornered_triangles(26)
  level_JR, total_J1 = (
    np.log(np.where(power == 0, np.finfo(float).eps, power))
    for power in (level_JR, power_JF.sum(axis=1, keepdims=True))
  )
  index_F = np.arange(1, 13)
  matrix_RF = np.sqrt(2 / 26) * np.cos(np.pi * (np.arange(26)[:, None] + 0.5) * index_F / 26)
  return np.hstack([total_J1, level_JR @ matrix_RF * (1 + 11 * np.sin(np.pi * index_F / 22))])


@functools.lru_cache(maxsize=1)
def _cornered_triangles(num_mels: int) -> np.ndarray:
  """Returns matrix_FR for 512 bins at 16 kHz; corners lie on the whole bins below them, 0 to 8000 Hz."""
  edge_R = np.linspace(0.0, _mel(8000.0), num_mels + 2)
  corner_R = np.floor(513 * 700.0 * np.expm1(edge_R / 1127.0) / 16000 + 1e-9)
  bin_F1 = np.arange(257)[:, None]
  rise_FR = (bin_F1 - corner_R[:-2]) / (corner_R[1:-1] - corner_R[:-2])
  fall_FR = (corner_R[2:] - bin_F1) / (corner_R[2:] - corner_R[1:-1])
  return np.clip(np.minimum(rise_FR, fall_FR), 0.0, None)
