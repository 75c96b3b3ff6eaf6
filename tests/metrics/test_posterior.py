"""Active units against their definition."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel

from latentjax import metrics

RNG = np.random.default_rng(0)
SCALES = np.array([1.0, 0.3, 0.11, 0.09, 1e-3])
MEANS = RNG.standard_normal((24, 5))
MEANS = (MEANS - MEANS.mean(0)) / MEANS.std(0) * SCALES + [0, 5, -3, 2, 100]


def oracle(means, threshold=0.01):
  """Half the mean squared difference of all pairs."""
  variance = ((means[:, None] - means[None]) ** 2).mean((0, 1)) / 2
  mask = variance > threshold
  return variance, mask, mask.sum()


def test_active_units():
  check_kernel(
    metrics.active_units,
    (MEANS,),
    oracle=oracle,
    out_axes=None,
    atol=1e-5,
    extreme=[(1e4 * MEANS,), (0 * MEANS,), (1e15 * MEANS,)],
    bfloat16=False,  # would move the variances across the threshold
    bad_inputs=[
      ((MEANS.astype(int),), {}, TypeError, "means must be a floating point"),
      ((MEANS[0],), {}, ValueError, "means must have 2 axes"),
      ((MEANS[:0],), {}, ValueError, "means must not be empty"),
      ((MEANS,), {"threshold": -0.1}, ValueError, "threshold must be in"),
    ],
  )


def test_variances_decide():
  units = metrics.active_units(MEANS)
  np.testing.assert_allclose(units.variance[:4], SCALES[:4] ** 2, rtol=1e-3)
  assert units.mask.tolist() == [True, True, True, False, False]
  assert units.num_active == 3 and units.num_active.dtype == jnp.int32
  assert metrics.active_units(MEANS, threshold=0.05).num_active == 2


def test_linear_gaussian_posterior_means_have_the_explained_variance():
  """x = w z + noise: Var E[z|x] = 1 - Var[z|x], near 1 for a strong loading, 0 for none."""
  loadings = np.array([4.0, 0.5, 0.0])
  z, noise = RNG.standard_normal((2, 40_000, 3))
  gain = loadings / (loadings**2 + 1)
  units = jax.jit(metrics.active_units)((z * loadings + noise) * gain)
  np.testing.assert_allclose(units.variance, loadings**2 / (loadings**2 + 1), rtol=0.03, atol=1e-6)
  assert units.mask.tolist() == [True, True, False]
