"""The sync model of the default model: contrastive learning of simultaneous video and audio.

python -m data_pipelines.encode --records data/world --codec runs/codec_world --output data/world_latents
v2a train --config sync_world --workdir runs/sync_world

Result (2 cores of an AMD EPYC at raised priority, transparent huge pages, 2026-11-22): 4 minutes; the
matching audio is the nearest of the 192 segments of a batch for 8.4 % (chance 0.5 %), and within its clip for
19 % (chance 8 %).
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'sync_world'
  c.task = 'sync'
  c.data.train = ('data/world_latents',)
  c.training.batch_size = 16
  c.training.unroll = True  # the time above is of layers scanned
  c.training.num_steps = 600
  c.training.learning_rate = 1e-3
  c.training.warmup_steps = 100
  c.training.ema_decay = 0.99
  return c
