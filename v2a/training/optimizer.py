"""AdamW with linear warm-up, by Optax.

  rate(s) = peak * min(1, (s + 1) / warmup) * decay(s)                                    (1)
  average weight of step s: min(decay, (1 + s) / (10 + s))                                (2)

A task may name groups of parameters, such as discriminators, that have an optimizer and a clip norm of their
own: under one norm, large gradients of one side would shrink the steps of the other.

Loshchilov and Hutter 2019, arXiv 1711.05101 (decoupled weight decay).
"""

from collections.abc import Mapping

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import optax

REST = 'model'  # the group of all parameters that no other names


def learning_rate(c: ml_collections.ConfigDict) -> optax.Schedule:
  """Returns eq. 1 as a function of the number of steps done. `c` is the section `training`."""

  def rate(step):
    step = jnp.asarray(step, jnp.float32)
    # Step 0 already moves: a rate of 0 would waste the first batch.
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
  """Returns the optimizer of a model; the step itself clips gradients (`clip_gradients`): it measures them.

  Args:
    c: the section `training`.
    param_groups: of a task: name of a module at the top of the model -> what differs from `c` for its
      parameters.
  """
  if not param_groups:
    return _adamw(c)
  optimizers = {
    name: _adamw(c) if name == REST else _adamw(_with(c, param_groups[name]))
    for name in (REST, *param_groups)
  }

  def init(params: nnx.State):
    return {name: optimizers[name].init(part) for name, part in _parts(params, param_groups).items()}

  def update(grads: nnx.State, state, params: nnx.State):
    whole = _parts(params, param_groups)
    updated = {
      name: optimizers[name].update(part, state[name], whole[name])
      for name, part in _parts(grads, param_groups).items()
    }
    updates = nnx.merge_state(*(update for update, _ in updated.values()))
    return updates, {name: own for name, (_, own) in updated.items()}

  return optax.GradientTransformation(init, update)


def clip_gradients(
  grads: nnx.State, c: ml_collections.ConfigDict, param_groups: Mapping[str, dict] | None = None
) -> tuple[nnx.State, dict[str, jax.Array]]:
  """Returns gradients, those of each group no longer than its clip norm, and how long they were.

  Args:
    grads: of all parameters.
    c, param_groups: see `make`.
  """
  norms = {'grad_norm': optax.tree.norm(grads)}
  if not param_groups:
    return _clipped(grads, norms['grad_norm'], c.clip_norm), norms
  parts = _parts(grads, param_groups)
  for name, part in parts.items():
    norm = norms[f'grad_norm_{name}'] = optax.tree.norm(part)
    own = c if name == REST else _with(c, param_groups[name])
    parts[name] = _clipped(part, norm, own.clip_norm)
  return nnx.merge_state(*parts.values()), norms


def _clipped(grads: nnx.State, norm: jax.Array, clip_norm: float) -> nnx.State:
  if not clip_norm:
    return grads
  scale = jnp.minimum(1.0, clip_norm / jnp.maximum(norm, 1e-12))
  return jax.tree.map(lambda leaf: leaf * scale, grads)


def _with(c: ml_collections.ConfigDict, changes: dict) -> ml_collections.ConfigDict:
  changed = c.copy_and_resolve_references()
  changed.update(changes)
  return changed


def _parts(tree: nnx.State, groups: Mapping[str, dict]) -> dict[str, nnx.State]:
  """Returns a state by group, REST first."""
  inside = [lambda path, _, name=name: path[0] == name for name in groups]
  *named, rest = nnx.split_state(tree, *inside, ...)
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

  def one(variable):
    if not isinstance(variable, nnx.Variable):
      return variable.ndim > 1
    # A stack of biases has two dimensions as well: what counts is how many one layer's has.
    axes = variable.get_metadata().get('axes')
    return variable.replace((variable.get_value().ndim if axes is None else len(axes)) > 1)

  return jax.tree.map(one, params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def ema_weight(decay: float, step: jax.Array) -> jax.Array:
  """Returns eq. 2: the weight of the old average after `step` steps. Early averages forget their start."""
  step = step.astype(jnp.float32)
  return jnp.minimum(decay, (1 + step) / (10 + step))
