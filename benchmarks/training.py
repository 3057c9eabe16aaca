"""Overheads of training; each number is a ratio or difference within one process.

python benchmarks/training.py loop                            # the loop compared with the bare step
python benchmarks/training.py scan                            # scanned layers compared with unrolled layers
python benchmarks/training.py input --data data/synthetic_latents   # input compared with its consumption
python benchmarks/training.py microbatches                    # a whole batch compared with microbatches
"""

import random
import statistics
import sys
import tempfile
import time
from unittest import mock

import jax
import numpy as np

from v2a import entry_point
from v2a import flags
from v2a.cli import allocator
from v2a.config import files
from v2a.config import schema
from v2a.data import batch_order
from v2a.data import loader
from v2a.sharding import mesh as mesh_lib
from v2a.training import loop
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import tasks


class Step:
  """A compiled training step of a configuration, with its state and one batch."""

  def __init__(self, c):
    self.task = tasks.make(c)
    optimizer = optimizer_lib.make(c.training, self.task.param_groups)
    mesh = mesh_lib.make(c.mesh.to_dict())
    abstract = state_lib.abstract(self.task, optimizer, mesh)
    step = step_lib.make(c, self.task, state_lib.graph(self.task), optimizer, mesh, abstract)
    self.leaves = jax.tree.leaves(state_lib.init(self.task, optimizer, abstract, jax.random.key(0)))
    items = loader.source(c)
    batch = self.task.collate(
      [items[i % len(items)] for i in range(c.training.batch_size)], np.random.default_rng(0)
    )
    self.batch = loader.to_devices(batch, mesh, [c.training.batch_size])
    self.compiled = step.lower(self.leaves, self.batch).compile()

  def seconds(self) -> float:
    """Returns the time of one step."""
    begin_s = time.perf_counter()
    self.leaves, metrics = self.compiled(self.leaves, self.batch)
    jax.block_until_ready(metrics)
    return time.perf_counter() - begin_s

  def run_async(self, num_steps: int) -> '_Clock':
    """Runs steps without waiting for any but the last; returns their times."""
    clock = _Clock(self.compiled)
    for _ in range(num_steps):
      self.leaves, metrics = clock(self.leaves, self.batch)
    jax.block_until_ready(metrics)
    return clock


class _Clock:
  """A step that records its calls, and the CPU time of the calling thread inside and outside of it."""

  def __init__(self, step):
    self._step, self._times = step, []

  def __call__(self, leaves, batch):
    begin_s, busy_s = time.perf_counter(), time.thread_time()
    result = self._step(leaves, batch)
    self._times.append((begin_s, busy_s, time.thread_time()))
    return result

  def ms(self, first: int) -> tuple[float, float]:
    """Returns means over the steps after `first`: interval of calls, and CPU time between calls, in ms."""
    times = self._times[first:]
    num = len(times) - 1
    outside_s = sum(after[1] - before[2] for before, after in zip(times, times[1:]))
    return 1e3 * (times[-1][0] - times[0][0]) / num, 1e3 * outside_s / num


def _on_fake_clips(name: str, num_steps: int):
  c = files.find(name).unlock()
  c.data.update(train=(), num_fake_records=64)
  c.init_from.update(dict.fromkeys(c.init_from, ''))
  c.training.update(num_steps=num_steps, log_every_steps=100, checkpoint_every_steps=10**6)
  return c.lock()


