"""Spectral contrastive loss: a matrix factorisation of the graph of augmentations."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, wide_dtype
from latentjax.losses.contrastive._pairs import check_two_rows
from latentjax.losses.contrastive._views import mean_product

__all__ = ["spectral_contrastive_loss"]


def spectral_contrastive_loss(
  z_1: ArrayLike, z_2: ArrayLike, *, axis_name: str | None = None
) -> jax.Array:
  r"""Spectral contrastive loss of two views.

  .. math:: \ell_i = -2 z_{1,i}^\top z_{2,i}
    + \frac{1}{B - 1} \sum_{j \ne i} (z_{1,i}^\top z_{2,j})^2

  An unbiased estimate of -2 E[f(x) . f(x+)] + E[(f(x) . f(x'))^2], whose minimisers span the leading
  eigenvectors of the graph that joins views of the same example. Norms matter: embeddings are not
  to be normalised (the authors' code caps them). The squares are summed through the second moment
  of z_2, in memory (D, D): there is no (B, B) array.

  Args:
    z_1: embeddings of the first view, shape (B, D).
    z_2: those of the second view, shape (B, D).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Loss per example, shape (B,), float32 or wider. Gradient flows to both views, to the rows of every
    device.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or are not of rank 2, or there is one row.

  Example:
    >>> spectral_contrastive_loss(jnp.eye(2), jnp.eye(2)).tolist()
    [-2.0, -2.0]

  References:
    HaoChen et al., Provable Guarantees for Self-Supervised Deep Learning with Spectral Contrastive
      Loss, 2021. arXiv:2106.04156
  """
  check_alike(2, z_1=z_1, z_2=z_2)
  check_two_rows(axis_name, z_1=z_1)
  dtype = wide_dtype(z_1, z_2)
  z_1, z_2 = jnp.asarray(z_1, dtype), jnp.asarray(z_2, dtype)
  moment = mean_product(z_2, z_2, axis_name)
  size = z_1.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  positive = jnp.sum(z_1 * z_2, axis=1)
  squares = size * jnp.sum(jnp.matmul(z_1, moment, precision="highest") * z_1, axis=1)
  return -2 * positive + (squares - jnp.square(positive)) / (size - 1)
