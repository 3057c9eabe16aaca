"""The codec of a small model of real videos: that of the default model, fine-tuned.

python -m data_pipelines.clip_records --source clips --output data/clips
v2a train --config codec_clips --workdir runs/codec_clips

Then run configs/flow_clips.py, which has the result.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'codec_clips'
  c.task = 'codec'
  c.data.train = ('data/clips',)
  c.init_from.model = 'v2a/assets/models/default/codec'
  c.codec.kl_weight = 5e-3
  c.training.batch_size = 16
  c.training.num_steps = 800
  c.training.learning_rate = 1e-3
  c.training.warmup_steps = 50
  c.training.ema_decay = 0.99
  return c
