"""The Wasserstein distance of diagonal Gaussians against that of general ones."""

import jax
import numpy as np
from contract import check_kernel
from scipy.linalg import sqrtm

from latentjax.losses.elbo import w2_gaussian

B, Z = 8, 3
RNG = np.random.default_rng(0)
ARGS = tuple(scale * RNG.standard_normal((B, Z)) for scale in (1.0, 0.5, 1.0, 0.5))


def oracle(mean_a, log_scale_a, mean_b, log_scale_b):
  """With matrix square roots, as for full covariances."""
  result = []
  for m_a, l_a, m_b, l_b in zip(mean_a, log_scale_a, mean_b, log_scale_b):
    cov_a, cov_b = np.diag(np.exp(2 * l_a)), np.diag(np.exp(2 * l_b))
    root = sqrtm(cov_b)
    cross = np.real(sqrtm(root @ cov_a @ root))
    result.append(np.sum((m_a - m_b) ** 2) + np.trace(cov_a + cov_b - 2 * cross))
  return np.sqrt(result)


def test_w2_gaussian():
  a, log_a, b, log_b = ARGS
  check_kernel(
    w2_gaussian,
    ARGS,
    oracle=oracle,
    extreme=[
      (a, log_a, a, log_a),
      (1e30 * a, log_a, b, log_b),
      (a, 0 * log_a + 40, b, 0 * log_b - 40),
      (1e-30 * a, 0 * log_a, 1e-30 * b, 0 * log_b),
    ],
    bad_inputs=[
      ((a.astype(int), log_a, b, log_b), {}, TypeError, "mean_a must be a floating point"),
      ((a[0], log_a, b, log_b), {}, ValueError, "mean_a must have 2 axes"),
      ((a, log_a[:, :1], b, log_b), {}, ValueError, "must have the same shape"),
    ],
  )


def test_equal_distributions_have_distance_and_gradient_zero():
  a, log_a, *_ = ARGS
  value, grad = jax.value_and_grad(lambda m: w2_gaussian(m, log_a, a, log_a).sum())(a)
  assert value == 0 and not np.any(grad)
