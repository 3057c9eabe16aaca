"""The codec of the token generators: the trunk of codec_world, 8 codebooks of 256 entries at 25 Hz.

v2a train --config codec_world_rvq --workdir runs/codec_world_rvq

after the commands of codec_world, whose trunk initializes it (--config.init_from.codec= for none).

Result (2 cores of an AMD EPYC, 2026-11-23, stopped and resumed twice, about 8 minutes): on 128
held-out clips, `python benchmarks/codecs.py runs/codec_world runs/codec_world_rvq --num-clips 128`, STFT
distance 1.02 and mel distance 1.05 times those of the kl codec; 93 % of the entries of the first codebook are
used, 98 % of the second, all of the others; perplexity 103 to 159 of 256. A seventh of the steps use the same
entry of each codebook: silence.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'codec_world_rvq'
  c.task = 'codec'
  c.data.train = ('data/world',)
  c.init_from.codec = 'runs/codec_world'
  c.codec.bottleneck = 'rvq'
  c.codec.num_codebooks = 8
  c.codec.codebook_size = 256
  c.training.batch_size = 16
  c.training.unroll = True  # the time above is of layers scanned
  c.training.num_steps = 2000
  c.training.learning_rate = 8e-4
  c.training.warmup_steps = 100
  c.training.weight_decay = 1e-3
  c.training.ema_decay = 0.998
  return c
