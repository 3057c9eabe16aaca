"""The autoregressive model of the synthetic set: codec tokens in a delay pattern.

python -m data_pipelines.encode --records data/world --codec runs/codec_world_rvq --output data/world_codes
v2a train --config tokens_world --workdir runs/tokens_world_1 --config.data.augment_probability=0 \
    --config.training.num_steps=3300 --config.training.learning_rate=1.2e-3
v2a train --config tokens_world --workdir runs/tokens_world_2 --config.init_from.model=runs/tokens_world_1 \
    --config.data.augment_probability=0 --config.training.num_steps=4500
v2a train --config tokens_world --workdir runs/tokens_world --config.init_from.model=runs/tokens_world_2 \
    --config.tokens.token_dropout_probability=0.5 --config.training.num_steps=2300

after the commands of codec_world_rvq and sync_world: the three trainings of flow_world, on the same clips in
the same order, with 700 steps less at the end. The third uses token dropout: past steps are hidden from the
decoder in half of the clips (`autoregressive.masking.sample_dropped_steps`). Without it, the decoder
predicted the tokens as well without the transcript as with it (1.770 and 1.764 nats per token by teacher
forcing), and so the generated speech had no words.

Result (2 cores of an Intel Xeon with AVX-512 as a mesh of two devices, two microbatches, unrolled layers,
at raised priority with light other load, transparent huge pages, 2026-11-23 and 24): 38, 54 and 25 minutes,
to 2.77 nats per token with token dropout; metrics: v2a/assets/README.md.

Size and training cost are close to flow_world: 4.28 M parameters (flow_world: 4.07 M) and 2.84 GFLOPs per
clip and training step (2.75; benchmarks/costs.py), in total 0.95 of those of flow_world. Sampling 8 s takes
0.34 s with the KV cache on 2 cores of an Intel Xeon, and 3.69 s with recomputation: 10.8 times as long, with
12.0 times the CPU time (benchmarks/sampling.py, 2026-11-26).
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'tokens_world'
  c.task = 'tokens'
  c.data.train = ('data/world_codes',)
  c.data.augment_probability = 0.5
  c.init_from.codec = 'runs/codec_world_rvq'
  c.init_from.sync = 'runs/sync_world'
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
