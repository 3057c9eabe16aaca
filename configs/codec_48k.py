"""The codec of the large flow models: 48 kHz stereo to 64 channels at 48 Hz (`schema.base_48k`).

python -m data_pipelines.build --source videos/ --output data/videos
v2a train --config codec_48k --workdir runs/codec_48k

Not yet run beyond `--tiny`. Decoding estimates phases by Griffin-Lim, one phase for both channels (see
codecs.griffin_lim), which is expected to limit the quality at 48 kHz.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base_48k()
  c.name = 'codec_48k'
  c.task = 'codec'
  c.data.train = ('data/videos/train',)
  c.codec.kl_weight = 5e-3
  c.training.update(batch_size=256, num_steps=100_000, learning_rate=8e-4, weight_decay=1e-3)
  c.training.update(compute_dtype='float32', remat='none')
  c.mesh.fsdp = 1  # too small to be stored in parts
  return c
