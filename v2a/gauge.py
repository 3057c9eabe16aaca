"""The video quality gauge: how far the features of a picture lie from those of the clips trained on.

Of one window, in two groups of numbers x, from its sync features s and semantic features m:

  how it moves     logarithms of the mean size of s_l - s_(l-1), its quantiles, of the second difference, of
                   the spread of s, of m_k - m_(k-1), of how uneven steps are; their autocorrelation   (1)
  what it shows    the means of s and m over time                                                         (2)
  g^2 = (sum_k (u_k . (x - mu))^2 / l_k + |x - mu - sum_k u_k u_k . (x - mu)|^2 / v) / F                  (3)

with the mean mu and the K leading eigenvectors u_k of the covariance of x over training clips, their
eigenvalues l_k, and v, the mean of the F - K others: a Mahalanobis distance under probabilistic PCA (Tipping
and Bishop 1999). g^2 is 1 on average over the clips that it was fitted to; the larger g of the two groups
counts. What lies beyond `threshold` has been found to get worse soundtracks, see v2a.evaluation.gauging.
"""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a import files
from v2a import shapes

FILE = 'gauge.npz'
_ARRAYS = ('mean_F', 'direction_KF', 'variance_K')
NUM_DIRECTIONS = 32
# Below this share of the largest eigenvalue a direction is rounding, not spread.
_FLOOR = 1e-6
# Of features, whose spread is about 1: a picture that stands still has a logarithm, too.
_STILL = 1e-4
_QUANTILES, _LAGS = (0.05, 0.25, 0.5, 0.75, 0.95), (1, 2, 3)
NUM_OF_MOTION = 5 + len(_QUANTILES) + len(_LAGS)


@dataclasses.dataclass(frozen=True)
class Group:
  """What the distance of one group of numbers is measured with, eq. 3: mu, u_k, l_k and v."""

  mean_F: np.ndarray
  direction_KF: np.ndarray
  variance_K: np.ndarray
  rest: float

  def distance(self, feature_BF: np.ndarray) -> np.ndarray:
    """Returns g of each row, as distance_B."""
    apart_BF = feature_BF.astype(np.float64) - self.mean_F[None]
    along_BK = apart_BF @ self.direction_KF.T
    rest_B = np.maximum((apart_BF**2).sum(axis=1) - (along_BK**2).sum(axis=1), 0.0)
    whole_B = (along_BK**2 / self.variance_K[None]).sum(axis=1) + rest_B / self.rest
    return np.sqrt(whole_B / len(self.mean_F))


@dataclasses.dataclass(frozen=True)
class Gauge:
  """What distances are measured with.

  Attributes:
    groups: in the order of their numbers.
    threshold: distances above it are worth a warning; infinity before it is calibrated.
    about: JSON-able notes: clips that it was fitted to, calibration.
  """

  groups: tuple[Group, ...]
  threshold: float = float('inf')
  about: dict = dataclasses.field(default_factory=dict)

  def distance(self, feature_BF: np.ndarray) -> np.ndarray:
    """Returns the larger g of the groups of each row, as distance_B.

    Raises:
      ValueError: the features are those of another model.
    """
    sizes = [len(group.mean_F) for group in self.groups]
    if feature_BF.shape[-1] != sum(sizes):
      raise ValueError(f'the gauge knows {sum(sizes)} features; got {feature_BF.shape[-1]}.')
    parts = np.split(feature_BF, np.cumsum(sizes)[:-1], axis=1)
    return np.max([group.distance(part_BF) for group, part_BF in zip(self.groups, parts)], axis=0)


