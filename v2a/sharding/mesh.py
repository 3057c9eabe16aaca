"""The device mesh: five axes. A single device is the mesh whose sizes are all 1.

Parallelism and communication of each axis, per step:
  replica  data parallelism between slices (of a TPU pod; or nodes): each slice holds the model and sees other
           clips; gradients are summed once (all-reduce). Only this axis crosses the data-centre network.
  data     data parallelism: each device holds the model and sees other clips; gradients are summed once
           (all-reduce).
  fsdp     fully sharded data parallelism: each device stores a shard of every parameter and sees other clips;
           the parameters of a layer are gathered before their use, forward and backward (all-gather), and
           their gradients are reduce-scattered.
  context  context parallelism (sequence parallelism): devices see the same clips, each a shard of the audio
           steps (`check_context`); attention gathers keys and values (all-gather), convolutions read the
           edges of neighbouring shards (collective-permute), and gradients are summed as over `data`. For
           clips of minutes.
  tensor   tensor parallelism: devices see the same clips and shard heads and hidden units; activations are
           summed twice per layer, forward and backward, and the modulation of a layer is gathered once, so
           this axis needs the fastest links (one host, or one torus axis).

Axes are of type Auto: modules name logical axes (see `rules`) and XLA places the rest. The mesh in use is
part of `execution.ExecutionConfig`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import math

import jax
from jax.experimental import mesh_utils

AXES = ('replica', 'data', 'fsdp', 'context', 'tensor')
BATCH_AXES = ('replica', 'data', 'fsdp')  # the axes whose devices see different clips
_TYPES = (jax.sharding.AxisType.Auto,) * len(AXES)


def resolve(sizes: Mapping[str, int], num_devices: int, num_slices: int = 1) -> dict[str, int]:
  """Returns the size of every axis.

  Args:
    sizes: devices along axes; 1 for an axis that is not named. `replica` may be -1: the number of slices. One
      of the others may be -1: the devices that remain.
    num_devices: of all slices together.
    num_slices: groups of devices that only the data-centre network connects.

  Raises:
    ValueError: unknown axes, sizes whose product is not the number of devices, or slices that would be split.
  """
  if unknown := sorted(set(sizes) - set(AXES)):
    raise ValueError(f'A mesh has the axes {AXES}; got {unknown}.')
  sizes = {name: sizes.get(name, 1) for name in AXES}
  shown = ' x '.join(f'{name} {size}' for name, size in sizes.items())
  if sizes['replica'] == -1:
    sizes['replica'] = num_slices
  if any(size < 1 and size != -1 for size in sizes.values()) or list(sizes.values()).count(-1) > 1:
    raise ValueError(f'Mesh sizes must be at least 1, and one at most -1 (the rest); got {shown}.')
  if sizes['replica'] % num_slices:
    raise ValueError(
      f'mesh.replica must be a multiple of the {num_slices} slices, which only it connects; '
      f'got {sizes["replica"]}.'
    )
  known = math.prod(size for size in sizes.values() if size != -1)
  if num_devices % known or (-1 not in sizes.values() and known != num_devices):
    wanted = f'{num_devices} or a divisor of it' if -1 in sizes.values() else f'{num_devices}'
    raise ValueError(
      f'A mesh of {shown} does not fit {num_devices} devices: its sizes multiply to {known}; wanted {wanted}.'
    )
  return {name: num_devices // known if size == -1 else size for name, size in sizes.items()}


def num_slices(devices: Sequence[jax.Device]) -> int:
  """Returns the number of slices: groups of devices that only the data-centre network connects."""
  return len({_slice_of(device) for device in devices})


def _slice_of(device: jax.Device) -> int:
  # None where a topology has one slice; absent on CPUs.
  return getattr(device, 'slice_index', None) or 0


def make(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
  """Returns the mesh of the given sizes over all devices, or over `devices`.

  Args:
    sizes: devices along `AXES`, see `resolve`.
    devices: the devices to use, in order; None for all of all hosts.

  Raises:
    ValueError: the sizes do not fit, or an axis would have to split an axis of the torus.
  """
  devices = list(jax.devices() if devices is None else devices)
  slices = num_slices(devices)
  found = resolve(sizes, len(devices), slices)
  shape = tuple(found.values())
  try:
    if slices == 1 and torus_shape(devices):
      # jax.make_mesh may split an axis of the torus, so that neighbours in the mesh are none in the torus.
      return jax.sharding.Mesh(mesh_utils.create_device_mesh(shape, devices), AXES, axis_types=_TYPES)
    if slices == 1:
      return jax.make_mesh(shape, AXES, axis_types=_TYPES, devices=devices)
    inside = (found['replica'] // slices, *shape[1:])
    across = (slices, *[1] * (len(AXES) - 1))
    grid = mesh_utils.create_hybrid_device_mesh(inside, across, devices)
    return jax.sharding.Mesh(grid, AXES, axis_types=_TYPES)
  except NotImplementedError as error:
    shown = ' x '.join(f'{name} {size}' for name, size in found.items() if size > 1)
    torus = 'x'.join(str(size) for size in torus_shape(devices))
    raise ValueError(
      f'A mesh of {shown} splits an axis of the {torus} torus; each size must be a product of '
      'whole axes of the torus.'
    ) from error


def torus_shape(devices: Sequence[jax.Device]) -> tuple[int, ...]:
  """Returns the sizes of the torus of a TPU slice, without axes of size 1; empty for other devices."""
  coordinates = [getattr(device, 'coords', None) for device in devices]
  if None in coordinates:
    return ()
  return tuple(size for size in (len(set(values)) for values in zip(*coordinates)) if size > 1)


def single() -> jax.sharding.Mesh:
  """Returns the mesh of the first device of this process."""
  return make({}, jax.local_devices()[:1])


def check_context(num_steps: int, mesh: jax.sharding.Mesh, what: str = 'audio steps of a clip') -> None:
  """Checks that `context` divides the steps of a sequence, which else would not be sharded.

  Args:
    num_steps: of the sequence.
    mesh: see the module.
    what: the steps, as the message names them.

  Raises:
    ValueError: it does not.
  """
  size = mesh.shape['context']
  if num_steps % size:
    fitting = ', '.join(str(other) for other in range(1, mesh.size + 1) if not num_steps % other)
    raise ValueError(
      f'mesh.context must divide the {num_steps} {what}; got {size}. '
      f'Sizes that fit, up to the number of devices: {fitting}.'
    )


def batch_sharding(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Returns the sharding of arrays with a leading batch axis."""
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(BATCH_AXES))


def replicated(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Returns the sharding under which every device holds the whole array."""
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def num_batch_shards(mesh: jax.sharding.Mesh) -> int:
  """Returns into how many shards a batch is split."""
  return math.prod(mesh.shape[name] for name in BATCH_AXES)
