"""Topologies by name, such as v5e:16x16 or 4*v5e:16x16: devices of TPU slices that need not be present.

libtpu describes them and compiles for them; it is a separate package (`pip install 'v2a[tpu]'`).
"""

from collections.abc import Sequence
import dataclasses
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies

from v2a import chips

_NAME = re.compile(r'(?:(\d+)\*)?([a-z0-9]+):(\d+(?:x\d+){1,2})')
_NUM_AXES = {'v5e': 2, 'v6e': 2, 'v5p': 3}
_MAX_CHIPS = {'v5e': 256, 'v6e': 256, 'v5p': 8960}
# No TPU is accessed: no query of its metadata, and no lock for one process alone.
_ENVIRONMENT = {
  'TPU_SKIP_MDS_QUERY': '1',
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_MIN_LOG_LEVEL': '3',
  'TPU_STDERR_LOG_LEVEL': '3',
}


@dataclasses.dataclass(frozen=True)
class Topology:
  """TPU slices of one shape.

  Attributes:
    chip: kind of all chips.
    shape: chips along each axis of a slice.
    num_slices: number of slices, connected by the data center network.
  """

  chip: chips.Chip
  shape: tuple[int, ...]
  num_slices: int = 1

  @property
  def name(self) -> str:
    """The name that `parse` reads, with the number of slices in front unless it is 1."""
    slice_name = f'{self.chip.name}:{"x".join(map(str, self.shape))}'
    return slice_name if self.num_slices == 1 else f'{self.num_slices}*{slice_name}'

  @property
  def num_chips(self) -> int:
    """Number of chips of all slices."""
    return self.num_slices * math.prod(self.shape)


def parse(text: str, num_slices: int = 1) -> Topology:
  """Returns the topology of a name; `num_slices` is used if the name has no number of slices.

  Raises:
    ValueError: there is no such topology.
  """
  match = _NAME.fullmatch(text)
  if not match or match.group(2) not in chips.CHIPS:
    raise ValueError(
      f'--topology must look like v5e:16x16 or 4*v5e:16x16, of {", ".join(chips.CHIPS)}; got {text!r}.'
    )
  name, shape = match.group(2), tuple(int(size) for size in match.group(3).split('x'))
  num_slices = num_slices if match.group(1) is None else int(match.group(1))
  if len(shape) != _NUM_AXES[name]:
    raise ValueError(f'{name} is a torus of {_NUM_AXES[name]} axes; got {text!r}.')
  if any(size % 2 for size in shape[:2]) or not 0 < math.prod(shape) <= _MAX_CHIPS[name]:
    raise ValueError(
      f'a slice of {name} has hosts of 2x2 chips and at most {_MAX_CHIPS[name]} chips; got {text!r}.'
    )
  if num_slices < 1:
    raise ValueError(f'--num-slices must be at least 1; got {num_slices}.')
  return Topology(chips.CHIPS[name], shape, num_slices)


def devices(topology: Topology) -> Sequence[jax.Device]:
  """Returns devices to compile programs for, which cannot run them.

  Raises:
    FileNotFoundError: libtpu is not installed.
    ValueError: libtpu knows no such topology.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise FileNotFoundError(
      "Compiling for TPUs needs libtpu, which is not installed: pip install 'v2a[tpu]'."
    )
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  several = {'num_slices': topology.num_slices} if topology.num_slices > 1 else {}
  shape = 'x'.join(map(str, topology.shape))
  try:
    return topologies.get_topology_desc(
      platform='tpu', topology_name=f'{topology.chip.name}:{shape}', **several
    ).devices
  except jax.errors.JaxRuntimeError as error:
    raise ValueError(f'libtpu has no topology {topology.name}: {error}') from error
