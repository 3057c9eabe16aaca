"""What a model in training is looked at by, every config.training.evaluate_every_steps.

  loss     of the task on the clips of config.data.validation, the same draws each time
  figures  of soundtracks generated for clips, for generators whose codec is at hand; for codecs, the distance
           of their round trips to the true sounds
  sounds   and spectrograms of some of those clips, to hear and see

The clips are some of config.data.validation, spread over it. Where that names none, they are procedural ones
that nothing is trained on, and every name begins with "procedural/": on own videos these say little.

Every process of a pod evaluates the averaged model on its own devices, with the same result; the first logs.
Weights that training keeps in parts (fsdp, tensor) are in parts here, too, as far as one process' devices go.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import math

from flax import nnx
import jax
from jax.experimental import multihost_utils
import ml_collections
import numpy as np

from v2a import clip
from v2a import weights
from v2a.config import schema
from v2a.data import examples
from v2a.data import record_schema
from v2a.data import records
from v2a.evaluation import adapter
from v2a.evaluation import evaluator
from v2a.metrics import classifiers
from v2a.metrics import signal
from v2a.metrics import spectra
from v2a.sampling import bundle
from v2a.sampling import samplers
from v2a.sharding import mesh as mesh_lib
from v2a.training import logger
from v2a.training import task as task_lib

# Neither trained on nor held out for reports.
SEED = 30_500_001
SYNTHETIC_PREFIX = 'procedural/'  # begins the names of metrics of procedural clips
NUM_CLIPS, NUM_SHOWN, NUM_LOSS_CLIPS = 8, 2, 64
_BATCH = 8
# Lengths that the world renders; models of other clips are told their loss alone.
SYNTHETIC_CLIP_S = 2.0, 30.0

Evaluator = Callable[[nnx.Module, int], dict]


def make(c: ml_collections.ConfigDict, task: task_lib.Task) -> list[Evaluator]:
  """Returns the evaluators of a training; none where config.training.evaluate_every_steps is 0.

  Args:
    c: of the training.
    task: that is trained.
  """
  if not c.training.evaluate_every_steps:
    return []
  found: list[Evaluator] = [ValidationLoss(c, task)] if c.data.validation else []
  clip_s = schema.clip_spec(c).duration_s
  if not c.data.validation and not SYNTHETIC_CLIP_S[0] <= clip_s <= SYNTHETIC_CLIP_S[1]:
    return found
  if c.task == 'codec':
    found.append(ReconstructionMetrics(c))
  elif c.task in ('flow', 'tokens') and c.init_from.codec:
    found.append(GenerationMetrics(c))
  return found


class ValidationLoss:
  """The task's loss on validation clips."""

  def __init__(self, c: ml_collections.ConfigDict, task: task_lib.Task):
    source = records.open(*c.data.validation)
    items = [source[k] for k in records.sample_indices(len(source), NUM_LOSS_CLIPS, SEED)]
    size = min(_BATCH, len(items))
    rng = np.random.default_rng(0)
    parts = [items[first : first + size] for first in range(0, len(items) - size + 1, size)]
    self._batches = [task.collate(part, rng) for part in parts]
    self._task, self._run = task, None

  def __call__(self, model: nnx.Module, step: int) -> dict:
    """Returns the mean loss."""
    graphdef, state = nnx.split(model)
    if self._run is None:
      self._run = jax.jit(lambda state, batch, key, step: task_lib.sampled_loss(
        self._task, nnx.merge(graphdef, state), batch, key, step).loss)  # fmt: skip
    keys = jax.random.split(jax.random.key(0), len(self._batches))
    with mesh_lib.use(jax.tree.leaves(state)[0].sharding.mesh):
      values = [float(self._run(state, batch, key, step)) for batch, key in zip(self._batches, keys)]
    return {'loss': float(np.mean(values))}


class GenerationMetrics:
  """Soundtracks of a generator in training."""

  def __init__(self, c: ml_collections.ConfigDict):
    self._c, self._model = c, None
    self._part = bundle.part_name(c)
    self._codec = weights.load_export(c.init_from.codec)  # now, since a wrong path shall end no training
    self._prefix, self._cases = _examples(c)

  def __call__(self, model: nnx.Module, step: int) -> dict:
    """Returns figures, sounds and spectrograms."""
    del step
    arrays = _gathered(model)
    if self._model is None:
      codec = samplers.GENERATORS[self._part].codec
      exports = {
        self._part: weights.Export(arrays, self._c, {}),
        codec: self._codec,
      }
      self._model = bundle.Bundle('in training', exports, jax.local_devices(), None, _mesh_sizes(self._c))
    self._model.replace_weights(self._part, arrays)
    drawn = adapter.adapt(self._model, adapter.make_request(self._model, self._part))
    outcome = evaluator.evaluate(
      dataclasses.replace(drawn, no_negative='not in training'), self._cases, 'world', 0,
      adapter.batch_size(self._model, _BATCH), classifiers.load(), lambda line: None)  # fmt: skip
    entries = {**outcome.result['synthetic'], **outcome.result['signal']}
    figures = {name: entry['value'] for name, entry in entries.items() if entry['value'] is not None}
    return _named(self._prefix, figures | _shown(self._cases, outcome.waves, self._model.sample_rate_hz))


