"""Closed-form spectra against numerical minimisation of the objective along one direction."""

import numpy as np
import pytest
from contract import check_kernel
from scipy import optimize

from latentjax.losses.elbo import (
  conditional_covariance,
  linear_hvae_spectrum,
  linear_vae_spectrum,
)

EIGENVALUES = np.array([9.0, 4.1, 2.3, 1.0, 0.7, 0.33, 0.1, 0.02])
RNG = np.random.default_rng(0)


def kl(gain, scale, variance):
  """Mean KL(N(gain * x, scale^2) || N(0, 1)) for x of that variance."""
  return 0.5 * (gain**2 * variance + scale**2 - 1 - 2 * np.log(scale))


def minimise(cost, *starts):
  """The lowest of several local minima."""
  tight = {"xatol": 1e-9, "fatol": 1e-15, "maxiter": 20_000, "maxfev": 20_000}
  found = [optimize.minimize(cost, x0, method="Nelder-Mead", options=tight) for x0 in starts]
  return np.abs(min(found, key=lambda f: f.fun).x)


def vae_oracle(eigenvalues, beta=1.0, noise_scale=1.0, encoder_scale=None):
  def solve(lam):
    def cost(p):
      scale = np.exp(p[2]) if encoder_scale is None else encoder_scale
      missed = lam * (1 - p[0] * p[1]) ** 2 + (p[0] * scale) ** 2
      return missed / (2 * noise_scale**2) + beta * kl(p[1], scale, lam)

    return minimise(cost, [1.0, 0.5, -0.5], [0.1, 0.1, 0.0])[0]

  return np.array([solve(lam) for lam in eigenvalues])


@pytest.mark.parametrize(
  "kwargs", [{"beta": 0.8, "noise_scale": 0.9}, {"beta": 1.5, "encoder_scale": 0.6}]
)
def test_linear_vae_spectrum(kwargs):
  check_kernel(
    linear_vae_spectrum,
    (EIGENVALUES,),
    kwargs=kwargs,
    oracle=vae_oracle,
    rtol=1e-4,
    atol=2e-3,
    extreme=[(0 * EIGENVALUES,), (1e30 * EIGENVALUES,)],
    bad_inputs=[
      ((EIGENVALUES.astype(int),), {}, TypeError, "eigenvalues must be a floating point"),
      ((EIGENVALUES,), {"beta": 0.0}, ValueError, "beta must be in"),
      ((EIGENVALUES,), {"encoder_scale": -1.0}, ValueError, "encoder_scale must be in"),
    ],
  )


def hvae_oracle(eigenvalues, encoder_scale, beta, beta_top, noise_scale, prior_scale):
  s = encoder_scale

  def solve(lam):
    def cost(p):
      gain, bottom, top, top_gain, top_scale = *p[:4], np.exp(p[4])
      variance = lam * gain**2 + s**2
      missed = lam * (1 - bottom * gain) ** 2 + (bottom * s) ** 2
      above = variance * (1 - top * top_gain) ** 2 + (top * top_scale) ** 2
      lower_kl = above / (2 * prior_scale**2) + np.log(prior_scale / s) - 0.5
      upper_kl = kl(top_gain, top_scale, variance)
      return missed / (2 * noise_scale**2) + beta * lower_kl + beta_top * upper_kl

    starts = ([1.0, 0.5, 1.0, 0.5, -0.5], [0.3, 0.3, 0.1, 0.1, 0.0])
    return minimise(lambda p: cost(p), *starts)[1:3]

  return tuple(np.array([solve(lam) for lam in eigenvalues]).T)


def test_linear_hvae_spectrum():
  settings = {"beta": 0.9, "beta_top": 0.7, "noise_scale": 0.8, "prior_scale": 0.9}
  check_kernel(
    linear_hvae_spectrum,
    (EIGENVALUES,),
    kwargs=settings | {"encoder_scale": 0.5},
    oracle=hvae_oracle,
    rtol=1e-3,
    atol=5e-3,
    extreme=[(0 * EIGENVALUES,), (1e10 * EIGENVALUES,)],
    bad_inputs=[
      ((EIGENVALUES.astype(int),), {}, TypeError, "eigenvalues must be a floating point"),
      ((EIGENVALUES,), {"prior_scale": 0.0}, ValueError, "prior_scale must be in"),
    ],
  )
  bottom, top = linear_hvae_spectrum(EIGENVALUES, encoder_scale=0.5, **settings)
  survives = EIGENVALUES > (0.7 * 0.8 * 0.9 / 0.5) ** 2 / 0.9
  np.testing.assert_array_equal(top > 0, survives)
  assert 0 < survives.sum() < (np.asarray(bottom) > 0).sum() < len(EIGENVALUES)


def test_conditional_covariance():
  mixed = RNG.standard_normal((200, 11))
  joint = np.cov(mixed @ RNG.standard_normal((11, 11)), rowvar=False)
  yy, yx, xx = joint[:8, :8], joint[:8, 8:], joint[8:, 8:]
  check_kernel(
    conditional_covariance,
    (yy, yx, xx),
    # The inverse of the block of the joint precision.
    oracle=lambda *_: np.linalg.inv(np.linalg.inv(joint)[:8, :8]),
    batch_axes=(0, 0, None),
    bfloat16=False,
    rtol=1e-3,
    atol=1e-3,
    bad_inputs=[
      ((yy, yx.T, xx), {}, ValueError, "must have shapes \\(D, D\\), \\(D, C\\) and \\(C, C\\)"),
      ((yy, yx[0], xx), {}, ValueError, "cov_yx must have 2 axes"),
      ((yy, yx, xx), {"ridge": -1.0}, ValueError, "ridge must be in"),
    ],
  )
