"""A codec of recorded and synthetic sound: 16 kHz stereo to 128 channels at 25 Hz.

v2a data recordings --output recordings
v2a data mixtures --recordings recordings --num-clips 1500 --output mixtures
v2a data build --source audio_only:mixtures/manifest.jsonl --cut whole --output data/mixtures
python -m data_pipelines.synthetic --num-clips 3000 --seed 0 --records --output data/synthetic
v2a train --config codec_16k --workdir runs/codec_16k

Result (2 cores of an AMD EPYC beside other work, 2026-11-30): 8,000 steps in 35 minutes; loss of levels 0.34,
KL 2.0 nats per latent value. On the first 8 s of 38 real clips, none of which it was trained on, by
`v2a codec roundtrip clips --codec runs/codec_16k --seconds 8`: log-spectral distance 6.2 dB (10.8 dB of the
packaged codec), log mel distance 2.6 dB (8.2), octaves from 63 Hz to 8 kHz -0.5 -0.7 -1.1 -1.3 -1.1 -1.4 -1.9
-2.1 dB, error of the stereo correlation 0.03 (0.14), onset sharpness 0.79 (0.58). After 150 steps, which take
34 s, the log-spectral distance is 6.3 dB: most of it is the principal components. With 32 iterations of
Griffin-Lim in place of 16 it is as large.

Trials on the first 4 s of the same clips, by scripts that were not kept, log-spectral distance:
- networks alone, at the frame rate, with a phase head (phase codec of width 384, 64 latent channels), 14
  minutes on one core: 9.4 dB, and 7 to 10 dB too quiet above 200 Hz, where frames of partials cancel each
  other; losses of the complex spectrogram did not help;
- 64 principal components without a network: 7.2 dB; 128: 6.6 dB; 256: 6.0 dB.
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
