"""Checks of configurations: values that can be checked without a device or a file."""

from collections.abc import Callable
import math
from typing import Any

import ml_collections

from v2a import files
from v2a import storage
from v2a.config import schema


def _is_positive(value: float) -> bool:
  return value > 0


def _is_not_negative(value: float) -> bool:
  return value >= 0


def _is_fraction(value: float) -> bool:
  return 0 <= value < 1


# Dotted key -> (check of a value, valid values for the message).
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
  'name': (bool, 'a name'),
  'task': (schema.TASKS.__contains__, f'one of {schema.TASKS}'),
  'seed': (lambda seed: 0 <= seed < 2**31, 'in 0..2147483647'),
  'data.weights': (lambda weights: all(map(_is_positive, weights)), 'numbers above 0'),
  'data.bucket_s': (
    lambda lengths_s: all(map(_is_positive, lengths_s)) and list(lengths_s) == sorted(set(lengths_s)),
    'ascending numbers above 0',
  ),
  'data.mirror_probability': (lambda share: 0 <= share <= 1, 'in 0..1'),
  'data.augment_probability': (lambda share: 0 <= share <= 1, 'in 0..1'),
  'data.max_corrupt_record_share': (_is_fraction, 'in [0, 1)'),
  'data.num_fake_records': (_is_not_negative, 'at least 0'),
  'data.num_threads': (_is_positive, 'above 0'),
  'data.num_prefetched_batches': (_is_positive, 'above 0'),
  'training.batch_size': (_is_positive, 'above 0'),
  'training.num_steps': (_is_positive, 'above 0'),
  'training.microbatches': (_is_positive, 'above 0'),
  'training.learning_rate': (_is_positive, 'above 0'),
  'training.schedule': (schema.SCHEDULES.__contains__, f'one of {schema.SCHEDULES}'),
  'training.final_learning_rate_ratio': (_is_not_negative, 'at least 0'),
  'training.warmup_steps': (_is_not_negative, 'at least 0'),
  'training.weight_decay': (_is_not_negative, 'at least 0'),
  'training.betas': (
    lambda betas: len(betas) == 2 and all(map(_is_fraction, betas)),
    'two numbers in [0, 1)',
  ),
  'training.epsilon': (_is_positive, 'above 0'),
  'training.clip_norm': (_is_not_negative, 'at least 0'),
  'training.ema_decay': (_is_fraction, 'in [0, 1)'),
  'training.compute_dtype': (schema.DTYPES.__contains__, f'one of {schema.DTYPES}'),
  'training.gradient_dtype': (schema.DTYPES.__contains__, f'one of {schema.DTYPES}'),
  'training.remat': (schema.REMATS.__contains__, f'one of {schema.REMATS}'),
  'training.log_every_steps': (_is_positive, 'above 0'),
  'training.evaluate_every_steps': (_is_not_negative, 'at least 0'),
  'training.checkpoint_every_steps': (_is_positive, 'above 0'),
  'training.checkpoint_every_s': (_is_not_negative, 'at least 0'),
  'training.keep_latest': (_is_positive, 'above 0'),
  'training.keep_every_steps': (_is_not_negative, 'at least 0'),
  'training.shared_workdir_timeout_s': (_is_positive, 'above 0'),
  'training.watchdog_s': (_is_not_negative, 'at least 0'),
  'training.checkpoint_timeout_s': (_is_positive, 'above 0'),
  'training.local_checkpoint_every_steps': (_is_not_negative, 'at least 0'),
  'training.profile_at_step': (_is_not_negative, 'at least 0'),
  'training.profile_steps': (_is_not_negative, 'at least 0'),
  'codec.architecture': (
    ('magnitude', 'stereo_magnitude', 'phase', 'waveform').__contains__,
    "one of ('magnitude', 'stereo_magnitude', 'phase', 'waveform')",
  ),
  'codec.magnitude_floor': (_is_positive, 'above 0'),
  'codec.bottleneck': (('kl', 'rvq').__contains__, "one of ('kl', 'rvq')"),
  'codec.crop_s': (_is_positive, 'above 0'),
  'codec.discriminator_periods': (lambda periods: all(map(_is_positive, periods)), 'numbers above 0'),
  'codec.discriminator_windows': (
    lambda windows: all(window > 0 and window % 4 == 0 for window in windows),
    'multiples of 4 above 0',
  ),
  'codec.discriminator_band_edges': (
    lambda edges: len(edges) > 1 and list(edges) == sorted(set(edges)) and (edges[0], edges[-1]) == (0, 1),
    'ascending shares from 0 to 1',
  ),
  'codec.discriminator_learning_rate': (_is_not_negative, 'at least 0'),
  'codec.discriminator_clip_norm': (_is_not_negative, 'at least 0'),
  'conditioning.drop_video': (_is_fraction, 'in [0, 1)'),
  'conditioning.drop_text': (_is_fraction, 'in [0, 1)'),
  'conditioning.drop_transcript': (_is_fraction, 'in [0, 1)'),
  'sync.segment_s': (_is_positive, 'above 0'),
  'flow.num_joint_layers': (_is_positive, 'above 0'),
  'flow.logit_normal_std': (_is_positive, 'above 0'),
  'tokens.num_joint_layers': (_is_positive, 'above 0'),
  'tokens.token_dropout_probability': (_is_fraction, 'in [0, 1)'),
  'tokens.pattern': (schema.PATTERNS.__contains__, f'one of {schema.PATTERNS}'),
  'generation.solver': (schema.SOLVERS.__contains__, f'one of {schema.SOLVERS}'),
  'generation.steps': (_is_positive, 'above 0'),
  'generation.timestep_shift': (_is_positive, 'above 0'),
  'generation.temperature': (_is_positive, 'above 0'),
  'generation.top_k': (_is_not_negative, 'at least 0'),
  'generation.top_p': (lambda share: 0 < share <= 1, 'in (0, 1]'),
  'generation.choice_temperature': (_is_not_negative, 'at least 0'),
  'generation.overlap_s': (_is_not_negative, 'at least 0'),
  **{
    f'mesh.{axis}': (lambda size: size == -1 or size > 0, 'above 0, or -1 for the rest')
    for axis in schema.MESH_AXES
  },
}

