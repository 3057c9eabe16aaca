"""One training step, compiled for a mesh: loss, gradient accumulation and clipping, AdamW, EMA, codebooks.

Random inputs are sampled for the whole batch before the loss, so neither mesh nor microbatches change them.

Gradient accumulation: with microbatches, each group of devices along `replica` and `data` accumulates the
gradients of its own clips, and one all-reduce sums them over the groups after the last microbatch. Each
microbatch still all-gathers parameters and reduce-scatters gradients over `fsdp`, since parameters are
sharded along it.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any

from flax import nnx
import jax
from jax import stages
import jax.numpy as jnp
import ml_collections
import optax

from v2a import execution
from v2a import keys
from v2a import workarounds
from v2a.models import layers
from v2a.sharding import mesh as mesh_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import task as task_lib

GROUP_AXES = 'replica', 'data'  # mesh axes whose members hold the same parameters and get different clips


def step_key(seed: int, step: jax.Array) -> jax.Array:
  """Returns the PRNG key of a step, a function of (seed, step) alone."""
  return jax.random.fold_in(keys.derive(jax.random.key(seed), 'steps'), step)


def make(
  c: ml_collections.ConfigDict,
  task: task_lib.Task,
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
  abstract: state_lib.State,
) -> stages.Wrapped:
  """Returns the jitted `step(leaves, batch) -> (leaves, metrics)`, which donates the leaves.

  The leaves are those of the state (jax.tree.leaves): flattening and rebuilding hundreds of variables in each
  step would take the host longer than a small step takes.

  Args:
    c: the whole configuration.
    task: the task, whose loss is minimized.
    graphdef: of the task's model.
    optimizer: see `training.optimizer`.
    mesh: of the devices.
    abstract: shapes and shardings of the state.

  Raises:
    ValueError: a microbatch does not divide over the devices, or a sequence of the task over `context`.
  """
  _check_divides(c, task, mesh)
  shardings = state_lib.shardings(abstract)
  tree, leaf_shardings = jax.tree.structure(abstract), jax.tree.leaves(shardings)
  step = _Step(c, task, graphdef, optimizer, mesh, shardings.params)

  def step_on_leaves(leaves, batch):
    state, metrics = step(jax.tree.unflatten(tree, leaves), batch)
    return jax.tree.leaves(state), metrics

  return jax.jit(
    step_on_leaves,
    in_shardings=(leaf_shardings, mesh_lib.batch_sharding(mesh)),
    out_shardings=(leaf_shardings, mesh_lib.replicated(mesh)),
    donate_argnums=0,
    compiler_options=workarounds.COMPILER_OPTIONS.get(mesh.devices.flat[0].platform),
  )


def _check_divides(c: ml_collections.ConfigDict, task: task_lib.Task, mesh: jax.sharding.Mesh) -> None:
  training, num_shards = c.training, mesh_lib.num_batch_shards(mesh)
  if training.batch_size % (training.microbatches * num_shards):
    raise ValueError(
      f'config.training.batch_size must be a multiple of microbatches x replica x data x fsdp = '
      f'{training.microbatches} x {num_shards}; got {training.batch_size}.'
    )
  for description, num_steps in task.sequence_lengths.items():
    mesh_lib.check_context(num_steps, mesh, description)


@dataclasses.dataclass(frozen=True)
class _Step:
  """One optimizer step as a pure function of state and batch; arguments as of `make`."""

  c: ml_collections.ConfigDict
  task: task_lib.Task
  graphdef: nnx.GraphDef
  optimizer: optax.GradientTransformation
  mesh: jax.sharding.Mesh
  param_shardings: nnx.State

  def __call__(self, state: state_lib.State, batch: dict) -> tuple[state_lib.State, dict[str, jax.Array]]:
    """Returns the state after the step, and scalar metrics."""
    training, key = self.c.training, step_key(self.c.seed, state.step)
    batch = batch | self.task.sample_random_inputs(batch, keys.derive(key, 'draw'))
    grads, metrics, stats = self._gradients(state, batch)
    metrics = {name: value if value.ndim == 0 else jnp.nanmean(value) for name, value in metrics.items()}
    grads, norms = optimizer_lib.clip_gradients(grads, training, self.task.param_groups)
    updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    weight = optimizer_lib.ema_weight(training.ema_decay, state.step)
    ema = jax.tree.map(lambda old, new: weight * old + (1 - weight) * new, state.ema, params)
    frozen = state.frozen
    if stats is not None:
      frozen, more = self._update_frozen(params, frozen, stats, keys.derive(key, 'absorb'))
      metrics |= more
    metrics |= norms | {'learning_rate': optimizer_lib.learning_rate(training)(state.step)}
    state = dataclasses.replace(
      state, step=state.step + 1, params=params, frozen=frozen, ema=ema, opt_state=opt_state
    )
    return state, metrics

  def _gradients(self, state: state_lib.State, batch: dict) -> tuple[nnx.State, dict[str, Any], Any]:
    """Returns the mean gradient, metrics (scalars, or one value for each clip), and the loss's stats."""
    if self.c.training.microbatches == 1:
      with execution.use(mesh=self.mesh):
        (_, (metrics, stats)), grads = jax.value_and_grad(self._loss, has_aux=True)(
          state.params, state.frozen, batch, state.step
        )
      return grads, metrics, stats
    groups = GROUP_AXES if self.task.has_per_clip_loss else ()
    return _accumulate(self._loss, state, batch, self.c.training.microbatches, groups, self.param_shardings)

  def _loss(self, params: nnx.State, frozen: nnx.State, batch: dict, step: jax.Array):
    """Returns the scalar loss, and (metrics, stats)."""
    training = self.c.training
    # Cast before layers are split from their stack, so that `fsdp` gathers the compute dtype.
    cast = layers.cast(params, gradient_dtype=training.gradient_dtype)
    with execution.use(unrolled=training.unroll, remat=training.remat):
      output = self.task.loss(nnx.merge(self.graphdef, cast, frozen), batch, step)
    return output.loss, ({'loss': output.loss, **output.metrics}, output.stats)

  def _update_frozen(
    self, params: optax.Params, frozen: nnx.State, stats: Any, key: jax.Array
  ) -> tuple[nnx.State, dict[str, jax.Array]]:
    """Returns the frozen variables after the task's `update_ema`, and its metrics."""
    # New variables around the same arrays: the update must not change those of the state.
    model = nnx.merge(self.graphdef, *jax.tree.map(lambda leaf: leaf, (params, frozen)))
    metrics = self.task.update_ema(model, stats, key)
    return nnx.split(model, state_lib.trainable_filter(self.task), ...)[2], metrics


