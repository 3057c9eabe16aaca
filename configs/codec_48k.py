"""The codec of the large models: convolutions from 48 kHz stereo to 64 channels at 48 Hz (`schema.base_48k`).

python -m data_pipelines.build --source videos/ --output data/videos
v2a train --config codec_48k --workdir runs/codec_48k

The networks have the widths of DAC at 44.1 kHz, the optimizer its rate and betas, the discriminators their
sizes and weights (Kumar et al. 2023, arXiv 2306.06546, sec. 4.1 and app. A). Not yet run beyond `--tiny`.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base_48k()
  c.name = 'codec_48k'
  c.task = 'codec'
  c.data.train = ('data/videos/train',)
  c.data.augment_sound = True
  c.codec.update(log_magnitude_weight=0.0, channel_level_weight=0.0)
  c.codec.update(stft_weight=1.0, mel_weight=5.0, magnitude_floor=1e-5, crop_s=0.5)
  c.codec.update(adversarial_weight=1.0, discriminator_width=32, discriminator_clip_norm=10.0)
  c.codec.kl_weight = 1e-4
  c.training.update(batch_size=256, num_steps=400_000, learning_rate=1e-4, betas=(0.8, 0.99), clip_norm=10.0)
  c.training.update(compute_dtype='float32', remat='none', ema_decay=0.999)
  c.mesh.fsdp = 1  # too small to be stored in parts
  return c
