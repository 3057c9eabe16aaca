"""Distances between two sets of embeddings, and between the classifications of two sets; float64 throughout.

The functions are independent of the network that computed the embeddings.

  frechet  |m_a - m_b|^2 + Tr(S_a + S_b) - 2 Tr((S_a^1/2 S_b S_a^1/2)^1/2)                        (1)
  mmd      mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{i, j} k(a_i, b_j)        (2)
  kid      eq. 2 of subsets with k(x, y) = (x.y / F + 1)^3                                          (3)
  kad      100 times eq. 2 with k(x, y) = exp(-|x - y|^2 / (2 s^2 + 1e-8)), s of the second set     (4)
  kl       mean over rows of sum_o p_o (log p_o - log q_o), in nats                                 (5)
  is       exp(mean over rows of KL(p_i || mean p)) of each split of the rows                       (6)

Axis O is the classes of a classifier. Sources, each with the implementation that published values use:
(1) Heusel et al. 2017, arXiv 1706.08500, as hkchengrex/av-benchmark computes it, by eigenvalues in place of
`sqrtm`; its extrapolation, Chong and Forsyth 2020, arXiv 1911.07023, as microsoft/fadtk; (3) Binkowski et al.
2018, arXiv 1801.01401, as haoheliu/audioldm_eval; (4) Chung et al. 2025, arXiv 2502.15602, as
YoonjinXD/kadtk; (5, 6) av-benchmark, the variants of (5) audioldm_eval.

Eq. 1 of finite sets has a bias of about a constant / rows: values of different numbers of rows must not be
compared (check_comparable), and with fewer rows than features it is mostly bias (frechet_caveat).
"""

from collections.abc import Callable

import numpy as np
from scipy import special

# The numbers of rows that published values use: smallest subset, subsets, splits.
FRECHET_INFINITY_MIN_ROWS, KID_SUBSET_ROWS, INCEPTION_NUM_SPLITS = 500, 1000, 10


def _log_softmax(logits_NO: np.ndarray) -> np.ndarray:
  return special.log_softmax(logits_NO, axis=1)


def _log_softmax_eps(logits_NO: np.ndarray) -> np.ndarray:
  return np.log(special.softmax(logits_NO, axis=1) + 1e-6)


# Up to this, eigenvalues are computed as in published code, since their rounding is part of published values.
_MANY_FEATURES = 256

# Functions from logits to log p and log q of eq. 5.
KL_KINDS = {
  'softmax': (_log_softmax, _log_softmax),
  'softmax_eps': (_log_softmax, _log_softmax_eps),
  'sigmoid': (special.log_expit, special.log_expit),
}


def frechet(a_NF: np.ndarray, b_NF: np.ndarray) -> float:
  """Returns the Frechet distance of two sets of embeddings, eq. 1: FD, or FAD on VGGish.

  Symmetric up to rounding. Covariances divide by rows - 1.

  Args:
    a_NF, b_NF: at least two rows each; their numbers may differ.

  Raises:
    ValueError: a set is too small, is no matrix or contains NaN, or the features differ.
  """
  a_NF, b_NF = _pair(a_NF, b_NF, min_rows=2)
  if a_NF.shape[1] > max(_MANY_FEATURES, 2 * min(len(a_NF), len(b_NF))):
    return _frechet_without_covariance(a_NF, b_NF)
  return _frechet(_root_moments(a_NF), b_NF)


def _frechet_without_covariance(a_NF: np.ndarray, b_NF: np.ndarray) -> float:
  """Returns eq. 1 without covariances, which for 2048 features would take a hundred times as long.

  With the centred rows A and B, divided by sqrt(rows - 1), the last trace of eq. 1 is the sum of the singular
  values of A B^T.
  """
  a_part_NF, b_part_NF = ((x_NF - x_NF.mean(axis=0)) / np.sqrt(len(x_NF) - 1) for x_NF in (a_NF, b_NF))
  cross_trace = np.linalg.svd(a_part_NF @ b_part_NF.T, compute_uv=False).sum()
  mean_distance = ((a_NF.mean(axis=0) - b_NF.mean(axis=0)) ** 2).sum()
  return max(0.0, float(mean_distance + (a_part_NF**2).sum() + (b_part_NF**2).sum() - 2.0 * cross_trace))


