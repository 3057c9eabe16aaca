"""Set distances against values of published code, closed forms, and naive implementations."""

import numpy as np
import pytest
from scipy import linalg

from v2a.metrics import set_distances


@pytest.fixture(scope='module')
def arrays():
  """Returns the arrays of the reference values below, and the generator that sampled them."""
  rng = np.random.RandomState(0)
  return {
    'a': rng.randn(300, 16).astype(np.float32),
    'b': (rng.randn(280, 16) * 1.3 + 0.2).astype(np.float32),
    'c': rng.randn(20, 64),
    'd': rng.randn(20, 64) * 1.1,
    'logits_a': (rng.randn(200, 527) * 2).astype(np.float32),
    'logits_b': (rng.randn(200, 527) * 2).astype(np.float32),
    'rng': rng,
  }


def gaussian(seed, num, mean_F, root_FF):
  """Returns rows whose mean and covariance (rows - 1) are exactly mean and root @ root.T."""
  x_NF = np.random.default_rng(seed).standard_normal((num, len(mean_F)))
  x_NF = x_NF - x_NF.mean(axis=0)
  x_NF = x_NF @ np.linalg.inv(np.linalg.cholesky(np.cov(x_NF, rowvar=False))).T
  return np.asarray(mean_F) + x_NF @ np.asarray(root_FF).T


# Values of hkchengrex/av-benchmark, and of the same computation in float64.


def test_frechet_of_the_reference_sets(arrays):
  assert set_distances.frechet(arrays['a'], arrays['b']) == pytest.approx(2.734573657489, abs=1e-12)
  assert set_distances.frechet(arrays['a'], arrays['b']) == pytest.approx(2.7345737036136555, rel=2e-8)
  # Rank-deficient: both eigenvalues and sqrtm are accurate to 1e-8 only.
  assert set_distances.frechet(arrays['c'], arrays['d']) == pytest.approx(81.20748069910876, rel=2e-9)
  assert set_distances.frechet(arrays['c'], arrays['d']) == pytest.approx(81.20748008789572, rel=2e-8)


def test_frechet_without_covariance_is_equal():
  rng = np.random.default_rng(0)
  a_NF, b_NF = rng.standard_normal((20, 300)), 1.1 * rng.standard_normal((31, 300)) + 0.1
  moments = set_distances._root_moments(a_NF)
  assert set_distances.frechet(a_NF, b_NF) == pytest.approx(set_distances._frechet(moments, b_NF), rel=1e-7)
  assert set_distances.frechet(a_NF, a_NF[::-1]) == pytest.approx(0.0, abs=1e-9)


def test_kl_and_inception_score_of_the_reference_logits(arrays):
  target, predicted = arrays['logits_b'], arrays['logits_a']
  assert set_distances.kl(target, predicted) == pytest.approx(3.767312295777, abs=1e-12)
  assert set_distances.kl(target, predicted, 'softmax_eps') == pytest.approx(3.745047163873, abs=1e-12)
  assert set_distances.kl(target, predicted, 'sigmoid') == pytest.approx(158.414437798698, abs=1e-11)
  mean, deviation = set_distances.inception_score(predicted)
  assert mean == pytest.approx(4.560581179992466, abs=1e-14)
  assert deviation == pytest.approx(0.28183449156515905, abs=1e-14)


def test_kid_of_the_reference_sets(arrays):
  mean, deviation = set_distances.kid(arrays['a'], arrays['b'], subset_rows=200)
  # The reference multiplies in float32, hence the tolerance.
  assert mean == pytest.approx(0.2225317096710205, abs=2e-8)
  assert mean == pytest.approx(0.22253168, abs=2e-8)
  assert deviation == pytest.approx(0.02615334729434814, abs=2e-8)


def test_frechet_bias_of_equal_gaussians(arrays):
  # The random stream continues after the other arrays; a copy leaves it unchanged.
  rng = np.random.RandomState()
  rng.set_state(arrays['rng'].get_state())
  for num, known in ((100, 56.744), (250, 18.856), (500, 9.305), (1000, 4.780)):
    assert set_distances.frechet(rng.randn(num, 128), rng.randn(10000, 128)) == pytest.approx(known, abs=5e-4)


