"""An embedder without weights for tests: log energies of four bands as embeddings and as class logits."""

import dataclasses

import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib


@dataclasses.dataclass
class FakeEmbedder:
  """Embeds a clip as two rows of four band energies; silence is not supported; scores the lowest band."""

  name: str = 'bands'
  digest: str = 'd' * 64
  reads: tuple[str, ...] = ('audio',)
  metrics: tuple[str, ...] = ('fd', 'fd_inf', 'kid', 'kad', 'kl', 'is', 'lowness')
  num_calls: int = 0

  def embed(self, clip):
    """Returns rows and logits."""
    self.num_calls += 1
    if not clip.wave_NA.any():
      raise embedder_lib.UnsupportedClipError('silence has no bands')
    halves = np.array_split(clip.wave_NA.mean(axis=1), 2)
    power_NF = np.array([[part.mean() for part in np.array_split(_power(half), 4)] for half in halves])
    row_NF = np.log(power_NF + 1e-9)
    return {embedder_lib.EMBEDDINGS: row_NF, embedder_lib.LOGITS: row_NF.mean(axis=0)}

  def scores(self, arrays):
    """Returns the share of the lowest band."""
    power_O = np.exp(arrays[embedder_lib.LOGITS])
    return {'lowness': float(power_O[0] / power_O.sum())}


def _power(wave_N):
  return np.abs(np.fft.rfft(wave_N)) ** 2


def noise_clips(seed, num, tilt=0.0, num_samples=256):
  """Returns clips of noise; a tilt above 0 attenuates high frequencies."""
  rng, clips = np.random.default_rng(seed), []
  for _ in range(num):
    spectrum_F = np.fft.rfft(rng.standard_normal(num_samples))
    spectrum_F *= np.exp(-tilt * np.linspace(0, 1, len(spectrum_F)) + 0.2 * rng.standard_normal())
    clips.append(embedder_lib.Clip(np.fft.irfft(spectrum_F)[:, None].astype(np.float32), 16000))
  return clips
