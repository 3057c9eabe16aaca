"""One process of a training of the toy task, like `v2a train`, with fault injection.

  python member.py WORKDIR SETTINGS [--coordinator HOST:PORT --num-processes N --process-id I]

SETTINGS is JSON: values of config.training, `mesh`, `pause_s` between two steps, `linger_s` by which all
processes but 0 delay their exit, and `faults`, a list of {kind, at: step, process}. `records` are folders to
train on; `unshared`, 'workdir' or 'records', is what each process has for itself; the clock of process
`fast_clock` runs fast.
"""

import argparse
import errno
import itertools
import json
import os
import pathlib
import resource
import signal
import sys
import time
import types

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
import toy

from v2a.data import loader
from v2a.training import loop
from v2a.training import saving
from v2a.training import task as task_lib
from v2a.training.distributed import processes


class LoggedTask(toy.Task):
  """The toy task, which logs the sum of the clips' numbers, and of their squares."""

  def __init__(self, hang_at: int | None = None):
    super().__init__()
    self._hang_at = hang_at

  def collate(self, items, rng):
    number_B = np.array([int(record['id'].split('/')[1]) for record in items], np.float32)
    return super().collate(items, rng) | {'number_B': number_B}

  def loss(self, model, batch, step):
    output = super().loss(model, batch, step)
    loss = output.loss
    if self._hang_at is not None:
      loss += jax.pure_callback(self._hang, jax.ShapeDtypeStruct((), jnp.float32), step)
    number_B = batch['number_B']
    numbers = {'numbers': number_B.sum(), 'squares': (number_B**2).sum()}
    return task_lib.LossOutput(loss, output.metrics | numbers)

  def _hang(self, step):
    if step == self._hang_at:
      time.sleep(3600)
    return np.float32(0)


def inject(kind: str):
  """Causes a fault of this process."""
  match kind:
    case 'terminate':
      os.kill(os.getpid(), signal.SIGTERM)
    case 'kill':
      os.kill(os.getpid(), signal.SIGKILL)
    case 'bug':
      raise ZeroDivisionError(kind)
    case 'hang':
      time.sleep(3600)
    case 'die while saving':  # the kernel ends a process that writes beyond the limit
      signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
      resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
    case 'disk full':
      resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
    case 'disk free':
      resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    case _:
      raise ValueError(kind)


def main() -> int:
  parser = argparse.ArgumentParser()
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('settings', type=json.loads)
  parser.add_argument('--coordinator')
  parser.add_argument('--num-processes', type=int)
  parser.add_argument('--process-id', type=int)
  args = parser.parse_args()
  flags.FLAGS.mark_as_parsed()
  processes.join(args.coordinator, args.num_processes, args.process_id)
  index = jax.process_index()
  match args.settings.pop('unshared', None):
    case 'workdir':  # each machine has its own disk at the same path
      args.workdir /= str(index)
    case 'records':
      os.chdir(args.workdir.parent / f'machine{index}')
  folders = tuple(args.settings.pop('records', ()))
  mesh, faults = args.settings.pop('mesh', {}), args.settings.pop('faults', [])
  pause_s, linger_s = args.settings.pop('pause_s', 0), args.settings.pop('linger_s', 0)
  fast_clock = args.settings.pop('fast_clock', None)
  faults = {fault['at']: fault['kind'] for fault in faults if fault.get('process', 0) == jax.process_index()}
  c = toy.configuration(**args.settings, evaluate_every_steps=1).unlock()
  if folders:
    c.data.update(train=folders, num_fake_records=0)
  c.mesh.update(mesh)
  if fast_clock is not None:
    c.training.checkpoint_every_s = 1e9
    if fast_clock == jax.process_index():
      clock = itertools.count(0, 1e10)
      saving.time = types.SimpleNamespace(monotonic=lambda: next(clock))
  read = loader.Batches.__getitem__

  def read_with_faults(batches, step):
    if faults.get(step) == 'hang in the input':
      time.sleep(3600)
    if faults.get(step) == 'fault in the input':
      raise OSError(errno.EIO, 'Input/output error')
    return read(batches, step)

  def evaluate(model, step):
    if step in faults and ' in ' not in faults[step]:
      inject(faults[step])
    time.sleep(pause_s)
    return {}

  loader.Batches.__getitem__ = read_with_faults
  hang_at = next((step for step, kind in faults.items() if kind == 'hang in a step'), None)
  try:
    with processes.exit_on_own_error():
      loop.train(c, args.workdir, LoggedTask(hang_at), [evaluate])
  except ValueError as error:
    print(f'member: {error}', file=sys.stderr, flush=True)
    return 2
  if jax.process_index():
    time.sleep(linger_s)
  return 0


if __name__ == '__main__':
  sys.exit(main())
