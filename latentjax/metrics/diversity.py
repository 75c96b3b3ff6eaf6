"""Vendi scores: how many different examples a set has, as far as a similarity can tell."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.losses.contrastive.eigenvalues import unit_eigenvalues

__all__ = ["kernel_vendi_score", "vendi_score"]


def vendi_score(z: ArrayLike, *, order: float = 1.0, axis_name: str | None = None) -> jax.Array:
  r"""Effective number of different examples, by the cosine similarity of their features.

  .. math::

    \exp\Big(\frac{1}{1 - q} \log \sum_i \lambda_i^q\Big), \qquad
    \lambda = \mathrm{eig}\Big(\frac1B \bar Z \bar Z^\top\Big), \qquad \bar z = z / \|z\|

  in the limit exp(-sum lambda log lambda) for q = 1, the Vendi score itself: e to the von Neumann entropy.
  Between 1, all rows parallel, and min(B, D), all orthogonal. It falls with q, which weighs what is
  common more: q = 0 is the rank, q = inf is 1 / max lambda. Eigenvalues of the size of rounding count as
  zero. Of a sample it is less than of the whole, the more so the smaller the sample.

  Args:
    z: features of any norm, shape (B, D).
    order: q, not negative; may be infinite.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. Devices
      exchange D x D numbers, or the rows where these are less.

  Returns:
    Score of the batch, a scalar, float32 or wider, the same on every device; NaN if a feature is not
    finite. Gradient flows to z, except along zero eigenvalues, and for q = 0.

  Raises:
    TypeError: if z is not floating point.
    ValueError: if z is not of rank 2, or order is negative.

  Example:
    >>> z = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 3.0], [4.0, 0.0]])
    >>> round(vendi_score(z).item(), 4)
    2.0

  References:
    Friedman and Dieng, The Vendi Score: A Diversity Evaluation Metric for Machine Learning, 2022.
      arXiv:2210.02410
    Pasarkar and Dieng, Cousins of the Vendi Score, 2023 (orders). arXiv:2310.12952
  """
  check_range(0.0, order=order)
  return _exp_entropy(unit_eigenvalues(z, axis_name), order)


def kernel_vendi_score(similarity: ArrayLike, *, order: float = 1.0) -> jax.Array:
  r"""Effective number of different examples, by any similarity.

  .. math:: \exp\Big(\frac{1}{1 - q} \log \sum_i \lambda_i^q\Big), \qquad \lambda = \mathrm{eig}(K / B)

  as `vendi_score`, whose similarity is that of the cosine.

  Args:
    similarity: K of all pairs, positive semidefinite, with ones on the diagonal, shape (B, B).
    order: q, not negative; may be infinite.

  Returns:
    Score of the batch, a scalar, float32 or wider; from 1, all alike, to B, all different; NaN if a
    similarity is. Gradient flows to the similarity, except along zero eigenvalues, and for q = 0.

  Raises:
    TypeError: if the similarity is not floating point.
    ValueError: if it is not a square matrix, or order is negative.

  Example:
    >>> round(kernel_vendi_score(jnp.eye(5)).item(), 4)
    5.0

  References:
    Friedman and Dieng, The Vendi Score: A Diversity Evaluation Metric for Machine Learning, 2022.
      arXiv:2210.02410
  """
  check_range(0.0, order=order)
  check_float(similarity=similarity)
  check_rank(2, similarity=similarity)
  shape = jnp.shape(similarity)
  if shape[0] != shape[1]:
    raise ValueError(f"similarity must be of shape (B, B), got {shape}")
  matrix = jnp.asarray(similarity, wide_dtype(similarity)) / shape[0]
  eigenvalues = jnp.linalg.eigvalsh(matrix)
  is_zero = eigenvalues <= 10 * jnp.finfo(matrix.dtype).eps
  return _exp_entropy(jnp.where(is_zero, 0, eigenvalues), order)


def _exp_entropy(eigenvalues: jax.Array, order: float) -> jax.Array:
  """e to the Renyi entropy of an order, of eigenvalues that are zero or well above."""
  if math.isinf(order):
    return 1 / jnp.max(eigenvalues)
  is_zero = eigenvalues <= 0
  safe = jnp.where(is_zero, 1, eigenvalues)
  if order == 1:
    return jnp.exp(-jnp.sum(safe * jnp.log(safe)))
  if abs(order - 1) < 0.1:  # as the eigenvalues' sum is 1: its rounding, over 1 - q, would count
    return jnp.exp(
      jnp.log1p(jnp.sum(eigenvalues * jnp.expm1((order - 1) * jnp.log(safe)))) / (1 - order)
    )
  log_powers = jnp.where(is_zero, -jnp.inf, order * jnp.log(safe))  # the powers may underflow
  return jnp.exp(jax.nn.logsumexp(log_powers) / (1 - order))
