"""The video quality gauge: how far a picture lies from the undamaged clips trained on.

Of one window, in two groups of numbers x:

  how it looks     of the frames' brightness, 0 to 1: logarithms of how steep it is (mean, largest) and how
                   rough (its discrete Laplacian: mean, middle, largest), and of its spread; its mean;
                   logarithms of its steps in time (mean, middle, largest) and second differences (mean,
                   middle); how many frames stand still, and do so next to moving ones; autocorrelation of
                   the size of the steps                                                                  (1)
  what it shows    the means over time of the generator's sync and semantic features                      (2)
  g^2 = (sum_k (u_k . (x - mu))^2 / l_k + |x - mu - sum_k u_k u_k . (x - mu)|^2 / v) / F                  (3)

with the mean mu and the K leading eigenvectors u_k of the covariance of x over training clips, their
eigenvalues l_k, and v, the mean of the F - K others: a Mahalanobis distance under probabilistic PCA (Tipping
and Bishop 1999). g^2 is 1 on average over the clips that it was fitted to; the larger g of the two groups
counts. What lies beyond `threshold` has been found to get worse soundtracks, see
v2a.evaluation.ood_calibration.

Eq. 1 is there because features alone do not tell damage: a generator trained on worn pictures makes much the
same of them, and what it cannot see it cannot report.
"""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a import files
from v2a import shapes

FILE = 'ood_detector.npz'
_ARRAYS = ('mean_F', 'direction_KF', 'variance_K')
NUM_DIRECTIONS = 32
# Below this share of the largest eigenvalue a direction is rounding, not spread.
_FLOOR = 1e-6
# Of brightness: what stands still or is even has a logarithm, too.
_STILL = 1e-4
_LARGEST, _LAGS = 0.99, (1, 2, 3, 4)
NUM_APPEARANCE_FEATURES = 14 + len(_LAGS)
_GREY_3 = np.array([0.299, 0.587, 0.114], np.float32)


@dataclasses.dataclass(frozen=True)
class FeatureGroup:
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
class Detector:
  """What distances are measured with.

  Attributes:
    groups: in the order of their numbers.
    threshold: distances above it are worth a warning; infinity before it is calibrated.
    about: JSON-able notes: clips that it was fitted to, calibration.
  """

  groups: tuple[FeatureGroup, ...]
  threshold: float = float('inf')
  about: dict = dataclasses.field(default_factory=dict)

  def score(self, feature_BF: np.ndarray) -> np.ndarray:
    """Returns the larger g of the groups of each row, as distance_B.

    Raises:
      ValueError: the features are those of another model.
    """
    sizes = [len(group.mean_F) for group in self.groups]
    if feature_BF.shape[-1] != sum(sizes):
      raise ValueError(f'the gauge knows {sum(sizes)} features; got {feature_BF.shape[-1]}.')
    parts = np.split(feature_BF, np.cumsum(sizes)[:-1], axis=1)
    return np.max([group.distance(part_BF) for group, part_BF in zip(self.groups, parts)], axis=0)


def extract_features(semantic_BMD: jax.Array, sync_BLD: jax.Array, sync_frame_BLYX3: jax.Array) -> jax.Array:
  """Returns feature_BF of eq. 1, NUM_APPEARANCE_FEATURES numbers, and then of eq. 2.

  Args:
    semantic_BMD, sync_BLD: what the generator makes of the window.
    sync_frame_BLYX3: its frames, 0 to 255, at least four.
  """
  shapes.check(semantic_BMD=semantic_BMD, sync_BLD=sync_BLD, sync_frame_BLYX3=sync_frame_BLYX3)
  means = (x_BLD.astype(jnp.float32).mean(axis=1) for x_BLD in (sync_BLD, semantic_BMD))
  return jnp.concatenate([jax.vmap(_looks)(sync_frame_BLYX3), *means], axis=1)


