"""AdamW with linear warmup and gradient clipping by global norm, by Optax.

  rate(s) = peak * min(1, (s + 1) / warmup) * decay(s)                                    (1)
  EMA weight of the old average in step s: min(decay, (1 + s) / (10 + s))                 (2)

A task may name groups of parameters, such as discriminators, that have their own optimizer and clip norm:
with a common norm, large gradients of one group would scale down the updates of the other.

Loshchilov and Hutter 2019, arXiv 1711.05101 (decoupled weight decay).
"""

from collections.abc import Mapping

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import optax

REST = 'model'  # the group of all parameters that are in no named group


def learning_rate(c: ml_collections.ConfigDict) -> optax.Schedule:
  """Returns eq. 1 as a function of the number of steps done. `c` is the section `training`."""

  def rate(step):
    step = jnp.asarray(step, jnp.float32)
    # Step 0 has a rate above 0, which would waste the first batch.
    warm = jnp.minimum(1.0, (step + 1) / max(1, c.warmup_steps))
    if c.schedule == 'constant':
      return c.learning_rate * warm
    progress = jnp.clip((step - c.warmup_steps) / max(1, c.num_steps - c.warmup_steps), 0.0, 1.0)
    floor = c.final_learning_rate_ratio
    return c.learning_rate * warm * (floor + (1 - floor) * 0.5 * (1 + jnp.cos(jnp.pi * progress)))

  return rate


def make(
  c: ml_collections.ConfigDict, param_groups: Mapping[str, dict] | None = None
) -> optax.GradientTransformation:
  """Returns the optimizer of a model, without clipping: the step clips (`clip_gradients`) and logs the norms.

  Args:
    c: the section `training`.
    param_groups: of a task: name of a top-level module of the model -> keys of `c` that differ for its
      parameters.
  """
  if not param_groups:
    return _adamw(c)
  optimizers = {
    name: _adamw(c) if name == REST else _adamw(_updated(c, param_groups[name]))
    for name in (REST, *param_groups)
  }

  def init(params: optax.Params) -> optax.OptState:
    return {name: optimizers[name].init(part) for name, part in _parts(params, param_groups).items()}

  def update(
    updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
  ) -> tuple[optax.Updates, optax.OptState]:
    assert isinstance(state, dict), 'the state is that of init'
    params_by_group = _parts(params, param_groups)
    parts, new_state = [], {}
    for name, part in _parts(updates, param_groups).items():
      part, new_state[name] = optimizers[name].update(part, state[name], params_by_group[name])
      assert isinstance(part, nnx.State), 'updates have the structure of gradients'
      parts.append(part)
    return nnx.merge_state(*parts), new_state

  return optax.GradientTransformation(init, update)


def clip_gradients(
  grads: nnx.State, c: ml_collections.ConfigDict, param_groups: Mapping[str, dict] | None = None
) -> tuple[nnx.State, dict[str, jax.Array]]:
  """Returns gradients clipped by the global norm of each group, and the norms before clipping, by metric.

  Args:
    grads: of all parameters.
    c, param_groups: see `make`.
  """
  norms = {'grad_norm': optax.tree.norm(grads)}
  if not param_groups:
    return _clip(grads, norms['grad_norm'], c.clip_norm), norms
  parts = _parts(grads, param_groups)
  for name, part in parts.items():
    norm = norms[f'grad_norm_{name}'] = optax.tree.norm(part)
    own = c if name == REST else _updated(c, param_groups[name])
    parts[name] = _clip(part, norm, own.clip_norm)
  return nnx.merge_state(*parts.values()), norms


def _clip(grads: nnx.State, norm: jax.Array, clip_norm: float) -> nnx.State:
  if not clip_norm:
    return grads
  scale = jnp.minimum(1.0, clip_norm / jnp.maximum(norm, 1e-12))
  return jax.tree.map(lambda leaf: leaf * scale, grads)


def _updated(c: ml_collections.ConfigDict, changes: dict) -> ml_collections.ConfigDict:
  updated = c.copy_and_resolve_references()
  updated.update(changes)
  return updated


def _parts(tree: optax.Params | None, groups: Mapping[str, dict]) -> dict[str, nnx.State]:
  """Returns parameters, or a tree like them, by group, REST first."""
  assert isinstance(tree, nnx.State), 'parameters of NNX modules are an nnx.State'
  filters = [lambda path, _, name=name: path[0] == name for name in groups]
  *named, rest = nnx.split_state(tree, *filters, ...)
  return {REST: rest, **dict(zip(groups, named))}


def _adamw(c: ml_collections.ConfigDict) -> optax.GradientTransformation:
  b1, b2 = c.betas
  return optax.chain(
    optax.scale_by_adam(b1, b2, c.epsilon),
    optax.add_decayed_weights(c.weight_decay, mask=weight_decay_mask),
    optax.scale_by_learning_rate(learning_rate(c)),
  )


def weight_decay_mask(params: nnx.State) -> nnx.State:
  """Returns True for matrices and False for gains and biases, in the structure of `params`."""

  def is_matrix(variable):
    if not isinstance(variable, nnx.Variable):
      return variable.ndim > 1
    # Stacked biases have two dimensions as well: the number of axes of one layer decides.
    axes = variable.get_metadata().get('axes')
    return variable.replace((variable.get_value().ndim if axes is None else len(axes)) > 1)

  return jax.tree.map(is_matrix, params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def ema_weight(decay: float, step: jax.Array) -> jax.Array:
  """Returns eq. 2: the weight of the old average after `step` steps; low at first, to forget the start."""
  step = step.astype(jnp.float32)
  return jnp.minimum(decay, (1 + step) / (10 + step))
