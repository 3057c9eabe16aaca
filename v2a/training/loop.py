"""The training loop, and all that surrounds it: start or resume, log, evaluate, save, stop, export."""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import math
import pathlib
import signal
import time

from clu import parameter_overview
from flax import nnx
import jax
from jax.experimental import multihost_utils
import ml_collections
import numpy as np

from v2a import keys
from v2a import weights
from v2a.config import files
from v2a.config import schema
from v2a.config import validation
from v2a.data import corrupt_records
from v2a.data import loader
from v2a.data import records
from v2a.sharding import mesh as mesh_lib
from v2a.training import compiled_step
from v2a.training import console
from v2a.training import costs
from v2a.training import history
from v2a.training import logger as logger_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import preflight
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import step_timer as step_timer_lib
from v2a.training import task as task_lib
from v2a.training.checkpoints import checkpoint
from v2a.training.checkpoints import local_checkpoint
from v2a.training.distributed import processes
from v2a.training.distributed import shared_storage
from v2a.training.distributed import stopping
from v2a.training.distributed import watchdog as watchdog_lib

_NUM_ANNOUNCED = 2  # steps after a start that are reported one by one
# What must not change when a training folder is taken up again; other keys may (num_steps, logging, mesh).
_FIXED = ('task', 'seed', 'clip', 'codec', 'conditioning', 'sync', 'flow', 'tokens')


class NonFiniteError(SystemExit):
  """Loss or gradient became NaN or infinite; exit code 3."""

  def __init__(self, message: str):
    super().__init__(3)
    self.message = message


@dataclasses.dataclass
class _Run:
  """What one call of `train` holds on to."""

  c: ml_collections.ConfigDict
  workdir: pathlib.Path
  task: task_lib.Task
  items: records.RecordSource
  mesh: jax.sharding.Mesh
  graphdef: nnx.GraphDef
  checkpoints: checkpoint.Checkpoints
  local: local_checkpoint.LocalCheckpoints | None
  log: logger_lib.Log
  evaluators: Sequence[Callable]
  position: dict
  watchdog: watchdog_lib.Watchdog
  is_profiling: bool = False
  saved_at_s: float = 0.0  # by this process' clock


