"""A training step on one accelerator, from features: its time, its MFU, and what is dearest in it.

  python benchmarks/accelerator.py --config flow_0.6b --batch-size 64      # or flow_0.15b, tokens_1b
  python benchmarks/accelerator.py --config flow_0.6b --profile out/profile    # three dearest kernels
  python benchmarks/accelerator.py --config flow_0.15b --tiny              # the whole way, anywhere

From features: encoders of pictures and texts are left out and their outputs given, so that what is timed is
the generator alone, forward, backward and AdamW in bfloat16. The MFU counts the products of the step without
remat (`v2a.flops`) against the chip's dense peak (`v2a/chips.py`). The same in PyTorch: `benchmarks/twin.py`.
"""

import argparse
import collections
import glob
import gzip
import json
import statistics
import time

import jax
import ml_collections
import numpy as np

from v2a import chips
from v2a import config
from v2a import configfile
from v2a.conditioning import bundle
from v2a.sharding import mesh as mesh_lib
from v2a.training import costs
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import tasks


class _Features:
  """In place of `tasks.conditions`: a batch holds what the encoders would have made; all of it is kept."""

  def draw(self, batch, key):
    """Returns nothing."""
    del batch, key
    return {}

  def encode(self, model, batch):
    """Returns the condition that the batch holds."""
    del model
    return bundle.Condition(**{name: batch[name] for name in bundle.Condition.__dataclass_fields__})


def on_features(c):
  """Returns the task of a configuration without its encoders."""
  task = tasks.make(c)
  build, task.conditions = task.build, _Features()

  def generator(key):
    model = build(key)
    del model.conditioner
    return model

  task.build = generator
  return task


def features(c) -> dict[str, np.ndarray]:
  """Returns a batch of random features and targets."""
  rng, spec, num_clips = np.random.default_rng(0), config.clip_spec(c), c.training.batch_size
  normal = lambda length, size: rng.standard_normal((num_clips, length, size), np.float32)
  width = c.conditioning.width
  num_text = spec.num_text_bytes // c.conditioning.text_encoder.bytes_per_token
  num_transcript = spec.num_transcript_bytes // c.conditioning.transcript_encoder.bytes_per_token
  size = num_clips, spec.num_latents, c.codec.num_codebooks
  return {
      'semantic_BMD': normal(spec.num_semantic_frames, width),
      'sync_BLD': normal(spec.num_sync_frames, width),
      'text_BUD': normal(num_text, width), 'text_mask_BU': np.ones((num_clips, num_text), bool),
      'transcript_BWD': normal(num_transcript, width),
      'transcript_mask_BW': np.ones((num_clips, num_transcript), bool),
      'latent_BTC': normal(spec.num_latents, c.codec.num_latent_channels),
      'code_BTK': rng.integers(0, c.codec.codebook_size, size, np.int32)}


def by_jax(c, num_steps: int, profile: str | None) -> None:
  """Prints the time of v2a's step, what it computes, and, with a profile, its three dearest kernels."""
  task, optimizer = on_features(c), optimizer_lib.make(c.training)
  device = jax.devices()[0]
  mesh = mesh_lib.make({}, [device])
  abstract = state_lib.abstract(task, optimizer, mesh)
  graphdef = state_lib.graph(task)
  state = state_lib.init(task, optimizer, abstract, jax.random.key(0))
  batch = jax.device_put(features(c), mesh_lib.batch_sharding(mesh))
  one = c.copy_and_resolve_references().unlock()
  one.training.batch_size = 1
  num_flops = c.training.batch_size * costs.flops_of(task, features(one))
  step = step_lib.make(c, task, graphdef, optimizer, mesh, abstract).lower(state, batch).compile()
  seconds = []
  for index in range(num_steps + 3):
    if profile and index == 3:
      jax.profiler.start_trace(profile)
    begin_s = time.perf_counter()
    state, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    if index >= 3:
      seconds.append(time.perf_counter() - begin_s)
  if profile:
    jax.profiler.stop_trace()
    _dearest(profile, num_steps)
  num_parameters = state_lib.num_parameters(state.params)
  say('jax', device.device_kind, c, num_parameters, num_flops, statistics.median(seconds))


def _dearest(folder: str, num_steps: int) -> None:
  """Prints the three groups of kernels that take most of the device's time."""
  paths = sorted(glob.glob(f'{folder}/**/*.trace.json.gz', recursive=True))
  with gzip.open(paths[-1]) as file:
    events = json.load(file)['traceEvents']
  processes = {event['pid']: event['args']['name'] for event in events if event.get('name') == 'process_name'}
  total_us: collections.Counter = collections.Counter()
  for event in events:
    operation = event.get('args', {}).get('hlo_op')
    if event.get('ph') == 'X' and operation and 'GPU' in processes.get(event['pid'], ''):
      total_us[operation.rstrip('.0123456789')] += event['dur']
  whole = sum(total_us.values())
  for name, us in total_us.most_common(3):
    print(f'  {name}: {us / num_steps / 1e3:.2f} ms a step, {us / whole:.0%} of the device\'s time')


def say(name: str, kind: str, c, num_parameters: int, num_flops: float, step_s: float) -> None:
  """Prints what a step took."""
  peak = chips.peak_flops_per_s(kind)
  mfu = 'no peak known' if peak is None else f'MFU {num_flops / step_s / peak:.1%}'
  batch_size = c.training.batch_size
  print(f'{name}, {c.name} on {kind}: {num_parameters / 1e6:.1f} M parameters, batch {batch_size}, '
        f'{num_flops / 1e12:.3f} TFLOP, {1e3 * step_s:.1f} ms, {batch_size / step_s:.1f} clips/s, {mfu}')


def arguments(description: str) -> tuple[argparse.Namespace, ml_collections.ConfigDict]:
  """Returns what is asked for, and the configuration that it means."""
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument('--config', default='flow_0.6b')
  parser.add_argument('--batch-size', type=int, default=64)
  parser.add_argument('--remat', default='none', choices=config.REMATS)
  parser.add_argument('--num-steps', type=int, default=20)
  parser.add_argument('--profile', help='folder to write a trace to')
  parser.add_argument('--tiny', action='store_true')
  args = parser.parse_args()
  c = configfile.find(args.config)
  c = (config.tiny(c) if args.tiny else c).unlock()
  c.training.update(batch_size=args.batch_size, microbatches=1, remat=args.remat)
  return args, c.lock()


def main():
  """Times the step."""
  args, c = arguments(__doc__.splitlines()[0])
  by_jax(c, args.num_steps, args.profile)


if __name__ == '__main__':
  main()
