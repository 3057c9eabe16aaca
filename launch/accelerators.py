"""Chips that Google's Kubernetes knows: labels of their nodes, and how many a machine has."""

import dataclasses
import math

TPU = 'google.com/tpu'
GPU = 'nvidia.com/gpu'


@dataclasses.dataclass(frozen=True)
class Accelerator:
  """A kind of chip.

  Attributes:
    label: value of the node label that tells it.
    resource: TPU or GPU, as pods ask for it.
    chips_per_host: of a whole machine.
  """

  label: str
  resource: str
  chips_per_host: int

  @property
  def is_tpu(self) -> bool:
    """Whether it is a TPU, whose machines come as slices of a torus."""
    return self.resource == TPU

  def node_selector(self, topology: str | None) -> dict[str, str]:
    """Returns the labels of its nodes."""
    if not self.is_tpu:
      return {'cloud.google.com/gke-accelerator': self.label}
    return {'cloud.google.com/gke-tpu-accelerator': self.label, 'cloud.google.com/gke-tpu-topology': topology}


ACCELERATORS = {
  'v4': Accelerator('tpu-v4-podslice', TPU, 4),
  'v5e': Accelerator('tpu-v5-lite-podslice', TPU, 4),
  'v5p': Accelerator('tpu-v5p-slice', TPU, 4),
  'v6e': Accelerator('tpu-v6e-slice', TPU, 4),
  'tpu7x': Accelerator('tpu7x', TPU, 4),
  'a100': Accelerator('nvidia-tesla-a100', GPU, 8),
  'h100': Accelerator('nvidia-h100-80gb', GPU, 8),
  'h200': Accelerator('nvidia-h200-141gb', GPU, 8),
}


def num_chips(topology: str) -> int:
  """Returns the chips of a topology such as 16x16.

  Raises:
    ValueError: it is none.
  """
  parts = topology.split('x')
  if not 2 <= len(parts) <= 3 or not all(part.isdigit() and int(part) for part in parts):
    raise ValueError(f'a topology looks like 4x4 or 4x4x8; got {topology!r}')
  return math.prod(map(int, parts))
