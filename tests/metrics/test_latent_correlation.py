"""Total and Wasserstein correlation against scipy's entropies and matrix root."""

import jax
import numpy as np
from contract import check_kernel, fast_jit
from scipy import linalg, stats

from latentjax.metrics import gaussian_total_correlation, gaussian_wasserstein_correlation

RNG = np.random.default_rng(0)
CODES = RNG.standard_normal((16, 3)) @ (np.eye(3) + 0.5 * RNG.standard_normal((3, 3))) + 2
BAD = [
  ((CODES.astype(int),), {}, TypeError, "codes must be a floating point"),
  ((CODES[0],), {}, ValueError, "codes must have 2 axes"),
  ((CODES[:1],), {}, ValueError, "codes must have at least two rows"),
]


def total_correlation(codes, **_):
  covariance = np.cov(codes, rowvar=False)
  marginals = sum(stats.norm(scale=np.sqrt(v)).entropy() for v in np.diag(covariance))
  return marginals - stats.multivariate_normal(cov=covariance).entropy()


def wasserstein(codes, **_):
  """Of the closed form for two normal distributions, by scipy's root of a product that is not symmetric."""
  covariance = np.cov(codes, rowvar=False)
  product = np.diag(np.diag(covariance)) @ covariance
  return 2 * np.trace(covariance) - 2 * np.trace(linalg.sqrtm(product)).real


def test_gaussian_total_correlation():
  check_kernel(
    gaussian_total_correlation,
    (CODES,),
    oracle=total_correlation,
    kwargs={"ridge": 0.0},
    batch_coupled=True,
    rtol=1e-4,
    bfloat16=False,  # rounding is not small against what correlates
    bad_inputs=[*BAD, ((CODES,), {"ridge": -1.0}, ValueError, "ridge must be in")],
  )


def test_gaussian_wasserstein_correlation():
  check_kernel(
    gaussian_wasserstein_correlation,
    (CODES,),
    oracle=wasserstein,
    detached=[0],
    batch_coupled=True,
    rtol=1e-4,
    extreme=[(0 * CODES,), (1e10 * CODES,), (CODES[:, :1] * [1, 1, 0],)],
    bad_inputs=BAD,
  )


def test_codes_whose_scores_are_known():
  run = fast_jit(
    jax.vmap(
      lambda z: (
        gaussian_total_correlation(z),
        gaussian_wasserstein_correlation(z, normalize=True),
      )
    )
  )
  plain = np.tile([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], (25, 1))
  some = np.tile(CODES, (7, 1))[:100]
  total, distance = run(
    np.float32([
      plain,
      plain * [1, 1, 0.01],
      plain * [1, 0, 0] + [0.3, 0.1, -0.7],
      0 * plain + [0.3, 0.1, -0.7],
      plain[:, [0, 0, 2]] * [1, 1, 0],
      some,
      some * [1, -30, 0.1],
      9 * some,
    ])
  )  # fmt: skip
  # Nothing is correlated: not what varies little, nor constants, whose means are rounded.
  np.testing.assert_allclose([total[:4], distance[:4]], 0, atol=5e-6)
  # One of two determines the other; the dead third does not count.
  np.testing.assert_allclose(total[4], -0.5 * np.log(2e-6), rtol=0.02)
  np.testing.assert_allclose(distance[4], 2 - np.sqrt(2), rtol=1e-5)
  # Scale: of each latent to the one, of all to the other.
  np.testing.assert_allclose(total[6], total[5], rtol=1e-3)
  np.testing.assert_allclose(distance[7], distance[5], rtol=1e-4)