def train(
  c: ml_collections.ConfigDict,
  workdir: str | pathlib.Path,
  task: task_lib.Task,
  evaluators: Sequence[Callable] = (),
  devices: Sequence[jax.Device] | None = None,
  executable_path: str | pathlib.Path | None = None,
  notes: Sequence[str] = (),
) -> pathlib.Path:
  """Trains a task to `config.training.num_steps`, taking up what the folder already holds.

  Args:
    c: the resolved configuration.
    workdir: training folder: config.json and its `history`, checkpoints/, tensorboard/, and in the end model/
      (`v2a.weights`).
    task: what is trained.
    evaluators: each `f(model, step) -> dict` of floats and of logger.AudioSummary and logger.ImageSummary,
      given the averaged model on the mesh, every `training.evaluate_every_steps` and at the end; logged under
      'evaluation/'.
    devices: None for all.
    executable_path: executable of the step (see `executable`), in place of compiling it; None for none.
    notes: lines to log at the start, on the configuration.

  Returns:
    The folder of the exported model.

  Raises:
    ValueError: the configuration is wrong, or the folder holds another run.
    NonFiniteError: the loss broke; the last good checkpoint stays.
    stopping.Interrupted: a signal came; the state was saved.
    stopping.StorageError: a file could not be read or written after training had begun.
  """
  validation.validate(c)
  mesh = mesh_lib.make(c.mesh.to_dict(), devices)
  loader.local_rows(mesh, c.training.batch_size)  # which checks that it divides, before shards are hashed
  workdir = pathlib.Path(workdir)
  shared_storage.check_same('The configuration', files.dumps(c))
  items = shared_storage.call_on_all_processes('config.data.train', lambda: loader.source(c))
  shared_storage.check_same(f'The content of config.data.train={c.data.train}', f'{items.hash} {len(items)}')
  more, codec_digest = shared_storage.call_on_all_processes(
    'config.data.train', lambda: _checked(c, task, items)
  )
  optimizer = optimizer_lib.make(c.training, task.param_groups)
  abstract = state_lib.abstract(task, optimizer, mesh)
  graphdef = state_lib.graph(task)
  step_fn = step_lib.make(c, task, graphdef, optimizer, mesh, abstract)
  if executable_path:
    lowered = step_fn.lower(jax.tree.leaves(abstract), loader.abstract_batch(c, task, mesh))
    step_fn = compiled_step.load(lowered, mesh, executable_path)
  if jax.process_count() > 1:  # before shards are hashed, which takes long
    shared_storage.check_workdir(workdir, c.training.shared_workdir_timeout_s)
  say = console.line if jax.process_index() == 0 else lambda line: None
  verify = lambda: loader.verify(items, workdir, say)
  verified = shared_storage.call_on_all_processes('config.data.train', verify) if c.data.verify else None
  workdir.mkdir(parents=True, exist_ok=True)
  if verified:
    verified.save()
  items = corrupt_records.FaultTolerantSource(items, c.data.max_corrupt_record_share, console.error)
  with contextlib.ExitStack() as stack:
    training = c.training
    watchdog = stack.enter_context(watchdog_lib.Watchdog(training.watchdog_s))
    checkpoints = checkpoint.Checkpoints(
      workdir, training.keep_latest, training.keep_every_steps, training.checkpoint_timeout_s
    )
    stack.callback(checkpoints.close)
    local = None
    if training.local_checkpoint_every_steps:
      local = local_checkpoint.LocalCheckpoints(training.local_checkpoint_folder, workdir)
      stack.callback(local.close)
    log = logger_lib.Log(workdir, training.num_steps)
    stack.callback(log.close)
    position = {'records_hash': items.hash, 'num_records': len(items), 'batch_size': training.batch_size}
    if codec_digest:
      position['codec_digest'] = codec_digest
    run = _Run(
      c, workdir, task, items, mesh, graphdef, checkpoints, local, log, evaluators, position, watchdog
    )
    state = _start(run, optimizer, abstract)
    watchdog.reset()
    if jax.process_index() == 0:
      if changes := history.save(c, workdir / weights.CONFIG, int(jax.device_get(state.step))):
        log.line(changes)
    _describe(run, state)
    for note in (*notes, *more):
      log.line(note)
    try:
      state = _loop(run, state, step_fn)
      return _finish(run, state)
    except OSError as error:
      why = ' '.join(str(error).split())
      console.error(f'v2a: training stopped, since a file could not be read or written: {why}')
      raise stopping.StorageError from error


def _checked(
  c: ml_collections.ConfigDict, task: task_lib.Task, items: records.RecordSource
) -> tuple[list[str], str | None]:
  """Returns what is to be said of the records, and the codec's digest; raises as `preflight` does."""
  notes, digest = preflight.check_contents(c, items), None
  if task.codec_bottleneck and not c.data.num_fake_records:
    digest, more = preflight.check_codec(c, task.codec_bottleneck, items)
    notes += more
  return notes, digest


def _start(run: _Run, optimizer, abstract: state_lib.State) -> state_lib.State:
  # The order of resuming: the run's own newest checkpoint (of one step the shared before the local one), a
  # named model, weights that the task initialises from elsewhere, scratch.
  latest, source, place = run.checkpoints.latest_step(), run.checkpoints, run.workdir
  if run.local:
    local = run.local.latest_step(abstract)
    if local is not None and (latest is None or local > latest):
      latest, source, place = local, run.local, run.local.path
  if latest is not None:
    _check_same_run(run, latest, *source.read(latest))
  if run.local:
    run.local.delete_after(last_step=-1 if latest is None else latest)
  if latest is not None:
    run.log.line(f'Resuming from step {latest} in {place}.')
    return source.restore(latest, abstract)
  state = state_lib.init(run.task, optimizer, abstract, keys.derive(jax.random.key(run.c.seed), 'parameters'))
  named = run.c.init_from.model
  model = state_lib.model(run.graphdef, state, use_ema=False)
  if named:
    weights.assign(model, weights.load_export(named).arrays, source=named)
    run.log.line(f'Starting from the weights in {named}.')
  else:
    model = run.task.initialise(model, run.items)
  return state_lib.replace(run.task, state, model)


