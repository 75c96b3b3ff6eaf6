"""Losses on moments and eigenvalues of a batch's embeddings, against numpy and on known spectra."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import linalg
from split import check_split

from latentjax.collectives import device_mean
from latentjax.losses.contrastive import (
  barlow_twins_loss,
  frossl_loss,
  koleo_loss,
  matryoshka,
  mmcr_loss,
  tico_loss,
  vicreg_loss,
  von_neumann_entropy,
  w_mse_loss,
)

B, D = 8, 3
RNG = np.random.default_rng(0)
Z_1 = RNG.standard_normal((B, D)) @ np.diag([0.5, 1.0, 2.0]) + 1
Z_2 = Z_1 + 0.3 * RNG.standard_normal((B, D))
COVARIANCE = np.cov(RNG.standard_normal((D, 9)))


def losses(z_1, z_2, axis_name=None):
  run = {"axis_name": axis_name}
  return {
    "barlow": barlow_twins_loss(z_1, z_2, lambda_offdiag=0.1, **run),
    "vicreg": vicreg_loss(z_1, z_2, **run),
  }


def oracle(z_1, z_2):
  dim = z_1.shape[1]
  pairs = [(i, j) for i in range(dim) for j in range(dim) if i != j]
  correlation = np.corrcoef(z_1.T, z_2.T)[:dim, dim:]
  variance_1, variance_2 = z_1.var(0), z_2.var(0)
  correlation *= np.sqrt(
    np.outer(variance_1 / (variance_1 + 1e-5), variance_2 / (variance_2 + 1e-5))
  )
  vicreg = 25 * np.mean((z_1 - z_2) ** 2)
  for z in (z_1, z_2):
    matrix = np.cov(z.T)
    vicreg += 25 * np.mean(np.maximum(0, 1 - np.sqrt(np.diag(matrix) + 1e-4))) / 2
    vicreg += sum(matrix[i, j] ** 2 for i, j in pairs) / dim
  return {
    "barlow": sum((1 - correlation[i, i]) ** 2 for i in range(dim))
    + 0.1 * sum(correlation[i, j] ** 2 for i, j in pairs),
    "vicreg": vicreg,
  }


def test_losses():
  args = (Z_1, Z_2)
  check_kernel(
    losses,
    args,
    oracle=oracle,
    batch_coupled=True,
    extreme=[(0 * Z_1 + 1, 0 * Z_2 + 1), (1e4 * Z_1, -1e4 * Z_2)],
    bad_inputs=[
      ((Z_1.astype(int), Z_2), {}, TypeError, "z_1 must be a floating point"),
      ((Z_1[0], Z_2[0]), {}, ValueError, "z_1 must have 2 axes"),
      ((Z_1, Z_2[:4]), {}, ValueError, "z_1 and z_2 must have the same shape"),
      ((Z_1[:1], Z_2[:1]), {}, ValueError, "must have at least 2 rows"),
    ],
  )


def test_further_statistics_over_devices():
  """The next covariance of TiCo, and entropy where rows are less than dimensions, among others."""
  covariance, shares = COVARIANCE, np.arange(9.0, dtype=np.float32).reshape(3, 3)

  def fn(z_1, z_2, axis_name):
    run, z = {"axis_name": axis_name}, jnp.stack([z_1, z_2])
    tico, following = tico_loss(*z, covariance, **run)
    mean = lambda values: device_mean(jnp.mean(values), axis_name)
    return {
      "frossl": frossl_loss(z, lambda_invariance=0.5, **run),
      "mmcr": mmcr_loss(z, lambda_local=0.1, **run),
      "koleo": mean(koleo_loss(z_1, block_size=1, **run)),
      "w_mse": mean(w_mse_loss(z_1, z_2, eps=0.1, **run)),
      "tico": mean(tico),
      "tico_next": jnp.sum(shares * following),
      "vne_tall": von_neumann_entropy(z_1, **run),
      "vne": von_neumann_entropy(jnp.concatenate([z_1, jnp.square(z_1), z_2], axis=1), **run),
    }

  def expected(z_1, z_2):
    unit = lambda z: z / linalg.norm(z, axis=-1, keepdims=True)
    u_1, u_2 = unit(z_1), unit(z_2)
    wide = unit(np.concatenate([z_1, z_1**2, z_2], axis=1))
    moments = [u.T @ u / B for u in (u_1, u_2)]
    tall = linalg.svdvals(u_1 / np.sqrt(B)) ** 2
    eigenvalues = linalg.eigvalsh(wide @ wide.T / B)
    factors = [linalg.cholesky(0.9 * np.cov(z.T) + 0.1 * np.eye(D), lower=True) for z in (z_1, z_2)]
    whitened = [
      unit((z - z.mean(0)) @ linalg.inv(factor).T) for z, factor in zip((z_1, z_2), factors)
    ]
    fixed = unit(Z_1)
    distances = linalg.norm(u_1[:, None] - u_1, axis=-1) + 9 * np.eye(B)
    return {
      "koleo": -np.mean(np.log(distances.min(1))),
      "frossl": sum(np.log(np.sum(moment**2)) for moment in moments)
      + 0.5 * np.mean(linalg.norm(u_1 - u_2, axis=1) ** 2) / 2,
      "mmcr": -linalg.svdvals((u_1 + u_2) / 2).sum()
      + 0.1 * np.mean([linalg.svdvals(np.stack(rows)).sum() for rows in zip(u_1, u_2)]),
      "w_mse": np.mean(linalg.norm(whitened[0] - whitened[1], axis=1) ** 2),
      "tico": np.mean(
        linalg.norm(u_1 - u_2, axis=1) ** 2 / 2
        + 20 * np.array([u @ (0.9 * covariance + 0.1 * moments[0]) @ u for u in u_1])
      ),
      "tico_next": np.sum(shares * (0.9 * covariance + 0.1 * fixed.T @ fixed / B)),  # detached
      "vne_tall": -np.sum(tall * np.log(tall)),
      "vne": -np.sum(eigenvalues * np.log(eigenvalues)),
    }

  check_split(fn, [Z_1, Z_2], expected)


def test_koleo_finds_the_neighbours_of_embeddings_that_have_nearly_collapsed():
  z = np.array([1.0, 0.0, 0.0]) + 1e-3 * np.random.default_rng(0).standard_normal((32, 3))
  z = (z / linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
  exact = z / linalg.norm(z.astype(float), axis=1, keepdims=True)
  distances = linalg.norm(exact[:, None] - exact, axis=-1) + 9 * np.eye(32)
  np.testing.assert_allclose(jax.jit(koleo_loss)(z), -np.log(distances.min(1)), atol=1e-3)


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(barlow_twins_loss, Z_1, Z_2, lambda_offdiag=-1.0), "lambda_offdiag must be in"),
    (partial(barlow_twins_loss, Z_1, Z_2, eps=0.0), "eps must be in"),
    (partial(vicreg_loss, Z_1, Z_2, lambda_variance=-1.0), "lambda_variance must be in"),
    (partial(w_mse_loss, Z_1, Z_2, eps=2.0), "eps must be in"),
    (partial(tico_loss, Z_1, Z_2, COVARIANCE[:2]), "covariance must have shape \\(3, 3\\)"),
    (partial(tico_loss, Z_1, Z_2, COVARIANCE, beta=2.0), "beta must be in"),
    (partial(tico_loss, Z_1, Z_2, COVARIANCE, rho=-1.0), "rho must be in"),
    (partial(von_neumann_entropy, Z_1[0]), "z must have 2 axes"),
    (partial(frossl_loss, Z_1), "z must have 3 axes"),
    (partial(frossl_loss, Z_1[None]), "with at least 2 views, got \\(1, 8, 3\\)"),
    (partial(mmcr_loss, Z_1[None]), "with at least 2 views"),
    (partial(koleo_loss, Z_1[:1]), "at least 2 rows"),
    (partial(koleo_loss, Z_1, block_size=0), "block_size must be a positive integer"),
    (partial(matryoshka, jnp.sum, []), "dims must have at least one"),
    (partial(matryoshka, jnp.sum, [2, 0]), "dims must be a positive integer"),
    (partial(matryoshka, jnp.sum, [2], weights=[1.0, 2.0]), "weights must be as many as dims"),
    (partial(matryoshka(jnp.sum, [4]), Z_1), "embeddings must have at least 4 dimensions"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_spectra_of_known_embeddings():
  """Isotropic, of rank 1, and equal: entropies log d, 0 and 0, and finite gradients."""

  @jax.jit
  def run(z):
    def total(z):
      views = jnp.stack([z, 3 * z])
      values = (von_neumann_entropy(z), frossl_loss(views), mmcr_loss(views), koleo_loss(z))
      values += (tico_loss(z, z, jnp.eye(4))[0], w_mse_loss(z, 2 * z))
      return sum(map(jnp.sum, values)), values

    return jax.grad(total, has_aux=True)(z)

  frame, line = linalg.hadamard(8)[:, :4], np.outer(np.arange(1, 9), [1, 2, 3, 4])
  for z, rank in ((frame, 4), (line, 1), (np.ones((8, 4)), 1)):
    for dtype in (np.float32, jnp.bfloat16):
      grad, (entropy, frossl, mmcr, *rest) = run(z.astype(dtype))
      np.testing.assert_allclose(entropy, np.log(rank), atol=1e-5)
      np.testing.assert_allclose(frossl, -2 * np.log(rank), atol=1e-5)
      np.testing.assert_allclose(mmcr, -np.sqrt(8 * rank), rtol=1e-5)
      assert np.isfinite(np.asarray(grad, np.float32)).all() and np.isfinite(rest).all()


def test_whitened_views_do_not_know_an_affine_map():
  mixed = Z_1 @ np.array([[2.0, 0, 0], [1, 1, 0], [0, 3, 1]]).T - 5  # lower triangular: same factor
  np.testing.assert_allclose(jax.jit(partial(w_mse_loss, eps=0.0))(Z_1, mixed), 0, atol=1e-5)


def test_matryoshka_sums_the_loss_of_unit_prefixes():
  loss = matryoshka(
    lambda a, b, scale: scale * jnp.sum(a * b, -1), [1, 3], weights=[2.0, 0.5], normalize=True
  )
  plain = matryoshka(lambda a, b: jnp.sum(a * b, -1), [2], normalize=False)
  value, unscaled = jax.jit(lambda a, b: (loss(a, b, scale=10.0), plain(a, b)))(Z_1, Z_2)
  cosine = [
    np.array([a @ b / np.sqrt(a @ a * (b @ b)) for a, b in zip(Z_1[:, :m], Z_2[:, :m])])
    for m in (1, 3)
  ]
  np.testing.assert_allclose(value, 10 * (2 * cosine[0] + 0.5 * cosine[1]), rtol=1e-5)
  np.testing.assert_allclose(unscaled, np.sum(Z_1[:, :2] * Z_2[:, :2], axis=1), rtol=1e-5)
