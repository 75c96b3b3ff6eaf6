"""Vector quantisation: the nearest code of a codebook."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.quantizers._nearest import nearest_rows
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.quantized import Quantized

__all__ = ["codes_from_indices", "nearest_code", "vector_quantize"]

GradientFn = Callable[[jax.Array, jax.Array], jax.Array]


def nearest_code(z: ArrayLike, codebook: ArrayLike, *, block_size: int | None = None) -> jax.Array:
  r"""Index of the nearest code.

  .. math:: k(z) = \arg\min_k \|z - c_k\|^2 = \arg\max_k \; z^\top c_k - \tfrac12 \|c_k\|^2

  Distances are taken about the mean of the codebook, in float32 or wider, a block of vectors and
  codes at a time: they are never all held. A code that is farther than the nearest by less than the
  rounding of those products may be taken for it; equal products go to the lowest index.

  Args:
    z: vectors, shape (..., D).
    codebook: codes, shape (N, D).
    block_size: vectors at a time, at most; None chooses. Memory is of order block_size times 4,096.
      The result does not depend on it. Of a batch that `jit` has split over devices, all vectors are
      gathered on every device if no divisor of their number on a device makes blocks of such a size.

  Returns:
    Indices, int32, shape (...,); 0 for a vector with an entry that is not finite. Detached.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes do not fit, the codebook is empty or block_size is not positive.

  Example:
    >>> nearest_code(jnp.array([[0.9, 0.2], [-3.0, 0.0]]), jnp.eye(2)).tolist()
    [0, 1]

  References:
    van den Oord et al., Neural Discrete Representation Learning, 2017. arXiv:1711.00937
  """
  z, codebook = check_codebook(z, codebook)
  return nearest_rows(z, codebook, block_size=block_size)


def vector_quantize(
  z: ArrayLike,
  codebook: ArrayLike,
  *,
  beta: ArrayLike = 0.25,
  gradient_fn: GradientFn = straight_through,
  block_size: int | None = None,
) -> Quantized:
  r"""Nearest code, with the loss that draws codes to vectors and vectors to codes (VQ-VAE).

  .. math:: \|\mathrm{sg}(z) - c_k\|^2 + \beta \|z - \mathrm{sg}(c_k)\|^2, \qquad k = k(z)

  The first term trains the codebook, the second (commitment) the encoder. With a codebook that is a
  moving average (`update_ema_codebook`) the first has nothing to train: take only beta's, by
  `jax.lax.stop_gradient(codebook)`; its value stays in the loss.

  Args:
    z: vectors, shape (..., D).
    codebook: codes, shape (N, D).
    beta: weight of the commitment, at least 0. Can be traced.
    gradient_fn: `(z, codes) -> z_q`, how the gradient passes: `straight_through`, `rotation_trick`.
    block_size: see `nearest_code`.

  Returns:
    Quantized; indices (...,), loss (...,) summed over D. The gradient of z_q is that of
    gradient_fn: with the default, that of z unchanged, and none for the codebook. The loss's reaches
    codebook and z as written. The choice of the code has none.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes do not fit, the codebook is empty, beta is negative or block_size is
      not positive.

  Example:
    >>> quantized = vector_quantize(jnp.array([[0.5, 0.0]]), jnp.eye(2), beta=1.0)
    >>> quantized.z_q.tolist(), quantized.indices.tolist(), quantized.loss.tolist()
    ([[1.0, 0.0]], [0], [0.5])

  References:
    van den Oord et al., Neural Discrete Representation Learning, 2017. arXiv:1711.00937
  """
  z, codebook = check_codebook(z, codebook)
  check_range(0.0, beta=beta)
  indices = nearest_rows(z, codebook, block_size=block_size)
  codes = codebook[indices]
  return Quantized(gradient_fn(z, codes.astype(z.dtype)), indices, pull_loss(z, codes, beta))


def codes_from_indices(indices: ArrayLike, codebook: ArrayLike) -> jax.Array:
  r"""The codes that indices stand for.

  .. math:: c_k

  Args:
    indices: integers in [0, N), shape (...,).
    codebook: codes, shape (N, D).

  Returns:
    Codes, shape (..., D); NaN where an index is out of range. Gradient flows to the codebook.

  Raises:
    TypeError: if indices are not integers or the codebook is not floating point.
    ValueError: if the codebook is not of rank 2 or is empty.

  Example:
    >>> codes_from_indices(jnp.array([1, 0, 7]), jnp.eye(2)).tolist()
    [[0.0, 1.0], [1.0, 0.0], [nan, nan]]

  References:
    van den Oord et al., Neural Discrete Representation Learning, 2017. arXiv:1711.00937
  """
  check_float(codebook=codebook)
  check_rank(2, codebook=codebook)
  indices = check_indices(indices)
  codebook = jnp.asarray(codebook)
  # Negative indices would count from the end.
  indices = jnp.where(indices < 0, codebook.shape[0], indices)
  return codebook.at[indices].get(mode="fill", fill_value=jnp.nan)


def pull_loss(z: jax.Array, codes: jax.Array, beta: ArrayLike) -> jax.Array:
  """|sg(z) - c|^2 + beta |z - sg(c)|^2 over the last axis, in float32 or wider."""
  wide = wide_dtype(z, codes)
  z, codes = z.astype(wide), codes.astype(wide)
  square = lambda a, b: jnp.sum(jnp.square(a - b), axis=-1)
  fixed_z, fixed_codes = jax.lax.stop_gradient((z, codes))
  return square(fixed_z, codes) + jnp.asarray(beta, wide) * square(z, fixed_codes)


def check_codebook(z: ArrayLike, codebook: ArrayLike) -> tuple[jax.Array, jax.Array]:
  """Vectors (..., D) and a codebook (N, D), as arrays."""
  check_float(z=z, codebook=codebook)
  check_rank(2, codebook=codebook)
  z, codebook = jnp.asarray(z), jnp.asarray(codebook)
  if z.ndim < 1 or z.shape[-1] != codebook.shape[1]:
    raise ValueError(
      f"z must have vectors of the codebook's width {codebook.shape[1]} along its last axis, "
      f"got shape {z.shape}"
    )
  return z, codebook


def check_indices(indices: ArrayLike) -> jax.Array:
  """Integers, as an array of at least 32 bits: one of 8 cannot hold the number of 256 codes."""
  if not jnp.issubdtype(jnp.result_type(indices), jnp.integer):
    raise TypeError(f"indices must be integers, got {jnp.result_type(indices)}")
  return jnp.asarray(indices, jnp.promote_types(jnp.result_type(indices), jnp.int32))
