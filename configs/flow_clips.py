"""A small model of real videos: the flow model of the default model, overfitted to 41 videos.

python -m data_pipelines.encode --records data/clips --codec runs/codec_clips --output data/clips_latents
v2a train --config flow_clips --workdir runs/flow_clips
python benchmarks/real_clips.py nearest --model runs/flow_clips --records data/clips_latents

Run them after the commands of configs/codec_clips.py.

Result on 41 short videos of many kinds (speech, animals, music, machines, water; 103 windows of 4 s, 38
videos with sound), 2 cores of an AMD EPYC beside other work, 2026-11-23: codec, latents and flow model
together 47 minutes. Of the first windows of the 38 videos, 92 % of the soundtracks generated from the video
alone are nearest, in log-mel distance, to their own reference audio (chance 3 %, reference audio through the
codec 100 %, soundtracks generated for the next video 0 %). One of the 3 others is nearest to the same brook
in another container. This shows that the whole path works on real videos, not that the model generalizes
beyond them. From random weights: not yet run.
"""

from v2a.config import schema


def get_config():
  """Returns the configuration."""
  c = schema.base()
  c.name = 'flow_clips'
  c.task = 'flow'
  c.data.train = ('data/clips_latents',)
  c.init_from.model = 'v2a/assets/models/default/flow'
  c.init_from.codec = 'runs/codec_clips'
  c.flow.logit_normal_mean = 1.5
  c.flow.logit_normal_std = 1.5
  c.training.batch_size = 16
  c.training.num_steps = 1000
  c.training.learning_rate = 1e-3
  c.training.warmup_steps = 50
  c.training.ema_decay = 0.99
  return c
