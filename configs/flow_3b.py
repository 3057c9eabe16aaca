"""A rectified-flow transformer of about 3 B parameters: 48 kHz stereo, clips of 8 s.

v2a train --config flow_3b --workdir runs/flow_3b

on records of 48 kHz that are encoded by a codec of these rates. Not yet run. What fits which chips, and what
bounds it: docs/scaling.md, by `v2a compile --config flow_3b --topology v5e:16x16`.

Widths are multiples of 256 and heads of 128, which is what a TPU multiplies at once. A latent step is 1000
samples (48 Hz), so that
T = 384 latent steps; with 64 pictures, 32 text and 32 transcript tokens the joint layers see
512 positions, four times 128.
"""

from v2a import config


def get_config():
  """Returns the configuration."""
  c = config.base()
  c.name = 'flow_3b'
  c.task = 'flow'
  c.data.train = ('data/studio_latents',)
  c.data.update(num_threads=8, num_prefetched_batches=8)
  c.clip.update(clip_s=8.0, sample_rate_hz=48000, hop_samples=500, patch_frames=2)
  c.clip.update(sync_fps=24, frame_size=128, num_text_bytes=128, num_transcript_bytes=128)
  c.codec.n_fft = 3000
  c.codec.num_latent_channels = 64
  c.conditioning.width = 1024
  c.conditioning.semantic.update(patch=16, width=256, num_layers=4, num_heads=2)
  c.conditioning.sync.update(patch=16, patch_width=128, num_patch_layers=1, num_layers=4)
  c.conditioning.text_encoder.update(bytes_per_token=4, num_layers=2, num_heads=8)
  c.conditioning.transcript_encoder.update(bytes_per_token=4, num_layers=2, num_heads=8)
  c.flow.width = 2048
  c.flow.num_heads = 16
  c.flow.num_joint_layers = 4
  c.flow.num_audio_layers = 25
  c.flow.mlp_ratio = 2.5
  c.flow.conv_size = 3
  c.training.batch_size = 2048
  c.training.num_steps = 200_000
  c.training.learning_rate = 0.00015
  c.training.warmup_steps = 2000
  c.training.ema_decay = 0.9999
  c.training.compute_dtype = 'bfloat16'
  c.training.remat = 'full'
  c.mesh.update(data=-1, fsdp=16)
  return c
