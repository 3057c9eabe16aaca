"""Accelerators of Google Kubernetes Engine: node labels, and chips per machine."""

import dataclasses
import math

TPU = 'google.com/tpu'
GPU = 'nvidia.com/gpu'


@dataclasses.dataclass(frozen=True)
class Accelerator:
  """A type of accelerator.

  Attributes:
    label: value of its node label.
    resource: name of the Kubernetes resource, TPU or GPU.
    chips_per_host: number of chips of a machine.
    num_axes: number of axes of the torus of a TPU slice; 0 for GPUs.
    max_chips: number of chips of the largest slice.
  """

  label: str
  resource: str
  chips_per_host: int
  num_axes: int = 0
  max_chips: int = 0

  @property
  def is_tpu(self) -> bool:
    """Whether it is a TPU, allocated as slices of a torus."""
    return self.resource == TPU

  def node_selector(self, topology: str | None) -> dict[str, str]:
    """Returns the node labels."""
    if not self.is_tpu:
      return {'cloud.google.com/gke-accelerator': self.label}
    assert topology is not None
    return {'cloud.google.com/gke-tpu-accelerator': self.label, 'cloud.google.com/gke-tpu-topology': topology}


ACCELERATORS = {
  'v4': Accelerator('tpu-v4-podslice', TPU, 4, 3, 4096),
  'v5e': Accelerator('tpu-v5-lite-podslice', TPU, 4, 2, 256),
  'v5p': Accelerator('tpu-v5p-slice', TPU, 4, 3, 8960),
  'v6e': Accelerator('tpu-v6e-slice', TPU, 4, 2, 256),
  'tpu7x': Accelerator('tpu7x', TPU, 4, 3, 9216),
  'a100': Accelerator('nvidia-tesla-a100', GPU, 8),
  'h100': Accelerator('nvidia-h100-80gb', GPU, 8),
  'h200': Accelerator('nvidia-h200-141gb', GPU, 8),
}


def num_chips(accelerator: str, topology: str) -> int:
  """Returns the number of chips of a TPU slice.

  Accepts the topologies of `v2a compile --topology`, and a single chip.

  Args:
    accelerator: key of ACCELERATORS.
    topology: shape of the slice, such as 16x16.

  Raises:
    ValueError: there is no such slice.
  """
  spec, parts = ACCELERATORS[accelerator], topology.split('x')
  if not 2 <= len(parts) <= 3 or not all(part.isdecimal() and int(part) for part in parts):
    raise ValueError(f'a topology looks like 4x4 or 4x4x8; got {topology!r}')
  shape = tuple(map(int, parts))
  if len(shape) != spec.num_axes:
    raise ValueError(f'{accelerator} is a torus of {spec.num_axes} axes; got --topology {topology}')
  chips = math.prod(shape)
  if (any(size % 2 for size in shape[:2]) and chips > 1) or chips > spec.max_chips:
    raise ValueError(
      f'a slice of {accelerator} has hosts of 2x2 chips and at most {spec.max_chips} chips; '
      f'got --topology {topology}'
    )
  return chips
