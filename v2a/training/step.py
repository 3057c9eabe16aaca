"""One step, compiled for a mesh: loss, gradient, clipping, AdamW, moving average, what the task absorbs.

All that is random is drawn for the whole batch before the loss: neither mesh nor microbatches change it.

With microbatches, each group of devices along `replica` and `data` adds up the gradient of its own clips, and
the groups are summed once, after the last one. Each microbatch still gathers parameters, and reduces and
scatters gradients, over `fsdp`: that is what storing them in parts means.
"""

from collections.abc import Callable
import dataclasses
import functools
import math

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import optax

from v2a import keys
from v2a.models import layers
from v2a.sharding import mesh as mesh_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib

# Of XLA, by platform. For products of Triton, residuals are stored with time innermost and transposed back.
COMPILER_OPTIONS = {'gpu': {'xla_gpu_enable_triton_gemm': False}}
GROUP_AXES = 'replica', 'data'  # of the mesh; their members hold the same parameters and see other clips


def step_key(seed: int, step: jax.Array) -> jax.Array:
  """Returns the key of all noise in a step, a function of (seed, step) alone."""
  return jax.random.fold_in(keys.derive(jax.random.key(seed), 'steps'), step)


def make(
  c: ml_collections.ConfigDict,
  task,
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformation,
  mesh: jax.sharding.Mesh,
  abstract: state_lib.State,
) -> Callable:
  """Returns `step(leaves, batch) -> (leaves, metrics)`, compiled; the leaves that are given are consumed.

  They are those of the state (jax.tree.leaves): to take hundreds of variables apart and to build them anew at
  each step would cost the host longer than a small step takes.

  Args:
    c: the whole configuration.
    task: has `loss` and may have `sample_random_inputs`, `update_ema`, `param_groups`, `has_per_clip_loss`
      and `sequences`; see `training.loop`.
    graphdef: of the task's model.
    optimizer: see `training.optimizer`.
    mesh: of the devices.
    abstract: shapes and shardings of the state.

  Raises:
    ValueError: a microbatch does not divide over the devices, or a sequence of the task over `context`.
  """
  training = c.training
  num_shards = mesh_lib.num_batch_shards(mesh)
  if training.batch_size % (training.microbatches * num_shards):
    raise ValueError(
      f'config.training.batch_size must be a multiple of microbatches x replica x data x fsdp = '
      f'{training.microbatches} x {num_shards}; got {training.batch_size}.'
    )

  cast = functools.partial(layers.cast, gradient_dtype=training.gradient_dtype)

  for what, num_steps in getattr(task, 'sequences', {}).items():
    mesh_lib.check_context(num_steps, mesh, what)

  def loss(params, frozen, batch, step):
    # Cast before the layers are taken apart, so that `fsdp` gathers what products need and no more.
    with layers.unrolled(training.unroll), layers.remat(training.remat):
      value, metrics = task.loss(nnx.merge(graphdef, cast(params), frozen), batch, step)
    return value, {'loss': value, **metrics}

  def absorb(params, frozen, seen, key):
    model = nnx.merge(graphdef, *jax.tree.map(lambda leaf: leaf, (params, frozen)))
    metrics = task.update_ema(model, seen, key)
    return nnx.split(model, state_lib.trainable_filter(task), ...)[2], metrics

  shardings = state_lib.shardings(abstract)
  tree, places = jax.tree.structure(abstract), jax.tree.leaves(shardings)

  def step(state: state_lib.State, batch):
    key = step_key(c.seed, state.step)
    if hasattr(task, 'sample_random_inputs'):
      batch = batch | task.sample_random_inputs(batch, keys.derive(key, 'draw'))
    if training.microbatches == 1:
      with mesh_lib.use(mesh):
        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(
          state.params, state.frozen, batch, state.step
        )
    else:
      groups = GROUP_AXES if getattr(task, 'has_per_clip_loss', True) else ()
      grads, metrics = _accumulated(loss, state, batch, training.microbatches, groups, shardings.params)
    metrics = {
      name: value if name == 'seen' or value.ndim == 0 else jnp.nanmean(value)
      for name, value in metrics.items()
    }
    seen, frozen = metrics.pop('seen', None), state.frozen
    grads, norms = optimizer_lib.clip_gradients(grads, training, getattr(task, 'param_groups', None))
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    weight = optimizer_lib.ema_weight(training.ema_decay, state.step)
    ema = jax.tree.map(lambda old, new: weight * old + (1 - weight) * new, state.ema, params)
    if seen is not None:
      frozen, more = absorb(params, frozen, seen, keys.derive(key, 'absorb'))
      metrics |= more
    metrics |= norms | {'learning_rate': optimizer_lib.learning_rate(training)(state.step)}
    state = dataclasses.replace(
      state, step=state.step + 1, params=params, frozen=frozen, ema=ema, opt_state=opt_state
    )
    return state, metrics

  def of_leaves(leaves, batch):
    state, metrics = step(jax.tree.unflatten(tree, leaves), batch)
    return jax.tree.leaves(state), metrics

  return jax.jit(
    of_leaves,
    in_shardings=(places, mesh_lib.batch_sharding(mesh)),
    out_shardings=(places, mesh_lib.replicated(mesh)),
    donate_argnums=0,
    compiler_options=COMPILER_OPTIONS.get(mesh.devices.flat[0].platform),
  )


def _accumulated(
  loss: Callable, state: state_lib.State, batch, num_parts: int, groups: tuple[str, ...], shardings: nnx.State
):
  """Returns mean gradient and metrics over the parts of a batch, one part in memory at a time.

  Args:
    loss: of parameters, frozen variables, a part and the step.
    state: see `State`.
    batch: arrays with a leading axis of clips.
    num_parts: in each group.
    groups: axes whose members add up gradients of their own; none where clips need each other.
    shardings: of the parameters.
  """
  mesh = jax.tree.leaves(shardings)[0].mesh
  num_groups = math.prod(mesh.shape[name] for name in groups)
  others = tuple(name for name in mesh_lib.BATCH_AXES if name not in groups)
  place = lambda leaf, *spec: jax.lax.with_sharding_constraint(
    leaf, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
  )

  def split(leaf):
    # Part a of a group takes its rows a, a + num_parts, ...: each device then splits the rows it holds.
    leaf = leaf.reshape(num_groups, -1, num_parts, *leaf.shape[1:])
    return place(jnp.moveaxis(leaf, 2, 0), None, groups, others)

  def one(part):
    (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params, state.frozen, part, state.step)
    return grads, metrics

  def add(total, part):
    with mesh_lib.use(mesh, manual_axes=groups):
      grads, metrics = jax.vmap(one, spmd_axis_name=groups or None)(part)
    return hold(jax.tree.map(jnp.add, total, grads)), metrics

  hold = lambda grads: jax.tree.map(lambda leaf, own: place(leaf, groups, *own.spec), grads, shardings)
  zeros = jax.tree.map(lambda leaf: jnp.zeros((num_groups, *leaf.shape), leaf.dtype), state.params)
  grads, metrics = jax.lax.scan(add, hold(zeros), jax.tree.map(split, batch))
  grads = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0) / (num_groups * num_parts), grads)
  mean = lambda leaf: jnp.mean(leaf, axis=(0, 1))  # over parts and groups
  seen = {'seen': jax.tree.map(mean, metrics.pop('seen'))} if 'seen' in metrics else {}
  # What is left with an axis tells of clips.
  return grads, seen | {name: mean(leaf) if leaf.ndim == 2 else leaf for name, leaf in metrics.items()}
