"""What surrounds a training step, and what its form costs; each figure a ratio or difference in one process.

python benchmarks/training.py loop                            # of the loop, beside the bare step
python benchmarks/training.py scan                            # layers scanned, against written out
python benchmarks/training.py input --data data/world_latents   # batches made, against batches used
python benchmarks/training.py microbatches                    # a batch whole, or in parts that fit a cache
"""

import argparse
import random
import statistics
import tempfile
import time
from unittest import mock

import jax
import numpy as np

from v2a.cli import allocator
from v2a.config import files
from v2a.config import schema
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
    self.batch = loader.to_devices(batch, mesh, c.training.batch_size)
    self.compiled = step.lower(self.leaves, self.batch).compile()

  def seconds(self) -> float:
    """Returns the time of one step."""
    begin_s = time.perf_counter()
    self.leaves, metrics = self.compiled(self.leaves, self.batch)
    jax.block_until_ready(metrics)
    return time.perf_counter() - begin_s

  def in_line(self, num_steps: int) -> '_Clock':
    """Returns the times of steps of which none is waited for but the last."""
    clock = _Clock(self.compiled)
    for _ in range(num_steps):
      self.leaves, metrics = clock(self.leaves, self.batch)
    jax.block_until_ready(metrics)
    return clock


class _Clock:
  """A step that notes when it is called, and what the calling thread does inside and outside of it."""

  def __init__(self, step):
    self._step, self._notes = step, []

  def __call__(self, leaves, batch):
    begin_s, busy_s = time.perf_counter(), time.thread_time()
    found = self._step(leaves, batch)
    self._notes.append((begin_s, busy_s, time.thread_time()))
    return found

  def ms(self, first: int) -> tuple[float, float]:
    """Returns means from a step on: from call to call, and how long the thread is busy between two calls."""
    notes = self._notes[first:]
    num = len(notes) - 1
    outside_s = sum(after[1] - before[2] for before, after in zip(notes, notes[1:]))
    return 1e3 * (notes[-1][0] - notes[0][0]) / num, 1e3 * outside_s / num


def _on_fake_clips(name: str, num_steps: int):
  c = files.find(name).unlock()
  c.data.update(train=(), num_fake_records=64)
  c.init_from.update(dict.fromkeys(c.init_from, ''))
  c.training.update(num_steps=num_steps, log_every_steps=100, checkpoint_every_steps=10**6)
  return c.lock()


def around_the_step(name: str, num_steps: int = 600) -> None:
  """Prints what the loop adds to a step of a shrunk model, which ends before anything can hide behind it.

  Where the processor is the device, threads that read clips take their time from the step as well. What the
  loop itself does is told apart by the processor time of its thread.
  """
  c = schema.tiny(files.find(name)).unlock()
  c.training.update(num_steps=num_steps, log_every_steps=100, checkpoint_every_steps=10**6)
  c.data.augment_probability = (
    0.0  # threads that wear pictures share a CPU's cores with the step: that is `input`
  )
  c = c.lock()
  bare, first, make = Step(c), num_steps // 4, step_lib.make
  before, clocks = bare.in_line(num_steps), []

  def timed(*arguments):
    clocks.append(_Clock(make(*arguments)))
    return clocks[0]

  with tempfile.TemporaryDirectory() as workdir, mock.patch.object(step_lib, 'make', timed):
    loop.train(c, workdir, bare.task)
  step_ms, around_ms = min(before.ms(first), bare.in_line(num_steps).ms(first))
  in_loop_ms, around_in_loop_ms = clocks[0].ms(first)
  print(f'{c.name}, shrunk: bare step {step_ms:.2f} ms, in the loop {in_loop_ms:.2f} ms')
  print(
    f'between two steps the thread is busy {around_ms:.2f} ms bare, {around_in_loop_ms:.2f} ms there: '
    f'the loop itself takes {around_in_loop_ms - around_ms:.2f} ms a step'
  )


def scanned(name: str, num_rounds: int = 40) -> None:
  """Prints the time of a step with its layers scanned over that with its layers written out."""
  steps = {}
  for label, is_written_out in (('written out', True), ('scanned', False)):
    c = _on_fake_clips(name, 10).unlock()
    c.training.unroll = is_written_out
    steps[label] = Step(c.lock())
  _compare(steps, num_rounds)


def microbatches(name: str, num_rounds: int = 8) -> None:
  """Prints the time of a step by the number of parts of its batch."""
  steps = {}
  for num in (1, 2, 4, 8, 16):
    c = _on_fake_clips(name, 10).unlock()
    c.training.microbatches = num
    steps[str(num)] = Step(c.lock())
  _compare(steps, num_rounds)


def _compare(steps: dict[str, Step], num_rounds: int) -> None:
  # In rounds, since machines are shared: what slows one slows all. In any order: a place in it may help.
  times = {name: [] for name in steps}
  for index in range(num_rounds + 1):
    for name in random.sample(list(steps), len(steps)):
      seconds = steps[name].seconds()
      if index:
        times[name].append(seconds)
  first = next(iter(times.values()))
  for name, each in times.items():
    ratio = statistics.median(seconds / other for seconds, other in zip(each, first))
    print(f'{name}: {statistics.median(each):.3f} s a step, {ratio:.3f} of the first in the same round')


def from_disk(name: str, data: str, num_batches: int = 100) -> None:
  """Prints how many batches are read and prepared in the time of a step."""
  c = files.find(name).unlock()
  c.data.train = (data,)
  c.data.verify = False
  c = c.lock()
  step = Step(c)
  items, size = loader.source(c), c.training.batch_size
  batches = loader.Batches(step.task, items, size, num_batches + 10, 0)
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
    f'{step_s / batch_s:.1f} times what training consumes'
  )


def main():
  """Prints one figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('what', choices=('loop', 'scan', 'input', 'microbatches'))
  parser.add_argument('--config', default='flow_world')
  parser.add_argument('--data', default='data/world_latents')
  args = parser.parse_args()
  allocator.keep_freed_pages()  # as `v2a train` does
  if args.what == 'loop':
    around_the_step(args.config)
  elif args.what == 'scan':
    scanned(args.config)
  elif args.what == 'microbatches':
    microbatches(args.config)
  else:
    from_disk(args.config, args.data)


if __name__ == '__main__':
  main()
