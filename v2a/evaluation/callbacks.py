"""Evaluates a model during training, every config.training.evaluate_every_steps.

  loss     of the task on the clips of config.data.validation, with the same noise each time
  metrics  of soundtracks generated for clips, for generators whose codec is available; for codecs, the
           distance of reconstructions to the true sounds
  audio    of some of those clips, and their spectrograms

The clips are an evenly spread subset of config.data.validation. Without it, they are synthetic clips on which
nothing is trained, and every name begins with "synthetic/": these are not representative for models of
other videos.

Every process evaluates the averaged model on its own devices, with the same result; the first one logs.
Weights that are sharded in training (fsdp, tensor) are sharded here, too, over the devices of one process.
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
from v2a import execution
from v2a import weights
from v2a.config import schema
from v2a.data import examples as examples_lib
from v2a.data import folder_examples
from v2a.data import record_schema
from v2a.data import records
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.evaluation import systems
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import spectra
from v2a.sampling import bundle
from v2a.sampling import samplers
from v2a.training import logger
from v2a.training import task as task_lib

# Neither trained on nor held out for reports.
SEED = 30_500_001
SYNTHETIC_PREFIX = 'synthetic/'  # of the names of metrics on synthetic clips
NUM_CLIPS, NUM_SHOWN, NUM_LOSS_CLIPS = 8, 2, 64
_BATCH = 8
# Lengths that the synthetic set renders; for other lengths only the loss is evaluated.
SYNTHETIC_CLIP_S = 2.0, 30.0

Evaluator = Callable[[nnx.Module, int], dict]


def make(c: ml_collections.ConfigDict, task: task_lib.Task) -> list[Evaluator]:
  """Returns the evaluators of a training; none where config.training.evaluate_every_steps is 0.

  Args:
    c: configuration of the training.
    task: the task that is trained.
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
    source = records.open(*c.data.validation, spec=schema.clip_spec(c))
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
    with execution.use(mesh=jax.tree.leaves(state)[0].sharding.mesh):
      values = [float(self._run(state, batch, key, step)) for batch, key in zip(self._batches, keys)]
    return {'loss': float(np.mean(values))}


class GenerationMetrics:
  """Metrics of soundtracks of a generator in training."""

  def __init__(self, c: ml_collections.ConfigDict):
    self._c, self._model = c, None
    self._part = bundle.part_name(c)
    self._codec = weights.load_export(c.init_from.codec)  # here, so that a wrong path raises before training
    self._prefix, self._examples = _examples(c)

  def __call__(self, model: nnx.Module, step: int) -> dict:
    """Returns metrics, sounds and spectrograms."""
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
    system = systems.adapt(self._model, systems.make_request(self._model, self._part))
    system = dataclasses.replace(system, negative_prompt_unavailable='not in training')
    found = evaluator.evaluate(
      system, self._examples, 'validation', batch_size=systems.batch_size(self._model, _BATCH),
      metrics=registry.load(('synthetic', 'signal')), has_ceilings=False,
      report_progress=lambda line: None)  # fmt: skip
    entries = {**found.result['synthetic'], **found.result['signal']}
    values = {name: entry['value'] for name, entry in entries.items() if entry['value'] is not None}
    return _with_prefix(self._prefix, values | _shown(self._examples, list(found.sounds.values())))


