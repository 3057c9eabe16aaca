"""A training run: what is opened and checked before the first step, and closed after the last.

Errors of input are raised here, before any array is made: first those that need no file, then those that need
the records, and those that need to hash every shard last, since that takes long.
"""

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence
import contextlib
import dataclasses
import pathlib

from clu import parameter_overview
from flax import nnx
import jax
import ml_collections
import optax

from v2a import files as files_lib
from v2a import storage
from v2a import weights
from v2a.config import files
from v2a.config import schema
from v2a.config import validation
from v2a.data import batch_order
from v2a.data import corrupt_records
from v2a.data import loader
from v2a.data import records
from v2a.sharding import mesh as mesh_lib
from v2a.training import compiled_step
from v2a.training import console
from v2a.training import history
from v2a.training import log_folder
from v2a.training import logger as logger_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import preflight
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import step_timer
from v2a.training import task as task_lib
from v2a.training.checkpoints import checkpoint
from v2a.training.checkpoints import local_checkpoint
from v2a.training.checkpoints import staged_checkpoint
from v2a.training.distributed import shared_storage
from v2a.training.distributed import watchdog as watchdog_lib

StepFn = Callable[[list[jax.Array], dict], tuple[list[jax.Array], dict[str, jax.Array]]]
Evaluator = Callable[[nnx.Module, int], dict]


@dataclasses.dataclass(frozen=True)
class Run:
  """What the parts of the training loop share.

  Attributes:
    c: the resolved configuration.
    workdir: training folder.
    logs: its files that grow during training.
    task: what is trained.
    evaluators: see `loop.train`.
    items: the training records.
    order: of the records, by step.
    mesh: of the devices.
    graphdef: static part of the task's model.
    optimizer: see `training.optimizer`.
    abstract: shapes, types and shardings of the state.
    step_fn: see `step.make`.
    checkpoints: on storage that all processes share.
    local: checkpoints on each machine's own storage; None where the configuration has none.
    log: of metrics and lines.
    position: JSON-able identity of the records and of their codec, saved with each checkpoint.
    watchdog: to be reset after each piece of work.
  """

  c: ml_collections.ConfigDict
  workdir: storage.Path
  logs: log_folder.LogFolder
  task: task_lib.Task
  evaluators: Sequence[Evaluator]
  items: records.RecordSource
  order: batch_order.Order
  mesh: jax.sharding.Mesh
  graphdef: nnx.GraphDef
  optimizer: optax.GradientTransformation
  abstract: state_lib.State
  step_fn: StepFn
  checkpoints: checkpoint.Checkpoints
  local: local_checkpoint.LocalCheckpoints | None
  log: logger_lib.Log
  position: dict
  watchdog: watchdog_lib.Watchdog

  def model(self, state: state_lib.State) -> nnx.Module:
    """Returns the model to evaluate and export: averaged, unless the task wants the raw parameters."""
    return state_lib.model(self.graphdef, state, self.task.use_ema)

  def describe(self, state: state_lib.State, notes: Sequence[str] = ()) -> None:
    """Writes config.json, its history and parameters.txt; logs the size of the model, and notes."""
    if jax.process_index() == 0:
      if changes := history.save(self.c, self.workdir / weights.CONFIG, int(jax.device_get(state.step))):
        self.log.line(changes)
    trained, frozen = state_lib.num_parameters(state.params), state_lib.num_parameters(state.frozen)
    axes = ' x '.join(f'{name} {size}' for name, size in self.mesh.shape.items())
    self.log.line(
      f'{self.c.name}: task {self.c.task}, {trained:,} parameters trained and {frozen:,} not, '
      f'{len(self.items)} records, mesh {axes} of {self.mesh.devices.flat[0].platform}.'
    )
    if jax.process_index() == 0:
      table = parameter_overview.get_parameter_overview(weights.flatten(state.params), include_stats=False)
      files_lib.write_text(self.workdir / 'parameters.txt', table + '\n')
    for note in notes:
      self.log.line(note)


