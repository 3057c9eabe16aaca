"""A rectified-flow transformer of 0.16 B parameters: 48 kHz stereo, clips of 8 s (`schema.base_48k`).

v2a train --config flow_0.15b --workdir runs/flow_0.15b \
    --config.init_from.codec=runs/codec_48k --config.init_from.sync=runs/sync_512

Run it after the commands of codec_48k and sync_48k, the latter with --config.conditioning.width=512 and
--workdir=runs/sync_512. Not yet run. Chips that it fits on, and what bounds its
speed: docs/results/scaling.md, by `v2a compile --config flow_0.15b --topology v5e:16x16`. Attention heads of
width 128 fill a TPU's registers.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base_48k()
  c.name = 'flow_0.15b'
  c.task = 'flow'
  c.data.train = ('data/videos/train',)
  c.conditioning.width = 512
  c.conditioning.text_encoder.num_heads = 4
  c.conditioning.transcript_encoder.num_heads = 4
  c.flow.update(width=768, num_heads=6, num_joint_layers=2, num_audio_layers=6)
  c.flow.update(mlp_ratio=2.5, conv_size=3)
  c.training.learning_rate = 0.0004
  c.training.remat = 'none'
  return c
