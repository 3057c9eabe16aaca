"""The codec of the token generators: trunk of codec_synthetic, 8 codebooks of 256 entries, 25 steps a second.

v2a train --config codec_synthetic_rvq --workdir runs/codec_synthetic_rvq

Run it after the commands of codec_synthetic, whose trunk it starts from (--config.init_from.codec= for none).

Result (2 cores of an AMD EPYC, 2026-11-23, stopped and resumed twice, about 8 minutes), on 128 held-out clips
by `python benchmarks/codecs.py distances runs/codec_synthetic runs/codec_synthetic_rvq --num-clips 128`: STFT
distance 1.02 times and mel distance 1.05 times those of the kl codec. 93 % of the entries of the first
codebook are used, 98 % of the second, all of the others; perplexity 103 to 159 of 256. A seventh of the steps
have the same entry in each codebook: silence.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'codec_synthetic_rvq'
  c.task = 'codec'
  c.data.train = ('data/synthetic',)
  c.init_from.codec = 'runs/codec_synthetic'
  c.codec.bottleneck = 'rvq'
  c.codec.num_codebooks = 8
  c.codec.codebook_size = 256
  c.training.batch_size = 16
  c.training.unroll = True  # measured with scanned layers
  c.training.num_steps = 2000
  c.training.learning_rate = 8e-4
  c.training.warmup_steps = 100
  c.training.weight_decay = 1e-3
  c.training.ema_decay = 0.998
  return c