def _looks(frame_LYX3: jax.Array) -> jax.Array:
  """Returns eq. 1 of one window."""
  x_LYX = (frame_LYX3.astype(jnp.float32) / 255.0) @ _GREY_3
  log = lambda value: jnp.log(value + _STILL)
  largest = lambda values: jnp.quantile(values, _LARGEST)
  steep_LYX, steep_LXY = (jnp.abs(jnp.diff(x_LYX, axis=axis)) for axis in (1, 2))
  inner_LYX = x_LYX[:, 1:-1, 1:-1]
  around_LYX = x_LYX[:, :-2, 1:-1] + x_LYX[:, 2:, 1:-1] + x_LYX[:, 1:-1, :-2] + x_LYX[:, 1:-1, 2:]
  rough_LYX = jnp.abs(4 * inner_LYX - around_LYX)
  moved_LYX = jnp.abs(jnp.diff(x_LYX, axis=0))
  step_L = moved_LYX.mean(axis=(1, 2))
  turn_LYX = jnp.abs(jnp.diff(x_LYX, n=2, axis=0))
  is_still_L = (step_L < _STILL).astype(jnp.float32)
  is_halt_L = is_still_L[1:-1] * (1 - is_still_L[:-2] * is_still_L[2:])
  centred_L = step_L - step_L.mean()
  variance = (centred_L**2).mean() + _STILL**2
  return jnp.stack(
    [
      log(steep_LYX.mean() + steep_LXY.mean()),
      log(largest(steep_LXY)),
      log(rough_LYX.mean()),
      log(jnp.median(rough_LYX)),
      log(largest(rough_LYX)),
      log(x_LYX.std()),
      x_LYX.mean(),
      log(step_L.mean()),
      log(jnp.median(step_L)),
      log(largest(moved_LYX)),
      log(turn_LYX.mean()),
      log(jnp.median(turn_LYX)),
      is_still_L.mean(),
      jnp.sqrt(is_halt_L.mean()),
      *((centred_L[lag:] * centred_L[:-lag]).mean() / variance for lag in _LAGS),
    ]
  )


def fit(
  feature_NF: np.ndarray, num_directions: int = NUM_DIRECTIONS, sizes: tuple[int, ...] = ()
) -> Detector:
  """Returns the gauge of clips, without a threshold.

  Args:
    feature_NF: a row a clip.
    num_directions: K of eq. 3; a group of fewer numbers has one less than these.
    sizes: numbers of each group but the last; (NUM_APPEARANCE_FEATURES,) for rows of `extract_features`.

  Raises:
    ValueError: too few clips for so many directions.
  """
  parts = np.split(feature_NF.astype(np.float64), np.cumsum(sizes).astype(int), axis=1)
  groups = tuple(_fit(part_NF, num_directions) for part_NF in parts)
  return Detector(groups, about={'num_clips': len(feature_NF)})


def _fit(feature_NF: np.ndarray, num_directions: int) -> FeatureGroup:
  num_clips, num_features = feature_NF.shape
  num_directions = min(num_directions, num_features - 1)
  if num_clips < 2 * num_directions:
    raise ValueError(
      f'a gauge of {num_directions} directions needs at least {2 * num_directions} clips; got {num_clips}.'
    )
  value_F, vector_FF = np.linalg.eigh(np.cov(feature_NF, rowvar=False))
  value_F = np.maximum(value_F[::-1], _FLOOR * value_F[-1])
  direction_KF = vector_FF[:, ::-1].T[:num_directions]
  rest = float(value_F[num_directions:].mean())
  return FeatureGroup(feature_NF.mean(axis=0), direction_KF, value_F[:num_directions], rest)


def save(found: Detector, path: pathlib.Path | str) -> None:
  """Writes a gauge."""
  notes = {'rest': [group.rest for group in found.groups], 'threshold': found.threshold}
  arrays = {
    f'{name}_{k}': getattr(group, name).astype(np.float32)
    for k, group in enumerate(found.groups)
    for name in _ARRAYS
  }
  with files.atomic_write(path) as partial:
    np.savez_compressed(partial, about=json.dumps({**found.about, **notes}), **arrays)


def load(path: pathlib.Path | str) -> Detector:
  """Reads what `save` wrote.

  Raises:
    ValueError: it is something else.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      about = json.loads(str(archive['about']))
      groups = tuple(
        FeatureGroup(**{name: archive[f'{name}_{k}'].astype(np.float64) for name in _ARRAYS}, rest=rest)
        for k, rest in enumerate(about.pop('rest'))
      )
    return Detector(groups, about.pop('threshold'), about)
  except (KeyError, ValueError, EOFError) as error:
    raise ValueError(f'{path} holds no gauge ({error}); python -m scripts.fit_ood makes one.') from error
