"""ClipSpec: rates in, whole-number lengths out. The only place that knows lengths."""

import dataclasses
import fractions
import math

# Beyond all that is recorded; a larger value is a slip, and would fill the memory.
_MOST = {'clip_s': 86_400, 'sample_rate_hz': 768_000, 'frame_size': 8192}


@dataclasses.dataclass(frozen=True)
class ClipSpec:
  """Rates and sizes of one training or generation window.

  Attributes:
    clip_s: length of the window in seconds.
    sample_rate_hz: audio samples a second and channel.
    num_channels: audio channels, 1 or 2.
    hop_samples: samples between two STFT frames of the codec.
    patch_frames: STFT frames folded into one latent step.
    semantic_fps: frames a second that the semantic encoder sees.
    sync_fps: frames a second that the sync encoder sees.
    frame_size: height and width in pixels of the square frames that both encoders see.
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
      if value > _MOST.get(field.name, math.inf):
        raise ValueError(f'{field.name} must be at most {_MOST[field.name]}; got {value}.')
    if self.num_channels not in (1, 2):
      raise ValueError(f'num_channels must be 1 or 2; got {self.num_channels}.')
    for name in ('num_samples', 'num_latents', 'num_semantic_frames', 'num_sync_frames'):
      getattr(self, name)

  def _whole(self, name: str, value: fractions.Fraction) -> int:
    if value.denominator != 1 or value < 1:
      raise ValueError(f'{name} must be a whole number of at least 1; got {float(value):.6g} from {self}.')
    return int(value)

  @property
  def _clip(self) -> fractions.Fraction:
    return fractions.Fraction(self.clip_s).limit_denominator(10**6)

  @property
  def latent_hop_samples(self) -> int:
    """Audio samples in one latent step."""
    return self.hop_samples * self.patch_frames

  @property
  def latent_rate_hz(self) -> float:
    """Latent steps a second."""
    return self.sample_rate_hz / self.latent_hop_samples

  @property
  def num_samples(self) -> int:
    """Audio samples of a window, a channel."""
    return self._whole('num_samples', self._clip * self.sample_rate_hz)

  @property
  def num_latents(self) -> int:
    """Latent steps of a window."""
    return self._whole('num_latents', fractions.Fraction(self.num_samples, self.latent_hop_samples))

  @property
  def num_semantic_frames(self) -> int:
    """Frames of a window that the semantic encoder sees."""
    return self._whole('num_semantic_frames', self._clip * self.semantic_fps)

  @property
  def num_sync_frames(self) -> int:
    """Frames of a window that the sync encoder sees."""
    return self._whole('num_sync_frames', self._clip * self.sync_fps)
