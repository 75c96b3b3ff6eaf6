"""Denoising by subspaces against cubature over the noise, K-subspaces and principal components."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from scipy import linalg

from latentjax.losses.score import subspace_denoising_loss
from latentjax.metrics import subspace_affinity

B, K, D, R = 8, 3, 5, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D))
FRAMES = np.linalg.qr(RNG.standard_normal((K, D, R)))[0]
ALPHA, SIGMA = RNG.uniform(0.3, 1, B), RNG.uniform(0.2, 1, B)


def cubature(x, frames, alpha, sigma):
  """The network's own error, averaged over 2 D draws that are exact for squares of the noise."""
  nearest = np.square(np.einsum("kdr,bd->bkr", frames, x)).sum(-1).argmax(1)
  noise = np.sqrt(D) * np.concatenate([np.eye(D), -np.eye(D)])
  losses = []
  for row, k, a, s in zip(x, nearest, alpha, sigma):
    denoised = a / (a**2 + s**2) * (a * row + s * noise) @ frames[k] @ frames[k].T
    losses.append(np.square(denoised - row).sum(1).mean())
  return np.array(losses)


def test_subspace_denoising_loss():
  check_kernel(
    lambda x, frames, alpha, sigma: subspace_denoising_loss(x, frames, alpha=alpha, sigma=sigma),
    (X, FRAMES, ALPHA, SIGMA),
    oracle=cubature,
    batch_axes=(0, None, 0, 0),
    extreme=[(1e4 * X, FRAMES, ALPHA, 1e-6 * SIGMA), (0 * X, FRAMES, 1e-6 * ALPHA, 40 * SIGMA)],
    bad_inputs=[
      ((X[:, :2], FRAMES, ALPHA, SIGMA), {}, ValueError, "x must have D = 5 numbers"),
      ((X, FRAMES[0], ALPHA, SIGMA), {}, ValueError, "frames must have 3 axes"),
      ((X, FRAMES, ALPHA[:2], SIGMA), {}, ValueError, r"alpha must have shape \(\) or \(8,\)"),
      ((X.astype(int), FRAMES, ALPHA, SIGMA), {}, TypeError, "x must be a floating"),
    ],
  )


def test_little_noise_keeps_its_digits():
  """On a subspace what is left is the noise inside it, rho (1 - rho) R, and the shrinkage."""
  on_line = np.float32([[3.0, 0.0]])
  loss = subspace_denoising_loss(on_line, np.eye(2, dtype="f")[:, :, None], alpha=1.0, sigma=1e-4)
  rest = 1e-8 / (1 + 1e-8)
  np.testing.assert_allclose(loss, [9 * rest**2 + (1 - rest) * rest], rtol=1e-5)


def test_one_subspace_is_that_of_the_principal_components():
  """At any time the gradient along the sphere vanishes there, and any other subspace costs more."""
  x = RNG.standard_normal((64, D)) * np.arange(1, D + 1)
  best = np.linalg.svd(x, full_matrices=False)[2][:R].T[None]
  mean = jax.jit(lambda u: jnp.mean(subspace_denoising_loss(x, u, alpha=0.6, sigma=0.5)))
  with jax.enable_x64(True):
    slope = np.asarray(jax.jit(jax.grad(mean))(best))[0]
    least = float(mean(best))
    others = [float(mean(np.linalg.qr(RNG.standard_normal((1, D, R)))[0])) for _ in range(5)]
  tangent = slope - best[0] @ (best[0].T @ slope)
  assert np.abs(tangent).max() < 1e-8 * np.abs(slope).max()
  assert min(others) > least


def test_subspace_affinity():
  a, b = (np.linalg.qr(RNG.standard_normal((B, D, r)))[0] for r in (2, 3))
  cosines = lambda u, v: np.cos(linalg.subspace_angles(u, v))
  check_kernel(
    subspace_affinity,
    (a, b),
    oracle=lambda a, b: np.array([np.sqrt(np.mean(cosines(*p) ** 2)) for p in zip(a, b)]),
    extreme=[(0 * a, b), (1e-20 * a, b)],
    bad_inputs=[
      ((a, b[:, :2]), {}, ValueError, r"must have shapes \(..., D, R\)"),
      ((a.astype(int), b), {}, TypeError, "frames_a must be a floating"),
    ],
  )
