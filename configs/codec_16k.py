"""A codec of recorded and synthetic sound: 16 kHz stereo to 128 channels at 25 Hz.

v2a data recordings --output recordings
v2a data mixtures --recordings recordings --num-clips 1500 --output mixtures
v2a data build --source audio_only:mixtures/manifest.jsonl --cut whole --output data/mixtures
python -m data_pipelines.synthetic --num-clips 3000 --seed 0 --records --output data/synthetic
v2a train --config codec_16k --workdir runs/codec_16k

Result (one core of an AMD EPYC, 2026-11-30): 27 CPU minutes; loss of levels 0.56, KL 1.7 nats per latent
value, which is 7.8 kbit/s. On the first 8 s of 38 real clips, none of which it was trained on, by
`v2a codec roundtrip clips --codec codec_16k --seconds 8`: log-spectral distance 5.8 dB (10.8 dB of the codec
of the default model), log mel distance 2.7 dB (8.2), octaves from 63 Hz to 8 kHz -0.8 -1.0 -1.4 -1.5 -1.1
-1.0 -1.3 -1.4 dB, error of the stereo correlation 0.04 (0.14), onset sharpness 0.73 (0.58). Its weights are
packaged. After 200 steps, which take 2 minutes, the log-spectral distance is 5.9 dB: most of it is the
principal components. Other architectures at the same budget: docs/concepts/codec.md.

Trials of 200 steps, 192 channels, the same clips: without the levels of bands in the loss (codecs.loss eq. 5)
octaves up to -2.4 dB, with them up to -1.4 dB, log-spectral distance 5.7 dB in both. 128, 160, 192 channels:
5.9, 5.8, 5.7 dB. Principal components alone, first 4 s, windows of 480, 640, 960 samples, 128 channels: 6.6,
6.3, 5.7 dB, onset sharpness 0.89, 0.79, 0.67; true magnitudes with reconstructed phases 4.8, 4.1, 3.3 dB.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'codec_16k'
  c.task = 'codec'
  c.data.train = ('data/mixtures/train', 'data/synthetic')
  c.data.augment_sound = True
  c.codec.update(architecture='stereo_magnitude', n_fft=800, num_latent_channels=128, width=256)
  c.codec.kl_weight = 0.1
  c.training.batch_size = 16
  c.training.unroll = True  # measured with unrolled layers
  c.training.num_steps = 3200
  c.training.learning_rate = 1e-3
  c.training.warmup_steps = 100
  c.training.weight_decay = 1e-3
  c.training.ema_decay = 0.998
  return c
