"""The autoregressive model of the procedural world: codec tokens one step after the other, delay pattern.

python -m data_pipelines.encode --records data/world_latents --codec runs/codec_world_rvq \
    --output data/world_codes
v2a train --config tokens_world --workdir runs/tokens_world_1 --config.data.wear=0 \
    --config.training.num_steps=3300 --config.training.learning_rate=1.2e-3
v2a train --config tokens_world --workdir runs/tokens_world_2 --config.init_from.model=runs/tokens_world_1 \
    --config.data.wear=0 --config.training.num_steps=4500
v2a train --config tokens_world --workdir runs/tokens_world --config.init_from.model=runs/tokens_world_2

after the commands of codec_world_rvq and sync_world: the three trainings of flow_world, on the same clips in
the same order. Run so far: the first (one core of an AMD EPYC beside other work, 2026-11-23, 2 hours), to a
loss of 2.77 nats a token (0.73 in the first book, 3.92 in the last). 32 clips of seed 31338 after it (`v2a
evaluate --model runs/tokens_world_1 --data world:31338 --num-clips 32`): onset F1 0.65, panning 0.76,
material 0.36, level 0.23, lips 30 ms, words not at all (1.17 errors a word). The flow model's first training,
of the same length, gave onsets 0.83, panning 0.79, material 0.34, level 0.28, words 0.59, on other clips.

As large as flow_world, and as dear to train: 4.86 M parameters (flow_world: 4.73 M) and 2.97 GFLOPs a clip
and training step (2.91; benchmarks/costs.py). Drawing 8 s with the cache takes 0.45 s of a core, recomputing
what was drawn 6.3 s: 14 times (benchmarks/sampling.py, 2026-11-23).
"""

from v2a import config


def get_config():
  """Returns the configuration."""
  c = config.base()
  c.name = 'tokens_world'
  c.task = 'tokens'
  c.data.train = ('data/world_codes',)
  c.data.wear = 0.5
  c.init_from.codec = 'runs/codec_world_rvq'
  c.init_from.sync = 'runs/sync_world'
  c.codec.bottleneck = 'rvq'
  c.generation.guidance_negative = 3.0
  c.training.batch_size = 16
  c.training.unroll = True
  c.training.num_steps = 3000
  c.training.learning_rate = 8e-4
  c.training.warmup_steps = 100
  c.training.ema_decay = 0.999
  return c
