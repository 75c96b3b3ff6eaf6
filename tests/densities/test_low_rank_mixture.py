"""Mixture of low-rank Gaussians against scipy's full Gaussians and the paper's form for subspaces."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import special, stats

from latentjax.densities import low_rank_mixture

B, K, D, R = 8, 3, 5, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D))
LOGITS = RNG.standard_normal(K)
MEAN, LOADINGS = RNG.standard_normal((K, D)), RNG.standard_normal((K, D, R))
ALPHA, SIGMA = RNG.uniform(0.3, 1, B), RNG.uniform(0.2, 1, B)
ARGS = (X, LOGITS, MEAN, LOADINGS, SIGMA)


def both(x_t, logits, mean, loadings, sigma):
  args, levels = (x_t, logits, mean, loadings), {"alpha": ALPHA.astype(x_t.dtype), "sigma": sigma}
  return low_rank_mixture.log_prob(*args, **levels), low_rank_mixture.denoise(*args, **levels)


def conditioned(x_t, logits, mean, loadings, sigma):
  """With full covariances, point by point."""
  rows = []
  for z, a, s in zip(x_t, ALPHA, sigma):
    inside = [f @ f.T for f in loadings]
    noisy = [a**2 * c + s**2 * np.eye(D) for c in inside]
    log_joint = special.log_softmax(logits) + [
      stats.multivariate_normal(a * m, c).logpdf(z) for m, c in zip(mean, noisy)
    ]
    weights = special.softmax(log_joint)
    means = [m + a * c @ np.linalg.solve(n, z - a * m) for m, c, n in zip(mean, inside, noisy)]
    rows.append((special.logsumexp(log_joint), weights @ np.array(means)))
  return tuple(map(np.stack, zip(*rows)))


def test_density_and_denoiser():
  far, sure = 1e3 * X, np.array([1e4, 0.0, -1e4])
  fine, pure = np.full(B, 1e-2), np.full(B, 40.0)
  check_kernel(
    jax.jit(both),
    ARGS,
    oracle=conditioned,
    batch_axes=(0, None, None, None, 0),
    extreme=[
      (far, *ARGS[1:]),
      (X, sure, *ARGS[2:]),
      (*ARGS[:4], fine),
      (*ARGS[:4], pure),
      (*ARGS[:3], 0 * LOADINGS, SIGMA),
    ],
    rtol=1e-4,
    atol=1e-5,
    bad_inputs=[
      ((X[:, :2], *ARGS[1:]), {}, ValueError, "x_t must have D = 5 numbers in a row"),
      ((X[0], *ARGS[1:]), {}, ValueError, "x_t must have 2 axes"),
      ((X, LOGITS[:2], *ARGS[2:]), {}, ValueError, "logits and mean must have shapes"),
      ((X, LOGITS, MEAN[:, :1], LOADINGS[:, :1], SIGMA), {}, ValueError, "with R <= D"),
      ((*ARGS[:4], SIGMA[:3]), {}, ValueError, r"sigma must have shape \(\) or \(8,\)"),
      ((X.astype(int), *ARGS[1:]), {}, TypeError, "x_t must be a floating point"),
    ],
  )
  with pytest.raises(ValueError, match="sigma must be in"):
    low_rank_mixture.denoise(X, LOGITS, MEAN, LOADINGS, sigma=0.0)


def test_subspaces_as_in_the_paper_and_the_score():
  frames = np.linalg.qr(RNG.standard_normal((K, D, R)))[0]
  alpha, sigma = 0.8, 0.3
  mean = jnp.zeros((K, D))
  run = lambda fn: partial(fn, logits=LOGITS, mean=mean, loadings=frames, alpha=alpha, sigma=sigma)
  with jax.enable_x64(True):
    denoised, found = jax.jit(
      lambda x: [run(fn)(x) for fn in (low_rank_mixture.denoise, low_rank_mixture.responsibilities)]
    )(X)
    score = jax.jit(jax.grad(lambda x: run(low_rank_mixture.log_prob)(x).sum()))(X)
  inside = np.einsum("kdr,bd->bkr", frames, X)
  scaled = alpha**2 * np.square(inside).sum(-1) / (2 * sigma**2 * (alpha**2 + sigma**2))
  weights = special.softmax(LOGITS + scaled, axis=1)
  expected = np.einsum("bk,kdr,bkr->bd", weights, frames, inside) * alpha / (alpha**2 + sigma**2)
  np.testing.assert_allclose(denoised, expected, rtol=1e-9)
  np.testing.assert_allclose(found, weights, rtol=1e-9)
  np.testing.assert_allclose(score, (alpha * expected - X) / sigma**2, rtol=1e-8)


def test_samples():
  draw = jax.jit(partial(low_rank_mixture.sample, num_samples=20_000))
  x = np.float64(draw(jax.random.key(0), LOGITS, MEAN, LOADINGS))
  # Every point lies in the plane of one component.
  out = [np.eye(D) - f @ np.linalg.pinv(f) for f in LOADINGS]
  away = np.stack([np.linalg.norm((x - m) @ o, axis=1) for m, o in zip(MEAN, out)])
  assert away.min(axis=0).max() < 1e-5
  share = special.softmax(LOGITS)
  chosen = away.argmin(axis=0)
  np.testing.assert_allclose(np.bincount(chosen) / len(x), share, atol=4 / np.sqrt(4 * len(x)))
  for k in range(K):
    np.testing.assert_allclose(x[chosen == k].mean(axis=0), MEAN[k], atol=0.1)
    np.testing.assert_allclose(np.cov(x[chosen == k].T), LOADINGS[k] @ LOADINGS[k].T, atol=0.25)
