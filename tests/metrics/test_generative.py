"""Frechet distance against scipy's matrix root, counts against sets of neighbours, kernels against sums."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import linalg, stats
from scipy.spatial import distance

from latentjax.metrics import (
  GenerativeQuality,
  density_coverage,
  frechet_distance,
  frechet_distance_of_moments,
  generative_quality,
  kernel_distance,
  kernel_distance_of_subsets,
  precision_recall,
)

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((16, 3)) @ np.diag([0.5, 1.0, 2.0]) + 1.0
FAKE = RNG.standard_normal((24, 3)) @ np.array([[1, 0.5, 0], [0, 0.4, 0], [0, 0, 1]])


measures = partial(generative_quality, num_neighbours=2, block_size=5)


def within(x, y=None):
  """Mean kernel of all pairs, or of those of two different rows."""
  k = (x @ (x if y is None else y).T / x.shape[1] + 1) ** 3
  return k.mean() if y is not None else (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))


def kernel_oracle(a, b):
  return within(a) + within(b) - 2 * within(a, b)


def oracle(real, generated, k=2):
  cov_a, cov_b = np.cov(real.T), np.cov(generated.T)
  root = linalg.sqrtm(cov_a @ cov_b)
  shift = real.mean(0) - generated.mean(0)
  radius = lambda x: np.sort(distance.cdist(x, x), axis=1)[:, k]
  apart = distance.cdist(real, generated)
  well_in_real = apart < radius(real)[:, None]
  in_real, in_fake = apart <= radius(real)[:, None], apart <= radius(generated)
  directions = generated / np.linalg.norm(generated, axis=1, keepdims=True)
  spectrum = np.linalg.svd(directions, compute_uv=False) ** 2 / len(generated)
  return GenerativeQuality(
    frechet=shift @ shift + np.trace(cov_a + cov_b - 2 * root.real),
    kernel=kernel_oracle(real, generated),
    precision=in_real.any(0).mean(),
    recall=in_fake.any(1).mean(),
    density=well_in_real.sum() / (k * len(generated)),
    coverage=well_in_real.any(1).mean(),
    vendi=np.exp(stats.entropy(spectrum)),
  )


def test_measures_of_samples():
  expected = oracle(REAL, FAKE)
  assert len({round(float(x), 3) for x in expected} - {0.0, 1.0}) == 7
  check_kernel(
    measures,
    (REAL, FAKE),
    oracle=oracle,
    detached=(0, 1),
    batch_coupled=True,
    extreme=[(0 * REAL, 0 * FAKE), (1e5 * REAL, 1e-17 * FAKE)],
    bad_inputs=[
      ((REAL.astype(int), FAKE), {}, TypeError, "must be a floating point"),
      ((REAL, FAKE[0]), {}, ValueError, "generated must have 2 axes"),
      ((REAL, FAKE[:, :2]), {}, ValueError, "real and generated must have the same width"),
      ((REAL, FAKE[:2]), {}, ValueError, "generated must have more rows than num_neighbours = 2"),
      ((REAL[:2], FAKE), {}, ValueError, "real must have more rows than num_neighbours = 2"),
      ((REAL, FAKE), {"num_neighbours": 0}, ValueError, "num_neighbours must be a positive"),
    ],
  )


def test_measures_of_known_sets():
  run = jax.jit(measures)
  same = run(REAL, REAL)
  np.testing.assert_allclose(same.frechet, 0, atol=1e-4)
  np.testing.assert_allclose(same.kernel, kernel_oracle(REAL, REAL), rtol=1e-4)  # below 0
  np.testing.assert_allclose(same[2:6], 1)  # open balls: a density of 1, not (k + 1) / k
  apart = run(REAL, REAL + 100)
  np.testing.assert_allclose(apart.frechet, 3e4, rtol=1e-4)
  np.testing.assert_array_equal(apart[2:6], 0)
  # Tight clusters far apart: what squares about any common centre would lose in float32.
  far = 1e4 * (np.arange(16) % 2)[:, None] * [1.0, -1.0, 1.0]
  tight, other = (np.float32(1e-2 * x + far) for x in (REAL, RNG.permuted(REAL, axis=0)))
  expected = oracle(tight.astype(float), other.astype(float))
  assert len({round(x, 3) for x in expected[2:6]} - {0.0, 1.0}) > 2
  np.testing.assert_allclose(run(tight, other)[2:6], expected[2:6], rtol=1e-6)
  for bad in (np.nan, np.inf):
    spoiled = np.where(np.arange(16)[:, None] == 3, bad, REAL)
    assert all(np.isnan(float(x)) for x in run(REAL, spoiled))


def test_density_and_coverage_of_the_real_distribution():
  """Density is 1 on average; coverage has a closed form. Precision and recall have none."""
  k, draws = 3, RNG.standard_normal((1000, 40, 2)).astype(np.float32)
  run = jax.jit(jax.vmap(partial(density_coverage, num_neighbours=k)))
  found = run(draws[:, :16], draws[:, 16:])
  n, m = 16, 24
  covered = 1 - np.prod([(n - i) / (m + n - i) for i in range(1, k + 1)])
  for values, expected in zip(found, (1.0, covered)):
    error = np.std(values) / np.sqrt(len(draws))
    assert abs(np.mean(values) - expected) < 4 * error and error < 0.02
  alone = jax.jit(partial(precision_recall, num_neighbours=2))(REAL, FAKE)
  np.testing.assert_allclose(alone, oracle(REAL, FAKE)[2:4], rtol=1e-6)


def test_kernel_distance():
  check_kernel(
    kernel_distance,
    (REAL, FAKE),
    oracle=lambda a, b, **_: kernel_oracle(a, b),
    kwargs={"block_size": 7},
    extreme=[(0 * REAL, 0 * FAKE), (1e5 * REAL, 1e-17 * FAKE)],
    bad_inputs=[
      ((REAL.astype(int), FAKE), {}, TypeError, "features_a must be a floating point"),
      ((REAL, FAKE[:, :2]), {}, ValueError, "features_a and features_b must have the same width"),
      ((REAL, FAKE[:1]), {}, ValueError, "must have at least 2 rows"),
      ((REAL, FAKE), {"degree": 0}, ValueError, "degree must be a positive integer"),
      ((REAL, FAKE), {"gamma": 0.0}, ValueError, "gamma must be in"),
      ((REAL, FAKE), {"offset": -1.0}, ValueError, "offset must be in"),
    ],
  )


def test_kernel_distance_of_subsets(key):
  far, other = REAL + 300, FAKE[:16] + 300  # where the kernel is 1e15 and the distance 1e10

  @jax.jit
  def run(a, b):
    subsets = partial(kernel_distance_of_subsets, key, a, b)
    return (
      kernel_distance(a, b),
      subsets(num_subsets=3, subset_size=16),
      subsets(num_subsets=4000, subset_size=4),
    )

  for a, b in ((REAL, FAKE[:16]), (far, other)):
    every, all_rows, few = run(a.astype(np.float32), b.astype(np.float32))
    expected = kernel_oracle(*(x.astype(np.float32).astype(float) for x in (a, b)))
    np.testing.assert_allclose(every, expected, rtol=1e-4)
    np.testing.assert_allclose(all_rows.mean, every, rtol=1e-4)
    assert float(all_rows.std) < 1e-4 * abs(every)
    assert abs(few.mean - expected) < 4 * few.std / np.sqrt(4000)
  for size in (1, 17):
    with pytest.raises(ValueError, match=f"subset_size must be at least 2 and at most.*got {size}"):
      kernel_distance_of_subsets(key, REAL, FAKE, subset_size=size)


def test_frechet_distance_of_deficient_ranks():
  wide = 20
  a, b = (RNG.standard_normal((n, 4)) @ RNG.standard_normal((4, wide)) for n in (60, 50))
  few = RNG.standard_normal((8, wide))  # fewer rows than columns
  # The root of the 4 x 4 (or 8 x 8) matrix of inner products: full rank, where sqrtm is at ease.
  moments = lambda x: (x.mean(0), np.cov(x.T))
  run = jax.jit(lambda a, b: (frechet_distance(a, b), _of_moments(moments_of(a), moments_of(b))))
  for other in (a, b, few):
    expected = _by_singular_values(a, other)
    direct, stored = run(a.astype(np.float32), other.astype(np.float32))
    size = np.trace(moments(a)[1])
    assert abs(float(direct) - expected) < 2e-5 * size
    assert abs(float(stored) - expected) < 2e-3 * size
    with jax.enable_x64(True):
      exact = run(a, other)
    np.testing.assert_allclose(exact, expected, rtol=1e-6, atol=1e-6 * size)


def moments_of(x):
  return jnp.mean(x, axis=0), jnp.cov(x.T)


def _of_moments(a, b):
  return frechet_distance_of_moments(*a, *b)


def _by_singular_values(a, b):
  """From inner products between the sets alone: tr(root) is the nuclear norm of A B^T."""
  shift, (a, b) = a.mean(0) - b.mean(0), ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b))
  return shift @ shift + (a**2).sum() + (b**2).sum() - 2 * linalg.svdvals(a @ b.T).sum()


def test_frechet_distance_of_moments():
  mean, cov = np.array([1.0, 2.0]), np.diag([4.0, 9.0])
  found = jax.jit(frechet_distance_of_moments)(mean, cov, -mean, np.diag([1.0, 0.0]))
  assert float(found) == pytest.approx(4 * 5 + 1 + 9, rel=1e-6)
  for args, exception, match in [
    ((mean, cov, mean[:1], cov), ValueError, "mean_a and mean_b must have the same shape"),
    ((mean, cov[:1], mean, cov[:1]), ValueError, r"covariance_a must have shape \(2, 2\)"),
    ((mean, cov.astype(int), mean, cov), TypeError, "covariance_a must be a floating point"),
  ]:
    with pytest.raises(exception, match=match):
      frechet_distance_of_moments(*args)
  with pytest.raises(ValueError, match="features_a must have at least two rows"):
    frechet_distance(np.ones((1, 2)), np.ones((3, 2)))
