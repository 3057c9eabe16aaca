"""The codec of the token generators: the trunk of codec_world with 8 books of 256 entries, 25 steps a second.

v2a train --config codec_world_rvq --workdir runs/codec_world_rvq

after the commands of codec_world, whose trunk it starts from (--config.init_from.codec= for none).

Result (2 cores of an AMD EPYC, 2026-11-23, stopped twice and taken up again, about 8 minutes): of 128
held-out clips, `python benchmarks/codecs.py runs/codec_world runs/codec_world_rvq --num-clips 128`, STFT
distance 1.02 and mel distance 1.05 times those of the kl codec; of the entries of the first book 93 % are
in use, of the second 98 %, of the others all; perplexity 103 to 159 of 256. A seventh of the steps choose
one and the same entry of each book: silence.
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