# Frechet.


def test_frechet_of_gaussians_in_closed_form():
  a_NF = gaussian(0, 40, [0.0, 1.0, -2.0], np.diag([1.0, 2.0, 0.5]))
  b_NF = gaussian(1, 60, [3.0, 1.0, -1.0], np.diag([1.5, 2.0, 0.1]))
  assert set_distances.frechet(a_NF, b_NF) == pytest.approx(9.0 + 1.0 + 0.25 + 0.16, abs=1e-12)


def test_frechet_of_covariances_that_do_not_commute():
  rng = np.random.default_rng(2)
  a_root_FF, b_root_FF = rng.standard_normal((2, 5, 5))
  a_FF, b_FF = a_root_FF @ a_root_FF.T, b_root_FF @ b_root_FF.T
  known = np.trace(a_FF + b_FF - 2.0 * linalg.sqrtm(a_FF @ b_FF).real)
  got = set_distances.frechet(
    gaussian(3, 30, np.zeros(5), a_root_FF), gaussian(4, 30, np.zeros(5), b_root_FF)
  )
  assert got == pytest.approx(known, rel=1e-10)


def test_frechet_is_symmetric_invariant_to_order_and_zero_for_equal_sets(arrays):
  a_NF, b_NF = arrays['a'], arrays['b']
  value = set_distances.frechet(a_NF, b_NF)
  assert set_distances.frechet(b_NF, a_NF) == pytest.approx(value, rel=1e-12)
  assert set_distances.frechet(a_NF[::-1], np.roll(b_NF, 7, axis=0)) == pytest.approx(value, rel=1e-12)
  assert 0.0 <= set_distances.frechet(a_NF, a_NF) < 1e-12
  assert set_distances.frechet(a_NF[:, :1], b_NF[:, :1]) > 0.0


def test_frechet_of_fewer_rows_than_features(arrays):
  # The trace by singular values of the centred rows, without the square root of a singular matrix.
  c_NF, d_NF = arrays['c'], arrays['d']
  product_NN = (c_NF - c_NF.mean(axis=0)) @ (d_NF - d_NF.mean(axis=0)).T / 19
  cross_trace = np.linalg.svd(product_NN, compute_uv=False).sum()
  mean_distance = ((c_NF.mean(axis=0) - d_NF.mean(axis=0)) ** 2).sum()
  known = mean_distance + np.trace(np.cov(c_NF.T)) + np.trace(np.cov(d_NF.T)) - 2.0 * cross_trace
  assert set_distances.frechet(c_NF, d_NF) == pytest.approx(known, rel=1e-7)
  assert 0.0 <= set_distances.frechet(c_NF, c_NF) < 1e-5
  assert '20 rows cannot fill a covariance of 64 features' in set_distances.frechet_caveat(c_NF, d_NF)
  assert set_distances.frechet_caveat(arrays['a'][:16], arrays['b']) is not None
  assert set_distances.frechet_caveat(arrays['a'][:17], arrays['b']) is None


def test_frechet_of_different_numbers_of_rows_is_not_comparable():
  set_distances.check_comparable()
  set_distances.check_comparable((300, 280), (300, 280))
  with pytest.raises(ValueError, match=r'\(300, 280\), \(300, 100\)'):
    set_distances.check_comparable((300, 280), (300, 100), (300, 280))


def test_frechet_infinity_removes_the_bias_only_without_replacement():
  rng = np.random.default_rng(5)
  a_NF, b_NF = rng.standard_normal((20000, 16)), rng.standard_normal((1500, 16))
  biased = set_distances.frechet(a_NF, b_NF)
  as_published = set_distances.frechet_infinity(a_NF, b_NF)
  extrapolated = set_distances.frechet_infinity(a_NF, b_NF, min_rows=150, use_replacement=False)
  assert as_published == pytest.approx(biased, rel=0.25)
  assert abs(extrapolated) < 0.25 * biased
  shifted = set_distances.frechet_infinity(a_NF + 2.0, b_NF, min_rows=150, use_replacement=False)
  assert shifted == pytest.approx(16 * 4.0, rel=0.03)