@contextlib.contextmanager
def open(
  c: ml_collections.ConfigDict,
  workdir: storage.Path,
  task: task_lib.Task,
  evaluators: Sequence[Evaluator] = (),
  devices: Sequence[jax.Device] | None = None,
  executable_path: str | pathlib.Path | None = None,
) -> Generator[tuple[Run, list[str]]]:
  """Checks the input of a training, and opens what it works with.

  Args:
    c: the resolved configuration.
    workdir: training folder; created if it does not exist.
    task: what is trained.
    evaluators: see `loop.train`.
    devices: of the mesh; None for all.
    executable_path: compiled step (see `compiled_step`), in place of compiling it; None for none.

  Yields:
    The run, and lines to log on its records.

  Raises:
    ValueError: the configuration, the records or the executable are wrong, or differ between processes.
  """
  validation.validate(c)
  mesh = mesh_lib.make(c.mesh.to_dict(), devices)
  loader.local_rows(mesh, c.training.batch_size)  # raises where the batch does not divide over the processes
  items, position, notes = _open_records(c, task)
  order = loader.order(c, items, mesh_lib.num_batch_shards(mesh))
  _check_buckets(c, order, mesh)
  optimizer = optimizer_lib.make(c.training, task.param_groups)
  abstract = state_lib.abstract(task, optimizer, mesh)
  graphdef = state_lib.graph(task)
  step_fn = step_lib.make(c, task, graphdef, optimizer, mesh, abstract)
  if executable_path:
    if len(order.buckets) > 1:
      raise ValueError('A compiled step is for batches of one length; leave out config.data.bucket_s.')
    lowered = step_fn.lower(jax.tree.leaves(abstract), loader.abstract_batch(c, task, mesh))
    step_fn = compiled_step.load(lowered, mesh, executable_path)
  items = _prepare_workdir(c, workdir, items)
  with contextlib.ExitStack() as stack:
    watchdog = stack.enter_context(watchdog_lib.Watchdog(c.training.watchdog_s))
    checkpoints, local = _open_checkpoints(c.training, workdir, stack)
    logs = log_folder.LogFolder(workdir, (step_timer.GOODPUT_FILE,))
    stack.callback(logs.close)
    log = logger_lib.Log(logs.path, c.training.num_steps)
    stack.callback(log.close)
    yield (
      Run(
        c=c,
        workdir=workdir,
        logs=logs,
        task=task,
        evaluators=evaluators,
        items=items,
        order=order,
        mesh=mesh,
        graphdef=graphdef,
        optimizer=optimizer,
        abstract=abstract,
        step_fn=step_fn,
        checkpoints=checkpoints,
        local=local,
        log=log,
        position=position,
        watchdog=watchdog,
      ),
      notes,
    )


def _check_buckets(c: ml_collections.ConfigDict, order: batch_order.Order, mesh: jax.sharding.Mesh) -> None:
  """Raises ValueError if the clips of a bucket do not divide over the mesh axis `context`."""
  for bucket in order.buckets:
    if bucket.clip_s is not None:
      spec = dataclasses.replace(schema.clip_spec(c), clip_s=bucket.clip_s)
      mesh_lib.check_context(spec.num_latents, mesh, f'audio steps of clips of {bucket.clip_s:g} s')


def _open_checkpoints(
  training: ml_collections.ConfigDict, workdir: storage.Path, stack: contextlib.ExitStack
) -> tuple[checkpoint.Checkpoints, local_checkpoint.LocalCheckpoints | None]:
  """Returns `Run.checkpoints` and `Run.local`; the stack closes both."""
  # Orbax writes to the file system and to gs://.
  is_staged = storage.scheme(workdir) == 's3'
  kind = staged_checkpoint.StagedCheckpoints if is_staged else checkpoint.Checkpoints
  checkpoints = kind(workdir, training.keep_latest, training.keep_every_steps, training.checkpoint_timeout_s)
  stack.callback(checkpoints.close)
  if not training.local_checkpoint_every_steps:
    return checkpoints, None
  local = local_checkpoint.LocalCheckpoints(training.local_checkpoint_folder, workdir)
  stack.callback(local.close)
  return checkpoints, local


def _open_records(
  c: ml_collections.ConfigDict, task: task_lib.Task
) -> tuple[records.RecordSource, dict, list[str]]:
  """Returns the training records, their `Run.position`, and lines to log; the same in all processes."""
  shared_storage.check_same('The configuration', files.dumps(c))
  items = shared_storage.call_on_all_processes(
    'config.data.train', lambda: loader.source(c, task.record_fields)
  )
  shared_storage.check_same(f'The content of config.data.train={c.data.train}', f'{items.hash} {len(items)}')
  notes, codec_digest = shared_storage.call_on_all_processes(
    'config.data.train', lambda: _check_records(c, task, items)
  )
  position = {'records_hash': items.hash, 'num_records': len(items), 'batch_size': c.training.batch_size}
  if codec_digest:
    position['codec_digest'] = codec_digest
  return items, position, notes


def _check_records(
  c: ml_collections.ConfigDict, task: task_lib.Task, items: records.RecordSource
) -> tuple[list[str], str | None]:
  """Returns lines to log on the records, and the codec's digest; raises as `preflight` does."""
  notes, digest = preflight.check_contents(c, items), None
  for folder in items.folders:
    notes += folder.notes
  if task.codec_bottleneck and not c.data.num_fake_records:
    digest, more = preflight.check_codec(c, task.codec_bottleneck, items)
    notes += more
  return notes, digest


def _prepare_workdir(
  c: ml_collections.ConfigDict, workdir: storage.Path, items: records.RecordSource
) -> records.RecordSource:
  """Creates the training folder, verifies the shards, and returns the records with tolerance of faults."""
  if jax.process_count() > 1:  # before shards are hashed, which takes long
    shared_storage.check_workdir(workdir, c.training.shared_workdir_timeout_s)
  report = console.line if jax.process_index() == 0 else lambda line: None
  verify = lambda: loader.verify(items, workdir, report)
  verified = shared_storage.call_on_all_processes('config.data.train', verify) if c.data.verify else None
  storage.make_folder(workdir)
  if verified:
    verified.save()
  return corrupt_records.FaultTolerantSource(items, c.data.max_corrupt_record_share, console.error)
