"""Kinds of latents, and total correlations against samples and scipy's entropies."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from scipy import stats
from sklearn.metrics import mutual_info_score

from latentjax.metrics import (
  mean_sampled_correlations,
  mean_sampled_information,
  variable_types,
)

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


@pytest.fixture(scope="module")
def correlations():
  run = fast_jit(mean_sampled_correlations)
  return lambda where: run(np.float32(MEAN), np.float32(LOG_SCALE), where=where)


def test_masked_latents_do_not_count(correlations):
  some = np.array([True, False, True, True])
  expected = oracle(MEAN[:, some], LOG_SCALE[:, some])
  np.testing.assert_allclose(correlations(some), expected, atol=1e-4)
  np.testing.assert_allclose(correlations(np.arange(4) == 2), 0, atol=1e-5)


def test_sampled_is_that_of_samples(correlations):
  mean, log_scale = np.tile(MEAN, (5000, 1)), np.tile(LOG_SCALE, (5000, 1))
  z = mean + np.exp(log_scale) * RNG.standard_normal(mean.shape)
  expected = gaussian_tc(np.cov(z, rowvar=False))
  np.testing.assert_allclose(correlations(np.ones(Z, bool)).sampled, expected, rtol=0.05)


def test_variable_types():
  """Certain always; on half of the data; never; too wide; in between on all of it."""
  half = np.arange(40) < 20
  steady = lambda value: value + 0 * half
  scales = [steady(0.2), np.where(half, 0.1, 1.0), steady(0.99), steady(1.2), steady(0.7)]
  log_scale = np.log(np.stack(scales, axis=1))
  kinds = variable_types(log_scale)
  np.testing.assert_array_equal(kinds.active, [True, False, False, False, False])
  np.testing.assert_array_equal(kinds.mixed, [False, True, False, True, True])
  np.testing.assert_array_equal(kinds.passive, [False, False, True, False, False])
  split = jax.pmap(
    lambda s: variable_types(s, axis_name="devices"), "devices", devices=jax.devices()[:4]
  )(jnp.asarray(log_scale.reshape(4, 10, 5)))
  np.testing.assert_array_equal(split.mixed, np.tile(kinds.mixed, (4, 1)))
  for kwargs in ({"tolerance": 0.5}, {"max_variance": 0.0}):
    with pytest.raises(ValueError, match=f"{next(iter(kwargs))} must be in"):
      variable_types(log_scale, **kwargs)
  with pytest.raises(ValueError, match="log_scale must not be empty"):
    variable_types(log_scale[:0])


def test_mean_sampled_information(key):
  """The means against scikit-learn on histograms; samples against those of rows without a mean."""
  run = fast_jit(partial(mean_sampled_information, num_bins=6))
  mean = RNG.standard_normal((400, 3)) @ (np.eye(3) + 0.5 * np.eye(3, k=1))
  mean[:, 2] = mean[:, 0] ** 2  # a dependence without correlation
  bins = [np.digitize(z, np.histogram(z, 6)[1][:-1]) for z in mean.T]
  pairs = [(0, 1), (0, 2), (1, 2)]
  expected = [mutual_info_score(bins[i], bins[j]) for i, j in pairs]
  sharp = run(key, mean, np.full_like(mean, -20.0))
  np.testing.assert_allclose(sharp, np.mean(expected), rtol=1e-4)
  some = run(key, mean, np.full_like(mean, 5.0), where=np.array([True, False, True]))
  np.testing.assert_allclose(some.mean, expected[1], rtol=1e-4)
  assert float(some.sampled) < 3 * 25 / 800  # what the bins' bias leaves of independence
  assert np.isnan(run(key, mean, np.full_like(mean, np.nan)).sampled)
  per_device = [jnp.asarray(z.reshape(4, 100, 3)) for z in (mean, 0 * mean)]
  split = jax.pmap(
    lambda m, s: mean_sampled_information(key, m, s, num_bins=6, axis_name="devices"), "devices",
    devices=jax.devices()[:4],
  )(*per_device)  # fmt: skip
  np.testing.assert_allclose(split.sampled, float(run(key, mean, 0 * mean).sampled), rtol=1e-4)
  for args, kwargs, match in [
    ((mean, mean[:, :1]), {}, "must have the same shape"),
    ((mean[:5], mean[:5]), {}, "num_bins|bins"),
    ((mean, mean), {"where": np.ones(2)}, r"where must have shape \(3,\)"),
  ]:
    with pytest.raises(ValueError, match=match):
      mean_sampled_information(key, *args, **({"num_bins": 6} | kwargs))


def test_gradient_of_nearly_constant_latents():
  total = lambda mean, log_scale: sum(mean_sampled_correlations(mean, log_scale))
  run = fast_jit(jax.value_and_grad(total, argnums=(0, 1)))
  for scale in (1e-12, 1e-20, 1e-30, 1e-35, 1e25):
    value, grads = run(np.float32(scale * MEAN), np.float32(LOG_SCALE + np.log(scale)))
    assert value == pytest.approx(sum(oracle(MEAN, LOG_SCALE)), rel=1e-3), scale
    assert not any(np.isnan(grad).any() for grad in grads), scale
