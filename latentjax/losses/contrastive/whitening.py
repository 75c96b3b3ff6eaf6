"""Losses of embeddings that are whitened, or pushed out of their most used directions (W-MSE, TiCo)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, wide_dtype
from latentjax.collectives import device_mean
from latentjax.losses.contrastive._pairs import check_two_rows
from latentjax.losses.contrastive._views import as_view_pair, mean_product
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["tico_loss", "w_mse_loss"]


def w_mse_loss(
  z_1: ArrayLike, z_2: ArrayLike, *, eps: float = 1e-4, axis_name: str | None = None
) -> jax.Array:
  r"""Distance of the views after each has been whitened over the batch (W-MSE).

  .. math::

    2 - 2 \cos(w^{(1)}_b, w^{(2)}_b), \qquad w = L^{-1} (z - \mathrm{mean}_b z), \qquad
    L L^\top = (1 - \epsilon) \, \mathrm{Cov}_b[z] + \epsilon I

  with the Cholesky factor of the covariance matrix, of divisor B - 1. Whitening keeps the embeddings
  scattered, so nothing else does. It wants B well above D: the paper whitens parts of the batch, 2 D
  rows each, and averages over random partitions; `jax.vmap` over parts does that. Deviation: the
  authors' eps is 0 by default, with which embeddings of less than full rank have no factor.

  Args:
    z_1: embeddings of the first view, shape (B, D).
    z_2: those of the second, shape (B, D).
    eps: share of the identity in the covariance, in [0, 1].
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. The
      statistics are those of all rows; devices exchange D x D numbers.

  Returns:
    Loss per example in [0, 4], shape (B,), float32 or wider. Gradient flows to both arguments, from
    every example to every row, through the whitening. Embeddings of less than full rank and of
    variances above about 1e6 eps have no factor in float32, and NaN for a loss.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not of rank 2, the batch has a single row, or eps is not
      in [0, 1].

  Example:
    >>> z = jnp.array([[1.0], [2.0], [6.0]])
    >>> [round(value, 3) for value in w_mse_loss(z, 5.0 - z, eps=0.0).tolist()]  # opposites
    [4.0, 4.0, 4.0]

  References:
    Ermolov et al., Whitening for Self-Supervised Representation Learning, 2021. arXiv:2007.06346
  """
  z_1, z_2 = as_view_pair(z_1=z_1, z_2=z_2)
  check_two_rows(axis_name, z_1=z_1)
  check_range(0.0, 1.0, eps=eps)
  w_1, w_2 = (l2_normalize(_whitened(z, eps, axis_name)) for z in (z_1, z_2))
  return 2 - 2 * jnp.sum(w_1 * w_2, axis=1)


def tico_loss(
  z_1: ArrayLike,
  z_2: ArrayLike,
  covariance: ArrayLike,
  *,
  beta: ArrayLike = 0.9,
  rho: ArrayLike = 20.0,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Agreement of the views, away from the directions that past batches used (TiCo).

  .. math::

    1 - \bar z^{(1)}_b \cdot \bar z^{(2)}_b + \rho \, \bar z^{(1)\top}_b C_t \, \bar z^{(1)}_b, \qquad
    C_t = \beta C_{t - 1} + (1 - \beta) \frac1B \sum_b \bar z^{(1)}_b \bar z^{(1)\top}_b, \qquad
    \bar z = z / \|z\|

  The moving average stands for a memory of unlimited size. z_2 comes from a momentum encoder in the
  paper.

  Args:
    z_1: embeddings of the first view, of any norm, shape (B, D).
    z_2: those of the second, shape (B, D).
    covariance: C of the step before, shape (D, D); zeros at first.
    beta: share that C keeps, in [0, 1]. Can be traced.
    rho: weight of the penalty, at least 0. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    (loss per example, shape (B,); the next C, shape (D, D), the same on every device), float32 or
    wider. Gradient flows to both embeddings, also through the batch's share of C; the given C and
    the next are detached.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit, beta is not in [0, 1] or rho is negative.

  Example:
    >>> z = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> loss, covariance = tico_loss(z, z, 0 * z, beta=0.5)
    >>> loss.tolist(), covariance.tolist()  # 20 / 2 / 2
    ([5.0, 5.0], [[0.25, 0.0], [0.0, 0.25]])

  References:
    Zhu et al., TiCo: Transformation Invariance and Covariance Contrast for Self-Supervised Visual
      Representation Learning, 2022. arXiv:2206.10698
  """
  check_float(covariance=covariance)
  z_1, z_2 = map(l2_normalize, as_view_pair(z_1=z_1, z_2=z_2))
  dim = z_1.shape[1]
  if jnp.shape(covariance) != (dim, dim):
    raise ValueError(f"covariance must have shape {(dim, dim)}, got {jnp.shape(covariance)}")
  check_range(0.0, 1.0, beta=beta)
  check_range(low=0.0, rho=rho)
  dtype = wide_dtype(z_1, covariance)
  beta, rho = jnp.asarray(beta, dtype), jnp.asarray(rho, dtype)
  kept = beta * jax.lax.stop_gradient(jnp.asarray(covariance, dtype))
  covariance = kept + (1 - beta) * mean_product(z_1, z_1, axis_name)
  used = jnp.sum(jnp.matmul(z_1, covariance, precision="highest") * z_1, axis=1)
  return 1 - jnp.sum(z_1 * z_2, axis=1) + rho * used, jax.lax.stop_gradient(covariance)


def _whitened(z: jax.Array, eps: float, axis_name: str | None) -> jax.Array:
  batch_size = z.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  centred = z - device_mean(jnp.mean(z, axis=0), axis_name)
  covariance = mean_product(centred, centred, axis_name) * (batch_size / (batch_size - 1))
  shrunk = (1 - eps) * covariance + eps * jnp.eye(z.shape[1], dtype=z.dtype)
  factor = jnp.linalg.cholesky(shrunk)
  return jax.scipy.linalg.solve_triangular(factor, centred.T, lower=True).T
