"""Interface of a training task: the model, how records become batches, and the loss.

The tasks of v2a are in `training.tasks`; others subclass `Task`, which has defaults for all optional methods.
"""

import abc
from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
from typing import Any
from typing import Literal
from typing import Protocol
from typing import TypeVar

from flax import nnx
import jax
import numpy as np

from v2a.data import record_schema
from v2a.data import records

Model = TypeVar('Model', bound=nnx.Module)
Batch = dict[str, Any]  # arrays with a leading axis of clips, by name


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LossOutput:
  """Loss of a task and its by-products.

  Attributes:
    loss: scalar, the mean over the batch.
    metrics: values to log, by name: means over the batch, or one value for each clip, NaN if a clip has none.
    stats: pytree of other means over the batch, for `Task.update_ema`; None if there are none.
  """

  loss: jax.Array
  metrics: dict[str, jax.Array]
  stats: Any = None


class Task(Protocol[Model]):
  """A training task.

  Methods marked as traced run inside `jax.jit`, so they read no files and depend on their arguments alone.

  Attributes:
    codec_bottleneck: bottleneck of the codec whose latents (kl) or codes (rvq) the task reads from records;
      None if it reads neither.
    record_fields: fields of records that `collate` reads; others are not decoded.
    has_per_clip_loss: whether the loss is a mean of independent losses of clips. If it is not, microbatches
      are not split further over groups of devices.
    use_ema: whether the averaged parameters are evaluated and exported instead of the raw ones.
    param_groups: top-level module of the model -> keys of `config.training` that differ for its parameters,
      which then have their own optimizer and clip norm.
    sequence_lengths: description for messages -> length of a sequence, which the mesh axis `context` must
      divide.
  """

  codec_bottleneck: Literal['kl', 'rvq'] | None = None
  record_fields: Collection[str] = record_schema.ALL
  has_per_clip_loss: bool = True
  use_ema: bool = True
  param_groups: Mapping[str, dict] = {}
  sequence_lengths: Mapping[str, int] = {}

  @abc.abstractmethod
  def build(self, key: jax.Array) -> Model:
    """Returns a model with random parameters. Traced."""

  @abc.abstractmethod
  def collate(self, items: list[dict], rng: np.random.Generator) -> Batch:
    """Returns part of a batch, on the host.

    Called from several threads.

    Args:
      items: records, see `record_schema.FIELDS`.
      rng: source of all randomness on the host, such as crops.
    """

  @abc.abstractmethod
  def loss(self, model: Model, batch: Batch, step: jax.Array) -> LossOutput:
    """Returns the loss on a batch. Traced.

    Args:
      model: with parameters cast to the compute dtype.
      batch: output of `collate` and `sample_random_inputs`.
      step: number of optimizer steps done.
    """

  def sample_random_inputs(self, batch: Batch, key: jax.Array) -> Batch:
    """Returns the random inputs of the loss, such as noise and timesteps, to be added to the batch. Traced.

    They are sampled for the whole batch at once, so that neither mesh nor microbatches change them.

    Args:
      batch: the whole batch of `collate`.
      key: PRNG key of the step.
    """
    del batch, key
    return {}

  def is_trainable(self, path: tuple) -> bool:
    """Returns whether the parameter at a path is trained."""
    del path
    return True

  def initialise(self, model: Model, source: records.RecordSource) -> Model:
    """Returns the model with pretrained weights, when training starts from random parameters.

    Args:
      model: of `build`; may be modified.
      source: the training records.
    """
    del source
    return model

  def update_ema(self, model: Model, stats: Any, key: jax.Array) -> dict[str, jax.Array]:
    """Updates variables that no optimizer trains, such as codebooks, once per step. Traced.

    Args:
      model: modified in place.
      stats: of `LossOutput`, means over the whole batch.
      key: PRNG key of the step.

    Returns:
      More scalars to log.
    """
    del model, key
    if stats is not None:
      raise NotImplementedError(f'{type(self).__name__} returns stats, but does not define update_ema.')
    return {}

  def finalize(self, model: Model, source: records.RecordSource) -> Model:
    """Returns the model to export.

    Args:
      model: trained; may be modified.
      source: the training records.
    """
    del source
    return model


def sampled_loss(task: Task, model: nnx.Module, batch: Batch, key: jax.Array, step: jax.Array) -> LossOutput:
  """Returns the loss on a batch of `Task.collate`, with random inputs sampled from `key`.

  Args:
    task: the task.
    model: with parameters cast to the compute dtype.
    batch: output of `Task.collate`.
    key: PRNG key of the step.
    step: number of optimizer steps done.
  """
  return task.loss(model, batch | task.sample_random_inputs(batch, key), step)
