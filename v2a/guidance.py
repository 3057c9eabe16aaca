"""Classifier-free guidance with one scale per modality, and negative prompts.

  v = v(c) + (g - 1) (v(c) - v(none)) + sum_m (g_m - 1) (v(c) - v(c without m))          (1)

where v is what a network predicts (a velocity in diffusion, logits of tokens), c holds every given condition,
g acts on all of them at once and g_m on modality m alone (video, text, transcript). A negative prompt takes
the place of the text in `none` and in `c without text`: the model is led away from it. A term whose scale
is 1, or whose modality was not given, is not evaluated; with all scales 1 a step costs a single evaluation.
Ho and Salimans 2022, arXiv 2207.12598, eq. 6; one scale per modality after Brooks et al. 2023,
arXiv 2211.09800, eq. 3, which nests the conditions; here each modality is left out on its own.

The evaluations of eq. 1 are called branches. They are batched: a batch of B rows becomes one of G * B rows,
branch by branch, the conditional one first.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import jax
import jax.numpy as jnp

MODALITIES = ('video', 'text', 'transcript')


@dataclasses.dataclass(frozen=True)
class Scales:
  """Guidance scales of eq. 1; a term with scale 1 is left out.

  Attributes:
    joint: g, on all conditions at once.
    video: g_m of the video.
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

  Raises:
    ValueError: an unknown modality.
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


def tile(x: jax.Array, num_branches: int) -> jax.Array:
  """Returns the rows of an array (axis 0) once for each branch: G * B rows, branch by branch."""
  return jnp.tile(x, (num_branches,) + (1,) * (x.ndim - 1))


def combine(prediction: jax.Array, weights_G: Sequence[float] | jax.Array) -> jax.Array:
  """Returns eq. 1 as a weighted sum: B rows, float32; with one branch the prediction as it is.

  Args:
    prediction: velocities or logits of G * B rows, branch by branch.
    weights_G: the weight of every branch, see `branches`.
  """
  num_branches = len(weights_G)
  if num_branches == 1:
    return prediction
  by_branch = prediction.astype(jnp.float32).reshape((num_branches, -1) + prediction.shape[1:])
  # A sum, not a matrix product, which some devices compute in bfloat16.
  total = weights_G[0] * by_branch[0]
  for g in range(1, num_branches):
    total += weights_G[g] * by_branch[g]
  return total


def guided(predict_fn: Callable, weights_G: Sequence[float] | jax.Array) -> Callable:
  """Returns a function of arrays with B rows that evaluates all branches in one batch and combines them.

  Args:
    predict_fn: takes arrays of G * B rows, branch by branch, and returns predictions for all of them.
    weights_G: the weight of every branch, see `branches`.
  """
  num_branches = len(weights_G)

  def predict(*arrays: jax.Array) -> jax.Array:
    return combine(predict_fn(*(tile(x, num_branches) for x in arrays)), weights_G)

  return predict
