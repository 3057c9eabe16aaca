"""Audio front ends of published networks: framing, Kaldi's filter bank, MFCC.

Each network defines its own spectrogram, and its differences are part of its protocol; the spectrograms of
this project's own networks are elsewhere. All use the HTK mel scale (`v2a.mel` eq. 2).
"""

import functools

import numpy as np

from v2a import mel


def frames(wave_N: np.ndarray, size: int, hop: int) -> np.ndarray:
  """Returns frame_JN: `size` samples every `hop` samples; an incomplete last frame is dropped."""
  if len(wave_N) < size:
    return np.zeros((0, size), wave_N.dtype)
  return np.lib.stride_tricks.sliding_window_view(wave_N, size)[::hop]


def hann(size: int, is_periodic: bool) -> np.ndarray:
  """Returns a Hann window, periodic or symmetric."""
  return np.hanning(size + 1)[:-1] if is_periodic else np.hanning(size)


def kaldi_fbank(wave_N: np.ndarray, num_mels: int, rate_hz: int = 16000) -> np.ndarray:
  """Returns Kaldi's log-mel filter bank mel_JR: 25 ms every 10 ms, Hann window, 20 Hz to half the rate.

  The mean of each frame is subtracted and pre-emphasis by 0.97 is applied within it, the first sample against
  itself; power is floored at float32's epsilon; no dither.

  Args:
    wave_N: waveform.
    num_mels: number of bands.
    rate_hz: sample rate.
  """
  size, hop = rate_hz * 25 // 1000, rate_hz * 10 // 1000
  num_fft = 1 << (size - 1).bit_length()
  frame_JN = frames(wave_N.astype(np.float64), size, hop)
  frame_JN = frame_JN - frame_JN.mean(axis=1, keepdims=True)
  frame_JN = frame_JN - 0.97 * np.concatenate([frame_JN[:, :1], frame_JN[:, :-1]], axis=1)
  power_JF = np.abs(np.fft.rfft(frame_JN * hann(size, is_periodic=False), num_fft)) ** 2
  # Kaldi's filter bank leaves out the bin at half the rate.
  matrix_FR = mel.filterbank(
    rate_hz, num_fft, num_mels, 20.0, rate_hz / 2, scale='htk', is_linear_in_mel=True
  )[:-1]
  return np.log(np.maximum(power_JF[:, :-1] @ matrix_FR, np.finfo(np.float32).eps))


def mfcc(wave_N: np.ndarray) -> np.ndarray:
  """Returns cepstrum_JF, 13 MFCC every 10 ms, as python_speech_features computes them by default.

  Pre-emphasis by 0.97 over the whole waveform; frames of 25 ms without a window, the last zero-padded;
  512-point FFT, power over 512; 26 mel bands with corners on whole bins; an orthonormal DCT-II of the
  logarithms; lifter 22; the first coefficient is the logarithm of the power of the frame. Zeros become
  float64's epsilon.

  Args:
    wave_N: waveform at 16 kHz, full scale 32768.
  """
  wave_N = np.concatenate([wave_N[:1], wave_N[1:] - 0.97 * wave_N[:-1]])
  num_frames = 1 + max(0, -(-(len(wave_N) - 400) // 160))
  frame_JN = frames(np.pad(wave_N, (0, (num_frames - 1) * 160 + 400 - len(wave_N))), 400, 160)
  power_JF = np.abs(np.fft.rfft(frame_JN, 512)) ** 2 / 512
  level_JR = power_JF @ _mfcc_filter_bank(26)
  level_JR, total_J1 = (
    np.log(np.where(power == 0, np.finfo(float).eps, power))
    for power in (level_JR, power_JF.sum(axis=1, keepdims=True))
  )
  index_F = np.arange(1, 13)
  matrix_RF = np.sqrt(2 / 26) * np.cos(np.pi * (np.arange(26)[:, None] + 0.5) * index_F / 26)
  return np.hstack([total_J1, level_JR @ matrix_RF * (1 + 11 * np.sin(np.pi * index_F / 22))])


@functools.lru_cache(maxsize=1)
def _mfcc_filter_bank(num_mels: int) -> np.ndarray:
  """Returns matrix_FR for a 512-point FFT at 16 kHz, 0 to 8000 Hz; corners are rounded down to whole bins."""
  edge_hz_R = mel.to_hz(mel.band_edges(num_mels, 0.0, 8000.0, 'htk'), 'htk')
  return mel.triangles(np.arange(257), np.floor(513 * edge_hz_R / 16000 + 1e-9))
