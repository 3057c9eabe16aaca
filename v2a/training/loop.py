"""The training loop.

run             the context of a training run: mesh, step, data, logger, checkpoints; opened and checked
resuming        the state to start from
metrics_reader  metrics to the host, one step late
saving          when the state is saved, and where
evaluators      evaluation during training
profiler        profile of some steps
finishing       the last checkpoint, the exported model
"""

from collections.abc import Sequence
import contextlib
import functools
import pathlib
import time

import grain
import jax
import ml_collections

from v2a import storage
from v2a.data import loader
from v2a.training import console
from v2a.training import evaluators as evaluators_lib
from v2a.training import finishing
from v2a.training import intervals
from v2a.training import logger as logger_lib
from v2a.training import metrics_reader
from v2a.training import profiler as profiler_lib
from v2a.training import resuming
from v2a.training import run as run_lib
from v2a.training import saving
from v2a.training import state as state_lib
from v2a.training import task as task_lib
from v2a.training.distributed import stopping


def train(
  c: ml_collections.ConfigDict,
  workdir: str | storage.Path,
  task: task_lib.Task,
  evaluators: Sequence[run_lib.Evaluator] = (),
  devices: Sequence[jax.Device] | None = None,
  executable_path: str | pathlib.Path | None = None,
  notes: Sequence[str] = (),
) -> storage.Path:
  """Trains a task to `config.training.num_steps`, resuming from what the folder already holds.

  Args:
    c: the resolved configuration.
    workdir: training folder: config.json and its `history`, checkpoints/, tensorboard/ (`log_folder`), and in
      the end model/ (`v2a.weights`).
    task: what is trained.
    evaluators: each `f(model, step) -> dict` of floats and of logger.AudioSummary and logger.ImageSummary,
      given the EMA model on the mesh, every `training.evaluate_every_steps` and at the end; logged under
      'evaluation/'.
    devices: None for all.
    executable_path: compiled step (see `compiled_step`), in place of compiling it; None for none.
    notes: lines to log at the start, on the configuration.

  Returns:
    The folder of the exported model.

  Raises:
    ValueError: the configuration is wrong, or the folder holds another run.
    metrics_reader.NonFiniteError: loss or gradient became NaN or infinite; earlier checkpoints are kept.
    stopping.Interrupted: a signal asked to stop; the state was saved.
    stopping.StorageError: a file could not be read or written after training had begun.
  """
  workdir = storage.parse(workdir, '--workdir')
  with run_lib.open(c, workdir, task, evaluators, devices, executable_path) as (run, record_notes):
    state = resuming.start(run)
    run.watchdog.reset()
    run.describe(state, (*notes, *record_notes))
    try:
      state = _loop(run, state)
      return finishing.finish(run, state)
    except OSError as error:
      reason = ' '.join(str(error).split())
      console.error(f'v2a: training stopped, since a file could not be read or written: {reason}')
      raise stopping.StorageError from error


def _loop(run: run_lib.Run, state: state_lib.State) -> state_lib.State:
  """Returns the state after the last step."""
  training, start = run.c.training, int(jax.device_get(state.step))
  # Batches of each length are compiled when the first of them comes.
  is_compiled = isinstance(run.step_fn, jax.stages.Compiled)
  uncompiled = set() if is_compiled else {bucket.clip_s for bucket in run.order.buckets}
  batches = _batches(run, start)
  reader, profiler = metrics_reader.MetricsReader(run, start), profiler_lib.Profiler(run)
  state_leaves, state_treedef = jax.tree.flatten(state)
  del state  # the step donates the buffers of these arrays
  current_state = lambda: jax.tree.unflatten(state_treedef, state_leaves)
  saver = saving.Saver(run, start)
  with contextlib.closing(batches), stopping.Signals() as signals:
    for step in range(start, training.num_steps):
      # The order is fixed: evaluate(state) -> save(state, step, config) -> next batch -> step -> metrics of
      # the previous step to the host (so that the device never waits) -> stop if they are NaN or infinite.
      # After a signal to stop, the state is saved first, without evaluation and before anything is printed:
      # a scheduler kills the process after a short time, and printing blocks if nothing reads stdout.
      received = signals.stop_signal(step)
      if not received:
        reader.log()
      if not received and step > start and intervals.is_due(step, training.evaluate_every_steps):
        evaluators_lib.evaluate(run, current_state(), step)
        reader.timer.pause()
        received = signals.stop_signal(step)
      if target := saver.target(step, is_stopping=bool(received)):
        reader.flush()  # never save a state whose loss was not checked
        saver.save(target, current_state())
        reader.timer.pause()
      if received:
        finishing.stop_on_signal(run, current_state(), received, reader)
      saver.report_errors(step)
      profiler.before_step(step - start)
      clip_s = run.order.bucket(step).clip_s
      is_compiling = clip_s in uncompiled
      if is_compiling:
        uncompiled.remove(clip_s)
        run.log.line(f'Compiling step {step + 1}; that may take minutes.')
      begin_s = time.perf_counter()
      batch = next(batches)
      reader.timer.add_data_wait(time.perf_counter() - begin_s)
      begin_s = time.perf_counter()
      with jax.transfer_guard('disallow'):  # a transfer to the host would make the device wait
        state_leaves, metrics = run.step_fn(state_leaves, batch)
      if is_compiling:  # dispatch is asynchronous: the call returns once the step is compiled and started
        run.log.line(f'Compiled in {logger_lib.format_duration(time.perf_counter() - begin_s)}.')
        reader.timer.pause()
      reader.push(step, metrics)
      run.watchdog.reset()
    reader.flush()
    reader.log()
  profiler.stop()
  return current_state()


def _batches(run: run_lib.Run, start: int) -> grain.DatasetIterator[dict]:
  """Returns the batches from step `start` on, prefetched to the devices of the mesh."""
  data, order = run.c.data, run.order
  rows = functools.partial(loader.local_rows, run.mesh)
  batches = loader.Batches(run.task, run.items, order, run.c.training.num_steps, rows)
  sizes = {bucket.batch_size for bucket in order.buckets}
  put = lambda batch: loader.to_devices(batch, run.mesh, sizes)
  return loader.iterate(batches, start, data.num_threads, data.num_prefetched_batches, put)
