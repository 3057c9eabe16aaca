"""A training step on one accelerator, from features: its time, its MFU, and its most expensive kernels.

  python benchmarks/accelerator.py --config flow_0.6b --batch-size 96 --unroll     # or flow_0.15b, tokens_1b
  python benchmarks/accelerator.py --config flow_0.15b flow_0.6b --batch-size 256 96 --unroll --profile out
  python benchmarks/accelerator.py --config flow_0.15b --tiny              # for a quick check, on any machine

From features: video and text encoders are omitted and their outputs given, so that only the generator is
timed, forward, backward and AdamW in bfloat16. Several configurations are compiled concurrently and timed one
after the other. Steps are dispatched asynchronously as in `v2a train`; a time is the median over rounds of
steps. The MFU relates the matmul FLOPs of the step without remat (`v2a.flops`) to the dense peak of the chip
(`v2a/chips.py`). The same in PyTorch: `benchmarks/torch_baseline.py`.
"""

import argparse
import collections
from concurrent import futures
import glob
import pathlib
import statistics
import sys
import time

import jax
import ml_collections
import numpy as np

from v2a import chips
from v2a import entry_point
from v2a import flags
from v2a.conditioning import condition
from v2a.config import files
from v2a.config import schema
from v2a.sharding import mesh as mesh_lib
from v2a.training import costs
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import tasks

NUM_ROUNDS, NUM_PROFILED, NUM_SHOWN = 3, 3, 12
# Kind of kernel -> parts of its name; the first match counts.
KINDS = {
  'attention': ('sdpa', 'fmha', 'flash', 'cudnn'),
  'matmuls': ('gemm', 'nvjet', 'cutlass', 'cublas'),
  'transposes': ('transpose',),
  'reductions': ('reduce', 'softmax'),
}


class _Features:
  """Replaces `tasks.conditioning`: batches contain the outputs of the encoders, and nothing is dropped."""

  def sample_random_inputs(self, batch, key):
    """Returns no random inputs."""
    del batch, key
    return {}

  def encode(self, model, batch):
    """Returns the condition in the batch."""
    del model
    return condition.Condition(**{name: batch[name] for name in condition.Condition.__dataclass_fields__})


def on_features(c):
  """Returns the task of a configuration without its encoders."""
  task = tasks.make(c)
  build, task.conditioning = task.build, _Features()

  def generator(key):
    model = build(key)
    del model.conditioner
    return model

  task.build = generator
  return task


def random_batch(c) -> dict[str, np.ndarray]:
  """Returns a batch of random features and targets."""
  rng, spec, num_clips = np.random.default_rng(0), schema.clip_spec(c), c.training.batch_size
  normal = lambda length, size: rng.standard_normal((num_clips, length, size), np.float32)
  width = c.conditioning.width
  num_text = spec.num_text_bytes // c.conditioning.text_encoder.bytes_per_token
  num_transcript = spec.num_transcript_bytes // c.conditioning.transcript_encoder.bytes_per_token
  size = num_clips, spec.num_latents, c.codec.num_codebooks
  return {
    'is_valid_BT': np.ones((num_clips, spec.num_latents), bool),
    'semantic_BMD': normal(spec.num_semantic_frames, width),
    'sync_BLD': normal(spec.num_sync_frames, width),
    'text_BUD': normal(num_text, width),
    'text_mask_BU': np.ones((num_clips, num_text), bool),
    'transcript_BWD': normal(num_transcript, width),
    'transcript_mask_BW': np.ones((num_clips, num_transcript), bool),
    'latent_BTC': normal(spec.num_latents, c.codec.num_latent_channels),
    'code_BTK': rng.integers(0, c.codec.codebook_size, size, np.int32),
  }


class Program:
  """A compiled step, and everything needed to run it."""

  def __init__(self, c, mesh):
    self.c, self.mesh, self.task, optimizer = c, mesh, on_features(c), optimizer_lib.make(c.training)
    self.optimizer, self.abstract = optimizer, state_lib.abstract(self.task, optimizer, mesh)
    single = c.copy_and_resolve_references().unlock()
    single.training.batch_size = 1
    self.num_flops = c.training.batch_size * costs.task_flops(self.task, random_batch(single))
    sharding = mesh_lib.batch_sharding(mesh)
    shapes = {
      name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=sharding)
      for name, value in random_batch(c).items()
    }
    step = step_lib.make(c, self.task, state_lib.graph(self.task), optimizer, mesh, self.abstract)
    self._lowered, self.step = step.lower(jax.tree.leaves(self.abstract), shapes), None

  def compile(self) -> None:
    """Compiles the step; thread-safe."""
    begin_s = time.perf_counter()
    self.step = self._lowered.compile()
    memory = self.step.memory_analysis()
    print(
      f'  {self.c.name}: compiled in {time.perf_counter() - begin_s:.0f} s, '
      f'{memory.argument_size_in_bytes / 1e9:.1f} GB of arguments, '
      f'{memory.temp_size_in_bytes / 1e9:.1f} GB of temporaries',
      flush=True,
    )

  def run(self, num_steps: int, profile: pathlib.Path | None) -> None:
    """Prints the time and FLOPs of a step and, if `profile` names a folder, its most expensive kernels."""
    state = state_lib.init(self.task, self.optimizer, self.abstract, jax.random.key(0))
    num_parameters, leaves = state_lib.num_parameters(state.params), jax.tree.leaves(state)
    del state  # the step consumes its leaves
    batch = jax.device_put(random_batch(self.c), mesh_lib.batch_sharding(self.mesh))
    seconds = []
    for _ in range(NUM_ROUNDS + 1):
      begin_s = time.perf_counter()
      for _ in range(num_steps):
        leaves, metrics = self.step(leaves, batch)
      jax.block_until_ready(metrics)
      seconds.append((time.perf_counter() - begin_s) / num_steps)
    print_step_time(
      'jax',
      self.mesh.devices.flat[0].device_kind,
      self.c,
      num_parameters,
      self.num_flops,
      statistics.median(seconds[1:]),
    )
    if profile:
      folder = str(profile / self.c.name)
      with jax.profiler.trace(folder):
        for _ in range(NUM_PROFILED):
          leaves, metrics = self.step(leaves, batch)
        jax.block_until_ready(metrics)
      _print_profile(folder)


