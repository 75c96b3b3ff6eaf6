"""Kinds of latents, and total correlations against samples and scipy's entropies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.metrics import mean_sampled_correlations, variable_types

N, Z = 16, 4
RNG = np.random.default_rng(0)
MEAN = RNG.standard_normal((N, Z)) @ (np.eye(Z) + 0.3 * RNG.standard_normal((Z, Z)))
LOG_SCALE = 0.5 * RNG.standard_normal((N, Z)) - 0.5


def gaussian_tc(covariance):
  """Sum of the marginals' entropies minus the joint one."""
  marginals = sum(stats.norm(scale=np.sqrt(v)).entropy() for v in np.diag(covariance))
  return marginals - stats.multivariate_normal(cov=covariance).entropy()


def oracle(mean, log_scale, **_):
  covariance = np.cov(mean, rowvar=False, bias=True)
  noise = np.diag(np.mean(np.exp(2 * log_scale), axis=0))
  return gaussian_tc(covariance), gaussian_tc(covariance + noise)


def test_mean_sampled_correlations():
  check_kernel(
    mean_sampled_correlations,
    (MEAN, LOG_SCALE),
    oracle=oracle,
    batch_coupled=True,
    rtol=1e-4,
    atol=1e-4,
    extreme=[(0 * MEAN, LOG_SCALE), (1e10 * MEAN, LOG_SCALE), (MEAN, 0 * LOG_SCALE + 20)],
    bad_inputs=[
      ((MEAN.astype(int), LOG_SCALE), {}, TypeError, "mean must be a floating point"),
      ((MEAN, LOG_SCALE[:, :1]), {}, ValueError, "mean and log_scale must have the same shape"),
      ((MEAN[0], LOG_SCALE[0]), {}, ValueError, "mean must have 2 axes"),
      ((MEAN, LOG_SCALE), {"where": np.ones(3)}, ValueError, r"where must have shape \(4,\)"),
    ],
  )


def test_masked_latents_do_not_count():
  some = np.array([True, False, True, True])
  masked = mean_sampled_correlations(MEAN, LOG_SCALE, where=some)
  np.testing.assert_allclose(masked, oracle(MEAN[:, some], LOG_SCALE[:, some]), atol=1e-4)
  alone = mean_sampled_correlations(MEAN, LOG_SCALE, where=np.arange(4) == 2)
  np.testing.assert_allclose(alone, 0, atol=1e-5)


def test_sampled_is_that_of_samples():
  mean, log_scale = np.tile(MEAN, (5000, 1)), np.tile(LOG_SCALE, (5000, 1))
  z = mean + np.exp(log_scale) * RNG.standard_normal(mean.shape)
  expected = gaussian_tc(np.cov(z, rowvar=False))
  np.testing.assert_allclose(
    mean_sampled_correlations(MEAN, LOG_SCALE).sampled, expected, rtol=0.05
  )


def test_variable_types():
  """Informative always; on half of the data; never, but with a mean that moves a little; too wide."""
  half = np.arange(40) < 20
  mean = np.stack([np.linspace(-2, 2, 40), 2.0 * half, 0.05 * half, 1.0 + 0 * half], axis=1)
  scale = np.stack([0.2 + 0 * half, np.where(half, 0.1, 1.0), 0.99 + 0 * half, 1 + 0 * half], 1)
  kinds = variable_types(mean, np.log(scale))
  np.testing.assert_array_equal(kinds.active, [True, False, False, True])
  np.testing.assert_array_equal(kinds.mixed, [False, True, False, False])
  np.testing.assert_array_equal(kinds.passive, [False, False, True, False])
  per_device = jnp.asarray(np.stack([mean, np.log(scale)]).reshape(2, 4, 10, 4))
  split = jax.pmap(
    lambda m, s: variable_types(m, s, axis_name="devices"), "devices", devices=jax.devices()[:4]
  )(*per_device)
  np.testing.assert_array_equal(split.mixed, np.tile(kinds.mixed, (4, 1)))
  for kwargs in ({"tolerance": 1.0}, {"share": 0.5}):
    with pytest.raises(ValueError, match=f"{next(iter(kwargs))} must be in"):
      variable_types(mean, np.log(scale), **kwargs)