def test_frechet_infinity_is_seeded(arrays):
  a_NF, b_NF = arrays['a'], arrays['b']
  first = set_distances.frechet_infinity(a_NF, b_NF, min_rows=100, seed=3)
  assert first == set_distances.frechet_infinity(a_NF, b_NF, min_rows=100, seed=3)
  assert first != set_distances.frechet_infinity(a_NF, b_NF, min_rows=100, seed=4)
  with pytest.raises(ValueError, match='min_rows=500, 280 rows'):
    set_distances.frechet_infinity(a_NF, b_NF)


# Kernel distances.


def mmd_by_definition(kernel, a_NF, b_NF):
  """Returns the unbiased squared maximum mean discrepancy, pair by pair."""

  def within(x_NF):
    pairs = [(i, j) for i in range(len(x_NF)) for j in range(len(x_NF)) if i != j]
    return np.mean([kernel(x_NF[i], x_NF[j]) for i, j in pairs])

  across = np.mean([kernel(a_F, b_F) for a_F in a_NF for b_F in b_NF])
  return within(a_NF) + within(b_NF) - 2.0 * across


def test_kid_by_definition(arrays):
  a_NF, b_NF = arrays['a'][:12].astype(np.float64), arrays['b'][:12].astype(np.float64)
  known = mmd_by_definition(lambda x_F, y_F: (x_F @ y_F / 16 + 1.0) ** 3, a_NF, b_NF)
  # Subsets of all rows are permutations of the set.
  mean, deviation = set_distances.kid(a_NF, b_NF, num_subsets=3, subset_rows=12)
  assert mean == pytest.approx(known, rel=1e-12)
  assert deviation == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize('num_b', [11, 12])
def test_kad_by_definition_with_the_bandwidth_of_the_second_set(arrays, num_b):
  a_NF, b_NF = arrays['a'][:9].astype(np.float64), arrays['b'][:num_b].astype(np.float64)
  lengths = sorted(np.linalg.norm(b_NF[i] - b_NF[j]) for i in range(num_b) for j in range(i))
  bandwidth = lengths[(len(lengths) - 1) // 2]
  known = mmd_by_definition(
    lambda x_F, y_F: np.exp(-((x_F - y_F) @ (x_F - y_F)) / (2 * bandwidth**2 + 1e-8)), a_NF, b_NF
  )
  assert set_distances.kad(a_NF, b_NF) == pytest.approx(100.0 * known, rel=1e-10)
  assert set_distances.kad(b_NF, a_NF) != pytest.approx(100.0 * known, rel=1e-3)


def test_kernel_distances_are_unbiased_and_invariant_to_order():
  rng = np.random.default_rng(6)
  sets = [rng.standard_normal((2, 60, 8)) for _ in range(200)]
  kads = np.array([set_distances.kad(*pair) for pair in sets])
  kids = np.array([set_distances.kid(*pair, num_subsets=1, subset_rows=60)[0] for pair in sets])
  for values in (kads, kids):
    assert abs(values.mean()) < 3.0 * values.std() / np.sqrt(len(values))
    assert values.min() < 0.0
  a_NF, b_NF = sets[0]
  assert set_distances.kad(a_NF[::-1], b_NF[::-1]) == pytest.approx(kads[0], rel=1e-9)
  assert set_distances.kad(7.0 * a_NF, 7.0 * b_NF) == pytest.approx(kads[0], rel=1e-6)
  assert set_distances.kad(a_NF + 1.0, b_NF) > 10.0 * kads.std()
  assert set_distances.kid(a_NF + 1.0, b_NF, subset_rows=50)[0] > 10.0 * kids.std()


def test_kad_of_a_set_with_zero_bandwidth_is_finite():
  assert set_distances.kad(np.zeros((3, 2)), np.zeros((4, 2))) == 0.0
  assert set_distances.kad(np.ones((3, 2)), np.zeros((4, 2))) == pytest.approx(200.0)


# Classifications.


def test_kl_by_hand():
  target, predicted = np.array([[0.25, 0.75], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]])
  known = (0.25 * np.log(0.5) + 0.75 * np.log(1.5)) / 2
  assert set_distances.kl(np.log(target), np.log(predicted) + 3.0) == pytest.approx(known, rel=1e-12)
  assert set_distances.kl(np.log(predicted), np.log(target)) == pytest.approx(np.log(4 / 3) / 4, rel=1e-12)
  assert set_distances.kl(np.log(target), np.log(target)) == 0.0
  # Targets of 1/4 and 1/2 for both classes, against 1/2.
  logits = np.log([[1 / 3, 1 / 3], [1.0, 1.0]])
  known = 2 * 0.25 * np.log(0.25 / 0.5) / 2
  assert set_distances.kl(logits, np.zeros((2, 2)), 'sigmoid') == pytest.approx(known, rel=1e-12)


