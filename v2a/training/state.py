"""Training state: one pytree, sharded over the mesh.

A model is split in three: the graph definition (static), the trained parameters, and the rest (frozen
parameters and stored statistics), which has no optimizer, but which the task may update. The EMA covers the
trained parameters alone.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from v2a.sharding import rules
from v2a.training import task as task_lib

# Initialization runs once and is mostly random number generation: on a CPU, compilation dominates its time.
_FAST_COMPILE = {'xla_backend_optimization_level': 0, 'xla_llvm_disable_expensive_passes': True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """Training state.

  Attributes:
    step: int32, number of optimizer steps done.
    params: trained parameters.
    frozen: all other variables of the model; constant, unless the task defines `update_ema`.
    ema: exponential moving average of `params`.
    opt_state: of the optimizer.
  """

  step: jax.Array
  params: nnx.State
  frozen: nnx.State
  ema: nnx.State
  opt_state: optax.OptState


def trainable_filter(task: task_lib.Task) -> Callable:
  """Returns the filter of trained variables: nnx.Param, except those that the task freezes by path."""
  return lambda path, variable: isinstance(variable, nnx.Param) and task.is_trainable(path)


def graph(task: task_lib.Task) -> nnx.GraphDef:
  """Returns the graph definition of a task's model without allocating its arrays."""
  model = nnx.eval_shape(lambda: task.build(jax.random.key(0)))
  return nnx.split(model, trainable_filter(task), ...)[0]


def _new(task: task_lib.Task, optimizer: optax.GradientTransformation, key: jax.Array) -> State:
  _, params, frozen = nnx.split(task.build(key), trainable_filter(task), ...)
  return State(jnp.zeros((), jnp.int32), params, frozen, params, optimizer.init(params))


def abstract(task: task_lib.Task, optimizer: optax.GradientTransformation, mesh: jax.sharding.Mesh) -> State:
  """Returns shapes, dtypes and shardings of a task's state on a mesh; allocates no arrays.

  Raises:
    ValueError: the task trains nothing, or a parameter's `axes` break the table of `sharding.rules`.
  """
  shapes = jax.eval_shape(lambda: _new(task, optimizer, jax.random.key(0)))
  if not jax.tree.leaves(shapes.params):
    raise ValueError(f'{type(task).__name__} freezes every parameter; nothing is left to train.')
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
    shapes,
    rules.shardings(shapes, mesh),
  )


def shardings(state: State) -> State:
  """Returns the shardings of a state, real or abstract."""
  return jax.tree.map(lambda leaf: leaf.sharding, state)


def init(
  task: task_lib.Task, optimizer: optax.GradientTransformation, abstract_state: State, key: jax.Array
) -> State:
  """Returns a randomly initialised state.

  Accelerators compute their own shards, so no host holds all of it. CPU devices of one process share its
  memory: there the arrays are made one by one, since compilation takes far longer than the random numbers.

  Args:
    task, optimizer: of the state.
    abstract_state: what `abstract` returned for them.
    key: PRNG key of the weights.
  """
  out_shardings = shardings(abstract_state)
  is_cpu = all(device.platform == 'cpu' for device in abstract_state.step.sharding.device_set)
  if is_cpu and jax.process_count() == 1:
    state = jax.device_put(_new(task, optimizer, key), out_shardings)
    # The step donates all of it: no two leaves, such as parameters and EMA, may share memory.
    return jax.jit(lambda state: jax.tree.map(jnp.copy, state), out_shardings=out_shardings)(state)
  # Traced rather than eager: `jax.jit(tx.init)(params)` without shardings would replicate the moments.
  return jax.jit(
    lambda key: _new(task, optimizer, key),
    out_shardings=out_shardings,
    compiler_options=_FAST_COMPILE if is_cpu else None,
  )(key)


def model(graphdef: nnx.GraphDef, state: State, use_ema: bool = True) -> nnx.Module:
  """Returns the model of a state, with EMA weights or raw ones."""
  params = state.ema if use_ema else state.params
  # New variables around the same arrays: nnx.merge would share the variables, so that changing the model
  # would change the state.
  return nnx.merge(graphdef, *jax.tree.map(lambda leaf: leaf, (params, state.frozen)))


def replace(task: task_lib.Task, state: State, module: nnx.Module) -> State:
  """Returns the state with all weights of `module`, as its EMA too; the optimizer state is unchanged."""
  _, params, frozen = nnx.split(module, trainable_filter(task), ...)
  params, frozen = _resharded(params, state.params), _resharded(frozen, state.frozen)
  return dataclasses.replace(state, params=params, frozen=frozen, ema=jax.tree.map(jnp.copy, params))


def _resharded(new: nnx.State, old: nnx.State) -> nnx.State:
  if jax.tree.structure(new) != jax.tree.structure(old):
    raise ValueError("The new weights belong to another model: their tree differs from the state's.")
  # A copy, since the step donates the state and would delete the caller's arrays.
  return jax.tree.map(lambda leaf, like: jax.device_put(jnp.array(leaf, like.dtype), like.sharding), new, old)


def num_parameters(tree: Any) -> int:
  """Returns the number of values in a pytree of arrays."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))