def _check_same_run(run: _Run, step: int, saved: ml_collections.ConfigDict, position: dict) -> None:
  saved, wanted = saved.to_dict(), run.c.to_dict()
  changed = [key for key in _FIXED if saved[key] != wanted[key]]
  # Checkpoints of before do not tell the codec.
  changed += [key for key in run.position if position.get(key, run.position[key]) != run.position[key]]
  if changed:
    raise ValueError(
      f'{run.workdir} holds a run of step {step} with another {", ".join(changed)}; use '
      'another --workdir, or start from its weights by config.init_from.model.'
    )
  if step > run.c.training.num_steps:
    raise ValueError(
      f'{run.workdir} has been trained for {step} steps, beyond config.training.num_steps='
      f'{run.c.training.num_steps}.'
    )


def _describe(run: _Run, state: state_lib.State) -> None:
  trained, frozen = state_lib.num_parameters(state.params), state_lib.num_parameters(state.frozen)
  axes = ' x '.join(f'{name} {size}' for name, size in run.mesh.shape.items())
  run.log.line(
    f'{run.c.name}: task {run.c.task}, {trained:,} parameters trained and {frozen:,} not, '
    f'{len(run.items)} records, mesh {axes} of {run.mesh.devices.flat[0].platform}.'
  )
  if jax.process_index() == 0:
    table = parameter_overview.get_parameter_overview(weights.flatten(state.params), include_stats=False)
    (run.workdir / 'parameters.txt').write_text(table + '\n')


def _loop(run: _Run, state: state_lib.State, step_fn: Callable) -> state_lib.State:
  training, data, start = run.c.training, run.c.data, int(jax.device_get(state.step))
  rows = loader.local_rows(run.mesh, training.batch_size)
  batches = loader.Batches(run.task, run.items, training.batch_size, training.num_steps, run.c.seed, rows)
  put = lambda batch: loader.to_devices(batch, run.mesh, training.batch_size)
  iterator = loader.iterate(batches, start, data.num_threads, data.num_prefetched_batches, put)
  reader = _Reader(run, start)
  leaves, tree = jax.tree.flatten(state)
  del state  # the step consumes its leaves
  whole = lambda: jax.tree.unflatten(tree, leaves)
  run.saved_at_s = time.monotonic()
  with contextlib.closing(iterator), stopping.Signals() as signals:
    for step in range(start, training.num_steps):
      # The order is fixed: evaluate(state) -> save(state, position, config) -> next batch -> step -> the
      # previous step's metrics to the host (so that the device never waits) -> stop on what is not finite.
      # Whoever sends a signal may not wait for an evaluation; and who reads what is printed may have left
      # with it, or keep us waiting: then lines come after the save.
      received = signals.stop_signal(step)
      if not received:
        reader.log()
      if not received and step > start and _is_due(step, training.evaluate_every_steps):
        _evaluate(run, whole(), step)
        reader.pace.pause()
        received = signals.stop_signal(step)
      if saver := _saver(run, step, received, step == start):
        reader.check()  # never save a state whose loss has not been seen
        saver.save(whole(), run.c, run.position)
        if saver is run.checkpoints:
          run.saved_at_s = time.monotonic()
        reader.pace.pause()
      if received:
        _leave(run, whole(), received, reader)
      _tell_faults(run, step)
      _profile(run, step - start)
      is_compiled_now = step == start and not isinstance(step_fn, jax.stages.Compiled)
      if is_compiled_now:
        run.log.line(f'Compiling step {step + 1}; that may take minutes.')
      begin_s = time.perf_counter()
      batch = next(iterator)
      reader.pace.add_data_wait(time.perf_counter() - begin_s)
      begin_s = time.perf_counter()
      with jax.transfer_guard('disallow'):  # a step that asks the host for something makes the device wait
        leaves, values = step_fn(leaves, batch)
      if is_compiled_now:  # the call returns once it is compiled; the step itself runs on
        run.log.line(f'Compiled in {logger_lib.format_duration(time.perf_counter() - begin_s)}.')
      reader.push(step, values)
      run.watchdog.reset()
    reader.check()
    reader.log()
  _profile(run, None)
  return whole()