@pytest.mark.parametrize('kind', set_distances.KL_KINDS)
def test_kl_is_invariant_to_the_order_of_pairs_and_finite_for_saturated_logits(arrays, kind):
  target, predicted = arrays['logits_b'], arrays['logits_a']
  value = set_distances.kl(target, predicted, kind)
  assert set_distances.kl(target[::-1], predicted[::-1], kind) == pytest.approx(value, rel=1e-12)
  assert set_distances.kl(target, predicted[::-1], kind) != pytest.approx(value, rel=1e-6)
  assert np.isfinite(set_distances.kl(1000.0 * target, 1000.0 * predicted, kind))


def test_inception_score_by_hand():
  one_hot = 1000.0 * np.eye(7)
  assert set_distances.inception_score(one_hot, num_splits=1) == pytest.approx((7.0, 0.0))
  assert set_distances.inception_score(np.repeat(one_hot[:1], 20, axis=0)) == pytest.approx((1.0, 0.0))
  # Splits of one row have one class each.
  assert set_distances.inception_score(one_hot, num_splits=7) == pytest.approx((1.0, 0.0))


# Invalid input.

PAIRS = {
  'frechet': set_distances.frechet,
  'frechet_infinity': set_distances.frechet_infinity,
  'kid': set_distances.kid,
  'kad': set_distances.kad,
  'kl': set_distances.kl,
}


@pytest.mark.parametrize('name', PAIRS)
def test_invalid_sets_raise_with_one_line(name):
  good = np.random.default_rng(0).standard_normal((1001, 4))
  bad = good.copy()
  bad[3, 1], bad[7, 2] = np.nan, np.inf
  for a_NF, b_NF, message in (
    (good, good[:0], 'the second set needs at least'),
    (good[:0], good, 'the first set needs at least'),
    (good, bad, 'the second set must be finite; got 2 bad values'),
    (good, good[:, :3], 'same features; got 4 and 3'),
    (good[0], good, r'needs the shape \(rows, features\); got \(4,\)'),
  ):
    with pytest.raises(ValueError, match=message) as caught:
      PAIRS[name](a_NF, b_NF)
    assert '\n' not in str(caught.value)


def test_too_few_rows_and_unknown_kinds_raise():
  x_NF = np.ones((999, 4))
  for call, message in (
    (lambda: set_distances.frechet(x_NF[:1], x_NF), 'at least 2 rows; got 1'),
    (lambda: set_distances.kad(x_NF, x_NF[:1]), 'at least 2 rows; got 1'),
    (lambda: set_distances.kid(x_NF, x_NF), 'at least 1000 rows; got 999'),
    (lambda: set_distances.kl(x_NF, x_NF[:7]), 'pairs of rows; got 999 and 7'),
    (lambda: set_distances.kl(x_NF, x_NF, 'eps'), "softmax_eps, sigmoid; got 'eps'"),
    (lambda: set_distances.inception_score(x_NF[:9]), 'logits needs at least 10 rows; got 9'),
  ):
    with pytest.raises(ValueError, match=message):
      call()
