"""The codec of the default model: 16 kHz stereo to 32 channels at 25 Hz.

python -m data_pipelines.world --num-clips 6000 --seed 0 --records --output data/world
v2a train --config codec_world --workdir runs/codec_world

Result (2 cores of an AMD EPYC shared with other work, 2026-11-22): 19 minutes; log-magnitude loss 0.235,
kl 2.9 nats a latent value. Tried before it on the same machine: a head that predicts phases, which lost two
thirds of the energy of tonal sounds (see codecs.autoencoder).
"""

from v2a import config


def get_config():
  """Returns the configuration."""
  c = config.base()
  c.name = 'codec_world'
  c.task = 'codec'
  c.data.train = ('data/world',)
  c.training.batch_size = 16
  c.training.num_steps = 2400
  c.training.learning_rate = 1.5e-3
  c.training.warmup_steps = 100
  c.training.weight_decay = 1e-3
  c.training.ema_decay = 0.995
  return c
