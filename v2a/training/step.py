"""One step, compiled for a mesh: loss, gradient, clipping, AdamW, moving average, what the task absorbs."""

from collections.abc import Callable
import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import optax

from v2a.sharding import mesh as mesh_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib


def step_key(seed: int, step: jax.Array) -> jax.Array:
  """Returns the key of all noise in a step, a function of (seed, step) alone."""
  return jax.random.fold_in(jax.random.key(seed), step)


def make(c: ml_collections.ConfigDict, task, graphdef: nnx.GraphDef, optimizer: optax.GradientTransformation,
         mesh: jax.sharding.Mesh, abstract: state_lib.State) -> Callable:
  """Returns `step(state, batch) -> (state, metrics)`, compiled; the state that is given is consumed.

  Args:
    c: the whole configuration.
    task: has `loss` and may have `absorb`, see `training.loop`.
    graphdef: of the task's model.
    optimizer: see `training.optimizer`.
    mesh: of the devices.
    abstract: shapes and shardings of the state.

  Raises:
    ValueError: a microbatch does not divide over the devices.
  """
  training = c.training
  num_shards = mesh_lib.num_batch_shards(mesh)
  if training.batch_size % (training.microbatches * num_shards):
    raise ValueError(
        f'config.training.batch_size must be a multiple of microbatches x replica x data x fsdp = '
        f'{training.microbatches} x {num_shards}; got {training.batch_size}.')

  def loss(params, frozen, batch, key, step):
    value, metrics = task.loss(nnx.merge(graphdef, params, frozen), batch, key, step)
    return value, {'loss': value, **metrics}

  def absorb(params, frozen, seen, key):
    model = nnx.merge(graphdef, *jax.tree.map(lambda leaf: leaf, (params, frozen)))
    metrics = task.absorb(model, seen, key)
    return nnx.split(model, state_lib.is_trained(task), ...)[2], metrics

  def step(state: state_lib.State, batch):
    key = step_key(c.seed, state.step)
    with mesh_lib.use(mesh):
      grads, metrics = _gradient(loss, state, batch, key, training.microbatches)
    seen, frozen = metrics.pop('seen', None), state.frozen
    norm = optax.tree.norm(grads)
    if training.clip_norm:
      scale = jnp.minimum(1.0, training.clip_norm / jnp.maximum(norm, 1e-12))
      grads = jax.tree.map(lambda leaf: leaf * scale, grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    weight = optimizer_lib.ema_weight(training.ema_decay, state.step)
    ema = jax.tree.map(lambda old, new: weight * old + (1 - weight) * new, state.ema, params)
    if seen is not None:
      # Once a step, whatever the number of microbatches; their keys are those below it.
      frozen, more = absorb(params, frozen, seen, jax.random.fold_in(key, training.microbatches))
      metrics |= more
    metrics |= {'grad_norm': norm, 'learning_rate': optimizer_lib.learning_rate(training)(state.step)}
    state = dataclasses.replace(
        state, step=state.step + 1, params=params, frozen=frozen, ema=ema, opt_state=opt_state)
    return state, metrics

  shardings = state_lib.shardings(abstract)
  return jax.jit(step, in_shardings=(shardings, mesh_lib.batch_sharding(mesh)),
                 out_shardings=(shardings, mesh_lib.replicated(mesh)), donate_argnums=0)


def _gradient(loss: Callable, state: state_lib.State, batch, key: jax.Array, num_parts: int):
  """Returns mean gradient and mean metrics over the parts of a batch, one part in memory at a time."""
  def one(part, index):
    (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(
        state.params, state.frozen, part, jax.random.fold_in(key, index), state.step)
    return grads, metrics

  if num_parts == 1:
    return one(batch, 0)
  # Part a takes the rows a, a + num_parts, ...: each device then splits the rows it already holds.
  parts = jax.tree.map(lambda leaf: jnp.moveaxis(leaf.reshape(-1, num_parts, *leaf.shape[1:]), 1, 0), batch)
  zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(one, jax.tree.map(lambda leaf: leaf[0], parts), 0))

  def add(total, item):
    return jax.tree.map(jnp.add, total, one(*item)), None

  total, _ = jax.lax.scan(add, zeros, (parts, jnp.arange(num_parts)))
  return jax.tree.map(lambda leaf: leaf / num_parts, total)
