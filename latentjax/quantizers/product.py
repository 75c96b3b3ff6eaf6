"""Product quantisation: every part of a vector by a codebook of its own, or by a common one."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_not_empty
from latentjax.quantizers import vector
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.quantized import Quantized
from latentjax.quantizers.vector import GradientFn, check_indices, vector_quantize

__all__ = ["codes_from_indices", "product_quantize"]


def product_quantize(
  z: ArrayLike,
  codebooks: ArrayLike,
  *,
  beta: ArrayLike = 0.25,
  gradient_fn: GradientFn = straight_through,
  block_size: int | None = None,
) -> Quantized:
  r"""The nearest code of every part of a vector, parts being equal runs of its entries.

  .. math::

    z = (z^1, \dots, z^M), \qquad k_m = \arg\min_k \|z^m - c^m_k\|^2, \qquad
    z_q = (c^1_{k_1}, \dots, c^M_{k_M})

  with `vector_quantize` in every part, so M codebooks of N codes make N^M vectors. One codebook for
  all parts makes them heads.

  Args:
    z: vectors, shape (..., D).
    codebooks: one for every part, shape (M, N, D / M), or one for all, shape (N, D / M).
    beta: weight of the commitment, at least 0. Can be traced.
    gradient_fn: how the gradient passes in a part, see `vector_quantize`.
    block_size: see `nearest_code`.

  Returns:
    Quantized; indices (..., M), loss (...,) summed over parts and D. The gradient of z_q is that of
    gradient_fn, by default that of z unchanged and none for the codebooks; the loss trains codebooks
    and z as in `vector_quantize`. The choice of the codes has none.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes do not fit, the codebooks are empty, beta is negative or block_size is
      not positive.

  Example:
    >>> quantized = product_quantize(jnp.array([[0.9, 0.2, -3.0, 1.0]]), jnp.eye(2))
    >>> quantized.z_q.tolist(), quantized.indices.tolist()
    ([[1.0, 0.0, 0.0, 1.0]], [[0, 1]])

  References:
    Jegou et al., Product Quantization for Nearest Neighbor Search, 2011.
      doi:10.1109/TPAMI.2010.57
    Baevski et al., vq-wav2vec: Self-Supervised Learning of Discrete Speech Representations, 2020
      (groups with and without a common codebook). arXiv:1910.05453
  """
  check_float(z=z, codebooks=codebooks)
  z, codebooks = jnp.asarray(z), _as_codebooks(codebooks)
  parts = z.reshape(*z.shape[:-1], _num_parts(z, codebooks), codebooks.shape[-1])

  def quantize(part: jax.Array, codebook: jax.Array) -> Quantized:
    return vector_quantize(
      part, codebook, beta=beta, gradient_fn=gradient_fn, block_size=block_size
    )

  if codebooks.ndim == 2:
    z_q, indices, loss = quantize(parts, codebooks)
  else:
    # One part after the other: all at once, tiles of the search do not fit into a cache.
    rows = jnp.moveaxis(parts, -2, 0), codebooks
    found = jax.lax.map(lambda row: tuple(quantize(*row)), rows)
    z_q, indices, loss = (jnp.moveaxis(x, 0, axis) for x, axis in zip(found, (-2, -1, -1)))
  return Quantized(z_q.reshape(z.shape), indices, jnp.sum(loss, axis=-1))


def codes_from_indices(indices: ArrayLike, codebooks: ArrayLike) -> jax.Array:
  r"""The vectors that indices stand for.

  .. math:: (c^1_{k_1}, \dots, c^M_{k_M})

  Args:
    indices: integers in [0, N), shape (..., M).
    codebooks: one for every part, shape (M, N, D / M), or one for all, shape (N, D / M).

  Returns:
    Vectors, shape (..., D); a part is NaN where its index is out of range. Gradient flows to the
    codebooks.

  Raises:
    TypeError: if indices are not integers or the codebooks are not floating point.
    ValueError: if the shapes do not fit or the codebooks are empty.

  Example:
    >>> codes_from_indices(jnp.array([[0, 1]]), jnp.eye(2)).tolist()
    [[1.0, 0.0, 0.0, 1.0]]

  References:
    Jegou et al., Product Quantization for Nearest Neighbor Search, 2011.
      doi:10.1109/TPAMI.2010.57
  """
  check_float(codebooks=codebooks)
  indices, codebooks = check_indices(indices), _as_codebooks(codebooks)
  look_up = vector.codes_from_indices
  if codebooks.ndim == 3:
    look_up = jax.vmap(look_up, in_axes=(-1, 0), out_axes=-2)
  if not indices.ndim or (codebooks.ndim == 3 and indices.shape[-1] != len(codebooks)):
    raise ValueError(
      f"indices must have one for every part along the last axis, codebooks {codebooks.shape}, "
      f"got shape {indices.shape}"
    )
  parts = look_up(indices, codebooks)
  return parts.reshape(*indices.shape[:-1], parts.shape[-2] * parts.shape[-1])


def _as_codebooks(codebooks: ArrayLike) -> jax.Array:
  if jnp.ndim(codebooks) not in (2, 3):
    raise ValueError(
      f"codebooks must have shape (M, N, D / M) or (N, D / M), got shape {jnp.shape(codebooks)}"
    )
  check_not_empty(codebooks=codebooks)
  return jnp.asarray(codebooks)


def _num_parts(z: jax.Array, codebooks: jax.Array) -> int:
  width, dim = codebooks.shape[-1], z.shape[-1] if z.ndim else 0
  count = len(codebooks) if codebooks.ndim == 3 else max(dim // width, 1)
  if dim != count * width:
    raise ValueError(
      f"z must have parts of the codebooks' width along its last axis, codebooks "
      f"{codebooks.shape}, got shape {z.shape}"
    )
  return count