def loop_overhead(name: str, num_steps: int = 600) -> None:
  """Prints the overhead of the loop for a tiny model, whose short step cannot hide it.

  If the CPU is the device, threads that read clips slow down the step, too. The work of the loop itself is
  measured by the CPU time of its thread.
  """
  c = schema.tiny(files.find(name)).unlock()
  c.training.update(num_steps=num_steps, log_every_steps=100, checkpoint_every_steps=10**6)
  c.data.augment_probability = (
    0.0  # augmentation threads would compete with the step for CPU cores; measured by `input`
  )
  c = c.lock()
  bare, first, make = Step(c), num_steps // 4, step_lib.make
  reference, clocks = bare.run_async(num_steps), []

  def timed(*arguments):
    clocks.append(_Clock(make(*arguments)))
    return clocks[0]

  with tempfile.TemporaryDirectory() as workdir, mock.patch.object(step_lib, 'make', timed):
    loop.train(c, workdir, bare.task)
  step_ms, around_ms = min(reference.ms(first), bare.run_async(num_steps).ms(first))
  in_loop_ms, around_in_loop_ms = clocks[0].ms(first)
  print(f'{c.name}, tiny: bare step {step_ms:.2f} ms, in the loop {in_loop_ms:.2f} ms')
  print(
    f'CPU time of the thread between two steps: {around_ms:.2f} ms bare, {around_in_loop_ms:.2f} ms in the '
    f'loop: the loop itself takes {around_in_loop_ms - around_ms:.2f} ms per step'
  )


def compare_scan(name: str, num_rounds: int = 40) -> None:
  """Prints the time of a step with scanned layers relative to unrolled layers."""
  steps = {}
  for label, is_unrolled in (('unrolled', True), ('scanned', False)):
    c = _on_fake_clips(name, 10).unlock()
    c.training.unroll = is_unrolled
    steps[label] = Step(c.lock())
  _compare(steps, num_rounds)


def compare_microbatches(name: str, num_rounds: int = 8) -> None:
  """Prints the time of a step by the number of microbatches."""
  steps = {}
  for num in (1, 2, 4, 8, 16):
    c = _on_fake_clips(name, 10).unlock()
    c.training.microbatches = num
    steps[str(num)] = Step(c.lock())
  _compare(steps, num_rounds)


def _compare(steps: dict[str, Step], num_rounds: int) -> None:
  # In rounds, so that other load on the machine affects all; in random order, since the position may matter.
  times = {name: [] for name in steps}
  for index in range(num_rounds + 1):
    for name in random.sample(list(steps), len(steps)):
      seconds = steps[name].seconds()
      if index:
        times[name].append(seconds)
  first = next(iter(times.values()))
  for name, each in times.items():
    ratio = statistics.median(seconds / other for seconds, other in zip(each, first))
    print(f'{name}: {statistics.median(each):.3f} s per step, {ratio:.3f} of the first in the same round')


def input_rate(name: str, data: str, num_batches: int = 100) -> None:
  """Prints how many batches are read and collated in the time of a step."""
  c = files.find(name).unlock()
  c.data.train = (data,)
  c.data.verify = False
  c = c.lock()
  step = Step(c)
  items, size = loader.source(c), c.training.batch_size
  batches = loader.Batches(step.task, items, batch_order.single([len(items)], size, 0), num_batches + 10)
  iterator = loader.iterate(batches, 0, c.data.num_threads, c.data.num_prefetched_batches)
  for _ in range(10):
    next(iterator)
  begin_s = time.perf_counter()
  for _ in range(num_batches):
    next(iterator)
  batch_s = (time.perf_counter() - begin_s) / num_batches
  step_s = statistics.median(step.seconds() for _ in range(6))
  print(
    f'{c.name} on {data}: a batch of {size} takes {1e3 * batch_s:.0f} ms, a step {1e3 * step_s:.0f} ms: '
    f'{step_s / batch_s:.1f} times the consumption of training'
  )


def _run(argv: list[str] | None) -> int:
  """Prints one measurement."""
  parser = flags.Parser(prog='training.py', description=__doc__.splitlines()[0])
  parser.add_argument('measurement', choices=('loop', 'scan', 'input', 'microbatches'))
  parser.add_argument('--config', default='flow_synthetic', help='configuration (%(default)s)')
  parser.add_argument(
    '--data', default='data/synthetic_latents', metavar='DIR', help='records, for input (%(default)s)'
  )
  args = parser.parse_args(argv)
  allocator.keep_freed_pages()  # as `v2a train` does
  if args.measurement == 'loop':
    loop_overhead(args.config)
  elif args.measurement == 'scan':
    compare_scan(args.config)
  elif args.measurement == 'microbatches':
    compare_microbatches(args.config)
  else:
    input_rate(args.config, args.data)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('training.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