def _root_moments(a_NF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean and the symmetric square root of the covariance."""
  value_F, vector_FF = np.linalg.eigh(_covariance(a_NF))
  return a_NF.mean(axis=0), (vector_FF * np.sqrt(np.maximum(value_F, 0.0))) @ vector_FF.T


def _frechet(a_root_moments: tuple[np.ndarray, np.ndarray], b_NF: np.ndarray) -> float:
  a_mean_F, a_root_FF = a_root_moments
  b_FF = _covariance(b_NF)
  cross_trace = np.sqrt(np.maximum(np.linalg.eigvalsh(a_root_FF @ b_FF @ a_root_FF), 0.0)).sum()
  mean_distance = ((a_mean_F - b_NF.mean(axis=0)) ** 2).sum()
  # Rounding may give a negative value for equal sets.
  return max(0.0, float(mean_distance + (a_root_FF**2).sum() + np.trace(b_FF) - 2.0 * cross_trace))


def _covariance(a_NF: np.ndarray) -> np.ndarray:
  return np.atleast_2d(np.cov(a_NF, rowvar=False))


def frechet_infinity(
  a_NF: np.ndarray,
  b_NF: np.ndarray,
  min_rows: int = FRECHET_INFINITY_MIN_ROWS,
  num_steps: int = 25,
  seed: int = 0,
  use_replacement: bool = True,
) -> float:
  """Returns eq. 1 extrapolated to infinitely many rows of `b_NF`: FAD-inf.

  The distances to random subsets of n rows of `b_NF`, for `num_steps` values of n from `min_rows` to all, are
  fitted by a line over 1/n; the result is its intercept, which may be negative. The bias due to the number of
  rows of `a_NF` remains, so `a_NF` should be the larger set.

  fadtk samples rows with replacement, which extrapolates to frechet(a, b) itself and removes no bias: for two
  sets of one Gaussian of 32 features, with 50,000 and 1,000 rows, eq. 1 is 0.30, and the extrapolation 0.30
  with replacement and -0.01 without (mean of 4). Published values are with replacement.

  Args:
    a_NF: the set that is used whole: the true sounds.
    b_NF: the set that is subsampled, at least twice `min_rows` rows: with fewer the intercept is noise.
    min_rows: rows of the smallest subset, at least 2.
    num_steps: number of subsets, at least 2.
    seed: of the subsets.
    use_replacement: True as in fadtk and published values; False to remove the bias.

  Raises:
    ValueError: as frechet, or `b_NF` has less than twice `min_rows` rows.
  """
  a_NF, b_NF = _pair(a_NF, b_NF, min_rows=2)
  if not 4 <= 2 * min_rows <= len(b_NF) or num_steps < 2:
    raise ValueError(
      f'frechet_infinity needs min_rows >= 2, twice as many rows of b_NF, and num_steps >= 2; '
      f'got min_rows={min_rows}, {len(b_NF)} rows and num_steps={num_steps}.'
    )
  rng, a_root_moments = np.random.default_rng(seed), _root_moments(a_NF)
  sizes = [int(size) for size in np.linspace(min_rows, len(b_NF), num_steps)]
  subsets = (rng.choice(len(b_NF), size, replace=use_replacement) for size in sizes)
  values = [_frechet(a_root_moments, b_NF[indices]) for indices in subsets]
  return float(np.polyfit(1.0 / np.array(sizes), values, 1)[1])


def frechet_caveat(a_NF: np.ndarray, b_NF: np.ndarray) -> str | None:
  """Returns a caveat for a Frechet distance of covariances without full rank; None for full rank."""
  num_rows, num_features = min(len(a_NF), len(b_NF)), a_NF.shape[1]
  if num_rows > num_features:
    return None
  return (
    f'{num_rows} rows cannot fill a covariance of {num_features} features: this Frechet distance is mostly '
    f'bias; wanted at least {num_features + 1} rows and better ten times as many, or kad.'
  )


def check_comparable(*nums: tuple[int, int]) -> None:
  """Checks that Frechet distances are of equal numbers of rows.

  Args:
    *nums: the rows of a and of b of each distance.

  Raises:
    ValueError: they differ.
  """
  if len(set(nums)) > 1:
    raise ValueError(
      'Frechet distances shrink as rows grow, and compare only at equal numbers of rows (a, b); '
      f'got {", ".join(str(num) for num in dict.fromkeys(nums))}. Cut the sets to one size, or use kad.'
    )


def kid(
  a_NF: np.ndarray,
  b_NF: np.ndarray,
  num_subsets: int = 100,
  subset_rows: int = KID_SUBSET_ROWS,
  seed: int = 2020,
) -> tuple[float, float]:
  """Returns the kernel distance of eq. 3: mean and population standard deviation over subsets.

  Unbiased: equal distributions give 0 on average, and a single value may be negative.

  Args:
    a_NF, b_NF: at least `subset_rows` rows each.
    num_subsets: number of pairs of subsets.
    subset_rows: rows of each, sampled without replacement, from `a_NF` first.
    seed: of the subsets.

  Raises:
    ValueError: a set has too few rows, is no matrix or contains NaN, or the features differ.
  """
  a_NF, b_NF = _pair(a_NF, b_NF, min_rows=max(2, subset_rows))
  # Not default_rng: the random stream is part of the protocol.
  rng = np.random.RandomState(seed)
  values = []
  for _ in range(num_subsets):
    part_a_NF = a_NF[rng.choice(len(a_NF), subset_rows, replace=False)]
    part_b_NF = b_NF[rng.choice(len(b_NF), subset_rows, replace=False)]
    values.append(_mmd(_cubic, part_a_NF, part_b_NF))
  return float(np.mean(values)), float(np.std(values))


def kad(a_NF: np.ndarray, b_NF: np.ndarray) -> float:
  """Returns the kernel audio distance, eq. 4: unbiased for any number of rows, so it may be negative.

  The bandwidth s of the kernel is the median distance between rows of `b_NF` (the lower one of two, as in
  torch), so the distance is not symmetric. kadtk takes the true sounds first and the generated ones second;
  another version (commit 7ec65d7) computes s from the first set: for that, swap the arguments. Memory grows
  with the square of the rows.

  Args:
    a_NF: at least two rows.
    b_NF: at least two rows; determines the bandwidth.

  Raises:
    ValueError: a set is too small, is no matrix or contains NaN, or the features differ.
  """
  a_NF, b_NF = _pair(a_NF, b_NF, min_rows=2)
  square = np.sort(_squared_distance(b_NF, b_NF)[np.triu_indices(len(b_NF), 1)])
  sharpness = 1.0 / (2.0 * square[(len(square) - 1) // 2] + 1e-8)
  return 100.0 * _mmd(lambda x_NF, y_NF: np.exp(-sharpness * _squared_distance(x_NF, y_NF)), a_NF, b_NF)


def _cubic(a_NF: np.ndarray, b_NF: np.ndarray) -> np.ndarray:
  return (a_NF @ b_NF.T / a_NF.shape[1] + 1.0) ** 3


def _squared_distance(a_NF: np.ndarray, b_NF: np.ndarray) -> np.ndarray:
  square_NN = (a_NF**2).sum(axis=1)[:, None] + (b_NF**2).sum(axis=1) - 2.0 * a_NF @ b_NF.T
  return np.maximum(square_NN, 0.0)


def _mmd(kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], a_NF: np.ndarray, b_NF: np.ndarray) -> float:
  """Returns eq. 2."""

  def within(x_NF: np.ndarray) -> float:
    kernel_NN = kernel(x_NF, x_NF)
    return (kernel_NN.sum() - np.trace(kernel_NN)) / (len(x_NF) * (len(x_NF) - 1))

  return float(within(a_NF) + within(b_NF) - 2.0 * kernel(a_NF, b_NF).mean())


def kl(target_NO: np.ndarray, predicted_NO: np.ndarray, kind: str = 'softmax') -> float:
  """Returns KL(target || predicted) of eq. 5 for pairs of rows, in nats; not symmetric.

  Args:
    target_NO: logits of the true sounds.
    predicted_NO: logits of the generated ones, row by row.
    kind: of KL_KINDS. 'softmax' as av-benchmark; 'softmax_eps' with 1e-6 added to the predicted probability,
      as audioldm_eval and audiocraft; 'sigmoid' for multi-label classes, where only the term of the present
      class is summed.

  Raises:
    ValueError: an unknown kind, no rows, NaN, or the shapes differ.
  """
  if kind not in KL_KINDS:
    raise ValueError(f"kind must be one of {', '.join(KL_KINDS)}; got '{kind}'.")
  target_NO, predicted_NO = _pair(target_NO, predicted_NO)
  if len(target_NO) != len(predicted_NO):
    raise ValueError(f'kl needs pairs of rows; got {len(target_NO)} and {len(predicted_NO)}.')
  log_target, log_predicted = KL_KINDS[kind]
  log_p_NO, log_q_NO = log_target(target_NO), log_predicted(predicted_NO)
  return float((np.exp(log_p_NO) * (log_p_NO - log_q_NO)).sum() / len(log_p_NO))


def inception_score(
  logits_NO: np.ndarray, num_splits: int = INCEPTION_NUM_SPLITS, seed: int = 2020
) -> tuple[float, float]:
  """Returns eq. 6: mean and population standard deviation over splits of the rows; between 1 and O.

  Args:
    logits_NO: logits of the generated sounds, at least `num_splits` rows.
    num_splits: number of splits of the shuffled rows.
    seed: of the shuffle.

  Raises:
    ValueError: too few rows, no matrix, or NaN.
  """
  logits_NO = _matrix(logits_NO, 'logits', num_splits)
  log_p_NO = _log_softmax(logits_NO)
  # Not default_rng: the permutation is part of the protocol.
  log_p_NO = log_p_NO[np.random.RandomState(seed).permutation(len(log_p_NO))]
  edges = [k * len(log_p_NO) // num_splits for k in range(num_splits + 1)]
  scores = [_inception_score(log_p_NO[first:last]) for first, last in zip(edges, edges[1:])]
  return float(np.mean(scores)), float(np.std(scores))


def _inception_score(log_p_NO: np.ndarray) -> float:
  log_mean_O = special.logsumexp(log_p_NO, axis=0) - np.log(len(log_p_NO))
  return float(np.exp((np.exp(log_p_NO) * (log_p_NO - log_mean_O)).sum(axis=1).mean()))


def _pair(a_NF: np.ndarray, b_NF: np.ndarray, min_rows: int = 1) -> tuple[np.ndarray, np.ndarray]:
  a_NF, b_NF = _matrix(a_NF, 'the first set', min_rows), _matrix(b_NF, 'the second set', min_rows)
  if a_NF.shape[1] != b_NF.shape[1]:
    raise ValueError(f'two sets need the same features; got {a_NF.shape[1]} and {b_NF.shape[1]}.')
  return a_NF, b_NF


def _matrix(a_NF: np.ndarray, name: str, min_rows: int) -> np.ndarray:
  a_NF = np.asarray(a_NF, np.float64)
  if a_NF.ndim != 2 or not a_NF.shape[1]:
    raise ValueError(f'{name} needs the shape (rows, features); got {a_NF.shape}.')
  if len(a_NF) < min_rows:
    raise ValueError(f'{name} needs at least {min_rows} rows; got {len(a_NF)}.')
  if not np.isfinite(a_NF).all():
    raise ValueError(f'{name} must be finite; got {int((~np.isfinite(a_NF)).sum())} bad values.')
  return a_NF
