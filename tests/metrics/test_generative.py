"""Frechet distance against scipy's matrix root, precision and recall against sets of neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import linalg
from scipy.spatial import distance
from sklearn.neighbors import NearestNeighbors

from latentjax.metrics import (
  frechet_distance,
  frechet_distance_of_moments,
  precision_recall,
)

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((16, 3)) @ np.diag([0.5, 1.0, 2.0]) + 1.0
FAKE = RNG.standard_normal((24, 3)) @ np.array([[1, 0.5, 0], [0, 0.4, 0], [0, 0, 1]])


def measures(real, generated, axis_name=None):
  coordinates = {"axis_name": axis_name}
  found = precision_recall(real, generated, num_neighbours=2, block_size=5, **coordinates)
  return {"frechet": frechet_distance(real, generated, **coordinates), **found._asdict()}


def oracle(real, generated):
  cov_a, cov_b = np.cov(real.T), np.cov(generated.T)
  root = linalg.sqrtm(cov_a @ cov_b)
  shift = real.mean(0) - generated.mean(0)
  radius = lambda x: NearestNeighbors(n_neighbors=2).fit(x).kneighbors()[0][:, -1]
  apart = distance.cdist(real, generated)
  in_real, in_fake = apart <= radius(real)[:, None], apart <= radius(generated)
  return {
    "frechet": shift @ shift + np.trace(cov_a + cov_b - 2 * root.real),
    "precision": in_real.any(0).mean(),
    "recall": in_fake.any(1).mean(),
    "density": in_real.sum() / (2 * 24),
    "coverage": in_real.any(1).mean(),
  }


def test_measures_of_samples():
  expected = oracle(REAL, FAKE)
  assert len({round(float(x), 3) for x in expected.values()} - {0.0, 1.0}) == 5
  check_kernel(
    measures,
    (REAL, FAKE),
    oracle=oracle,
    detached=(0, 1),
    batch_coupled=True,
    extreme=[(0 * REAL, 0 * FAKE), (1e17 * REAL, 1e-17 * FAKE)],
    bad_inputs=[
      ((REAL.astype(int), FAKE), {}, TypeError, "must be a floating point"),
      ((REAL, FAKE[0]), {}, ValueError, "generated must have 2 axes"),
      ((REAL, FAKE[:, :2]), {}, ValueError, "real and generated must have the same width"),
      ((REAL, FAKE[:2]), {}, ValueError, "generated must have more rows than num_neighbours = 2"),
    ],
  )


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
  found = frechet_distance_of_moments(mean, cov, -mean, np.diag([1.0, 0.0]))
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
