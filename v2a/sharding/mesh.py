"""The mesh: every device has a place along three axes. One device is the 1 x 1 x 1 mesh.

What crosses the wire, a step:
  data    each member holds the model and sees other clips: gradients are summed once (all-reduce).
  fsdp    each member stores a part of every parameter and sees other clips: a layer's parameters are gathered
          before their use, forward and backward, and their gradients are reduced and scattered.
  tensor  members see the same clips and split heads and hidden units: activations are summed twice a layer,
          so this axis wants the fastest links (one host, or one torus axis).

Axes are of type Auto: modules name logical axes (see `rules`) and XLA places the rest.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import math

import jax
import numpy as np

AXES = ('data', 'fsdp', 'tensor')
BATCH_AXES = ('data', 'fsdp')  # the axes whose members see different clips


def resolve(sizes: Mapping[str, int], num_devices: int) -> dict[str, int]:
  """Returns the sizes with -1 replaced by what is left of `num_devices`.

  Raises:
    ValueError: unknown axes, or sizes whose product is not the number of devices.
  """
  if sorted(sizes) != sorted(AXES):
    raise ValueError(f'A mesh has the axes {AXES}; got {tuple(sizes)}.')
  sizes = {name: sizes[name] for name in AXES}
  if any(size < 1 and size != -1 for size in sizes.values()) or list(sizes.values()).count(-1) > 1:
    raise ValueError(f'Mesh sizes must be at least 1, and one at most -1 (the rest); got {sizes}.')
  known = math.prod(size for size in sizes.values() if size != -1)
  if num_devices % known or (-1 not in sizes.values() and known != num_devices):
    raise ValueError(f'A mesh of {sizes} does not fit {num_devices} devices.')
  return {name: num_devices // known if size == -1 else size for name, size in sizes.items()}


def make(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
  """Returns the mesh of the given sizes over all devices, or over `devices`.

  Args:
    sizes: devices along each of `AXES`; one of them may be -1 for the rest.
    devices: those to use, in order; None for all of all hosts.
  """
  devices = list(jax.devices() if devices is None else devices)
  shape = tuple(resolve(sizes, len(devices)).values())
  types = (jax.sharding.AxisType.Auto,) * len(AXES)
  return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)


def single() -> jax.sharding.Mesh:
  """Returns the 1 x 1 x 1 mesh of this process' first device."""
  return make(dict.fromkeys(AXES, 1), jax.local_devices()[:1])


def batch_sharding(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Returns how arrays with a leading batch axis lie."""
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(BATCH_AXES))


def replicated(mesh: jax.sharding.Mesh) -> jax.sharding.NamedSharding:
  """Returns the sharding under which every device holds the whole array."""
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def num_batch_shards(mesh: jax.sharding.Mesh) -> int:
  """Returns into how many parts a batch is split."""
  return int(np.prod([mesh.shape[name] for name in BATCH_AXES]))
