"""The trunk of codec_16k with 16 codebooks of 1024 entries, 25 steps a second: 4 kbit/s, for tokens.

v2a train --config codec_16k_rvq --workdir runs/codec_16k_rvq

Run it after the commands of codec_16k, whose trunk it starts from (--config.init_from.codec= for none).

Result (2 cores of an AMD EPYC, 2026-11-30) after 500 steps of 16 crops (--config.training.num_steps=500
--config.training.batch_size=16): on real clips, as in codec_16k, log-spectral distance 6.6 dB, log mel
distance 3.2 dB. At least 99.5 % of the entries of every codebook are in use, by the shares of the training
set; on 96 synthetic clips 48 % of the first codebook and 92 % of the last (`benchmarks/codecs.py
distances`). The 2,000 steps were not yet run.
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
