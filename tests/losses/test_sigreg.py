"""The Epps-Pulley statistic against its closed form, and what its sketch says of distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel

from latentjax.losses.contrastive import epps_pulley, sigreg_loss

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 3)) @ np.diag([0.3, 1.0, 2.0]) + 0.5


def closed_form(x):
  """The integral over the whole line, pair by pair."""
  differences = x[:, None] - x
  return (
    len(x)
    * np.sqrt(2 * np.pi)
    * (
      np.mean(np.exp(-(differences**2) / 2), axis=(0, 1))
      - np.sqrt(2) * np.mean(np.exp(-(x**2) / 4), axis=0)
      + np.sqrt(1 / 3)
    )
  )


def test_statistic():
  weights = np.array([1.0, 2.0, 3.0], np.float32)
  check_kernel(
    lambda x, **run: jnp.sum(weights * epps_pulley(x, **run)),
    (X,),
    oracle=lambda x: np.sum(weights * closed_form(x)),
    batch_coupled=True,
    rtol=1e-4,
    atol=1e-5,
    extreme=[(1e4 * X,), (0 * X,)],
    bad_inputs=[
      ((X.astype(int),), {}, TypeError, "x must be a floating point"),
      ((X,), {"num_points": 1}, ValueError, "num_points must be at least 2"),
      ((X,), {"limit": 0.0}, ValueError, r"limit must be in \(0.0"),
    ],
  )


def test_sketch(key):
  np.testing.assert_allclose(  # in one dimension both directions give the statistic
    sigreg_loss(key, X[:, :1], num_slices=4), closed_form(X[:, 0]), rtol=1e-4
  )
  z = RNG.standard_normal((2000, 4)).astype(np.float32)
  # E T = integral of (1 - e^(-t^2)) e^(-t^2 / 2), of B samples of N(0, 1)
  expected = np.sqrt(2 * np.pi) * (1 - np.sqrt(1 / 3))
  others = [0 * z, 1.3 * z, z + 0.3, z * [1, 1, 1, 0], np.sign(z) * np.ones(4), z[:, :1] + 0 * z]
  values = jax.jit(jax.vmap(lambda z: sigreg_loss(key, z, num_slices=64)))(np.stack([z, *others]))
  assert values[0] < 3 * expected
  assert min(values[1:]) > 5 * values[0], values
  with pytest.raises(ValueError, match="z must have 2 axes"):
    sigreg_loss(key, jnp.ones(3))
