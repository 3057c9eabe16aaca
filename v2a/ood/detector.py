"""Out-of-distribution detector of input video: Mahalanobis distance of a window's features to training clips.

Two groups of features x of a window:

  appearance       of the frames' luminance, 0 to 1: logarithms of its spatial gradient (mean, q99) and of
                   its discrete Laplacian (mean, median, q99); logarithm of its standard deviation; its mean;
                   logarithms of its differences in time (mean of frames' means, their median, q99) and second
                   differences (mean, median); share of still frames, and root of the share of those next to
                   a moving one; autocorrelation of the frames' mean differences                          (1)
  content          the means over time of the generator's sync and semantic features                      (2)
  g^2 = (sum_k (u_k . (x - mu))^2 / l_k + |x - mu - sum_k u_k u_k . (x - mu)|^2 / v) / F                  (3)

with the mean mu and the K leading eigenvectors u_k of the covariance of x over training clips, their
eigenvalues l_k, and v, the mean of the F - K others: a Mahalanobis distance under probabilistic PCA (Tipping
and Bishop 1999). g^2 is 1 on average over the clips that it was fitted to. The score is the larger g of the
two groups. Scores above `threshold` go with lower quality of the generated audio, see scripts.fit_ood.

Eq. 1 is needed because content features alone do not show degradation: a generator trained with augmentation
has nearly the same features for degraded frames.
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
# Eigenvalues below this share of the largest are rounding errors.
_MIN_EIGENVALUE_RATIO = 1e-6
# Added to luminance differences, so that still or uniform frames have a logarithm; still frames are below it.
_EPSILON = 1e-4
_QUANTILE, _LAGS = 0.99, (1, 2, 3, 4)
NUM_APPEARANCE_FEATURES = 14 + len(_LAGS)
_LUMA_3 = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class FeatureGroup:
  """Statistics of one group of features, eq. 3: mu, u_k, l_k and v."""

  mean_F: np.ndarray
  direction_KF: np.ndarray
  variance_K: np.ndarray
  rest: float

  def distance(self, feature_BF: np.ndarray) -> np.ndarray:
    """Returns g of each row, as distance_B."""
    centred_BF = feature_BF.astype(np.float64) - self.mean_F[None]
    projection_BK = centred_BF @ self.direction_KF.T
    residual_B = np.maximum((centred_BF**2).sum(axis=1) - (projection_BK**2).sum(axis=1), 0.0)
    total_B = (projection_BK**2 / self.variance_K[None]).sum(axis=1) + residual_B / self.rest
    return np.sqrt(total_B / len(self.mean_F))


@dataclasses.dataclass(frozen=True)
class Detector:
  """Statistics of all groups, and the calibrated threshold.

  Attributes:
    groups: in the order of their features.
    threshold: scores above it are out of distribution; infinity before calibration.
    about: JSON-able notes: number of clips that it was fitted to, calibration.
  """

  groups: tuple[FeatureGroup, ...]
  threshold: float = float('inf')
  about: dict = dataclasses.field(default_factory=dict)

  def score(self, feature_BF: np.ndarray) -> np.ndarray:
    """Returns the largest g over the groups of each row, as distance_B.

    Raises:
      ValueError: the features are of another model.
    """
    sizes = [len(group.mean_F) for group in self.groups]
    if feature_BF.shape[-1] != sum(sizes):
      raise ValueError(f'the OOD detector has {sum(sizes)} features; got {feature_BF.shape[-1]}.')
    parts = np.split(feature_BF, np.cumsum(sizes)[:-1], axis=1)
    return np.max([group.distance(part_BF) for group, part_BF in zip(self.groups, parts)], axis=0)


def extract_features(semantic_BMD: jax.Array, sync_BLD: jax.Array, sync_frame_BLYX3: jax.Array) -> jax.Array:
  """Returns feature_BF: NUM_APPEARANCE_FEATURES of eq. 1, then those of eq. 2.

  Args:
    semantic_BMD, sync_BLD: the generator's features of the window.
    sync_frame_BLYX3: frames of the window, 0 to 255, at least four.
  """
  shapes.check(semantic_BMD=semantic_BMD, sync_BLD=sync_BLD, sync_frame_BLYX3=sync_frame_BLYX3)
  means = (x_BLD.astype(jnp.float32).mean(axis=1) for x_BLD in (sync_BLD, semantic_BMD))
  return jnp.concatenate([jax.vmap(_appearance)(sync_frame_BLYX3), *means], axis=1)


def _appearance(frame_LYX3: jax.Array) -> jax.Array:
  """Returns eq. 1 of one window."""
  luma_LYX = (frame_LYX3.astype(jnp.float32) / 255.0) @ _LUMA_3
  log = lambda value: jnp.log(value + _EPSILON)
  q99 = lambda values: jnp.quantile(values, _QUANTILE)
  gradient_y_LYX, gradient_x_LYX = (jnp.abs(jnp.diff(luma_LYX, axis=axis)) for axis in (1, 2))
  neighbours_LYX = (
    luma_LYX[:, :-2, 1:-1] + luma_LYX[:, 2:, 1:-1] + luma_LYX[:, 1:-1, :-2] + luma_LYX[:, 1:-1, 2:]
  )
  laplacian_LYX = jnp.abs(4 * luma_LYX[:, 1:-1, 1:-1] - neighbours_LYX)
  change_LYX = jnp.abs(jnp.diff(luma_LYX, axis=0))
  change_L = change_LYX.mean(axis=(1, 2))
  second_change_LYX = jnp.abs(jnp.diff(luma_LYX, n=2, axis=0))
  is_still_L = (change_L < _EPSILON).astype(jnp.float32)
  is_halt_L = is_still_L[1:-1] * (1 - is_still_L[:-2] * is_still_L[2:])
  centred_L = change_L - change_L.mean()
  variance = (centred_L**2).mean() + _EPSILON**2
  return jnp.stack(
    [
      log(gradient_y_LYX.mean() + gradient_x_LYX.mean()),
      log(q99(gradient_x_LYX)),
      log(laplacian_LYX.mean()),
      log(jnp.median(laplacian_LYX)),
      log(q99(laplacian_LYX)),
      log(luma_LYX.std()),
      luma_LYX.mean(),
      log(change_L.mean()),
      log(jnp.median(change_L)),
      log(q99(change_LYX)),
      log(second_change_LYX.mean()),
      log(jnp.median(second_change_LYX)),
      is_still_L.mean(),
      jnp.sqrt(is_halt_L.mean()),
      *((centred_L[lag:] * centred_L[:-lag]).mean() / variance for lag in _LAGS),
    ]
  )


def fit(
  feature_NF: np.ndarray, num_directions: int = NUM_DIRECTIONS, sizes: tuple[int, ...] = ()
) -> Detector:
  """Returns a detector fitted to clips, without a threshold.

  Args:
    feature_NF: one row per clip.
    num_directions: K of eq. 3; at most one less than the features of a group.
    sizes: number of features of each group but the last; (NUM_APPEARANCE_FEATURES,) for rows of
      `extract_features`.

  Raises:
    ValueError: there are too few clips for so many directions.
  """
  parts = np.split(feature_NF.astype(np.float64), np.cumsum(sizes).astype(int), axis=1)
  groups = tuple(_fit(part_NF, num_directions) for part_NF in parts)
  return Detector(groups, about={'num_clips': len(feature_NF)})


def _fit(feature_NF: np.ndarray, num_directions: int) -> FeatureGroup:
  num_clips, num_features = feature_NF.shape
  num_directions = min(num_directions, num_features - 1)
  if num_clips < 2 * num_directions:
    raise ValueError(
      f'an OOD detector of {num_directions} directions needs at least {2 * num_directions} clips; got '
      f'{num_clips}.'
    )
  value_F, vector_FF = np.linalg.eigh(np.cov(feature_NF, rowvar=False))
  value_F = np.maximum(value_F[::-1], _MIN_EIGENVALUE_RATIO * value_F[-1])
  direction_KF = vector_FF[:, ::-1].T[:num_directions]
  rest = float(value_F[num_directions:].mean())
  return FeatureGroup(feature_NF.mean(axis=0), direction_KF, value_F[:num_directions], rest)


def save(detector: Detector, path: pathlib.Path | str) -> None:
  """Writes a detector to an .npz file."""
  notes = {'rest': [group.rest for group in detector.groups], 'threshold': detector.threshold}
  arrays = {
    f'{name}_{k}': getattr(group, name).astype(np.float32)
    for k, group in enumerate(detector.groups)
    for name in _ARRAYS
  }
  with files.atomic_write(path) as partial:
    np.savez_compressed(partial, about=json.dumps({**detector.about, **notes}), **arrays)


def load(path: pathlib.Path | str) -> Detector:
  """Reads what `save` wrote.

  Raises:
    ValueError: it is no file of a detector.
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
    raise ValueError(
      f'{path} holds no OOD detector ({error}); python -m scripts.fit_ood writes one.'
    ) from error
