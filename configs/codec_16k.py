"""A codec of recorded and synthetic sound: 16 kHz stereo to 128 channels at 25 Hz.

v2a data recordings --output recordings
v2a data mixtures --recordings recordings --num-clips 1500 --output mixtures
v2a data build --source audio_only:mixtures/manifest.jsonl --cut whole --output data/mixtures
python -m data_pipelines.synthetic --num-clips 3000 --seed 0 --records --output data/synthetic
v2a train --config codec_16k --workdir runs/codec_16k
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'codec_16k'
  c.task = 'codec'
  c.data.train = ('data/mixtures/train', 'data/synthetic')
  c.data.augment_sound = True
  c.codec.update(architecture='stereo_magnitude', n_fft=640, num_latent_channels=128, width=256)
  c.codec.kl_weight = 3e-2
  c.training.batch_size = 16
  c.training.unroll = True  # measured with unrolled layers
  c.training.num_steps = 8000
  c.training.learning_rate = 1e-3
  c.training.warmup_steps = 100
  c.training.weight_decay = 1e-3
  c.training.ema_decay = 0.998
  return c
