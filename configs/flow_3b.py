"""A rectified-flow transformer of 2.99 B parameters: 48 kHz stereo, clips of 8 s (`schema.base_48k`).

v2a train --config flow_3b --workdir runs/flow_3b \
    --config.init_from.codec=runs/codec_48k --config.init_from.sync=runs/sync_48k

Run it after the commands of codec_48k and sync_48k. Not yet run. Chips that it fits on, and what bounds its
speed: docs/results/scaling.md, by `v2a compile --config flow_3b --topology v5e:16x16`. Attention heads of
width 128 fill a TPU's registers.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base_48k()
  c.name = 'flow_3b'
  c.task = 'flow'
  c.data.train = ('data/videos/train',)
  c.flow.update(width=2048, num_heads=16, num_joint_layers=4, num_audio_layers=25)
  c.flow.update(mlp_ratio=2.5, conv_size=3)
  c.training.learning_rate = 0.00015
  c.training.remat = 'full'
  return c
