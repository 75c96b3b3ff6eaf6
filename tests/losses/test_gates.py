"""Noisy gates: their cost against the best prior found numerically, their moments, what is pruned."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from scipy import optimize

from latentjax.losses.information import gate_kl, gate_mask, vib_gate

D = 8
RNG = np.random.default_rng(0)
MEAN, LOG_SCALE = RNG.standard_normal(D), 0.5 * RNG.standard_normal(D)
H = RNG.standard_normal((8, 2, D))


def best_prior(mean, log_scale):
  """KL(N(m, s^2) || N(0, v)) at the best v, unit by unit."""

  def kl(log_v, m, s):
    return 0.5 * (log_v - 2 * np.log(s) + (s**2 + m**2) / np.exp(log_v) - 1)

  pairs = zip(mean, np.exp(log_scale))
  return np.array([optimize.minimize_scalar(kl, args=pair).fun for pair in pairs])


def test_kl_is_that_of_the_best_prior():
  args = (MEAN, LOG_SCALE)
  check_kernel(
    gate_kl,
    args,
    oracle=best_prior,
    rtol=1e-4,
    extreme=[(0 * MEAN, LOG_SCALE), (1e4 * MEAN, 0 * MEAN - 40), (1e-30 * MEAN, 0 * MEAN + 40)],
    bad_inputs=[
      ((MEAN.astype(int), LOG_SCALE), {}, TypeError, "mean must be a floating point"),
      ((MEAN[None], LOG_SCALE), {}, ValueError, "mean must have 1 axes"),
      ((MEAN, LOG_SCALE[:2]), {}, ValueError, "must have the same shape"),
    ],
  )


def test_gate():
  check_kernel(
    vib_gate,
    (H, MEAN, LOG_SCALE),
    key=jax.random.key(0),
    batch_axes=(0, None, None),
    batch_coupled=True,
    bad_inputs=[
      ((H.astype(int), MEAN, LOG_SCALE), {}, TypeError, "h must be a floating point"),
      ((H[..., :3], MEAN, LOG_SCALE), {}, ValueError, "h must have shape \\(B, ..., 8\\)"),
      ((H, MEAN, LOG_SCALE[:2]), {}, ValueError, "must have the same shape"),
    ],
  )


def test_moments_and_sharing_and_mask():
  @jax.jit
  def run(mean, log_scale):
    gates = vib_gate(jax.random.key(1), jnp.ones((20_000, 2, D)), mean, log_scale)
    return gates, gate_mask(mean, log_scale, log_threshold=1.0), gate_mask(0 * mean, log_scale)

  gates, kept, noise = map(np.asarray, run(MEAN, LOG_SCALE))
  np.testing.assert_array_equal(gates[:, 0], gates[:, 1])
  errors = 5 * np.exp(LOG_SCALE) / np.sqrt(20_000)
  assert (np.abs(gates[:, 0].mean(0) - MEAN) < errors).all()
  np.testing.assert_allclose(gates[:, 0].std(0), np.exp(LOG_SCALE), rtol=0.03)
  np.testing.assert_array_equal(kept, np.exp(LOG_SCALE) ** 2 < np.e * MEAN**2)
  assert 0 < kept.sum() < D and not noise.any()
