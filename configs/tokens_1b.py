"""A causal token transformer of 1.07 B parameters: 48 kHz stereo, clips of 8 s (`schema.base_48k`).

python -m data_pipelines.encode --records data/videos/train --codec runs/codec_48k_rvq
v2a train --config tokens_1b --workdir runs/tokens_1b \
    --config.init_from.codec=runs/codec_48k_rvq --config.init_from.sync=runs/sync_48k

Run them after the commands of codec_48k_rvq and sync_48k. A clip has 384 steps of 8 codebooks, 391 with the
delay pattern. Not yet run. Chips that it fits on, and what bounds its speed: docs/results/scaling.md, by
`v2a compile --config tokens_1b --topology v5e:16x16`. Attention heads of width 128 fill a TPU's registers.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base_48k()
  c.name = 'tokens_1b'
  c.task = 'tokens'
  c.data.train = ('data/videos/train',)
  c.codec.bottleneck = 'rvq'
  c.tokens.update(width=1280, num_heads=10, num_joint_layers=4, num_audio_layers=19, mlp_ratio=2.5)
  c.training.learning_rate = 2e-4
  return c
