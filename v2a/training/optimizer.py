"""AdamW with linear warm-up, by Optax.

  rate(s) = peak * min(1, (s + 1) / warmup) * decay(s)                                    (1)
  average weight of step s: min(decay, (1 + s) / (10 + s))                                (2)

Loshchilov and Hutter 2019, arXiv 1711.05101 (decoupled weight decay).
"""

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import optax


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


def make(c: ml_collections.ConfigDict) -> optax.GradientTransformation:
  """Returns the optimizer of the section `training`; the step clips gradients, since it measures them."""
  b1, b2 = c.betas
  return optax.chain(
      optax.scale_by_adam(b1, b2, c.epsilon),
      optax.add_decayed_weights(c.weight_decay, mask=is_decayed),
      optax.scale_by_learning_rate(learning_rate(c)),
  )


def is_decayed(params: nnx.State) -> nnx.State:
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
