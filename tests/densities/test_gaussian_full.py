"""Full-covariance Gaussian against scipy and the divergence's trace form."""

import battery
import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from scipy import stats

from latentjax.densities import gaussian_full

B, D = 8, 3
RNG = np.random.default_rng(0)
X, MEAN, MEAN_P = RNG.standard_normal((3, B, D))
L, L_P = np.tril(RNG.standard_normal((2, B, D, D)), -1) + RNG.uniform(
  0.5, 2, (2, B, 1, D)
) * np.eye(D)
# What is above the diagonal must not matter; a negative diagonal is a root of the same covariance.
DIRTY = L * np.array([1, -1, 1]) + np.triu(np.full((D, D), 7.0), 1)
SCALED = [np.exp(s) * np.broadcast_to(np.eye(D), L.shape) for s in (40, -25)]
BAD = [
  ((X, MEAN, L[:, :2]), {}, ValueError, "scale_tril must be square in its last two axes"),
  ((X, MEAN, L[:4]), {}, ValueError, "a column of scale_tril must have equal shapes"),
  ((X.astype(int), MEAN, L), {}, TypeError, "x must be a floating point array"),
  ((X, MEAN, L), {"event_ndim": 0}, ValueError, "event_ndim must be at least 1"),
]


def scipy_log_prob(x, mean, factor):
  factor = np.tril(factor)
  return np.array(
    [stats.multivariate_normal(m, f @ f.T).logpdf(y) for y, m, f in zip(x, mean, factor)]
  )


def test_log_prob():
  check_kernel(
    battery.jit(gaussian_full.log_prob),
    (X, MEAN, DIRTY),
    oracle=scipy_log_prob,
    extreme=[(X, MEAN, scaled) for scaled in SCALED],
    bad_inputs=BAD,
  )


def test_one_factor_for_all_rows_and_samples():
  x = RNG.standard_normal((2, B, D))
  shared = gaussian_full.log_prob(x, MEAN, L[0])
  expected = [scipy_log_prob(points, MEAN, np.broadcast_to(L[0], L.shape)) for points in x]
  np.testing.assert_allclose(shared, expected, rtol=1e-5)
  summed = gaussian_full.log_prob(x, MEAN, L[0], event_ndim=2)
  np.testing.assert_allclose(summed, np.sum(expected, 1), rtol=1e-5)


def test_kl():
  def oracle(mean_q, l_q, mean_p, l_p):
    out = []
    for m, q, n, p in zip(mean_q, l_q @ l_q.swapaxes(1, 2), mean_p, l_p @ l_p.swapaxes(1, 2)):
      inverse = np.linalg.inv(p)
      log_dets = np.log(np.linalg.det(p) / np.linalg.det(q))
      out.append(0.5 * (np.trace(inverse @ q) + (n - m) @ inverse @ (n - m) - D + log_dets))
    return np.array(out)

  check_kernel(
    battery.jit(gaussian_full.kl),
    (MEAN, L, MEAN_P, L_P),
    oracle=oracle,
    extreme=[(MEAN, scaled, MEAN_P, scaled) for scaled in SCALED],
    bad_inputs=[
      ((MEAN, L, MEAN_P, L_P[:4]), {}, ValueError, "scale_tril_p must have equal shapes")
    ],
  )


def test_entropy_and_mean():
  expected = [stats.multivariate_normal(m, f @ f.T).entropy() for m, f in zip(MEAN, L)]
  np.testing.assert_allclose(gaussian_full.entropy(MEAN, DIRTY), expected, rtol=1e-5)
  np.testing.assert_array_equal(gaussian_full.mean(MEAN, L), MEAN.astype(np.float32))


def test_samples_and_their_gradient():
  mean, factor = jnp.tile(jnp.float32(MEAN[0]), (20_000, 1)), jnp.float32(L[0])

  def moments(mean, factor):
    x = gaussian_full.sample(jax.random.key(1), mean, factor, num_samples=2)
    return jnp.square(x).sum() / (2 * len(mean)), x

  (d_mean, d_factor), x = jax.jit(jax.grad(moments, (0, 1), has_aux=True))(mean, factor)
  flat = np.reshape(x, (-1, D))
  np.testing.assert_allclose(flat.mean(0), MEAN[0], atol=0.05)
  np.testing.assert_allclose(np.cov(flat.T), L[0] @ L[0].T, atol=0.12)
  # E|z|^2 = |m|^2 + |L|^2.
  np.testing.assert_allclose(d_mean.sum(0), 2 * MEAN[0], atol=0.1)
  np.testing.assert_allclose(d_factor, 2 * L[0], atol=0.12)
  # A factor for every row is the one factor that they share.
  factors = jnp.tile(factor, (16, 1, 1))
  battery.check_rows(gaussian_full.sample, (mean[:16], factors), x[:, :16])


def test_factor_from_an_unconstrained_matrix():
  raw = RNG.standard_normal((B, D, D)).astype(np.float32)
  factor = gaussian_full.scale_tril_from(raw)
  np.testing.assert_allclose(
    np.diagonal(factor, axis1=1, axis2=2), np.exp(raw[:, range(D), range(D)]), rtol=1e-6
  )
  np.testing.assert_array_equal(np.tril(factor, -1), np.tril(raw, -1))
  assert not np.triu(factor, 1).any()
  slope = jax.grad(
    lambda a: gaussian_full.log_prob(X, MEAN, gaussian_full.scale_tril_from(a)).sum()
  )
  slope = jax.jit(slope)
  assert np.isfinite(slope(raw + 1e3 * np.triu(np.ones((D, D)), 1))).all()
