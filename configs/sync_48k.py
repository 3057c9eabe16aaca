"""The sync model of the large models: contrastive training on frames and audio of the same instant at 48 kHz.

python -m data_pipelines.encode --records data/videos/train --codec runs/codec_48k
v2a train --config sync_48k --workdir runs/sync_48k

Then train the flow models, and tokens_1b on codes. The sync encoder of flow_0.15b is narrower and needs a
sync model of its own: `--config.conditioning.width=512`. Not yet run beyond `--tiny`.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base_48k()
  c.name = 'sync_48k'
  c.task = 'sync'
  c.data.train = ('data/videos/train',)
  c.sync.update(width=256, segment_s=1 / 3)  # 8 frames, 16 latent steps
  c.training.update(batch_size=512, num_steps=20_000, warmup_steps=1000, learning_rate=5e-4)
  c.training.ema_decay = 0.999
  c.mesh.fsdp = 1  # too small to be stored in parts
  return c
