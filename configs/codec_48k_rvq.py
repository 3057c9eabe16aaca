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
  c.data.augment_sound = True
  c.init_from.codec = 'runs/codec_48k'
  c.codec.update(log_magnitude_weight=0.0, channel_level_weight=0.0)
  c.codec.update(stft_weight=1.0, mel_weight=5.0, magnitude_floor=1e-5, crop_s=0.5)
  c.codec.update(adversarial_weight=1.0, discriminator_width=32, discriminator_clip_norm=10.0)
  c.codec.bottleneck = 'rvq'
  c.training.update(batch_size=256, num_steps=200_000, learning_rate=1e-4, betas=(0.8, 0.99), clip_norm=10.0)
  c.training.update(compute_dtype='float32', remat='none', ema_decay=0.999)
  c.mesh.fsdp = 1  # too small to be stored in parts
  return c
