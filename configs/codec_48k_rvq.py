"""The codec of tokens_1b: the trunk of codec_48k with 8 codebooks of 1024 entries, 48 steps a second.

v2a train --config codec_48k_rvq --workdir runs/codec_48k_rvq

Run it after the commands of codec_48k, whose trunk it starts from (--config.init_from.codec= for none). Not
yet run beyond `--tiny`.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base_48k()
  c.name = 'codec_48k_rvq'
  c.task = 'codec'
  c.data.train = ('data/videos/train',)
  c.init_from.codec = 'runs/codec_48k'
  c.codec.bottleneck = 'rvq'
  c.training.update(batch_size=256, num_steps=50_000, learning_rate=8e-4, weight_decay=1e-3)
  c.training.update(compute_dtype='float32', remat='none')
  c.mesh.fsdp = 1  # too small to be stored in parts
  return c
