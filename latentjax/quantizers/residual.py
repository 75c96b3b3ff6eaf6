"""Residual quantisation: every level quantises what the levels before it left over."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.quantizers import vector
from latentjax.quantizers._beam import beam_search
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.quantized import Quantized
from latentjax.quantizers.vector import (
  GradientFn,
  check_indices,
  nearest_code,
  pull_loss,
)

__all__ = ["codes_from_indices", "residual_quantize"]


def residual_quantize(
  z: ArrayLike,
  codebooks: ArrayLike,
  *,
  beta: ArrayLike = 0.25,
  num_levels: ArrayLike | None = None,
  beam_size: int = 1,
  gradient_fn: GradientFn = straight_through,
  block_size: int | None = None,
) -> Quantized:
  r"""Sum of codes, one of every codebook, each the nearest to what is left of the vector.

  .. math::

    r_1 = z, \qquad k_l = \arg\min_k \|r_l - c^l_k\|^2, \qquad r_{l+1} = r_l - c^l_{k_l}, \qquad
    z_q = \sum_l c^l_{k_l}

  .. math::

    \sum_l \|\mathrm{sg}(r_l) - c^l_{k_l}\|^2 + \beta \|z - \mathrm{sg}(c^1 + \dots + c^l)\|^2

  Codes are detached in the residuals: every level's commitment reaches z in full, as in RQ-VAE, and
  a codebook learns from its own level alone, as from moving averages. (The public program of EnCodec
  subtracts straight-through codes, which cancels z's gradient after the first level.)

  The levels l > num_levels are left out (quantizer dropout), so that one codec serves all rates:
  draw `jax.random.randint(key, z.shape[:-1], 1, L + 1)`, or one number for every example. A common
  codebook of all levels is `jnp.broadcast_to(codebook, (L, N, D))`.

  A beam keeps the best sums of l codes at every level. With N^(L - 1) it finds the nearest of all
  N^L sums; short of that it may in rare cases end farther away than the nearest codes do.

  Args:
    z: vectors, shape (..., D).
    codebooks: codes of every level, shape (L, N, D).
    beta: weight of the commitment, at least 0. Can be traced.
    num_levels: levels that are used, integers in [0, L] that broadcast to (...,); None uses all. Can
      be traced.
    beam_size: sums that are kept at a level; 1 takes the nearest code.
    gradient_fn: `(z, sum of codes) -> z_q`, how the gradient passes, see `vector_quantize`.
    block_size: vectors at a time, see `nearest_code`; with a beam, memory is of order block_size
      times beam_size times N. The result does not depend on it. Of a batch that `jit` has split over
      devices, a beam of more than 8 gathers these on every device: use `shard_map` for it.

  Returns:
    Quantized; indices (..., L), -1 at levels that are not used; loss (...,) summed over levels and
    D. The gradient of z_q is that of gradient_fn, by default that of z unchanged and none for the
    codebooks; the loss's reaches codebooks and z as above. The choice of the codes has none. Indices
    of a vector with an entry that is not finite are 0.

  Raises:
    TypeError: if an array is not floating point, num_levels are not integers or beam_size or
      block_size is not an integer.
    ValueError: if the shapes do not fit, the codebooks are empty, beta is negative, a Python number
      num_levels is not in [0, L], or beam_size or block_size is not positive.

  Example:
    >>> codebooks = jnp.array([[[0.0], [8.0]], [[-1.0], [1.0]]])
    >>> quantized = residual_quantize(jnp.array([[6.5], [0.7]]), codebooks)
    >>> quantized.z_q.tolist(), quantized.indices.tolist()
    ([[7.0], [1.0]], [[1, 0], [0, 1]])

  References:
    Zeghidour et al., SoundStream: An End-to-End Neural Audio Codec, 2021. arXiv:2107.03312
    Lee et al., Autoregressive Image Generation using Residual Quantization (RQ-VAE), 2022.
      arXiv:2203.01941
    Liu et al., Improved Residual Vector Quantization for High-dimensional Approximate Nearest
      Neighbor Search (several paths), 2015. arXiv:1509.05195
  """
  z, codebooks = check_codebooks(z, codebooks)
  check_range(0.0, beta=beta)
  check_positive_int(beam_size=beam_size)
  used = _as_used(num_levels, z.shape[:-1], len(codebooks))
  fixed, codes = jax.lax.stop_gradient((z.astype(wide_dtype(z, codebooks)), codebooks))
  if beam_size == 1:
    indices = _greedy(fixed, codes, block_size)
  else:
    indices = beam_search(fixed, codes, used, beam_size=beam_size, block_size=block_size)
  indices = jnp.where(jnp.arange(len(codebooks)) < used[..., None], indices, -1)
  total, loss = _sum_and_loss(z, indices, codebooks, beta)
  return Quantized(gradient_fn(z, total.astype(z.dtype)), indices, loss)


def codes_from_indices(indices: ArrayLike, codebooks: ArrayLike) -> jax.Array:
  r"""The sums of codes that indices stand for.

  .. math:: \sum_l c^l_{k_l}

  Args:
    indices: integers in [0, N), shape (..., L); -1 leaves a level out, so the first l levels alone
      are `jnp.where(jnp.arange(L) < l, indices, -1)`.
    codebooks: codes of every level, shape (L, N, D).

  Returns:
    Vectors, shape (..., D), in the codebooks' dtype; NaN where another index is out of range.
    Gradient flows to the codebooks.

  Raises:
    TypeError: if indices are not integers or the codebooks are not floating point.
    ValueError: if the shapes do not fit or the codebooks are empty.

  Example:
    >>> codebooks = jnp.array([[[0.0], [8.0]], [[-1.0], [1.0]]])
    >>> codes_from_indices(jnp.array([[1, 0], [1, -1]]), codebooks).tolist()
    [[7.0], [8.0]]

  References:
    Lee et al., Autoregressive Image Generation using Residual Quantization, 2022. arXiv:2203.01941
  """
  codebooks = check_level_codebooks(codebooks)
  indices = check_level_indices(indices, codebooks)
  wide = wide_dtype(codebooks)

  def level(total: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    return total + look_up(*inputs).astype(wide), None

  # Made from both: inside `shard_map` it varies over the devices as they do.
  start = jnp.zeros_like(indices, wide, shape=(*indices.shape[:-1], codebooks.shape[-1]))
  start += jnp.zeros_like(codebooks[0, 0], wide)
  total, _ = jax.lax.scan(level, start, (jnp.moveaxis(indices, -1, 0), codebooks))
  return total.astype(codebooks.dtype)


def _sum_and_loss(
  z: jax.Array, indices: jax.Array, codebooks: jax.Array, beta: ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """Sum of the codes, detached, and the loss of all levels."""
  wide = wide_dtype(z, codebooks)

  def level(carry: tuple, inputs: tuple) -> tuple[tuple, None]:
    total, loss = carry
    code = look_up(*inputs).astype(wide)
    pull = pull_loss(z.astype(wide) - total, code, beta)
    total = jax.lax.stop_gradient(total + code)
    return (total, loss + jnp.where(inputs[0] < 0, 0, pull)), None

  # What they are made from says over which devices they vary inside `shard_map`.
  total = jnp.zeros_like(z, wide) + jnp.zeros_like(codebooks[0, 0], wide)
  start = total, total[..., 0] + jnp.zeros_like(indices[..., 0], wide)
  return jax.lax.scan(level, start, (jnp.moveaxis(indices, -1, 0), codebooks))[0]


def look_up(index: jax.Array, codebook: jax.Array) -> jax.Array:
  """Codes of a level, zero where it is left out."""
  return jnp.where(index[..., None] == -1, 0, vector.codes_from_indices(index, codebook))


def _greedy(z: jax.Array, codebooks: jax.Array, block_size: int | None) -> jax.Array:
  def level(residual: jax.Array, codebook: jax.Array) -> tuple[jax.Array, jax.Array]:
    index = nearest_code(residual, codebook, block_size=block_size)
    return residual - codebook[index].astype(residual.dtype), index

  start = z + jnp.zeros_like(codebooks[0, 0], z.dtype)  # varies over devices as both do
  return jnp.moveaxis(jax.lax.scan(level, start, codebooks)[1], 0, -1)


def check_codebooks(z: ArrayLike, codebooks: ArrayLike) -> tuple[jax.Array, jax.Array]:
  """Vectors (..., D) and codebooks (L, N, D), as arrays."""
  check_float(z=z)
  z, codebooks = jnp.asarray(z), check_level_codebooks(codebooks)
  if z.ndim < 1 or z.shape[-1] != codebooks.shape[-1]:
    raise ValueError(
      f"z must have vectors of the codebooks' width {codebooks.shape[-1]} along its last axis, "
      f"got shape {z.shape}"
    )
  return z, codebooks


def check_level_indices(indices: ArrayLike, codebooks: jax.Array) -> jax.Array:
  """Integers (..., L), as an array."""
  indices = check_indices(indices)
  if indices.ndim < 1 or indices.shape[-1] != len(codebooks):
    raise ValueError(
      f"indices must have one for every level along the last axis, codebooks "
      f"{codebooks.shape}, got shape {indices.shape}"
    )
  return indices


def check_level_codebooks(codebooks: ArrayLike) -> jax.Array:
  """Codebooks (L, N, D), as an array."""
  check_float(codebooks=codebooks)
  check_rank(3, codebooks=codebooks)
  return jnp.asarray(codebooks)


def _as_used(num_levels: ArrayLike | None, shape: tuple[int, ...], total: int) -> jax.Array:
  """Levels that are used, for every vector."""
  if num_levels is None:
    return jnp.full(shape, total)
  if not jnp.issubdtype(jnp.result_type(num_levels), jnp.integer):
    raise TypeError(f"num_levels must be integers, got {jnp.result_type(num_levels)}")
  check_range(0, total, num_levels=num_levels)
  return jnp.broadcast_to(num_levels, shape)