# Sections of models, whose numbers without a check above are sizes, which are at least 1, or counts, lengths
# and weights, which are at least 0.
_MODEL_SECTIONS = ('codec', 'conditioning', 'sync', 'flow', 'tokens')
_SIZES = (
  *('n_fft', 'num_latent_channels', 'num_codebooks', 'codebook_size', 'strides', 'conv_size', 'mlp_ratio'),
  *('width', 'encoder_width', 'decoder_width', 'discriminator_width', 'patch_width', 'patch'),
  *('num_heads', 'bytes_per_token'),
)
_SIGNED = ('flow.logit_normal_mean',)

# Keys of paths, each a string or a tuple of strings; they may be in object stores, but for the last.
_PATHS = ('data.train', 'data.validation', 'init_from.model', 'init_from.codec', 'init_from.sync')
_LOCAL_PATH = 'training.local_checkpoint_folder'


def validate(c: ml_collections.ConfigDict) -> None:
  """Checks each value, and values that depend on each other.

  Raises:
    ValueError: naming the key, what was got and what was wanted.
  """
  for key, (is_valid, wanted) in _CHECKS.items():
    value = schema.section(c, key)
    if not is_valid(value):
      raise ValueError(f'config.{key} must be {wanted}; got {value!r}.')
  _check_sizes(c)
  for key in _PATHS:
    value = schema.section(c, key)
    for path in ((value,) if value else ()) if isinstance(value, str) else value:
      storage.check(path, f'config.{key}')
  if local := schema.section(c, _LOCAL_PATH):
    files.check_local(f'config.{_LOCAL_PATH}', local)
  schema.clip_spec(c)  # which checks the section `clip`
  _check_training(c.training)
  if sum(size == -1 for axis, size in c.mesh.items() if axis != 'replica') > 1:
    raise ValueError(f'Only one axis of config.mesh beside replica may be -1; got {c.mesh.to_dict()}.')
  if c.task == 'codec' and c.codec.architecture in ('phase', 'waveform'):
    names = ('stft_weight', 'mel_weight', 'adversarial_weight')
    if not any(c.codec[name] for name in names):
      raise ValueError(
        f'config.codec.architecture={c.codec.architecture} is trained by losses of the waveform: one of '
        f'{", ".join(f"config.codec.{name}" for name in names)} must be above 0.'
      )
  hop = c.clip.hop_samples * c.clip.patch_frames
  if c.codec.architecture == 'waveform' and math.prod(c.codec.strides) != hop:
    raise ValueError(
      f'config.codec.strides must have the product {hop}, the samples of a latent step; got '
      f'{c.codec.strides}.'
    )
  if c.task == 'tokens' and c.codec.bottleneck != 'rvq':
    raise ValueError(
      f"config.codec.bottleneck must be 'rvq' where config.task is 'tokens'; got {c.codec.bottleneck!r}."
    )
  if c.data.bucket_s and c.task not in ('flow', 'tokens'):
    raise ValueError(
      f'config.data.bucket_s is for generators: a model of task {c.task!r} is trained on clips or crops of '
      f'one length; got {c.data.bucket_s}.'
    )
  if c.data.train and c.data.num_fake_records:
    raise ValueError('config.data.train and config.data.num_fake_records exclude each other; got both.')


def _check_sizes(c: ml_collections.ConfigDict) -> None:
  for key in schema.keys(c):
    value = schema.section(c, key)
    numbers = value if isinstance(value, tuple) else (value,)
    is_number = all(isinstance(each, int | float) for each in numbers)
    if key.partition('.')[0] not in _MODEL_SECTIONS or key in (*_CHECKS, *_SIGNED) or not is_number:
      continue
    is_valid, wanted = _is_not_negative, 'at least 0'
    if key.rpartition('.')[2] in _SIZES:
      is_valid, wanted = _is_positive, 'above 0'
    if not all(map(is_valid, numbers)):
      raise ValueError(f'config.{key} must be {wanted}; got {value!r}.')


def _check_training(training: ml_collections.ConfigDict) -> None:
  if training.batch_size % training.microbatches:
    raise ValueError(
      f'config.training.batch_size must be a multiple of training.microbatches='
      f'{training.microbatches}; got {training.batch_size}.'
    )
  if training.local_checkpoint_every_steps and not training.local_checkpoint_folder:
    raise ValueError(
      "config.training.local_checkpoint_folder must be named; got '' and "
      f'local_checkpoint_every_steps={training.local_checkpoint_every_steps}.'
    )
  if training.local_checkpoint_every_steps >= training.checkpoint_every_steps:
    raise ValueError(
      'config.training.local_checkpoint_every_steps must be below checkpoint_every_steps='
      f'{training.checkpoint_every_steps}; got {training.local_checkpoint_every_steps}.'
    )
  if training.warmup_steps >= training.num_steps:
    raise ValueError(
      f'config.training.warmup_steps must be below num_steps={training.num_steps}; '
      f'got {training.warmup_steps}.'
    )
