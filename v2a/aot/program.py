"""The step that `v2a train` runs, compiled for a topology, with its memory use and roofline.

With F the FLOPs of the whole step (v2a.flops), n chips of peak P FLOP/s, memory bandwidth M, and D bytes/s
per chip to other slices, a step takes at least

  compute = F / (n P)                                                            (1)
  HBM     = (arguments + results + 2 temporaries) / M                             (2)
  ICI     = the maximum, over mesh axes, of bytes / bandwidth of the axis         (3)
  DCN     = bytes along replica / D                                              (4)

Eq. 2 is a lower bound on the traffic: each byte moves at least so often. The bandwidth of a mesh axis is that
of one link for each torus axis along it, or of two links if the torus axis has wraparound. The highest
reachable MFU is (F without rematerialization) / (n P), divided by the largest of the four: it assumes that
all four overlap, and that matmuls run at the peak.
"""

import dataclasses
import math
import pathlib
import time
from typing import Any

import jax
import ml_collections

from v2a import flops
from v2a.aot import hlo
from v2a.aot import topologies
from v2a.config import validation
from v2a.data import loader
from v2a.sharding import mesh as mesh_lib
from v2a.training import compiled_step
from v2a.training import costs
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import step as step_lib
from v2a.training import tasks

_MIN_WRAPAROUND = 16  # chips along an axis of a 2D torus (v5e, v6e) from which it has wraparound
_CUBE = 4  # a 3D torus (v5p) has wraparound if it consists of whole cubes of 4 x 4 x 4 chips


@dataclasses.dataclass(frozen=True)
class Report:
  """Memory use and roofline of a compiled step; one row of the table of `v2a compile`.

  Attributes:
    config, topology, mesh, batch_size, remat, microbatches: what was compiled.
    fits: False if the compiler ran out of the chip's memory, and all fields after `reason` are None; or if no
      memory is left for prefetched batches.
    reason: why it does not fit, by the compiler's message or ours.
    memory_bytes: memory of a device, by kind; 'waiting' are prefetched batches, 'host' is what remat offloads
      to the host.
    hbm_bytes: memory of a chip.
    num_parameters: number of trained parameters.
    flops, model_flops: of a step over all devices, with and without rematerialization.
    sent_bytes: bytes that a device sends per step, by mesh axes.
    times_s: by bound, eq. 1 to 4.
    bound: the largest of them.
    highest_mfu: see the module.
    compile_s: compilation time.
  """

  config: str
  topology: str
  mesh: dict[str, int]
  batch_size: int
  remat: str
  microbatches: int
  hbm_bytes: int
  num_parameters: int
  flops: int
  model_flops: int
  fits: bool
  compile_s: float
  reason: str | None = None
  memory_bytes: dict[str, int] | None = None
  sent_bytes: dict[str, float] | None = None
  times_s: dict[str, float] | None = None
  bound: str | None = None
  highest_mfu: float | None = None


def trace(c: ml_collections.ConfigDict, mesh: jax.sharding.Mesh) -> tuple[jax.stages.Traced, state_lib.State]:
  """Returns the traced step and its abstract state for a mesh; runs nothing.

  Raises:
    ValueError: the batch does not divide over the mesh.
  """
  task = tasks.make(c)
  optimizer = optimizer_lib.make(c.training, task.param_groups)
  abstract = state_lib.abstract(task, optimizer, mesh)
  step = step_lib.make(c, task, state_lib.graph(task), optimizer, mesh, abstract)
  return step.trace(jax.tree.leaves(abstract), loader.abstract_batch(c, task, mesh)), abstract


def compile_step(
  c: ml_collections.ConfigDict, topology: topologies.Topology, output: pathlib.Path | None = None
) -> Report:
  """Compiles a configuration's step for a topology, and returns its memory use and roofline.

  Args:
    c: the whole configuration.
    topology: of chips that need not be present.
    output: file for the executable, see `training.compiled_step`; None to write none.

  Raises:
    ValueError: the mesh does not fit the topology, or the batch the mesh.
  """
  validation.validate(c)
  sizes = mesh_lib.resolve(c.mesh.to_dict(), topology.num_chips, topology.num_slices)
  _check_batch(c, sizes)
  mesh = mesh_lib.make(sizes, topologies.devices(topology))
  traced, abstract = trace(c, mesh)
  num_flops = flops.count(traced.jaxpr)
  start = time.perf_counter()
  about: dict[str, Any] = {
    'config': c.name,
    'topology': topology.name,
    'mesh': sizes,
    'batch_size': c.training.batch_size,
    'remat': c.training.remat,
    'microbatches': c.training.microbatches,
    'hbm_bytes': topology.chip.hbm_bytes,
    'num_parameters': state_lib.num_parameters(abstract.params),
    'flops': num_flops,
    'model_flops': costs.flops_per_clip(c) * c.training.batch_size,
  }
  lowered = traced.lower()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    return Report(
      **about, fits=False, reason=' '.join(str(error).split())[:300], compile_s=time.perf_counter() - start
    )
  about['compile_s'] = time.perf_counter() - start
  report = _report(compiled, about, topology, mesh, _batch_bytes(c, mesh))
  if output is not None and report.fits:
    compiled_step.save(lowered, compiled, output)
  return report


