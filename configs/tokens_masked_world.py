"""The masked token model of the synthetic set: the decoder of tokens_world, with attention to later tokens.

v2a train --config tokens_masked_world --workdir runs/tokens_masked_world_1 \
    --config.data.augment_probability=0 --config.training.num_steps=3300 \
    --config.training.learning_rate=1.2e-3
v2a train --config tokens_masked_world --workdir runs/tokens_masked_world_2 \
    --config.init_from.model=runs/tokens_masked_world_1 --config.data.augment_probability=0 \
    --config.training.num_steps=4500
v2a train --config tokens_masked_world --workdir runs/tokens_masked_world \
    --config.init_from.model=runs/tokens_masked_world_2 --config.training.num_steps=2700

after the commands of codec_world_rvq and sync_world: the three trainings of flow_world, on the same clips in
the same order, with 300 steps less at the end. Result (2 cores of an Intel Xeon with AVX-512 as a mesh of two
devices, two microbatches, at raised priority with light other load, transparent huge pages, 2026-11-23): 39,
50 and 34 minutes, to 3.00 nats per masked token; metrics: v2a/assets/README.md.

4.28 M parameters (flow_world: 4.07 M) and 2.75 GFLOPs per clip and training step (2.75; benchmarks/costs.py),
in total 0.96 of those of flow_world.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'tokens_masked_world'
  c.task = 'tokens'
  c.data.train = ('data/world_codes',)
  c.data.augment_probability = 0.5
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
