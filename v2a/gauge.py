"""The video quality gauge: how far the features of a picture lie from those of the clips trained on.

  x   = [mean s, std s, mean m, std m]    over the time of one window; s: sync, m: semantic features    (1)
  g^2 = (sum_k (u_k . (x - mu))^2 / l_k + |x - mu - sum_k u_k u_k . (x - mu)|^2 / v) / F                (2)

with the mean mu and the K leading eigenvectors u_k of the covariance of x over training clips, their
eigenvalues l_k, and v, the mean of the F - K others: a Mahalanobis distance under probabilistic PCA (Tipping
and Bishop 1999). g^2 is 1 on average over the clips that it was fitted to. What lies beyond `threshold` has
been found to get worse soundtracks, see v2a.evaluation.gauging.
"""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a import shapes

FILE = 'gauge.npz'
NUM_DIRECTIONS = 48
# Below this share of the largest eigenvalue a direction is rounding, not spread.
_FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class Gauge:
  """What distances are measured with.

  Attributes:
    mean_F: mu of eq. 2.
    direction_KF: u_k.
    variance_K: l_k.
    rest: v.
    threshold: distances above it are worth a warning; infinity before it is calibrated.
    about: JSON-able notes: clips that it was fitted to, calibration.
  """

  mean_F: np.ndarray
  direction_KF: np.ndarray
  variance_K: np.ndarray
  rest: float
  threshold: float = float('inf')
  about: dict = dataclasses.field(default_factory=dict)

  def distance(self, feature_BF: np.ndarray) -> np.ndarray:
    """Returns g of eq. 2 of each row, as distance_B.

    Raises:
      ValueError: the features are those of another model.
    """
    if feature_BF.shape[-1] != len(self.mean_F):
      raise ValueError(f'the gauge knows {len(self.mean_F)} features; got {feature_BF.shape[-1]}.')
    apart_BF = feature_BF.astype(np.float64) - self.mean_F[None]
    along_BK = apart_BF @ self.direction_KF.T
    rest_B = np.maximum((apart_BF**2).sum(axis=1) - (along_BK**2).sum(axis=1), 0.0)
    whole_B = (along_BK**2 / self.variance_K[None]).sum(axis=1) + rest_B / self.rest
    return np.sqrt(whole_B / len(self.mean_F))


def pool(semantic_BMD: jax.Array, sync_BLD: jax.Array) -> jax.Array:
  """Returns feature_BF of eq. 1."""
  shapes.check(semantic_BMD=semantic_BMD, sync_BLD=sync_BLD)
  parts = [part for x in (sync_BLD, semantic_BMD) for part in (x.mean(axis=1), x.std(axis=1))]
  return jnp.concatenate(parts, axis=-1).astype(jnp.float32)


def fit(feature_NF: np.ndarray, num_directions: int = NUM_DIRECTIONS) -> Gauge:
  """Returns the gauge of clips, without a threshold.

  Args:
    feature_NF: see `pool`; a row a clip.
    num_directions: K of eq. 2.

  Raises:
    ValueError: too few clips for so many directions.
  """
  num_clips, num_features = feature_NF.shape
  num_directions = min(num_directions, num_features - 1)
  if num_clips < 2 * num_directions:
    raise ValueError(f'a gauge of {num_directions} directions needs at least {2 * num_directions} clips; '
                     f'got {num_clips}.')
  mean_F = feature_NF.mean(axis=0, dtype=np.float64)
  value_F, vector_FF = np.linalg.eigh(np.cov(feature_NF.astype(np.float64), rowvar=False))
  value_F = np.maximum(value_F[::-1], _FLOOR * value_F[-1])
  direction_KF = vector_FF[:, ::-1].T[:num_directions]
  variance_K, rest = value_F[:num_directions], float(value_F[num_directions:].mean())
  return Gauge(mean_F, direction_KF, variance_K, rest, about={'num_clips': num_clips})


def save(found: Gauge, path: pathlib.Path | str) -> None:
  """Writes a gauge, beside its name first and then renamed."""
  path = pathlib.Path(path)
  beside = path.with_name(f'.{path.stem}.partial.npz')
  about = json.dumps({**found.about, 'rest': found.rest, 'threshold': found.threshold})
  arrays = {name: getattr(found, name).astype(np.float32) for name in ('mean_F', 'variance_K')}
  np.savez_compressed(beside, about=about, direction_KF=found.direction_KF.astype(np.float16), **arrays)
  beside.replace(path)


def load(path: pathlib.Path | str) -> Gauge:
  """Reads what `save` wrote.

  Raises:
    ValueError: it is something else.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      about = json.loads(str(archive['about']))
      arrays = {name: archive[name].astype(np.float64) for name in ('mean_F', 'direction_KF', 'variance_K')}
    return Gauge(**arrays, rest=about.pop('rest'), threshold=about.pop('threshold'), about=about)
  except (KeyError, ValueError, EOFError) as error:
    raise ValueError(f'{path} holds no gauge ({error}); python -m data_pipelines.gauge makes one.') from error