def _print_profile(folder: str) -> None:
  """Prints the device time of a step by kind of kernel, and the most expensive kernels."""
  path = sorted(glob.glob(f'{folder}/**/*.xplane.pb', recursive=True))[-1]
  kinds: collections.Counter = collections.Counter()
  kernels: collections.Counter = collections.Counter()
  for plane in jax.profiler.ProfileData.from_file(path).planes:
    for line in plane.lines if 'GPU' in plane.name else ():
      for event in line.events if 'Stream' in line.name else ():
        kinds[_kind(event.name)] += event.duration_ns
        kernels[event.name.split('<')[0]] += event.duration_ns
  total_ns = max(sum(kinds.values()), 1)
  for name, ns in (*kinds.most_common(), *kernels.most_common(NUM_SHOWN)):
    print(f'  {name}: {ns / NUM_PROFILED / 1e6:.2f} ms per step, {ns / total_ns:.0%}')


def _kind(kernel: str) -> str:
  matches = (kind for kind, parts in KINDS.items() if any(part in kernel for part in parts))
  return next(matches, 'other')


def print_step_time(name: str, kind: str, c, num_parameters: int, num_flops: float, step_s: float) -> None:
  """Prints the time of a step."""
  peak = chips.peak_flops_per_s(kind)
  mfu = 'unknown peak' if peak is None else f'MFU {num_flops / step_s / peak:.1%}'
  batch_size = c.training.batch_size
  print(
    f'{name}, {c.name} on {kind}: {num_parameters / 1e6:.1f} M parameters, batch {batch_size}, '
    f'{num_flops / 1e12:.3f} TFLOP, {1e3 * step_s:.1f} ms, {batch_size / step_s:.1f} clips/s, {mfu}',
    flush=True,
  )


def parse_arguments(
  parser: argparse.ArgumentParser, argv: list[str] | None
) -> tuple[argparse.Namespace, list[ml_collections.ConfigDict]]:
  """Parses the flags of the accelerator benchmarks; returns them and the configurations."""
  parser.add_argument('--config', nargs='+', default=['flow_0.6b'])
  parser.add_argument(
    '--batch-size', type=flags.count, nargs='+', default=[64], help='one, or one per configuration'
  )
  parser.add_argument('--num-steps', type=flags.count, default=8, help='steps per round (%(default)s)')
  parser.add_argument('--tiny', action='store_true', help='shrunk configurations')
  args = parser.parse_args(argv)
  sizes = args.batch_size * len(args.config) if len(args.batch_size) == 1 else args.batch_size
  if len(sizes) != len(args.config):
    parser.error(f'wanted one batch size, or one per configuration; got {len(sizes)} for {len(args.config)}')
  found = []
  for name, size in zip(args.config, sizes):
    c = files.find(name)
    c = (schema.tiny(c) if args.tiny else c).unlock()
    c.training.update(batch_size=size, microbatches=1)
    found.append(c.lock())
  return args, found


def _run(argv: list[str] | None) -> int:
  """Times the steps."""
  parser = flags.Parser(prog='accelerator.py', description=__doc__.splitlines()[0])
  parser.add_argument('--remat', default='none', choices=schema.REMATS)
  parser.add_argument('--unroll', action='store_true', help='unroll layers')
  parser.add_argument('--profile', type=flags.local_path, metavar='DIR', help='folder to write traces to')
  args, found = parse_arguments(parser, argv)
  for c in found:
    with c.unlocked():
      c.training.update(remat=args.remat, unroll=args.unroll)
  mesh = mesh_lib.make({}, jax.devices()[:1])
  programs = [Program(c, mesh) for c in found]
  with futures.ThreadPoolExecutor() as pool:
    list(pool.map(Program.compile, programs))
  for program in programs:
    program.run(args.num_steps, args.profile)
    program.step = None  # frees its memory
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('accelerator.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