def _accumulate(
  loss: Callable,
  state: state_lib.State,
  batch: dict,
  num_parts: int,
  groups: tuple[str, ...],
  shardings: nnx.State,
) -> tuple[nnx.State, dict[str, Any], Any]:
  """Returns what `_Step._gradients` returns, with one microbatch in memory at a time.

  Args:
    loss: `_Step._loss`.
    state: training state.
    batch: arrays with a leading axis of clips.
    num_parts: microbatches in each group of devices.
    groups: mesh axes along which each member accumulates its own gradients; () if the losses of clips depend
      on each other.
    shardings: of the parameters.
  """
  mesh = jax.tree.leaves(shardings)[0].mesh
  num_groups = math.prod(mesh.shape[name] for name in groups)
  others = tuple(name for name in mesh_lib.BATCH_AXES if name not in groups)
  constrain = lambda leaf, *spec: jax.lax.with_sharding_constraint(
    leaf, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
  )

  def split(leaf):
    # Microbatch i of a group has its rows i, i + num_parts, ...: each device then splits the rows it holds.
    leaf = leaf.reshape(num_groups, -1, num_parts, *leaf.shape[1:])
    return constrain(jnp.moveaxis(leaf, 2, 0), None, groups, others)

  def gradients(part):
    (_, aux), grads = jax.value_and_grad(loss, has_aux=True)(state.params, state.frozen, part, state.step)
    return grads, aux

  def add(total, part):
    with execution.use(mesh=mesh, manual_axes=groups):
      grads, aux = jax.vmap(gradients, spmd_axis_name=groups or None)(part)
    return shard(jax.tree.map(jnp.add, total, grads)), aux

  shard = lambda grads: jax.tree.map(lambda leaf, own: constrain(leaf, groups, *own.spec), grads, shardings)
  zeros = jax.tree.map(lambda leaf: jnp.zeros((num_groups, *leaf.shape), leaf.dtype), state.params)
  grads, (metrics, stats) = jax.lax.scan(add, shard(zeros), jax.tree.map(split, batch))
  grads = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0) / (num_groups * num_parts), grads)
  mean = lambda leaf: jnp.mean(leaf, axis=(0, 1))  # over microbatches and groups
  # Scalars have two axes here; metrics with more have one value for each clip.
  metrics = {name: mean(leaf) if leaf.ndim == 2 else leaf for name, leaf in metrics.items()}
  return grads, metrics, jax.tree.map(mean, stats)
