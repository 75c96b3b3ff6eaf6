"""What a contrastive loss does to the sphere: views come together, examples spread out."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_float,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows
from latentjax.losses.contrastive._pairs import check_two_rows, log_potentials

__all__ = ["alignment", "cross_uniformity", "uniformity"]


def alignment(z_1: ArrayLike, z_2: ArrayLike, *, alpha: float = 2.0) -> jax.Array:
  r"""Distance of two views of an example, to a power; to be minimised.

  .. math:: \ell_i = \| z_{1,i} - z_{2,i} \|_2^\alpha

  Args:
    z_1: embeddings of the first view, of norm 1 (see `l2_normalize`), shape (B, D).
    z_2: those of the second view, shape (B, D).
    alpha: exponent, positive.

  Returns:
    Loss per example, shape (B,), float32 or wider; in [0, 2^alpha] on the sphere. Gradient flows to
    both views; it is 0 where they are equal.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or are not of rank 2, or alpha is not positive.

  Example:
    >>> alignment(jnp.eye(2), -jnp.eye(2)).tolist()
    [4.0, 4.0]

  References:
    Wang & Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity
      on the Hypersphere, 2020. arXiv:2005.10242
  """
  check_alike(2, z_1=z_1, z_2=z_2)
  check_range(0.0, strict=True, alpha=alpha)
  dtype = wide_dtype(z_1, z_2)
  squared = jnp.sum(jnp.square(jnp.asarray(z_1, dtype) - jnp.asarray(z_2, dtype)), axis=1)
  if alpha == 2:
    return squared
  equal = squared == 0
  return jnp.where(equal, 0.0, jnp.where(equal, 1.0, squared) ** (alpha / 2))


def uniformity(
  z: ArrayLike,
  *,
  t: ArrayLike = 2.0,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Logarithm of the mean Gaussian potential of all pairs of examples; to be minimised.

  .. math:: \log \frac{1}{B (B - 1)} \sum_{i \ne j} \exp(-t \| z_i - z_j \|_2^2)

  0 if all are equal, the least for the uniform distribution on the sphere.

  Args:
    z: embeddings, of norm 1 (see `l2_normalize`), shape (B, D).
    t: positive, the inverse squared length of the potential. Can be traced and receives a gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Loss of the batch, a scalar, float32 or wider, the same on every device; at most 0 up to
    rounding. Gradient flows to z, in reverse mode.

  Raises:
    TypeError: if z is not floating point or block_size is not an integer.
    ValueError: if z is not of rank 2, t or block_size is not positive, or there is one row.

  Example:
    >>> round(float(uniformity(jnp.eye(2))), 4)  # one pair, at squared distance 2
    -4.0

  References:
    Wang & Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity
      on the Hypersphere, 2020. arXiv:2005.10242
  """
  check_float(z=z)
  check_rank(2, z=z)
  check_range(0.0, strict=True, t=t)
  check_two_rows(axis_name, z=z)
  return _log_potential(z, z, t, axis_name, block_size)


def cross_uniformity(
  image: ArrayLike,
  text: ArrayLike,
  *,
  t: ArrayLike = 2.0,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Logarithm of the mean Gaussian potential of images and texts that are no pair; to be minimised.

  .. math:: \log \frac{1}{B (B - 1)} \sum_{i \ne j} \exp(-t \| u_i - v_j \|_2^2)

  What spreads the two modalities over one sphere, where `uniformity` spreads each by itself. The
  paper adds this, the mean of both uniformities and `alignment`, each with weight 1, to `clip_loss`.

  Args:
    image: embeddings u, of norm 1 (see `l2_normalize`), shape (B, D).
    text: embeddings v of their partners, shape (B, D).
    t: positive, the inverse squared length of the potential. Can be traced and receives a gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Loss of the batch, a scalar, float32 or wider, the same on every device; at most 0 up to
    rounding. Gradient flows to both arrays, in reverse mode.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes differ or are not of rank 2, t or block_size is not positive, or there is
      one row.

  Example:
    >>> round(float(cross_uniformity(jnp.eye(2), jnp.eye(2)[::-1])), 4)  # what is no pair is equal
    0.0

  References:
    Fahim, Murphy & Fyshe, It's Not a Modality Gap: Characterizing and Addressing the Contrastive Gap,
      2024. arXiv:2405.18570
  """
  check_alike(2, image=image, text=text)
  check_range(0.0, strict=True, t=t)
  check_two_rows(axis_name, image=image)
  return _log_potential(image, text, t, axis_name, block_size)


def _log_potential(
  x: ArrayLike, y: ArrayLike, t: ArrayLike, axis_name: str | None, block_size: int | None
) -> jax.Array:
  """log mean of exp(-t |x_i - y_j|^2) over all i and j != i of all devices."""
  potentials = log_potentials(x, y, t, axis_name=axis_name, block_size=block_size)
  log_sums = all_gather_rows(jax.nn.logsumexp(potentials)[None], axis_name)
  size = len(log_sums) * len(potentials)
  return jax.nn.logsumexp(log_sums) - math.log(size * (size - 1))
