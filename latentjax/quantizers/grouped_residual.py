"""Grouped residual quantisation: residual quantisation of every part of a vector."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank
from latentjax.quantizers import residual
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.quantized import Quantized
from latentjax.quantizers.residual import residual_quantize
from latentjax.quantizers.vector import GradientFn, check_indices

__all__ = ["codes_from_indices", "grouped_residual_quantize"]


def grouped_residual_quantize(
  z: ArrayLike,
  codebooks: ArrayLike,
  *,
  beta: ArrayLike = 0.25,
  num_levels: ArrayLike | None = None,
  beam_size: int = 1,
  gradient_fn: GradientFn = straight_through,
  block_size: int | None = None,
) -> Quantized:
  r"""Residual quantisation of every part of a vector, parts being equal runs of its entries.

  .. math::

    z = (z^1, \dots, z^G), \qquad z_q = \Big(\sum_l c^{1 l}_{k_{1 l}}, \dots,
    \sum_l c^{G l}_{k_{G l}}\Big)

  with `residual_quantize` in every part.

  Args:
    z: vectors, shape (..., D).
    codebooks: codes of every level of every part, shape (G, L, N, D / G).
    beta: weight of the commitment, at least 0. Can be traced.
    num_levels: levels that are used, the same in all parts, see `residual_quantize`.
    beam_size: see `residual_quantize`.
    gradient_fn: how the gradient passes in a part, see `residual_quantize`.
    block_size: see `residual_quantize`.

  Returns:
    Quantized; indices (..., G, L), loss (...,) summed over parts, levels and D. Gradients flow as in
    `residual_quantize`: by default z_q's to z unchanged and to no codebook, the loss's to both.

  Raises:
    TypeError: as `residual_quantize`.
    ValueError: as `residual_quantize`.

  Example:
    >>> codebooks = jnp.array([[[[0.0], [8.0]], [[-1.0], [1.0]]], [[[0.0], [6.0]], [[-2.0], [2.0]]]])
    >>> quantized = grouped_residual_quantize(jnp.array([[6.5, 7.9]]), codebooks)
    >>> quantized.z_q.tolist(), quantized.indices.tolist()
    ([[7.0, 8.0]], [[[1, 0], [1, 1]]])

  References:
    Yang et al., HiFi-Codec: Group-residual Vector Quantization for High Fidelity Audio Codec, 2023.
      arXiv:2305.02765
  """
  check_float(z=z)
  z, codebooks = jnp.asarray(z), _as_codebooks(codebooks)
  groups, _, _, width = codebooks.shape
  if z.ndim < 1 or z.shape[-1] != groups * width:
    raise ValueError(
      f"z must have {groups} parts of width {width} along its last axis, got shape {z.shape}"
    )

  def quantize(group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
    quantized = residual_quantize(
      *group,
      beta=beta,
      num_levels=num_levels,
      beam_size=beam_size,
      gradient_fn=gradient_fn,
      block_size=block_size,
    )
    return tuple(quantized)

  parts = jnp.moveaxis(z.reshape(*z.shape[:-1], groups, width), -2, 0)
  z_q, indices, loss = jax.lax.map(quantize, (parts, codebooks))
  z_q, indices = jnp.moveaxis(z_q, 0, -2), jnp.moveaxis(indices, 0, -2)
  return Quantized(z_q.reshape(z.shape), indices, jnp.sum(loss, axis=0))


def codes_from_indices(indices: ArrayLike, codebooks: ArrayLike) -> jax.Array:
  r"""The vectors that indices stand for.

  .. math:: \Big(\sum_l c^{1 l}_{k_{1 l}}, \dots, \sum_l c^{G l}_{k_{G l}}\Big)

  Args:
    indices: integers in [0, N), shape (..., G, L); -1 leaves a level out.
    codebooks: codes of every level of every part, shape (G, L, N, D / G).

  Returns:
    Vectors, shape (..., D), in the codebooks' dtype; a part is NaN where another index is out of
    range. Gradient flows to the codebooks.

  Raises:
    TypeError: if indices are not integers or the codebooks are not floating point.
    ValueError: if the shapes do not fit or the codebooks are empty.

  Example:
    >>> codebooks = jnp.array([[[[0.0], [8.0]], [[-1.0], [1.0]]], [[[0.0], [6.0]], [[-2.0], [2.0]]]])
    >>> codes_from_indices(jnp.array([[[1, 0], [1, -1]]]), codebooks).tolist()
    [[7.0, 6.0]]

  References:
    Yang et al., HiFi-Codec, 2023. arXiv:2305.02765
  """
  indices, codebooks = check_indices(indices), _as_codebooks(codebooks)
  if indices.ndim < 2 or indices.shape[-2] != len(codebooks):
    raise ValueError(
      f"indices must have shape (..., G, L), codebooks {codebooks.shape}, got {indices.shape}"
    )
  parts = jax.vmap(residual.codes_from_indices, in_axes=(-2, 0), out_axes=-2)(indices, codebooks)
  return parts.reshape(*parts.shape[:-2], parts.shape[-2] * parts.shape[-1])


def _as_codebooks(codebooks: ArrayLike) -> jax.Array:
  check_float(codebooks=codebooks)
  check_rank(4, codebooks=codebooks)
  return jnp.asarray(codebooks)
