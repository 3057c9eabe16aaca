"""A causal token transformer of 1.07 B parameters: 48 kHz stereo, clips of 8 s (`config.studio`).

v2a train --config tokens_1b --workdir runs/tokens_1b --config.init_from.codec=runs/codec

on records of 48 kHz, encoded by a codec of these rates: 384 steps of 8 books, 391 with the delay pattern. Not
yet run. What fits which chips, and what bounds it: docs/scaling.md, by
`v2a compile --config tokens_1b --topology v5e:16x16`. Heads of 128 fill a TPU's registers.
"""

from v2a import config


def get_config():
  """Returns the configuration."""
  c = config.studio()
  c.name = 'tokens_1b'
  c.task = 'tokens'
  c.data.train = ('data/studio_codes',)
  c.codec.update(bottleneck='rvq', num_codebooks=8, codebook_size=1024)
  c.tokens.update(width=1280, num_heads=10, num_joint_layers=4, num_audio_layers=19, mlp_ratio=2.5)
  c.training.learning_rate = 2e-4
  return c