def min_batch_size(c: ml_collections.ConfigDict, topology: topologies.Topology) -> int:
  """Returns the smallest batch size that divides over a topology: one clip per device and microbatch."""
  sizes = mesh_lib.resolve(c.mesh.to_dict(), topology.num_chips, topology.num_slices)
  return c.training.microbatches * math.prod(sizes[name] for name in mesh_lib.BATCH_AXES)


def _check_batch(c: ml_collections.ConfigDict, sizes: dict[str, int]) -> None:
  # Checked before libtpu is loaded; the step checks it again.
  num_shards = math.prod(sizes[name] for name in mesh_lib.BATCH_AXES)
  if c.training.batch_size % (c.training.microbatches * num_shards):
    raise ValueError(
      f'config.training.batch_size must be a multiple of microbatches x replica x data x fsdp = '
      f'{c.training.microbatches} x {num_shards}; got {c.training.batch_size}.'
    )


def _batch_bytes(c: ml_collections.ConfigDict, mesh: jax.sharding.Mesh) -> int:
  leaves = loader.abstract_batch(c, tasks.make(c), mesh).values()
  return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def _report(
  compiled, about: dict, topology: topologies.Topology, mesh: jax.sharding.Mesh, batch_bytes: int
) -> Report:
  chip, memory = topology.chip, compiled.memory_analysis()
  memory_bytes = {
    'arguments': memory.argument_size_in_bytes,
    'results': memory.output_size_in_bytes,
    'aliased': memory.alias_size_in_bytes,
    'temporaries': memory.temp_size_in_bytes,
    'program': memory.generated_code_size_in_bytes,
    'waiting': loader.NUM_PREFETCHED_ON_DEVICE * batch_bytes,
    'host': memory.host_temp_size_in_bytes,
  }
  sent = hlo.bytes_by_axes(hlo.collectives(compiled.as_text(), mesh))
  moved_bytes = memory_bytes['arguments'] + memory_bytes['results'] + 2 * memory_bytes['temporaries']
  times = {
    'compute': about['flops'] / topology.num_chips / chip.peak_flops_per_s,
    'HBM': moved_bytes / chip.hbm_bytes_per_s,
  }
  ici = {axes: num_bytes for axes, num_bytes in sent.items() if not _is_between_slices(axes, topology)}
  times['ICI'] = max(
    [num_bytes / _ici_bytes_per_s(axes, topology, mesh) for axes, num_bytes in ici.items()], default=0.0
  )
  times['DCN'] = sum(sent[axes] for axes in sent if axes not in ici) / chip.dcn_bytes_per_s
  bound = max(times, key=lambda name: times[name])
  useful_s = about['model_flops'] / topology.num_chips / chip.peak_flops_per_s
  report = Report(
    **about,
    fits=True,
    memory_bytes=memory_bytes,
    sent_bytes=sent,
    times_s=times,
    bound=bound,
    highest_mfu=useful_s / times[bound],
  )
  if used_bytes(report) <= chip.hbm_bytes:
    return report
  reason = (
    f'{used_bytes(report) / 2**30:.2f} GiB are used, {memory_bytes["waiting"] / 2**30:.2f} of them by '
    'prefetched batches'
  )
  return dataclasses.replace(report, fits=False, reason=reason)


def _is_between_slices(axes: str, topology: topologies.Topology) -> bool:
  return topology.num_slices > 1 and 'replica' in axes.split('+')


def _ici_bytes_per_s(axes: str, topology: topologies.Topology, mesh: jax.sharding.Mesh) -> float:
  """Returns the bandwidth of a chip along mesh axes."""
  devices = mesh.devices
  for axis, name in reversed(list(enumerate(mesh.axis_names))):
    if name not in axes.split('+'):
      devices = devices.take(0, axis=axis)
  sizes = [len(set(coordinates)) for coordinates in zip(*(device.coords for device in devices.flat))]
  links = sum(2 if _has_wraparound(size, topology) else 1 for size in sizes if size > 1)
  return topology.chip.ici_bytes_per_s * links


def _has_wraparound(size: int, topology: topologies.Topology) -> bool:
  if len(topology.shape) == 3:
    return not any(along % _CUBE for along in topology.shape)
  return size >= _MIN_WRAPAROUND


def used_bytes(report: Report) -> int:
  """Returns the memory that training uses on a device; results alias donated arguments."""
  memory_bytes = report.memory_bytes
  assert memory_bytes is not None, 'the report is of a program that did not compile'
  kinds = 'arguments', 'results', 'temporaries', 'program', 'waiting'
  return sum(memory_bytes[kind] for kind in kinds) - memory_bytes['aliased']
