"""SceneSpec and Scene: the input and the output of a scene generator."""

from collections.abc import Callable
import dataclasses

import numpy as np

from v2a.synthetic import mixing

CURVE_HZ = 100


@dataclasses.dataclass(frozen=True)
class SceneSpec:
  """Duration and sample rate of a clip."""

  clip_s: float
  sample_rate_hz: int

  @property
  def num_samples(self) -> int:
    """Number of samples per channel."""
    return int(round(self.clip_s * self.sample_rate_hz))

  @property
  def time_N(self) -> np.ndarray:
    """Times of the samples in seconds."""
    return np.arange(self.num_samples) / self.sample_rate_hz

  @property
  def curve_time_S(self) -> np.ndarray:
    """Times of the values of ground-truth curves in seconds, at CURVE_HZ."""
    return np.arange(int(round(self.clip_s * CURVE_HZ))) / CURVE_HZ

  def silence(self) -> np.ndarray:
    """Returns a silent stereo waveform wave_NA."""
    return np.zeros((self.num_samples, 2), np.float32)

  def interpolate_curve(self, curve: Callable[[np.ndarray], np.ndarray], hop: int = 64) -> np.ndarray:
    """Evaluates a curve over seconds at every sample, computed every `hop` samples and interpolated."""
    coarse_S = np.arange(0, self.num_samples + hop, hop)
    value_S = curve(coarse_S / self.sample_rate_hz)
    return np.interp(np.arange(self.num_samples), coarse_S, value_S).astype(np.float32)

  def spatialize(self, mono_N: np.ndarray, x: float | np.ndarray) -> np.ndarray:
    """Returns wave_NA of a mono sound panned to x (a number, or one per sample), with early reflections."""
    left, right = mixing.pan(x)
    return mixing.add_early_reflections(
      np.stack([mono_N * left, mono_N * right], axis=1), self.sample_rate_hz
    )


@dataclasses.dataclass
class Scene:
  """One scene before visual corruption.

  Attributes:
    render: (time_L, size) -> pixels_3LYX in 0..1, the frames at the given times.
    stems: wave_NA by stem name.
    truth: ground truth of the scene; missing keys are filled in by clips.
    facts: properties that the annotation describes.
  """

  render: Callable[[np.ndarray, int], np.ndarray]
  stems: dict[str, np.ndarray]
  truth: dict
  facts: dict
