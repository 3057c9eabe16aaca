"""The codec of the token generators: the trunk of codec_world with 8 books of 256 entries, 25 steps a second.

v2a train --config codec_world_rvq --workdir runs/codec_world_rvq

after the commands of codec_world, whose trunk it starts from (--config.init_from.codec= for none).

Not yet run to its end. After 300 steps of 300 (2 cores of an AMD EPYC beside other work), on 48 clips of seed
31337 (benchmarks/codecs.py): STFT distance 1.06 times that of the kl codec, mel distance 1.11 times.
"""

from v2a import config


def get_config():
  """Returns the configuration."""
  c = config.base()
  c.name = 'codec_world_rvq'
  c.task = 'codec'
  c.data.train = ('data/world',)
  c.init_from.codec = 'runs/codec_world'
  c.codec.bottleneck = 'rvq'
  c.codec.num_codebooks = 8
  c.codec.codebook_size = 256
  c.training.batch_size = 16
  c.training.num_steps = 2000
  c.training.learning_rate = 8e-4
  c.training.warmup_steps = 100
  c.training.weight_decay = 1e-3
  c.training.ema_decay = 0.998
  return c