def _saver(run: _Run, step: int, received: int | None, is_first: bool):
  """Returns where the state is to be saved before a step, or None."""
  training = run.c.training
  if received:
    return run.checkpoints
  if is_first:
    return None
  if _is_due(step, training.checkpoint_every_steps) or _is_late(run, step):
    return run.checkpoints
  return run.local if _is_due(step, training.local_checkpoint_every_steps) else None


def _is_late(run: _Run, step: int) -> bool:
  """Whether process 0 finds that the last checkpoint lies too far back; all ask in the same steps."""
  training = run.c.training
  if not training.checkpoint_every_s or not _is_due(step, training.log_every_steps):
    return False
  return bool(
    processes.broadcast_from_process_0(time.monotonic() - run.saved_at_s > training.checkpoint_every_s)
  )


def _tell_faults(run: _Run, step: int) -> None:
  # By each process, since each has faults of its own.
  for saver in filter(None, (run.checkpoints, run.local)):
    if fault := saver.pop_error():
      who = f'Process {jax.process_index()}, step' if jax.process_count() > 1 else 'Step'
      console.error(f'{who} {step}: {fault}; training goes on, the next checkpoint is tried when it is due.')


def _leave(run: _Run, state: state_lib.State, received: int, reader: '_Reader') -> None:
  step = int(jax.device_get(state.step))
  told = f'saved at step {step} in {run.workdir}'
  try:
    run.checkpoints.wait()
    run.watchdog.reset()
    _export(run, state)  # after the checkpoint, since whoever sends a signal may not wait for long
  except OSError as error:
    # Not bad input: a new start takes up the last checkpoint that is whole.
    why = ' '.join(str(error).split())
    told = f'not all of step {step} could be saved ({why}); what was saved before stays'
  reader.log()
  run.log.line(f'Stopped by {signal.Signals(received).name}; {told}.')
  raise stopping.Interrupted(received)


def _is_due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0


class _Reader:
  """Brings metrics to the host one step late, stops on what is not finite, and logs.

  Attributes:
    pace: of the steps.
  """

  def __init__(self, run: _Run, start: int):
    self._run = run
    self._window = logger_lib.MetricAccumulator()
    self._pending, self._due, self._start = None, [], start
    self._begin_s = time.perf_counter()
    least_step_s = costs.min_step_s(run.c, run.mesh.devices.flat)
    num_latents = schema.clip_spec(run.c).num_latents
    self.pace = step_timer_lib.StepTimer(run.c.training.batch_size, num_latents, least_step_s)
    is_first = jax.process_index() == 0
    self._goodput = step_timer_lib.Goodput(run.workdir / 'goodput.jsonl', start) if is_first else None

  def push(self, step: int, values: dict[str, jax.Array]) -> None:
    """Takes the metrics of a step that was just started, and reads those of the one before."""
    previous, self._pending = self._pending, (step, values)
    if previous:
      self._read(*previous)

  def check(self) -> None:
    """Brings what is left to the host, and stops where it is not finite."""
    previous, self._pending = self._pending, None
    if previous:
      self._read(*previous)

  def log(self) -> None:
    """Prints what is due."""
    due, self._due = self._due, []
    for text in due:
      text()

  def _read(self, step: int, values: dict[str, jax.Array]) -> None:
    values = {name: float(value) for name, value in jax.device_get(values).items()}
    if not (math.isfinite(values['loss']) and math.isfinite(values['grad_norm'])):
      _stop_non_finite(self._run, step, values)
    self._window.add(values)
    step_s = self.pace.step()
    done, training, log = step + 1, self._run.c.training, self._run.log
    if _is_due(done, training.log_every_steps) or done == training.num_steps:
      rates, seconds = self.pace.flush()
      if self._goodput and rates:
        rates['goodput'] = self._goodput.add(done, seconds)
      self._due.append(functools.partial(log.progress, done, self._window.flush(), rates))
    elif done - self._start <= _NUM_ANNOUNCED:
      text = self._pace_of_first(done, step_s)
      self._due.append(lambda: log.line(f'step {done}/{training.num_steps} {text}'))

  def _pace_of_first(self, done: int, step_s: float | None) -> str:
    """Tells of the first steps, since the first line of metrics may be far."""
    if step_s is None:
      return f'after {logger_lib.format_duration(time.perf_counter() - self._begin_s)}, with compilation'
    training = self._run.c.training
    left = logger_lib.format_duration((training.num_steps - done) * step_s)
    return f'took {step_s:.3g} s, {left} left; metrics follow every {training.log_every_steps} steps'