class ReconstructionMetrics:
  """Distances of reconstructions of a codec in training to the true sounds."""

  def __init__(self, c: ml_collections.ConfigDict):
    self._rate_hz, self._run = schema.clip_spec(c).sample_rate_hz, None
    self._prefix, self._examples = _examples(c)
    self._reconstruct = _reconstruct_codes if c.codec.bottleneck == 'rvq' else _reconstruct_latents

  def __call__(self, model: nnx.Module, step: int) -> dict:
    """Returns distances, sounds and spectrograms."""
    del step
    graphdef, state = nnx.split(model)
    if self._run is None:
      self._run = jax.jit(lambda state, wave_BNA: self._reconstruct(nnx.merge(graphdef, state), wave_BNA))
    references = evaluator.make_references(self._examples, self._rate_hz)
    true_BNA = np.stack([reference.true_sound.wave_NA for reference in references])
    wave_BNA = np.asarray(self._run(state, true_BNA), np.float32)
    sounds = [metric_lib.Sound(wave_NA, self._rate_hz) for wave_NA in wave_BNA]
    samples = [metric_lib.Sample(*pair) for pair in zip(sounds, references)]
    values = {}
    for metric in map(registry.get, ('log_mel_distance', 'envelope_l1')):
      metric.update(samples)
      values[metric.name] = metric.compute()
    return _with_prefix(self._prefix, values | _shown(self._examples, sounds))


def _reconstruct_latents(codec, wave_BNA: jax.Array) -> jax.Array:
  return codec.decode(codec.encode(wave_BNA)[0])


def _reconstruct_codes(codec, wave_BNA: jax.Array) -> jax.Array:
  return codec.decode_tokens(codec.encode_tokens(wave_BNA))


def _examples(c: ml_collections.ConfigDict) -> tuple[str, list[examples_lib.Example]]:
  """Returns the prefix of the names of metrics, and the clips to evaluate on."""
  if c.data.validation:
    return '', _validation_examples(c)
  found = synthetic_examples.render(SEED, NUM_CLIPS, schema.clip_spec(c))
  # Without corrupted variants, which would take as long again.
  return SYNTHETIC_PREFIX, [dataclasses.replace(example, paired_variant=None) for example in found]


def _validation_examples(c: ml_collections.ConfigDict) -> list[examples_lib.Example]:
  spec = schema.clip_spec(c)
  source, found = records.open(*c.data.validation, spec=spec), []
  order = records.sample_indices(len(source), NUM_LOSS_CLIPS, SEED)
  for index in np.random.default_rng(SEED).permutation(order):
    record = source[int(index)]
    if record['has_audio'] and record['has_video']:
      found.append(folder_examples.from_record(_crop(record, source.spec, spec), spec))
    if len(found) == NUM_CLIPS:
      break
  if not found:
    raise ValueError(
      f'config.data.validation={c.data.validation} has no record with video and sound among '
      f'the {len(order)} sampled ones.'
    )
  return found


def _crop(record: dict, source: clip.ClipSpec, target: clip.ClipSpec) -> dict:
  """Returns the first part of a record, where the clips of the training are shorter."""
  if source == target:
    return record
  return (
    record
    | record_schema.NOT_ENCODED
    | {
      'wave_NA': record['wave_NA'][: target.num_samples],
      'num_valid_samples': min(record['num_valid_samples'], target.num_samples),
      'semantic_frame_MYX3': record['semantic_frame_MYX3'][: target.num_semantic_frames],
      'sync_frame_LYX3': record['sync_frame_LYX3'][: target.num_sync_frames],
      'truth': '',  # of the whole clip
    }
  )


def _with_prefix(prefix: str, values: dict) -> dict:
  return {prefix + name: value for name, value in values.items()}


def _mesh_sizes(c: ml_collections.ConfigDict) -> dict[str, int]:
  """Returns the mesh of the devices of one process, with weights sharded as in training if they divide."""
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


def _shown(examples: Sequence[examples_lib.Example], sounds: Sequence[metric_lib.Sound]) -> dict:
  """Returns summaries of some soundtracks, and of their spectrograms below those of the true sounds."""
  found = {}
  for example, sound in list(zip(examples, sounds))[:NUM_SHOWN]:
    found[f'sound/{example.name}'] = logger.AudioSummary(sound.wave_NA, sound.sample_rate_hz)
    waves = record_schema.wave_to_float(example.wave_NA), sound.wave_NA
    images = [spectra.spectrogram_image(wave_NA, sound.sample_rate_hz) for wave_NA in waves]
    found[f'spectrogram/{example.name}'] = logger.ImageSummary(np.concatenate(images))
  return found