def pool(semantic_BMD: jax.Array, sync_BLD: jax.Array) -> jax.Array:
  """Returns feature_BF of eq. 1, NUM_OF_MOTION numbers, and then of eq. 2."""
  shapes.check(semantic_BMD=semantic_BMD, sync_BLD=sync_BLD)
  m_BMD, s_BLD = semantic_BMD.astype(jnp.float32), sync_BLD.astype(jnp.float32)
  size = lambda x_BLD: jnp.sqrt(jnp.mean(x_BLD**2, axis=-1))
  log = lambda x: jnp.log(x + _STILL)
  step_BL = size(jnp.diff(s_BLD, axis=1))
  mean_B, square_B = step_BL.mean(axis=1), (step_BL**2).mean(axis=1)
  centred_BL = step_BL - mean_B[:, None]
  variance_B = (centred_BL**2).mean(axis=1) + _STILL**2
  numbers = [
      log(mean_B), log(size(jnp.diff(s_BLD, n=2, axis=1)).mean(axis=1)),
      log(jnp.sqrt(s_BLD.var(axis=1).mean(axis=-1))), log(size(jnp.diff(m_BMD, axis=1)).mean(axis=1)),
      log(square_B / (mean_B**2 + _STILL**2)), *log(jnp.quantile(step_BL, jnp.array(_QUANTILES), axis=1)),
      *((centred_BL[:, lag:] * centred_BL[:, :-lag]).mean(axis=1) / variance_B for lag in _LAGS)]
  return jnp.concatenate([jnp.stack(numbers, axis=1), s_BLD.mean(axis=1), m_BMD.mean(axis=1)], axis=1)


def fit(feature_NF: np.ndarray, num_directions: int = NUM_DIRECTIONS, sizes: tuple[int, ...] = ()) -> Gauge:
  """Returns the gauge of clips, without a threshold.

  Args:
    feature_NF: a row a clip.
    num_directions: K of eq. 3; a group of fewer numbers has one less than these.
    sizes: numbers of each group but the last; (NUM_OF_MOTION,) for rows of `pool`.

  Raises:
    ValueError: too few clips for so many directions.
  """
  parts = np.split(feature_NF.astype(np.float64), np.cumsum(sizes).astype(int), axis=1)
  groups = tuple(_fit(part_NF, num_directions) for part_NF in parts)
  return Gauge(groups, about={'num_clips': len(feature_NF)})


def _fit(feature_NF: np.ndarray, num_directions: int) -> Group:
  num_clips, num_features = feature_NF.shape
  num_directions = min(num_directions, num_features - 1)
  if num_clips < 2 * num_directions:
    raise ValueError(f'a gauge of {num_directions} directions needs at least {2 * num_directions} clips; '
                     f'got {num_clips}.')
  value_F, vector_FF = np.linalg.eigh(np.cov(feature_NF, rowvar=False))
  value_F = np.maximum(value_F[::-1], _FLOOR * value_F[-1])
  direction_KF = vector_FF[:, ::-1].T[:num_directions]
  rest = float(value_F[num_directions:].mean())
  return Group(feature_NF.mean(axis=0), direction_KF, value_F[:num_directions], rest)


def save(found: Gauge, path: pathlib.Path | str) -> None:
  """Writes a gauge."""
  notes = {'rest': [group.rest for group in found.groups], 'threshold': found.threshold}
  arrays = {f'{name}_{k}': getattr(group, name).astype(np.float32)
            for k, group in enumerate(found.groups) for name in _ARRAYS}
  with files.beside(path) as partial:
    np.savez_compressed(partial, about=json.dumps({**found.about, **notes}), **arrays)


def load(path: pathlib.Path | str) -> Gauge:
  """Reads what `save` wrote.

  Raises:
    ValueError: it is something else.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      about = json.loads(str(archive['about']))
      groups = tuple(
          Group(**{name: archive[f'{name}_{k}'].astype(np.float64) for name in _ARRAYS}, rest=rest)
          for k, rest in enumerate(about.pop('rest')))
    return Gauge(groups, about.pop('threshold'), about)
  except (KeyError, ValueError, EOFError) as error:
    raise ValueError(f'{path} holds no gauge ({error}); python -m data_pipelines.gauge makes one.') from error
