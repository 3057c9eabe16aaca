"""Autoregressive token model on the synthetic set: one step of codec tokens after the other, delay pattern.

python -m data_pipelines.encode --records data/synthetic --codec runs/codec_synthetic_rvq \
    --output data/synthetic_codes
v2a train --config tokens_synthetic --workdir runs/tokens_synthetic_1 \
    --config.data.augment_probability=0 --config.training.num_steps=3300 \
    --config.training.learning_rate=1.2e-3
v2a train --config tokens_synthetic --workdir runs/tokens_synthetic_2 \
    --config.init_from.model=runs/tokens_synthetic_1 --config.data.augment_probability=0 \
    --config.training.num_steps=4500
v2a train --config tokens_synthetic --workdir runs/tokens_synthetic \
    --config.init_from.model=runs/tokens_synthetic_2 --config.tokens.token_dropout_probability=0.5 \
    --config.training.num_steps=2300

Run them after the commands of codec_synthetic_rvq and sync_synthetic. They are the three trainings of
flow_synthetic, on the same clips in the same order, without its last 700 steps. The third drops past steps in
half of the clips (`autoregressive.masking.sample_dropped_steps`): a decoder that always had them predicted
the tokens as well without the transcript as with it (1.770 and 1.764 nats per token with teacher forcing),
and generated no intelligible words.

Result (2 cores of an Intel Xeon with AVX-512 as a mesh of two devices, two microbatches, layers unrolled, at
raised priority beside light other work, transparent huge pages, 2026-11-23 and 24): 38, 54 and 25 minutes, to
2.77 nats per token with steps dropped; metrics: v2a/assets/README.md.

About the size and training cost of flow_synthetic: 4.28 M parameters (4.07 M) and 2.84 GFLOPs per clip and
training step (2.75; benchmarks/costs.py); in total 0.95 times the FLOPs. Sampling 8 s with the key-value
cache takes 0.34 s on 2 cores of an Intel Xeon, without it 3.69 s: 10.8 times as long, 12.0 times in processor
time (benchmarks/sampling.py, 2026-11-26).
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'tokens_synthetic'
  c.task = 'tokens'
  c.data.train = ('data/synthetic_codes',)
  c.data.augment_probability = 0.5
  c.init_from.codec = 'runs/codec_synthetic_rvq'
  c.init_from.sync = 'runs/sync_synthetic'
  c.codec.bottleneck = 'rvq'
  c.generation.guidance_negative = 3.0
  c.generation.temperature = 0.8
  c.training.batch_size = 16
  c.training.unroll = True
  c.training.num_steps = 3000
  c.training.learning_rate = 8e-4
  c.training.warmup_steps = 100
  c.training.ema_decay = 0.999
  return c
