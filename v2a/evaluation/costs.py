"""Costs of a model: parameters, floating-point operations (v2a.flops), network evaluations, memory."""

from collections.abc import Mapping
import dataclasses
import pathlib
import resource

import jax
import numpy as np

from v2a import flops
from v2a import weights
from v2a.sampling import bundle
from v2a.sampling import jobs
from v2a.sampling import request as request_lib
from v2a.training import costs as training_costs


def sampling_parts(model: bundle.Bundle, generator: str | None = None) -> dict[str, weights.Export]:
  """Returns the parts of a model that sample: a generator, None for the first, and its codec."""
  chosen = model.generator(generator)
  return {part: model.exports[part] for part in (chosen.codec, chosen.name)}


def num_parameters(exports: Mapping[str, weights.Export]) -> dict[str, int]:
  """Returns the number of parameters of each part, and their sum."""
  found = {part: sum(array.size for array in export.arrays.values()) for part, export in exports.items()}
  return {**found, 'all': sum(found.values())}


def training_flops(exports: Mapping[str, weights.Export]) -> dict[str, int | None]:
  """Returns the FLOPs of the last training of each part, and their sum; None where they are not known.

  Optimizer steps times batch size times the FLOPs of a clip, forward and backward: those recorded in the
  export (`flops_per_clip`), else those of the traced loss of the export's configuration. The training of
  initial weights is not counted.

  Args:
    exports: by part.
  """
  found: dict[str, int | None] = {}
  for part, export in exports.items():
    about = export.about
    is_known = 'step' in about and 'batch_size' in about
    each = about.get('flops_per_clip') or (training_costs.flops_per_clip(export.config) if is_known else None)
    found[part] = int(about['step'] * about['batch_size'] * each) if is_known else None
  known = [value for value in found.values() if value is not None]
  return {**found, 'all': sum(known) if len(known) == len(found) else None}


@dataclasses.dataclass(frozen=True)
class SamplingCosts:
  """Costs of one soundtrack of one window.

  Attributes:
    network_evaluations: of the generator, all branches of guidance counted.
    flops: of the generator and the codec together.
  """

  network_evaluations: int
  flops: int


def sampling_costs(model: bundle.Bundle, request: request_lib.Request) -> SamplingCosts:
  """Returns the costs of a soundtrack that is generated from video and a prompt.

  Args:
    model: see v2a.sampling.bundle.load.
    request: steps, solver and guidance.
  """
  resolved = request_lib.resolve(model, request, request_lib.Conditions(video=True, text=True))
  num_rows = model.num_shards
  spec = model.clip_spec
  size = spec.frame_size, spec.frame_size, 3
  semantic_frame_MYX3 = np.zeros((spec.num_semantic_frames, *size), np.uint8)
  sync_frame_LYX3 = np.zeros((spec.num_sync_frames, *size), np.uint8)
  empty_TC = model.generator(request.generator).initial_canvas(spec.num_latents)
  row = jobs.Row(request, 0, 0, '', True, semantic_frame_MYX3, sync_frame_LYX3, empty_TC)
  run = lambda inputs, weights_G: model.sample(inputs, weights_G, **resolved.static)
  inputs = jobs.stack(model, resolved, [row] * num_rows)
  traced, sound = jax.make_jaxpr(run, return_shape=True)(inputs, resolved.weights_G)
  decode = jax.make_jaxpr(model.decode)(np.zeros(sound.shape, sound.dtype))
  return SamplingCosts(
    resolved.settings['evaluations'], (flops.count(traced) + flops.count(decode)) // num_rows
  )


_CLEAR_PEAK = pathlib.Path('/proc/self/clear_refs')
_STATUS = pathlib.Path('/proc/self/status')


class PeakMemory:
  """The peak memory since construction: of the device if it reports it, else of this process.

  A device reports the peak since the start of the process, which includes earlier models. On a CPU it is the
  resident set size of the process, which includes the clips and the interpreter.
  """

  def __init__(self):
    self._has_reset = False
    try:
      # 5 resets the peak of the resident set size (man 5 proc); Linux only.
      _CLEAR_PEAK.write_text('5')
      self._has_reset = True
    except OSError:
      pass

  def read(self) -> int:
    """Returns the peak in bytes."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and 'peak_bytes_in_use' in stats:
      return int(stats['peak_bytes_in_use'])
    if self._has_reset:
      line = next(line for line in _STATUS.read_text().splitlines() if line.startswith('VmHWM'))
      return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
