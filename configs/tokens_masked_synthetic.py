"""Masked token model on the synthetic set: the decoder of tokens_synthetic, attending to later tokens too.

v2a train --config tokens_masked_synthetic --workdir runs/tokens_masked_synthetic_1 \
    --config.data.augment_probability=0 --config.training.num_steps=3300 \
    --config.training.learning_rate=1.2e-3
v2a train --config tokens_masked_synthetic --workdir runs/tokens_masked_synthetic_2 \
    --config.init_from.model=runs/tokens_masked_synthetic_1 --config.data.augment_probability=0 \
    --config.training.num_steps=4500
v2a train --config tokens_masked_synthetic --workdir runs/tokens_masked_synthetic \
    --config.init_from.model=runs/tokens_masked_synthetic_2 --config.training.num_steps=2700

Run them after the commands of codec_synthetic_rvq and sync_synthetic. They are the three trainings of
flow_synthetic, on the same clips in the same order, without its last 300 steps. Result (2 cores of an Intel
Xeon with AVX-512 as a mesh of two devices, two microbatches, at raised priority beside light other work,
transparent huge pages, 2026-11-23): 39, 50 and 34 minutes, to 3.00 nats per masked token; metrics:
v2a/assets/README.md.

4.28 M parameters (flow_synthetic: 4.07 M) and 2.75 GFLOPs per clip and training step (flow_synthetic: 2.75;
benchmarks/costs.py); in total 0.96 times the FLOPs of flow_synthetic.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'tokens_masked_synthetic'
  c.task = 'tokens'
  c.data.train = ('data/synthetic_codes',)
  c.data.augment_probability = 0.5
  c.init_from.codec = 'runs/codec_synthetic_rvq'
  c.init_from.sync = 'runs/sync_synthetic'
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