class ReconstructionMetrics:
  """True sounds through a codec in training."""

  def __init__(self, c: ml_collections.ConfigDict):
    self._rate_hz, self._run = schema.clip_spec(c).sample_rate_hz, None
    self._prefix, self._cases = _examples(c)
    self._round_trip = _of_codes if c.codec.bottleneck == 'rvq' else _of_latents

  def __call__(self, model: nnx.Module, step: int) -> dict:
    """Returns distances, sounds and spectrograms."""
    del step
    graphdef, state = nnx.split(model)
    if self._run is None:
      self._run = jax.jit(lambda state, wave_BNA: self._round_trip(nnx.merge(graphdef, state), wave_BNA))
    true_BNA = np.stack([record_schema.wave_to_float(case.wave_NA) for case in self._cases])
    wave_BNA = np.asarray(self._run(state, true_BNA), np.float32)
    pairs = list(zip(true_BNA, wave_BNA))
    mel = [signal.log_mel_distance(true_NA, wave_NA, self._rate_hz) for true_NA, wave_NA in pairs]
    level = [signal.envelope_l1(true_NA, wave_NA, self._rate_hz) for true_NA, wave_NA in pairs]
    figures = {'log_mel_distance': float(np.mean(mel)), 'envelope_l1': float(np.mean(level))}
    return _named(self._prefix, figures | _shown(self._cases, wave_BNA, self._rate_hz))


def _of_latents(codec, wave_BNA: jax.Array) -> jax.Array:
  return codec.decode(codec.encode(wave_BNA)[0])


def _of_codes(codec, wave_BNA: jax.Array) -> jax.Array:
  return codec.decode_tokens(codec.encode_tokens(wave_BNA))


def _examples(c: ml_collections.ConfigDict) -> tuple[str, list[examples.Example]]:
  """Returns the clips to evaluate on, and what the names of their metrics begin with."""
  if c.data.validation:
    return '', _validation_cases(c)
  found = examples.from_synthetic(SEED, NUM_CLIPS, schema.clip_spec(c))
  # Twins would be drawn, too.
  return SYNTHETIC_PREFIX, [dataclasses.replace(case, paired_variant=None) for case in found]


def _validation_cases(c: ml_collections.ConfigDict) -> list[examples.Example]:
  spec, source, found = schema.clip_spec(c), records.open(*c.data.validation), []
  order = records.sample_indices(len(source), NUM_LOSS_CLIPS, SEED)
  for index in np.random.default_rng(SEED).permutation(order):
    record = source[int(index)]
    if record['has_audio'] and record['has_video']:
      found.append(examples.from_record(_cut(record, source.spec, spec), spec))
    if len(found) == NUM_CLIPS:
      break
  if not found:
    raise ValueError(
      f'config.data.validation={c.data.validation} has no record with picture and sound among '
      f'the {len(order)} that were sampled.'
    )
  return found


def _cut(record: dict, own: clip.ClipSpec, wanted: clip.ClipSpec) -> dict:
  """Returns the begin of a record, where the clips of the training are shorter."""
  if own == wanted:
    return record
  return (
    record
    | record_schema.NOT_ENCODED
    | {
      'wave_NA': record['wave_NA'][: wanted.num_samples],
      'num_valid_samples': min(record['num_valid_samples'], wanted.num_samples),
      'semantic_frame_MYX3': record['semantic_frame_MYX3'][: wanted.num_semantic_frames],
      'sync_frame_LYX3': record['sync_frame_LYX3'][: wanted.num_sync_frames],
      'truth': '',  # of the whole clip
    }
  )


def _named(prefix: str, values: dict) -> dict:
  return {prefix + name: value for name, value in values.items()}


def _mesh_sizes(c: ml_collections.ConfigDict) -> dict[str, int]:
  """Returns the mesh of one process' devices: weights in parts as in training, as far as these go."""
  num_left, sizes = jax.local_device_count(), {'data': -1}
  for name in ('tensor', 'fsdp'):
    sizes[name] = math.gcd(num_left, num_left if c.mesh[name] == -1 else c.mesh[name])
    num_left //= sizes[name]
  return sizes


def _gathered(model: nnx.Module) -> dict[str, np.ndarray]:
  state = nnx.state(model)
  if jax.process_count() > 1:
    state = multihost_utils.process_allgather(state, tiled=True)
  return {name: np.asarray(array) for name, array in weights.flatten(state).items()}


def _shown(cases: Sequence[examples.Example], waves: Sequence[np.ndarray], rate_hz: int) -> dict:
  found = {}
  for case, wave_NA in list(zip(cases, waves))[:NUM_SHOWN]:
    found[f'sound/{case.name}'] = logger.AudioSummary(wave_NA, rate_hz)
    both = (
      spectra.spectrogram_image(each, rate_hz)
      for each in (record_schema.wave_to_float(case.wave_NA), wave_NA)
    )
    # The truth above, what was made of it below.
    found[f'spectrogram/{case.name}'] = logger.ImageSummary(np.concatenate(list(both)))
  return found
