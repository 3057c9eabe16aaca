"""Invalid configurations."""

import pytest

from v2a.config import files
from v2a.config import schema
from v2a.config import validation


@pytest.fixture
def c():
  return schema.base()


@pytest.mark.parametrize(
  'arguments',
  [
    ['--config.task=melody'],
    ['--config.training.batch_size=0'],
    ['--config.training.microbatches=3'],
    ['--config.training.schedule=linear'],
    ['--config.training.betas=0.9'],
    ['--config.data.bucket_s=4,2'],
    ['--config.task=sync', '--config.data.bucket_s=2,4'],
    ['--config.data.weights=1,0'],
    ['--config.data.mirror_probability=2'],
    ['--config.training.betas=0.9,1.0'],
    ['--config.training.compute_dtype=float64'],
    ['--config.seed=2147483648'],
    ['--config.training.warmup_steps=1000'],
    ['--config.training.num_steps=60', '--config.training.warmup_steps=60'],
    ['--config.training.local_checkpoint_every_steps=5'],
    ['--config.mesh.data=-1', '--config.mesh.fsdp=-1'],
    ['--config.mesh.tensor=0'],
    ['--config.clip.clip_s=0'],
    ['--config.training.learning_rate=nan'],
    ['--config.data.train=a', '--config.data.num_fake_records=3'],
    ['--config.codec.num_griffin_lim_iterations=-1'],
    ['--config.codec.num_latent_channels=0'],
    ['--config.codec.kl_weight=-0.1'],
    ['--config.codec.strides=2,-4,8'],
    ['--config.conditioning.semantic.num_heads=0'],
    ['--config.sync.num_audio_layers=-1'],
    ['--config.flow.mlp_ratio=0'],
    ['--config.tokens.width=-128'],
    ['--config.training.watchdog_s=-1'],
    ['--config.generation.timestep_shift=0'],
  ],
)
def test_invalid_values_are_refused(c, arguments):
  with pytest.raises(ValueError, match='config|must be'):
    validation.validate(files.override(c, arguments))


def test_a_codec_that_is_trained_by_its_waveform_needs_a_loss_of_it():
  c = schema.base().unlock()
  c.task, c.codec.architecture = 'codec', 'phase'
  with pytest.raises(ValueError, match='architecture=phase is trained by losses of the waveform: one of'):
    validation.validate(c)
  c.codec.mel_weight = 1.0
  validation.validate(c)
  c.codec.update(architecture='waveform', strides=(5, 8, 16))
  validation.validate(c)
  c.codec.strides = (2, 4, 8)
  with pytest.raises(ValueError, match=r'must have the product 640.*got \(2, 4, 8\)'):
    validation.validate(c)
  c.codec.architecture = 'none'
  with pytest.raises(ValueError, match='codec.architecture must be one of'):
    validation.validate(c)
