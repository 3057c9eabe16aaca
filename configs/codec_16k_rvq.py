"""The trunk of codec_16k with 32 codebooks of 1024 entries, 25 steps a second: 8 kbit/s, for tokens.

v2a train --config codec_16k_rvq --workdir runs/codec_16k_rvq

Run it after the commands of codec_16k, whose trunk it starts from; --config.init_from.codec=codec_16k starts
from the packaged one, an empty text from principal components.

Result (one core of an AMD EPYC, 2026-11-30): 24 CPU minutes. On real clips, as in codec_16k, log-spectral
distance 6.0 dB, log mel distance 2.9 dB, multi-resolution STFT distance 1.04: 1.02, 1.07 and 1.06 times those
of codec_16k, at about its bit rate. At least 99.5 % of the entries of every codebook are in use, by the
shares of the training set. Its weights are packaged.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'codec_16k_rvq'
  c.task = 'codec'
  c.data.train = ('data/mixtures/train', 'data/synthetic')
  c.data.augment_sound = True
  c.init_from.codec = 'runs/codec_16k'
  c.codec.update(architecture='stereo_magnitude', n_fft=800, num_latent_channels=128, width=256)
  c.codec.update(bottleneck='rvq', num_codebooks=32, codebook_size=1024)
  c.codec.commitment_weight = 1e-3  # of squared errors in nepers along principal components
  c.training.batch_size = 16
  c.training.unroll = True  # measured with unrolled layers
  c.training.num_steps = 1600
  c.training.learning_rate = 5e-4
  c.training.warmup_steps = 100
  c.training.weight_decay = 1e-3
  c.training.ema_decay = 0.998
  return c
