"""Peak rates and memory of accelerators, by the name that JAX gives them.

TPUs: Google's published values as gathered in "How to Scale Your Model" (jax-ml/scaling-book, chapter on
TPUs); rates are per chip: dense bfloat16 products, memory, one link of the torus in one direction, and its
share of the host's bandwidth into the data-centre network. GPUs: NVIDIA's data sheets, dense products.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
  """One kind of chip.

  Attributes:
    name: as in a topology, such as v5e.
    device_kind: the name in JAX.
    peak_flops_per_s: dense products in bfloat16.
    hbm_bytes: memory that a program may use, as the compiler reports it; the rest is reserved.
    hbm_bytes_per_s: bandwidth of that memory.
    ici_bytes_per_s: bandwidth of one link, in one direction.
    dcn_bytes_per_s: bandwidth to other slices.
  """

  name: str
  device_kind: str
  peak_flops_per_s: float
  hbm_bytes: int
  hbm_bytes_per_s: float
  ici_bytes_per_s: float
  dcn_bytes_per_s: float


CHIPS = {
  chip.name: chip
  for chip in (
    Chip('v5e', 'TPU v5 lite', 1.97e14, int(15.75 * 2**30), 8.2e11, 4.5e10, 3.125e9),
    Chip('v5p', 'TPU v5', 4.59e14, int(95.74 * 2**30), 2.8e12, 9e10, 6.25e9),
    Chip('v6e', 'TPU v6 lite', 9.2e14, int(31.25 * 2**30), 1.6e12, 9e10, 1.25e10),
  )
}
# Other chips: prefix of device_kind -> dense bfloat16 operations per second.
_PEAK_FLOPS_PER_S = {
  'NVIDIA A100': 3.12e14,
  'NVIDIA H100 80GB HBM3': 9.89e14,
  'NVIDIA H100 PCIe': 7.56e14,
  'NVIDIA H200': 9.89e14,
  'NVIDIA GH200': 9.89e14,
  'NVIDIA B200': 2.25e15,
  'TPU v4': 2.75e14,
  'TPU7x': 2.307e15,
}


def peak_flops_per_s(device_kind: str) -> float | None:
  """Returns the peak rate of dense bfloat16 operations of a device; None where it is not in the tables."""
  for chip in CHIPS.values():
    if chip.device_kind == device_kind:
      return chip.peak_flops_per_s
  return next((peak for name, peak in _PEAK_FLOPS_PER_S.items() if device_kind.startswith(name)), None)
