"""The configuration: every key with its unit, default and meaning; tiny and validate.

A file in `configs/` is `get_config()`: `base()` plus its differences. Values are primitives and tuples of
them; an empty string or tuple means "none". Derived lengths are properties of `clip.ClipSpec`, never keys.
A key that is added later gets the default under which the code does what it did before, since
`configfile.load` fills keys that an older file lacks from `base()`.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import ml_collections

from v2a import clip
from v2a import files

TASKS = ('codec', 'sync', 'flow', 'tokens')
SOLVERS = ('euler', 'heun', 'dpmpp2m')
SCHEDULES = ('constant', 'cosine')
DTYPES = ('float32', 'bfloat16')
PATTERNS = ('parallel', 'delay')
REMATS = ('none', 'dots', 'full', 'offload')
MESH_AXES = ('replica', 'data', 'fsdp', 'context', 'tensor')


def base() -> ml_collections.ConfigDict:
  """Returns the configuration with every key at its default, locked against new keys."""
  c = ml_collections.ConfigDict()
  c.name = 'base'  # of the experiment; names the model in manifests and reports
  c.task = 'flow'  # what is trained: codec | sync | flow | tokens
  c.seed = 0  # of initialisation, data order and noise
  c.clip = ml_collections.ConfigDict(dataclasses.asdict(clip.ClipSpec()))  # see ClipSpec
  c.data = _data()
  c.codec = _codec()
  c.conditioning = _conditioning()
  c.sync = _sync()
  c.flow = _flow()
  c.tokens = _tokens()
  c.generation = _generation()
  c.training = _training()
  c.init_from = _init_from()
  c.mesh = _mesh()
  return c.lock()


def base_48k() -> ml_collections.ConfigDict:
  """Returns `base` for 48 kHz stereo, clips of 8 s, and training on pods; unlocked.

  A latent step is 1000 samples (48 Hz), so that T = 384; with 64 pictures, 32 text and 32 transcript tokens
  the joint layers see 512 positions, four times what a TPU multiplies at once. A text token holds 16 bytes:
  annotations are read up to 512 bytes, which detailed descriptions need.
  """
  c = base().unlock()
  c.data.update(num_threads=8, num_prefetched_batches=8)
  c.clip.update(clip_s=8.0, sample_rate_hz=48000, hop_samples=500, patch_frames=2)
  c.clip.update(sync_fps=24, frame_size=128, num_text_bytes=512, num_transcript_bytes=128)
  # Of the latents and codes that codec_48k, codec_48k_rvq and sync_48k share with the generators.
  c.codec.update(n_fft=3000, num_latent_channels=64, num_codebooks=8, codebook_size=1024)
  c.codec.update(width=512, num_encoder_layers=4, num_decoder_layers=8)
  c.conditioning.width = 1024
  c.conditioning.semantic.update(patch=16, width=256, num_layers=4, num_heads=2)
  c.conditioning.sync.update(patch=16, patch_width=128, num_patch_layers=1, num_layers=4)
  c.conditioning.text_encoder.update(bytes_per_token=16, num_layers=2, num_heads=8)
  c.conditioning.transcript_encoder.update(bytes_per_token=4, num_layers=2, num_heads=8)
  c.training.update(batch_size=2048, num_steps=200_000, warmup_steps=2000, ema_decay=0.9999)
  c.training.update(compute_dtype='bfloat16', remat='dots')
  c.mesh.update(data=-1, fsdp=16)
  return c


def _data() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.train = ()  # folders of records to train on, taken as one
  c.validation = ()  # folders of records that evaluators read
  c.synthetic_seeds = ()  # seeds of the synthetic clips that a packed model was trained on, where known
  c.augment_probability = (
    0.0  # probability that a training clip's picture is augmented, see training.tasks.wear
  )
  # Each shard's SHA-256 before training begins; of several processes each reads its share. Once: what was
  # verified is kept in the workdir, and read again only where its size or time has changed.
  c.verify = True
  # Share of the records that may turn out corrupt in training, in 0..1, by what each process finds: others
  # take their places, the same on any number of processes. One more ends training by exit code 2.
  c.max_corrupt_record_share = 0.001
  c.num_fake_records = 0  # above 0: made-up records in place of `train`, for smoke tests
  c.num_threads = 2  # threads that read and prepare batches
  c.num_prefetched_batches = 4  # batches ready ahead of the step
  return c


def _codec() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.bottleneck = 'kl'  # kl (continuous, for diffusion) | rvq (codes, for tokens)
  c.n_fft = 960  # samples of an STFT window, a multiple of clip.hop_samples
  c.num_channel_level_bands = 16  # in which left and right are told apart, in stereo
  c.num_griffin_lim_iterations = 16  # of Griffin-Lim when decoding
  c.num_latent_channels = 32  # C of latent_BTC
  c.width = 256  # of the trunk
  c.num_encoder_layers = 3  # ConvNeXt blocks
  c.num_decoder_layers = 5
  c.num_codebooks = 8  # rvq
  c.codebook_size = 256  # rvq, entries a book
  c.crop_s = 1.0  # training sees random crops of this length, in seconds
  c.log_magnitude_weight = 1.0  # log-magnitudes on the codec's own grid
  c.channel_level_weight = 1.0  # left and right, in stereo
  c.stft_weight = 0.0  # multi-resolution STFT of the wave
  c.mel_weight = 0.0  # multi-resolution mel of the wave
  c.kl_weight = 2e-3
  c.commitment_weight = 1.0
  c.adversarial_weight = 0.0  # above 0: adversarial training with discriminators
  c.feature_matching_weight = 2.0  # discriminator features, where training is adversarial
  c.discriminator_width = 16
  c.discriminator_learning_rate = 0.0  # of their optimizer; 0: training.learning_rate
  c.discriminator_clip_norm = 1.0  # of their gradient; 0 for no clipping
  c.adversarial_start_step = 0
  return c


def _conditioning() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.width = 128  # of all condition tokens
  c.semantic = ml_collections.ConfigDict(
    {
      'patch': 8,  # pixels; divides clip.frame_size
      'width': 96,
      'num_layers': 1,
      'num_heads': 3,
    }
  )
  c.sync = ml_collections.ConfigDict(
    {
      'patch': 8,  # pixels; divides clip.frame_size
      'patch_width': 64,
      'num_patch_layers': 1,  # spatial transformer blocks
      'num_layers': 2,
    }
  )  # temporal ConvNeXt blocks
  c.text_encoder = ml_collections.ConfigDict({'bytes_per_token': 4, 'num_layers': 1, 'num_heads': 4})
  c.transcript_encoder = ml_collections.ConfigDict({'bytes_per_token': 1, 'num_layers': 1, 'num_heads': 4})
  c.drop_video = 0.1  # share of training clips that lose the picture, independently of the others
  c.drop_text = 0.2
  c.drop_transcript = 0.1
  c.ablate = ()  # parts left out for good, to see what they are worth: sync, sync_times, semantic
  return c


def _sync() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.width = 128  # of the shared embedding
  c.num_audio_layers = 2  # ConvNeXt blocks over codec latents
  c.segment_s = 0.32  # what is matched: stretches of this length
  return c


def _flow() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.width = 128
  c.num_heads = 4
  c.num_joint_layers = 2  # all streams
  c.num_audio_layers = 4  # latents alone, after them
  c.mlp_ratio = 2.5
  c.conv_size = 5  # latent steps (and frames) that the MLPs of timed streams see around them
  c.logit_normal_mean = 0.0  # m of diffusion.process eq. 4
  c.logit_normal_std = 1.0  # s of the same
  return c


def _tokens() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.is_causal = True  # token after token; else all at once, those that are masked (models.decoder eq. 1, 2)
  c.pattern = 'delay'  # of codebooks, where causal: parallel | delay
  c.token_dropout_probability = (
    0.0  # share of training clips of which steps are hidden, where causal: masking.sample_dropped_steps
  )
  c.width = 128
  c.num_heads = 4
  c.num_joint_layers = 2  # all streams
  c.num_audio_layers = 4  # tokens alone, after them
  c.mlp_ratio = 1.9
  return c


def _generation() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()  # what `v2a generate` uses unless told otherwise
  c.solver = 'dpmpp2m'  # euler | heun | dpmpp2m
  c.steps = 16  # of the solver; passes of masked decoding
  c.timestep_shift = 1.0  # above 1: more steps near noise
  c.temperature = 1.0  # of tokens; below 1 is more certain
  c.top_k = 0  # how many of the likeliest tokens may be drawn; 0 for all
  c.top_p = 1.0  # only the likeliest tokens that reach this share of probability
  c.choice_temperature = 4.5  # of masked decoding, see autoregressive.sampling
  c.guidance = 2.0  # on all conditions at once; 1 is none, here and below
  c.guidance_video = 1.0
  c.guidance_text = 1.0
  c.guidance_transcript = 1.0
  c.guidance_negative = 1.0  # takes the place of guidance_text where a negative prompt is asked for
  c.negative_prompt = 'silence'  # stands in where neither prompt nor negative prompt is given
  c.overlap_s = 1.0  # that neighbouring windows of a long clip share
  return c


def _training() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.batch_size = 16  # clips a step over all devices and microbatches
  c.num_steps = 1000  # optimizer steps
  c.microbatches = 1  # parts of a batch whose gradients are summed, to save memory
  c.learning_rate = 3e-4  # peak
  c.schedule = 'cosine'  # after warm-up: constant | cosine (to `final_learning_rate_ratio`)
  c.final_learning_rate_ratio = 0.05  # of the peak, reached at num_steps
  c.warmup_steps = 100  # linear from 0
  c.weight_decay = 0.01  # decoupled (AdamW); on parameters of two or more dimensions alone
  c.betas = (0.9, 0.99)  # of Adam
  c.epsilon = 1e-8  # of Adam
  c.clip_norm = 1.0  # global norm of the gradient; 0 for no clipping
  c.ema_decay = 0.999  # of the averaged weights, reached by min(decay, (1 + step) / (10 + step))
  c.compute_dtype = 'float32'  # of activations: float32 | bfloat16; parameters stay float32
  # Of the sums in gradients, over positions, clips and devices: float32 | bfloat16. The latter applies to the
  # kernels of products that run in bfloat16, and halves what gradients send between devices.
  c.gradient_dtype = 'float32'
  c.unroll = False  # layers written out, not scanned: faster on CPUs and GPUs, longer to compile
  c.remat = 'none'  # what the backward pass computes again: none | dots | full | offload (see models.stack)
  c.log_every_steps = 20
  c.evaluate_every_steps = 0  # 0 for never
  c.checkpoint_every_steps = 500
  c.checkpoint_every_s = 0.0  # since the last or the start, by process 0's clock, in steps that log; 0: never
  c.keep_latest = 2  # newest checkpoints kept
  c.keep_every_steps = 0  # checkpoints at multiples of this are kept for good; 0 for none
  c.shared_workdir_timeout_s = 60.0  # in which each process must see what process 0 wrote to the workdir
  c.checkpoint_timeout_s = 600.0  # that processes wait for one's part of a checkpoint; below watchdog_s
  c.local_checkpoint_every_steps = 0  # on each machine's own storage, beside those above; 0 for never
  c.local_checkpoint_folder = ''  # there: a path that outlives the process, such as a local disk's
  c.watchdog_s = 1800.0  # a step, save or evaluation that takes longer ends the process by 42; 0 for no end
  c.profile_steps = 0  # steps in the profiler's trace; 0 for none
  c.profile_at_step = 0  # steps of this process before it
  return c


def _init_from() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()  # training folders or exported models; '' for none
  c.model = ''  # all parameters of the trained model itself
  c.codec = ''  # whose latents or codes are generated; of a codec: the one whose trunk it starts from
  c.sync = ''
  return c


def _mesh() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()  # devices along each axis, see sharding.mesh; one may be -1: the rest
  c.replica = -1  # copies of the model, one a slice; -1: as many as there are slices
  c.data = -1  # copies of the model in a slice
  c.fsdp = 1  # parts each parameter is stored in
  c.context = 1  # parts each sequence is split in, where clips are long
  c.tensor = 1  # parts each layer's work is split in
  return c


def clip_spec(c: ml_collections.ConfigDict) -> clip.ClipSpec:
  """Returns the ClipSpec of a configuration."""
  return clip.ClipSpec(**c.clip.to_dict())


# Key -> what tiny() caps it at, in the sections of the models.
_TINY = {
  'width': 32,
  'patch_width': 32,
  'num_heads': 2,
  'num_latent_channels': 4,
  'num_codebooks': 2,
  'codebook_size': 16,
  'num_layers': 1,
  'num_patch_layers': 1,
  'num_encoder_layers': 1,
  'num_decoder_layers': 1,
  'num_joint_layers': 1,
  'num_audio_layers': 1,
  'discriminator_width': 4,
  'steps': 2,
  'crop_s': 0.4,
}
_TINY_FRAMES = {'patch': 8}  # for small frames alone: large ones would have too many patches


def tiny(c: ml_collections.ConfigDict, has_records: bool = False) -> ml_collections.ConfigDict:
  """Returns a shrunk copy: narrow, shallow, four steps; runs on a CPU in seconds.

  Args:
    c: of any size.
    has_records: whether it will train on records. Their sizes are those of `c.clip`, which then stays as it
      is; otherwise it trains on made-up records of short clips.
  """
  c = c.copy_and_resolve_references().unlock()
  for section in (c.codec, c.conditioning, c.sync, c.flow, c.tokens, c.generation):
    _cap(section, _TINY if has_records else _TINY | _TINY_FRAMES)
  if not has_records:
    c.clip.frame_size = 16
    c.clip.num_text_bytes = min(c.clip.num_text_bytes, 16)
    c.clip.num_transcript_bytes = min(c.clip.num_transcript_bytes, 16)
    c.clip.clip_s = 2.0  # two blocks of latent steps, so that windows can overlap
  c.data.update(train=(), validation=(), num_fake_records=0 if has_records else 16)
  training = c.training
  training.update(batch_size=8, num_steps=4, warmup_steps=1, microbatches=1, log_every_steps=1)
  training.update(profile_steps=0, unroll=False)
  if not has_records:
    training.checkpoint_every_steps = 2
  training.update(local_checkpoint_every_steps=0, local_checkpoint_folder='')
  c.init_from.update(dict.fromkeys(c.init_from, ''))
  c.mesh.update(replica=-1, data=-1, fsdp=1, context=1, tensor=1)
  return c.lock()


def _cap(section: ml_collections.ConfigDict, most: dict) -> None:
  for key, value in section.items():
    if isinstance(value, ml_collections.ConfigDict):
      _cap(value, most)
    elif key in most:
      section[key] = min(value, most[key])


def _positive(value) -> bool:
  return value > 0


def _not_negative(value) -> bool:
  return value >= 0


def _fraction(value) -> bool:
  return 0 <= value < 1


# Dotted key -> (test, what is wanted).
_CHECKS: dict[str, tuple[Callable, str]] = {
  'name': (bool, 'a name'),
  'task': (TASKS.__contains__, f'one of {TASKS}'),
  'seed': (lambda seed: 0 <= seed < 2**31, 'in 0..2147483647'),
  'data.augment_probability': (lambda share: 0 <= share <= 1, 'in 0..1'),
  'data.max_corrupt_record_share': (_fraction, 'in [0, 1)'),
  'data.num_fake_records': (_not_negative, 'at least 0'),
  'data.num_threads': (_positive, 'above 0'),
  'data.num_prefetched_batches': (_positive, 'above 0'),
  'training.batch_size': (_positive, 'above 0'),
  'training.num_steps': (_positive, 'above 0'),
  'training.microbatches': (_positive, 'above 0'),
  'training.learning_rate': (_positive, 'above 0'),
  'training.schedule': (SCHEDULES.__contains__, f'one of {SCHEDULES}'),
  'training.final_learning_rate_ratio': (_not_negative, 'at least 0'),
  'training.warmup_steps': (_not_negative, 'at least 0'),
  'training.weight_decay': (_not_negative, 'at least 0'),
  'training.betas': (lambda betas: len(betas) == 2 and all(map(_fraction, betas)), 'two numbers in [0, 1)'),
  'training.epsilon': (_positive, 'above 0'),
  'training.clip_norm': (_not_negative, 'at least 0'),
  'training.ema_decay': (_fraction, 'in [0, 1)'),
  'training.compute_dtype': (DTYPES.__contains__, f'one of {DTYPES}'),
  'training.gradient_dtype': (DTYPES.__contains__, f'one of {DTYPES}'),
  'training.remat': (REMATS.__contains__, f'one of {REMATS}'),
  'training.log_every_steps': (_positive, 'above 0'),
  'training.evaluate_every_steps': (_not_negative, 'at least 0'),
  'training.checkpoint_every_steps': (_positive, 'above 0'),
  'training.checkpoint_every_s': (_not_negative, 'at least 0'),
  'training.keep_latest': (_positive, 'above 0'),
  'training.keep_every_steps': (_not_negative, 'at least 0'),
  'training.shared_workdir_timeout_s': (_positive, 'above 0'),
  'training.checkpoint_timeout_s': (_positive, 'above 0'),
  'training.local_checkpoint_every_steps': (_not_negative, 'at least 0'),
  'training.profile_at_step': (_not_negative, 'at least 0'),
  'training.profile_steps': (_not_negative, 'at least 0'),
  'codec.bottleneck': (('kl', 'rvq').__contains__, "one of ('kl', 'rvq')"),
  'codec.crop_s': (_positive, 'above 0'),
  'codec.discriminator_learning_rate': (_not_negative, 'at least 0'),
  'codec.discriminator_clip_norm': (_not_negative, 'at least 0'),
  'conditioning.drop_video': (_fraction, 'in [0, 1)'),
  'conditioning.drop_text': (_fraction, 'in [0, 1)'),
  'conditioning.drop_transcript': (_fraction, 'in [0, 1)'),
  'sync.segment_s': (_positive, 'above 0'),
  'flow.num_joint_layers': (_positive, 'above 0'),
  'flow.logit_normal_std': (_positive, 'above 0'),
  'tokens.num_joint_layers': (_positive, 'above 0'),
  'tokens.token_dropout_probability': (_fraction, 'in [0, 1)'),
  'tokens.pattern': (PATTERNS.__contains__, f'one of {PATTERNS}'),
  'generation.solver': (SOLVERS.__contains__, f'one of {SOLVERS}'),
  'generation.steps': (_positive, 'above 0'),
  'generation.temperature': (_positive, 'above 0'),
  'generation.top_k': (_not_negative, 'at least 0'),
  'generation.top_p': (lambda share: 0 < share <= 1, 'in (0, 1]'),
  'generation.choice_temperature': (_not_negative, 'at least 0'),
  'generation.overlap_s': (_not_negative, 'at least 0'),
  **{
    f'mesh.{axis}': (lambda size: size == -1 or size > 0, 'above 0, or -1 for the rest') for axis in MESH_AXES
  },
}


_PATHS = (
  'data.train',
  'data.validation',
  'init_from.model',
  'init_from.codec',
  'init_from.sync',
  'training.local_checkpoint_folder',
)


def validate(c: ml_collections.ConfigDict) -> None:
  """Checks every value that can be checked without a device or a file.

  Raises:
    ValueError: naming the key, what was got and what was wanted.
  """
  for key, (test, wanted) in _CHECKS.items():
    value = section(c, key)
    if not test(value):
      raise ValueError(f'config.{key} must be {wanted}; got {value!r}.')
  _check_paths(c)
  clip_spec(c)
  training = c.training
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
  if sum(size == -1 for axis, size in c.mesh.items() if axis != 'replica') > 1:
    raise ValueError(f'Only one axis of config.mesh beside replica may be -1; got {c.mesh.to_dict()}.')
  if c.task == 'tokens' and c.codec.bottleneck != 'rvq':
    raise ValueError(
      f"config.codec.bottleneck must be 'rvq' where config.task is 'tokens'; got {c.codec.bottleneck!r}."
    )
  if bool(c.data.train) and c.data.num_fake_records:
    raise ValueError('config.data.train and config.data.num_fake_records exclude each other; got both.')


def _check_paths(c: ml_collections.ConfigDict) -> None:
  for key in _PATHS:
    value = section(c, key)
    for path in (value,) if isinstance(value, str) else value:
      files.check_local(f'config.{key}', path)


def section(c: ml_collections.ConfigDict, dotted: str) -> Any:
  """Returns the section or value of a dotted name."""
  for part in dotted.split('.'):
    c = c[part]
  return c


def keys(c: ml_collections.ConfigDict, prefix: str = '') -> list[str]:
  """Returns the dotted names of all values of a configuration, in order."""
  names = []
  for key, value in c.items():
    is_section = isinstance(value, ml_collections.ConfigDict)
    names += keys(value, f'{prefix}{key}.') if is_section else [prefix + key]
  return names
