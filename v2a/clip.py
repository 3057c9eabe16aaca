"""ClipSpec: rates in, whole-number lengths out. The only module that computes lengths.

A latent step covers a whole number of samples, and a clip is a whole number of latent steps:

  latent i begins at sample i h, at i h / f seconds                                                 (1)
  T = ceil(s f / h),  N = T h,  D = N / f                                                           (2)

with h = `latent_hop_samples`, f = `sample_rate_hz` and s = `clip_s`; D, not s, is the length of the clip.
Times are fractions, or whole numbers of ticks (`ticks_hz`), so that nothing drifts where f / h is no whole
number.
"""

import dataclasses
import fractions
import math

import numpy as np

# Beyond any recording: a larger value is a mistake, and would exhaust memory.
_MAX = {'clip_s': 86_400, 'sample_rate_hz': 768_000, 'frame_size': 8192}

# For lengths given as floats. Larger than any rate, so that D as a float gives D again.
_DENOMINATOR = 10**6
_HALF = fractions.Fraction(1, 2)


@dataclasses.dataclass(frozen=True)
class ClipSpec:
  """Rates and sizes of one training or generation window.

  Attributes:
    clip_s: nominal length of the window in seconds; its exact length is `duration_s`, at most a latent step
      longer.
    sample_rate_hz: audio samples per second and channel.
    num_channels: audio channels, 1 or 2.
    hop_samples: samples between two STFT frames of the codec.
    patch_frames: STFT frames folded into one latent step.
    semantic_fps: frames per second of the semantic encoder.
    sync_fps: frames per second of the sync encoder.
    frame_size: height and width in pixels of the square frames of both encoders.
    num_text_bytes: bytes of a prompt or annotation that the model reads.
    num_transcript_bytes: bytes of a transcript that the model reads.
  """

  clip_s: float = 4.0
  sample_rate_hz: int = 16000
  num_channels: int = 2
  hop_samples: int = 160
  patch_frames: int = 4
  semantic_fps: int = 8
  sync_fps: int = 25
  frame_size: int = 32
  num_text_bytes: int = 128
  num_transcript_bytes: int = 64

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if not 0 < value < math.inf:
        raise ValueError(f'{field.name} must be positive; got {value}.')
      if value > _MAX.get(field.name, math.inf):
        raise ValueError(f'{field.name} must be at most {_MAX[field.name]}; got {value}.')
    if self.num_channels not in (1, 2):
      raise ValueError(f'num_channels must be 1 or 2; got {self.num_channels}.')
    if not self.num_latents:
      raise ValueError(f'clip_s must be at least {1 / _DENOMINATOR:.6f}; got {self.clip_s}.')

  @property
  def latent_hop_samples(self) -> int:
    """Audio samples in one latent step."""
    return self.hop_samples * self.patch_frames

  @property
  def latent_rate_hz(self) -> float:
    """Latent steps per second as a float: for networks, not for the times of steps (eq. 1)."""
    return self.sample_rate_hz / self.latent_hop_samples

  @property
  def latents_per_block(self) -> int:
    """Latent steps of a block, the whole number nearest to a second; windows begin on blocks."""
    return max(1, math.floor(fractions.Fraction(self.sample_rate_hz, self.latent_hop_samples) + _HALF))

  @property
  def num_latents(self) -> int:
    """Latent steps of a window: T of eq. 2."""
    return self.latents_in(self.clip_s)

  @property
  def num_samples(self) -> int:
    """Audio samples of a window, per channel: N of eq. 2."""
    return self.num_latents * self.latent_hop_samples

  @property
  def duration_s(self) -> fractions.Fraction:
    """Exact length of a window in seconds: D of eq. 2."""
    return self.time_s(self.num_latents)

  @property
  def num_semantic_frames(self) -> int:
    """Frames of a window at the semantic rate: those whose time is inside."""
    return math.ceil(self.duration_s * self.semantic_fps)

  @property
  def num_sync_frames(self) -> int:
    """Frames of a window at the sync rate: those whose time is inside."""
    return math.ceil(self.duration_s * self.sync_fps)

  @property
  def semantic_of_sync_M(self) -> np.ndarray:
    """For each semantic frame of a window, the index of the last sync frame that is not later."""
    return np.arange(self.num_semantic_frames) * self.sync_fps // self.semantic_fps

  @property
  def ticks_hz(self) -> int:
    """Ticks per second, the least common multiple: samples and frames of both encoders begin on ticks."""
    return math.lcm(self.sample_rate_hz, self.semantic_fps, self.sync_fps)

  def time_s(self, latent: int) -> fractions.Fraction:
    """Returns the time in seconds at which a latent step of a clip begins (eq. 1)."""
    return fractions.Fraction(latent * self.latent_hop_samples, self.sample_rate_hz)

  def latents_in(self, length_s: float) -> int:
    """Returns the number of latent steps that cover a length in seconds, rounded up."""
    exact_s = fractions.Fraction(length_s).limit_denominator(_DENOMINATOR)
    return math.ceil(exact_s * self.sample_rate_hz / self.latent_hop_samples)

  def sync_ticks(self, latent: int = 0) -> np.ndarray:
    """Returns tick_L, int64: times of the sync frames of a window that begins at a latent step."""
    begin = latent * self.latent_hop_samples * (self.ticks_hz // self.sample_rate_hz)
    return begin + np.arange(self.num_sync_frames, dtype=np.int64) * (self.ticks_hz // self.sync_fps)

  def semantic_ticks(self, latent: int = 0) -> np.ndarray:
    """Returns tick_M, int64: times of the semantic frames of a window that begins at a latent step."""
    begin = latent * self.latent_hop_samples * (self.ticks_hz // self.sample_rate_hz)
    return begin + np.arange(self.num_semantic_frames, dtype=np.int64) * (self.ticks_hz // self.semantic_fps)
