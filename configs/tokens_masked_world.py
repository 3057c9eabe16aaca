"""The masked token model of the procedural world: tokens_world's decoder, which here sees later tokens, too.

v2a train --config tokens_masked_world --workdir runs/tokens_masked_world

after the commands of codec_world_rvq and sync_world, and after two trainings like the first two of
tokens_world. Run so far: the first (one core of an AMD EPYC beside other work, 2026-11-23, 2 hours), to a
loss of 3.25 nats a masked token; no soundtrack of it was measured.

4.86 M parameters (flow_world: 4.73 M) and 2.87 GFLOPs a clip
and training step (2.91; benchmarks/costs.py).
"""

from v2a import config


def get_config():
  """Returns the configuration."""
  c = config.base()
  c.name = 'tokens_masked_world'
  c.task = 'tokens'
  c.data.train = ('data/world_codes',)
  c.data.wear = 0.5
  c.init_from.codec = 'runs/codec_world_rvq'
  c.init_from.sync = 'runs/sync_world'
  c.codec.bottleneck = 'rvq'
  c.tokens.is_causal = False
  c.generation.guidance_negative = 3.0
  c.training.batch_size = 16
  c.training.unroll = True
  c.training.num_steps = 3000
  c.training.learning_rate = 8e-4
  c.training.warmup_steps = 100
  c.training.ema_decay = 0.999
  return c
