"""The default model: a small rectified-flow transformer on the procedural world.

v2a train --config flow_world --workdir runs/flow_world

after the commands of codec_world and sync_world. Result (2 cores of an AMD EPYC at raised priority, beside
other work, transparent huge pages, 2026-11-22): 72 minutes; loss 0.30; onset F1 0.83 (floor 0.20), all
figures in v2a/assets/README.md.
"""

from v2a import config


def get_config():
  """Returns the configuration."""
  c = config.base()
  c.name = 'world'
  c.task = 'flow'
  c.data.train = ('data/world_latents',)
  c.init_from.codec = 'runs/codec_world'
  c.init_from.sync = 'runs/sync_world'
  c.training.batch_size = 16
  c.training.num_steps = 3300
  c.training.learning_rate = 1.2e-3
  c.training.warmup_steps = 100
  c.training.ema_decay = 0.999
  return c
