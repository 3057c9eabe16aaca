"""Modal synthesis: a struck body rings as a sum of decaying sinusoids (its modes).

  s(t) = sum_f g_f v^{a + b f} exp(-t / tau_f) sin(2 pi m_f p t) + contact noise        (1)

with f the number of the mode, m_f its frequency, tau_f its decay, g_f its gain, v the impact speed in 0..1, a
the loudness and b the brightness (harder hits are louder and excite higher modes), and p the pitch scale of
the body (small bodies have a higher pitch).
van den Doel et al. 2001, "FoleyAutomatic", eq. 1.
"""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Material:
  """Modes (frequency, decay, gain) of a material; click: level of the contact noise."""

  modes_hz: tuple[float, ...]
  decays_s: tuple[float, ...]
  gains: tuple[float, ...]
  click: float
  restitution: float


MATERIALS = {
  'wood': Material((430, 980, 1710, 2650), (0.050, 0.036, 0.024, 0.016), (1.0, 0.8, 0.5, 0.3), 0.35, 0.62),
  'metal': Material(
    (610, 1530, 2810, 4290, 5870), (0.30, 0.27, 0.22, 0.17, 0.13), (0.8, 1.0, 0.8, 0.5, 0.35), 0.15, 0.66
  ),
  'glass': Material((2090, 3480, 5230, 6810), (0.17, 0.14, 0.10, 0.07), (1.0, 0.7, 0.5, 0.3), 0.2, 0.64),
  'rubber': Material((150, 236, 331), (0.050, 0.040, 0.030), (1.0, 0.6, 0.35), 0.12, 0.78),
  'ceramic': Material((1180, 2460, 4020, 5700), (0.045, 0.035, 0.025, 0.018), (1.0, 0.9, 0.6, 0.4), 0.3, 0.6),
}
MATERIAL_NAMES = tuple(MATERIALS)
PEAK = 0.5
BRIGHTNESS = 0.3
LOUDNESS = 0.75  # below 1, so that soft hits are audible next to loud ones


@functools.lru_cache(maxsize=64)
def _bank(name: str, pitch_scale: float, sample_rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns (ring_FN, click_N): the modes of a body with their gains, and its contact noise."""
  material = MATERIALS[name]
  time_N = np.arange(int(6.5 * max(material.decays_s) * sample_rate_hz)) / sample_rate_hz
  rows = []
  for mode_hz, decay_s, gain in zip(material.modes_hz, material.decays_s, material.gains):
    frequency_hz = mode_hz * pitch_scale
    if frequency_hz < 0.47 * sample_rate_hz:
      rows.append(gain * np.exp(-time_N / decay_s) * np.sin(2 * np.pi * frequency_hz * time_N))
  ring_FN = np.stack(rows).astype(np.float32)
  click_N = np.random.default_rng(7).standard_normal(int(0.006 * sample_rate_hz))
  click_N = click_N * np.exp(-np.arange(len(click_N)) / (0.0012 * sample_rate_hz))
  if name == 'rubber':
    click_N = np.convolve(click_N, np.hanning(int(0.0015 * sample_rate_hz) + 3), mode='same') * 0.3
  ring_FN /= np.abs(ring_FN.sum(0)).max()
  return ring_FN, (material.click * click_N / np.abs(click_N).max()).astype(np.float32)


def pitch_scale(radius: float, smallest: float, largest: float) -> float:
  """Returns the pitch scale of a body: 1.1 for the smallest radius, 0.9 for the largest."""
  return round(float(np.clip(1.1 - 0.2 * (radius - smallest) / (largest - smallest), 0.9, 1.1)), 2)


def impact(name: str, scale: float, speed: float, sample_rate_hz: int) -> np.ndarray:
  """Returns mono_N, the sound of one impact (eq. 1), its peak about 0.5 at speed 1.

  Args:
    name: a key of MATERIALS.
    scale: pitch scale of the body, 0.9..1.1.
    speed: impact speed, 0..1.
    sample_rate_hz: samples per second.
  """
  ring_FN, click_N = _bank(name, scale, sample_rate_hz)
  gain_F = (speed ** (BRIGHTNESS * np.arange(len(ring_FN)))).astype(np.float32)
  mono_N = gain_F @ ring_FN
  mono_N[: len(click_N)] += click_N * np.float32(speed**0.5)
  mono_N *= np.float32(PEAK * speed**LOUDNESS)
  return mono_N
