"""Stereo mixing: panning of mono sounds, and early reflections of one small room for all clips."""

import functools

import numpy as np

# Early reflections of one room, (delay in ms, gain left, gain right): weak, so that onsets stay sharp and
# the channel level difference reflects the position.
ROOM = ((7.3, 0.05, 0.09), (11.9, 0.08, 0.04), (17.1, 0.03, 0.06), (23.7, 0.05, 0.03), (31.3, 0.02, 0.035))


def pan(x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
  """Returns constant-power gains of the left and right channel for x in -1 (left)..1 (right)."""
  angle = (np.clip(x, -1, 1) + 1) * (np.pi / 4)
  return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def add_panned(wave_NA: np.ndarray, mono_N: np.ndarray, start: int, x: float, gain: float = 1.0) -> None:
  """Adds a mono sound at sample `start`, panned to x, in place; samples outside the waveform are cut.

  Args:
    wave_NA: stereo waveform that is changed.
    mono_N: the sound, at the same sample rate.
    start: sample of the waveform at which the sound begins; may be negative.
    x: stereo position, -1 (left) to 1 (right).
    gain: linear factor.
  """
  skip = max(0, -start)
  length = min(len(mono_N) - skip, len(wave_NA) - start - skip)
  if length <= 0:
    return
  for channel, share in enumerate(pan(x)):
    wave_NA[start + skip : start + skip + length, channel] += mono_N[skip : skip + length] * (gain * share)


def add_early_reflections(wave_NA: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Returns the waveform with early reflections added."""
  wet_NA = wave_NA.copy()
  for delay_ms, *gains in ROOM:
    delay = int(round(delay_ms * sample_rate_hz / 1000))
    if 0 < delay < len(wave_NA):
      for channel, gain in enumerate(gains):
        wet_NA[delay:, channel] += np.float32(gain) * wave_NA[:-delay, 1 - channel]
  return wet_NA


def fade(wave_NA: np.ndarray, start: int, end: int, length: int) -> None:
  """Silences everything outside samples start..end, with ramps of `length` samples, in place.

  Args:
    wave_NA: waveform that is changed.
    start, end: first sample that is kept, and the one after the last; no ramp at an end of the waveform.
    length: samples of each ramp, which lie inside start..end.
  """
  gain_N = np.zeros(len(wave_NA), np.float32)
  gain_N[max(start, 0) : max(end, 0)] = 1
  if length > 1:
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    if start > 0:
      rise = gain_N[start : start + length]
      rise *= ramp[: len(rise)]
    if end < len(wave_NA):
      fall = gain_N[max(end - length, 0) : end]
      fall *= ramp[::-1][length - len(fall) :]
  wave_NA *= gain_N[:, None]


@functools.lru_cache(maxsize=16)
def noise(length: int, stream: int) -> np.ndarray:
  """Returns white noise of unit variance, the same in every clip; callers use different offsets."""
  noise_N = np.random.default_rng([length, stream]).standard_normal(length, dtype=np.float32)
  noise_N.setflags(write=False)
  return noise_N
