"""The configuration schema: every key with its unit, default and meaning.

A file in `configs/` is `get_config()`: `base()` plus its differences. Values are primitives and tuples of
them; an empty string or tuple means "none". Derived lengths are properties of `clip.ClipSpec`, never keys.
The default of a new key must keep the behavior of existing configurations, since `files.load` takes keys that
an older file lacks from `base()`. What values may be is checked in `validation`.
"""

import dataclasses
from typing import Any

import ml_collections

from v2a import clip

TASKS = ('codec', 'sync', 'flow', 'tokens')
SOLVERS = ('euler', 'heun', 'dpmpp2m')
SCHEDULES = ('constant', 'cosine')
DTYPES = ('float32', 'bfloat16')
PATTERNS = ('parallel', 'delay')
REMATS = ('none', 'dots', 'full', 'offload')
MESH_AXES = ('replica', 'data', 'fsdp', 'context', 'tensor')
# Dotted keys of tuples that are empty by default -> an item, for its type; others hold strings.
ITEMS_OF_EMPTY = {'data.weights': 1.0, 'data.bucket_s': 1.0, 'data.synthetic_seeds': 0}


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

  A latent step is 1000 samples (48 Hz), so T = 384; with 64 frames, 32 text and 32 transcript tokens the
  joint layers have sequences of 512, four times the width of a TPU's matrix unit. A text token holds 16
  bytes: annotations have up to 512 bytes, which detailed descriptions need.
  """
  c = base().unlock()
  c.data.update(num_threads=8, num_prefetched_batches=8)
  c.clip.update(clip_s=8.0, sample_rate_hz=48000, hop_samples=500, patch_frames=2)
  c.clip.update(sync_fps=24, frame_size=128, num_text_bytes=512, num_transcript_bytes=128)
  # Latents and codes that codec_48k, codec_48k_rvq and sync_48k share with the generators.
  c.codec.update(architecture='waveform', num_latent_channels=64, num_codebooks=8, codebook_size=1024)
  c.codec.update(strides=(2, 4, 5, 5, 5), encoder_width=64, decoder_width=1536, width=1024)
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
  c.train = ()  # folders of records to train on, concatenated
  # Resume a training with other records, such as more of them; from then on batches are made of those.
  c.accept_other_records = False
  # Share of the rows of each batch from each folder of `train`, in any unit; () for the share of its records.
  c.weights = ()
  # Lengths in seconds, ascending, to which clips of media records are padded or cut; a batch holds clips of
  # one of them. Batches of longer clips have fewer rows: batch_size counts clips of clip.clip_s. Without
  # buckets all have that length.
  c.bucket_s = ()
  c.validation = ()  # folders of records that evaluators read
  c.synthetic_seeds = ()  # seeds of the synthetic clips that a packed model was trained on, where known
  c.mirror_probability = 0.0  # share of media records whose frames and channels are mirrored
  # Of the crops that a codec is trained on, half have the other polarity, and half exchanged channels.
  c.augment_sound = False
  c.augment_probability = 0.0  # share of training clips whose frames are augmented, see data.augment
  # Check the SHA-256 of each shard before training; with several processes each reads its share. The result
  # is stored in the workdir, and a shard is read again only if its size or modification time has changed.
  # Without it a damaged record is found when it is read, by the checksums of ArrayRecord.
  c.verify = False
  # Share of the records that may be corrupt, 0..1, as found by each process. Others are read in their place,
  # the same ones with any number of processes. One more corrupt record ends training with exit code 2.
  c.max_corrupt_record_share = 0.001
  c.num_fake_records = 0  # above 0: this many fake records in place of `train`, for smoke tests
  c.num_threads = 2  # threads that read records and collate batches
  c.num_prefetched_batches = 4  # batches ready on the host ahead of the step
  return c


def _codec() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  # magnitude (STFT magnitudes, phases reconstructed) | stereo_magnitude (of both channels, mid and side)
  # | phase (STFT, phase head) | waveform (convolutions)
  c.architecture = 'magnitude'
  c.bottleneck = 'kl'  # kl (continuous, for diffusion) | rvq (codes, for tokens)
  c.n_fft = 960  # samples of an STFT window, a multiple of clip.hop_samples
  c.num_channel_level_bands = 16  # frequency bands with their own left-right level difference, in stereo
  c.num_griffin_lim_iterations = 16  # when decoding
  c.num_latent_channels = 32  # C of latent_BTC
  c.width = 256  # of the trunk; of a waveform codec, between its networks and the bottleneck
  c.strides = (2, 4, 8, 10)  # waveform: of the encoder; their product is the samples of a latent step
  c.encoder_width = 16  # waveform: after the first convolution, doubled by each stride
  c.decoder_width = 256  # waveform: before the first transposed convolution, halved by each stride
  c.num_encoder_layers = 3  # ConvNeXt blocks
  c.num_decoder_layers = 5
  c.num_codebooks = 8  # rvq
  c.codebook_size = 256  # rvq, entries of each codebook
  c.crop_s = 1.0  # length of the random crops to train on
  # Weights of the terms of the loss, see training.tasks.codec.
  c.log_magnitude_weight = 1.0  # log-magnitudes on the codec's own STFT
  c.channel_level_weight = 1.0  # left-right level difference, in stereo
  c.stft_weight = 0.0  # multi-resolution STFT of the waveform
  c.mel_weight = 0.0  # multi-resolution mel spectrogram of the waveform
  c.magnitude_floor = 1e-3  # added to magnitudes before their logarithm in these two; a full-scale sine is 1
  c.kl_weight = 2e-3
  c.commitment_weight = 1.0
  c.adversarial_weight = 0.0  # above 0: adversarial training with discriminators
  c.feature_matching_weight = 2.0  # discriminator features, in adversarial training
  c.discriminator_width = 16  # of their narrowest layers
  c.discriminator_periods = (2, 3, 5, 7, 11)  # samples
  c.discriminator_windows = (2048, 1024, 512)  # samples of the windows of spectrograms
  c.discriminator_band_edges = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # shares of half the sample rate
  c.discriminator_learning_rate = 0.0  # 0: training.learning_rate
  c.discriminator_clip_norm = 1.0  # of the discriminators' gradient; 0 for no clipping
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
      'num_layers': 2,  # temporal ConvNeXt blocks
    }
  )
  c.text_encoder = ml_collections.ConfigDict({'bytes_per_token': 4, 'num_layers': 1, 'num_heads': 4})
  c.transcript_encoder = ml_collections.ConfigDict({'bytes_per_token': 1, 'num_layers': 1, 'num_heads': 4})
  # Shares of training clips whose condition is replaced by the null, independently of each other.
  c.drop_video = 0.1
  c.drop_text = 0.2
  c.drop_transcript = 0.1
  c.ablate = ()  # parts of the conditioning to leave out, for ablations: sync, sync_times, semantic
  return c


def _sync() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.width = 128  # of the shared embedding
  c.num_audio_layers = 2  # ConvNeXt blocks over codec latents
  c.segment_s = 0.32  # length of the segments of frames and audio that are matched
  return c


def _flow() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  c.width = 128
  c.num_heads = 4
  c.num_joint_layers = 2  # over all streams
  c.num_audio_layers = 4  # over the latents alone, after the joint layers
  c.mlp_ratio = 2.5
  c.conv_size = 5  # kernel size of the MLPs of streams in time, in latent steps or frames
  c.logit_normal_mean = 0.0  # of training timesteps, m of diffusion.process eq. 4
  c.logit_normal_std = 1.0  # of training timesteps, s of diffusion.process eq. 4
  return c


def _tokens() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  # Autoregressive: each token from those before it; else masked decoding (models.token_decoder eq. 1, 2).
  c.is_causal = True
  c.pattern = 'delay'  # of codebooks, if causal: parallel | delay
  # Share of training clips of which input steps are masked, if causal; see masking.sample_dropped_steps.
  c.token_dropout_probability = 0.0
  c.width = 128
  c.num_heads = 4
  c.num_joint_layers = 2  # over all streams
  c.num_audio_layers = 4  # over the tokens alone, after the joint layers
  c.mlp_ratio = 1.9
  return c


def _generation() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()  # defaults of `v2a generate`
  c.solver = 'dpmpp2m'  # euler | heun | dpmpp2m
  c.steps = 16  # of the solver; iterations of masked decoding
  c.timestep_shift = 1.0  # above 1: more steps near noise
  c.temperature = 1.0  # of tokens
  c.top_k = 0  # sample among the k likeliest tokens; 0 for all
  c.top_p = 1.0  # sample among the likeliest tokens that reach this share of probability
  c.choice_temperature = 4.5  # of masked decoding, see autoregressive.sampling
  c.guidance = 2.0  # scale for all conditions together; 1 is no guidance, here and below
  c.guidance_video = 1.0
  c.guidance_text = 1.0
  c.guidance_transcript = 1.0
  c.guidance_negative = 1.0  # used in place of guidance_text where there is a negative prompt
  c.negative_prompt = 'silence'  # used where neither a prompt nor a negative prompt is given
  c.overlap_s = 1.0  # overlap of neighboring windows of a long clip
  return c


def _training() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()
  _add_optimization(c)
  _add_computation(c)
  _add_schedule(c)
  return c


def _add_optimization(c: ml_collections.ConfigDict) -> None:
  c.batch_size = 16  # clips per step, over all devices and microbatches
  c.num_steps = 1000  # optimizer steps
  c.microbatches = 1  # gradient accumulation: parts of a batch, to save memory
  c.learning_rate = 3e-4  # peak
  c.schedule = 'cosine'  # after warmup: constant | cosine (to `final_learning_rate_ratio`)
  c.final_learning_rate_ratio = 0.05  # of the peak, reached at num_steps
  c.warmup_steps = 100  # linear from 0
  c.weight_decay = 0.01  # decoupled (AdamW); on parameters of two or more dimensions only
  c.betas = (0.9, 0.99)  # of Adam
  c.epsilon = 1e-8  # of Adam
  c.clip_norm = 1.0  # gradient clipping by global norm; 0 for no clipping
  c.ema_decay = 0.999  # of the averaged weights, reached by min(decay, (1 + step) / (10 + step))


def _add_computation(c: ml_collections.ConfigDict) -> None:
  c.compute_dtype = 'float32'  # of activations: float32 | bfloat16; parameters stay float32
  # Of the sums in gradients, over positions, clips and devices: float32 | bfloat16. bfloat16 applies to the
  # kernels of products that run in bfloat16, and halves what gradients send between devices.
  c.gradient_dtype = 'float32'
  c.unroll = False  # unroll layers, not scan them: faster on CPUs and GPUs, longer to compile
  c.remat = 'none'  # rematerialization in the backward pass: none | dots | full | offload (see models.stack)


def _add_schedule(c: ml_collections.ConfigDict) -> None:
  c.log_every_steps = 20
  c.evaluate_every_steps = 0  # 0 for never
  c.checkpoint_every_steps = 500
  c.checkpoint_every_s = 0.0  # since the last one or the start, checked when logging; 0 for never
  c.keep_latest = 2  # number of newest checkpoints to keep
  c.keep_every_steps = 0  # checkpoints at multiples of this are never deleted; 0 for none
  c.shared_workdir_timeout_s = 60.0  # in which each process must find what process 0 wrote to the workdir
  c.checkpoint_timeout_s = 600.0  # for the slowest process to write its part; below watchdog_s
  c.local_checkpoint_every_steps = 0  # on each machine's own storage, in addition to the above; 0 for never
  c.local_checkpoint_folder = ''  # there: a path that outlives the process, such as on a local disk
  c.watchdog_s = 1800.0  # a longer step, save or evaluation ends the process with exit code 42; 0: none
  c.profile_steps = 0  # number of steps in the profiler's trace; 0 for none
  c.profile_at_step = 0  # steps of this process before the trace


def _init_from() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()  # training folders or exported models; '' for none
  c.model = ''  # all parameters of the model that is trained
  c.codec = ''  # the codec of the latents or codes; for a codec itself: initial weights of its trunk
  c.sync = ''  # initial weights of the sync encoder
  return c


def _mesh() -> ml_collections.ConfigDict:
  c = ml_collections.ConfigDict()  # devices along each axis, see sharding.mesh; one may be -1: the rest
  c.replica = -1  # copies of the model, one per slice; -1: as many as there are slices
  c.data = -1  # copies of the model in a slice
  c.fsdp = 1  # parts that each parameter is stored in
  c.context = 1  # parts that each sequence is split into, for long clips
  c.tensor = 1  # parts that each layer is split into
  return c


def clip_spec(c: ml_collections.ConfigDict) -> clip.ClipSpec:
  """Returns the ClipSpec of a configuration."""
  return clip.ClipSpec(**c.clip.to_dict())


# Key -> its maximum in `tiny`, in the sections of the models.
_TINY = {
  'width': 32,
  'patch_width': 32,
  'num_heads': 2,
  'encoder_width': 2,
  'decoder_width': 32,
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
_TINY_FRAMES = {'patch': 8}  # only with small frames: large ones would have too many patches


def tiny(c: ml_collections.ConfigDict, has_records: bool = False) -> ml_collections.ConfigDict:
  """Returns a copy with a narrow and shallow model and four training steps; trains on a CPU in seconds.

  Args:
    c: a configuration of any size.
    has_records: whether it will train on records. Their sizes are those of `c.clip`, which is then kept;
      otherwise it trains on fake records of short clips.
  """
  c = c.copy_and_resolve_references().unlock()
  for section in (c.codec, c.conditioning, c.sync, c.flow, c.tokens, c.generation):
    _cap(section, _TINY if has_records else _TINY | _TINY_FRAMES)
  if not has_records:
    c.clip.frame_size = 16
    c.clip.num_text_bytes = min(c.clip.num_text_bytes, 16)
    c.clip.num_transcript_bytes = min(c.clip.num_transcript_bytes, 16)
    c.clip.clip_s = 2.0  # two blocks of latent steps, so that windows can overlap
  # Each period and each band of a window is a network of its own, which takes seconds to compile.
  c.codec.update(discriminator_periods=(2,), discriminator_windows=(512,))
  c.codec.discriminator_band_edges = (0.0, 1.0)
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


def _cap(section: ml_collections.ConfigDict, maxima: dict) -> None:
  for key, value in section.items():
    if isinstance(value, ml_collections.ConfigDict):
      _cap(value, maxima)
    elif key in maxima:
      section[key] = min(value, maxima[key])


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
