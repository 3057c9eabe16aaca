"""Classifier-free guidance with one scale a modality, and negative prompts.

  v = v(c) + (g - 1) (v(c) - v(none)) + sum_m (g_m - 1) (v(c) - v(c without m))          (1)

where c holds every given condition, g acts on all of them at once and g_m on modality m alone
(video, text, transcript). A negative prompt stands in for the text in `none` and in `c without
text`: the model is led away from it. A term whose scale is 1, or whose modality was not given, is
not evaluated; with all scales 1 a step costs a single evaluation. Ho and Salimans 2022,
arXiv 2207.12598, eq. 6; Brooks et al. 2023, arXiv 2211.09800, eq. 3 for scales a modality.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

MODALITIES = ('video', 'text', 'transcript')


@dataclasses.dataclass(frozen=True)
class Scales:
  """Guidance scales of eq. 1; 1 leaves a term out.

  Attributes:
    joint: g, on all conditions at once.
    video: g_m of the picture.
    text: g_m of the prompt.
    transcript: g_m of the dialogue.
  """

  joint: float = 1.0
  video: float = 1.0
  text: float = 1.0
  transcript: float = 1.0

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if not 0 <= value <= 100:
        raise ValueError(f'guidance {field.name} must lie in [0, 100]; got {value}.')


@dataclasses.dataclass(frozen=True)
class Branch:
  """One evaluation of eq. 1: which modalities are dropped, and the weight of the result."""

  dropped: tuple[str, ...]
  weight: float


def branches(scales: Scales, given: tuple[str, ...]) -> tuple[Branch, ...]:
  """Returns the evaluations of eq. 1 with their weights; the first is the conditional one.

  Args:
    scales: the scales.
    given: the modalities that the request holds; a negative prompt counts as text.
  """
  unknown = set(given) - set(MODALITIES)
  if unknown:
    raise ValueError(f'modalities must be among {MODALITIES}; got {sorted(unknown)}.')
  rest = []
  if scales.joint != 1 and given:
    rest.append(Branch(MODALITIES, 1 - scales.joint))
  for name in MODALITIES:
    scale = getattr(scales, name)
    if name in given and scale != 1:
      rest.append(Branch((name,), 1 - scale))
  return (Branch((), 1 - sum(branch.weight for branch in rest)), *rest)


def guided(predict_fn: Callable, weights: tuple[float, ...]) -> Callable:
  """Returns (z_BTC, t_B) -> v_BTC of eq. 1.

  Args:
    predict_fn: evaluates all branches in one batch: latents and times of G * B rows, branch by
      branch in the order of `weights`.
    weights: the weight of every branch.
  """
  num_branches = len(weights)

  def predict(z_BTC: jax.Array, t_B: jax.Array) -> jax.Array:
    if num_branches == 1:
      return predict_fn(z_BTC, t_B)
    v_GBTC = predict_fn(jnp.tile(z_BTC, (num_branches, 1, 1)), jnp.tile(t_B, num_branches))
    v_GBTC = v_GBTC.astype(jnp.float32).reshape((num_branches,) + z_BTC.shape)
    return jnp.einsum('G,GBTC->BTC', jnp.asarray(weights, jnp.float32), v_GBTC)

  return predict