def _stop_non_finite(run: _Run, step: int, values: dict[str, float]) -> None:
  run.checkpoints.pop_error(wait=True)
  shared = run.checkpoints.latest_step()
  steps = (() if shared is None else (shared,)) + (run.local.steps() if run.local else ())
  latest = max(steps, default=None)
  kept = 'no checkpoint was written before' if latest is None else f'the checkpoint of step {latest} is kept'
  message = (
    f'Training stopped in step {step}: the loss is {values["loss"]}, the norm of its gradient '
    f'{values["grad_norm"]}; {kept}. Lower config.training.learning_rate or look at the data.'
  )
  console.error(f'v2a: {message}')
  raise NonFiniteError(message)


def _evaluate(run: _Run, state: state_lib.State, step: int) -> None:
  if not run.evaluators:
    return
  model = _trained(run, state)
  values = {}
  for evaluator in run.evaluators:
    values |= evaluator(model, step)
  shown = {
    name: value
    for name, value in values.items()
    if isinstance(value, (logger_lib.AudioSummary, logger_lib.ImageSummary))
  }
  scalars = {name: value for name, value in values.items() if name not in shown}
  run.log.scalars(step, {f'evaluation/{name}': value for name, value in scalars.items()})
  run.log.write_media(step, {f'evaluation/{name}': value for name, value in shown.items()})
  run.log.line(f'step {step} evaluation: {logger_lib.format_metrics(scalars)}')
  run.watchdog.reset()


def _profile(run: _Run, step: int | None) -> None:
  # `step` counts from where this process began.
  training = run.c.training
  if not training.profile_steps or jax.process_index() > 0:
    return
  begin, end = training.profile_at_step, training.profile_at_step + training.profile_steps
  if step is not None and begin <= step < end and not run.is_profiling:
    jax.profiler.start_trace(str(run.workdir / 'profile'))
    run.is_profiling = True
  elif run.is_profiling and (step is None or step >= end):
    jax.profiler.stop_trace()
    run.is_profiling = False


def _finish(run: _Run, state: state_lib.State) -> pathlib.Path:
  # The checkpoint holds the state as training left it, so that more steps can follow; last touches go to
  # the export. Before the last evaluation, which may take long.
  run.checkpoints.save(state, run.c, run.position)
  run.checkpoints.wait()
  run.watchdog.reset()
  step = int(jax.device_get(state.step))
  _evaluate(run, state, step)
  path = _export(run, state)
  if run.local:
    run.local.clear()
  run.log.line(f'Done: {step} steps; the model is in {path}.')
  return path


def _trained(run: _Run, state: state_lib.State) -> nnx.Module:
  """Returns the model to evaluate and export: averaged, unless the task wants the raw parameters."""
  return state_lib.model(run.graphdef, state, run.task.use_ema)


def _export(run: _Run, state: state_lib.State) -> pathlib.Path:
  model = run.task.finalize(_trained(run, state), run.items)
  path = run.workdir / weights.EXPORT_FOLDER
  arrays = nnx.state(model)
  # What a task's last touches made lies on each process alone, and is the same on all.
  arrays = jax.tree.map(
    lambda leaf: leaf if leaf.is_fully_addressable else multihost_utils.process_allgather(leaf, tiled=True),
    arrays,
  )
  if jax.process_index() == 0:
    about = {'name': run.c.name, 'step': int(jax.device_get(state.step)), **run.position}
    weights.export(jax.tree.map(np.asarray, arrays), path, run.c, 'float32', about)
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices('exported')  # who leaves before is waited for, but not for long
  return path
