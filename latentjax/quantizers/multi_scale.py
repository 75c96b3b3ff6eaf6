"""Multi-scale quantisation of a feature map: residual quantisation from coarse to fine (VAR)."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import (
  check_choice,
  check_float,
  check_not_empty,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.quantizers import vector
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.quantized import Quantized
from latentjax.quantizers.vector import (
  GradientFn,
  check_codebook,
  check_indices,
  nearest_code,
  pull_loss,
)

__all__ = ["codes_from_indices", "multi_scale_quantize"]

PhiFn = Callable[[int, jax.Array], jax.Array]


def multi_scale_quantize(
  z: ArrayLike,
  codebook: ArrayLike,
  *,
  scales: Sequence[tuple[int, int]],
  beta: ArrayLike = 0.25,
  phi_fn: PhiFn | None = None,
  method: str = "cubic",
  gradient_fn: GradientFn = straight_through,
  block_size: int | None = None,
) -> Quantized:
  r"""Sum of maps of codes, each of a finer grid than the one before, brought to full size (VAR).

  .. math::

    k_s = \mathrm{nearest}\big(\mathrm{down}_s(z - \hat z_{s-1})\big), \qquad
    \hat z_s = \hat z_{s-1} + \phi_s\big(\mathrm{up}(c_{k_s})\big), \qquad z_q = \hat z_S

  .. math:: \frac1S \sum_s \|\mathrm{sg}(z) - \hat z_s\|^2 + \beta \|z - \mathrm{sg}(\hat z_s)\|^2

  The map goes down by averages over areas: cell i of h covers the rows [floor(i H / h),
  ceil((i + 1) H / h)), as the authors' does. It goes up by `jax.image.resize`; its cubic kernel is
  that of Keys with a = -1/2, the authors' has a = -3/4.

  Args:
    z: maps, shape (B, H, W, D).
    codebook: codes of all scales, shape (N, D).
    scales: heights and widths of the grids, from coarse to fine; the last is (H, W).
    beta: weight of the commitment, at least 0. Can be traced.
    phi_fn: `(number of the scale, maps) -> maps`, both of shape (B, H, W, D), such as the authors'
      half identity, half 3 x 3 convolution; None is the identity.
    method: of going up, "cubic" or "linear".
    gradient_fn: `(z, sum of maps) -> z_q`, how the gradient passes, see `vector_quantize`.
    block_size: see `nearest_code`.

  Returns:
    Quantized; indices a tuple of (B, h, w), one for every scale; loss (B, H, W), a mean over scales,
    summed over D. The gradient of z_q is that of gradient_fn: by default that of z unchanged and
    none for the codebook and phi_fn. The loss's reaches z by its second term, and by its first the
    codes and phi_fn of all scales up to the term's. The choice of the codes has none.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes do not fit, the codebook is empty, a scale is larger than the map or
      the last is not the map's, beta is negative, method is unknown or block_size is not positive.

  Example:
    >>> z = jnp.array([[4.0, 0.0], [0.0, 0.0]]).reshape(1, 2, 2, 1)
    >>> codebook = jnp.array([[-1.0], [1.0], [3.0]])
    >>> quantized = multi_scale_quantize(z, codebook, scales=[(1, 1), (2, 2)])
    >>> [index[0].tolist() for index in quantized.indices], quantized.z_q.ravel().tolist()
    ([[[1]], [[2, 0], [0, 0]]], [4.0, 0.0, 0.0, 0.0])

  References:
    Tian et al., Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale
      Prediction, 2024. arXiv:2404.02905
  """
  z, codebook = check_codebook(z, codebook)
  check_rank(4, z=z)
  check_range(0.0, beta=beta)
  _check_scales(scales, z.shape[1:3])
  wide, indices = wide_dtype(z, codebook), []
  total, loss = jnp.zeros(z.shape, wide), jnp.zeros(z.shape[:-1], wide)
  for scale, (height, width) in enumerate(scales):
    rest = _down(jax.lax.stop_gradient(z.astype(wide) - total), height, width)
    indices.append(nearest_code(rest, codebook, block_size=block_size))
    total = total + _up(scale, indices[-1], codebook, z.shape, phi_fn, method)
    loss = loss + pull_loss(z, total, beta) / len(scales)
  z_q = gradient_fn(z, total.astype(z.dtype))
  return Quantized(z_q, tuple(indices), loss)  # type: ignore[arg-type]


def codes_from_indices(
  indices: Sequence[jax.Array],
  codebook: ArrayLike,
  *,
  phi_fn: PhiFn | None = None,
  method: str = "cubic",
) -> jax.Array:
  r"""The maps that indices stand for.

  .. math:: \sum_s \phi_s\big(\mathrm{up}(c_{k_s})\big)

  Args:
    indices: integers in [0, N), shape (B, h, w) for every scale; the last is the map's.
    codebook: codes of all scales, shape (N, D).
    phi_fn: as for `multi_scale_quantize`.
    method: as for `multi_scale_quantize`.

  Returns:
    Maps, shape (B, H, W, D), in the codebook's dtype; NaN where an index that counts is out of
    range. Gradient flows to codebook and phi_fn.

  Raises:
    TypeError: if indices are not integers or the codebook is not floating point.
    ValueError: if there are no indices, the shapes do not fit, the codebook is empty or method is
      unknown.

  Example:
    >>> indices = jnp.array([[[1]]]), jnp.array([[[0, 1], [1, 0]]])
    >>> codes_from_indices(indices, jnp.array([[-1.0], [1.0]]))[0, :, :, 0].tolist()
    [[0.0, 2.0], [2.0, 0.0]]

  References:
    Tian et al., Visual Autoregressive Modeling, 2024. arXiv:2404.02905
  """
  check_float(codebook=codebook)
  check_rank(2, codebook=codebook)
  codebook = jnp.asarray(codebook)
  indices = [check_indices(index) for index in indices]
  if not indices or any(index.ndim != 3 for index in indices):
    got = [index.shape for index in indices]
    raise ValueError(f"indices must have shape (B, h, w) for every scale, got {got}")
  if len({len(index) for index in indices}) > 1:
    raise ValueError(
      f"indices must have one batch size, got shapes {[index.shape for index in indices]}"
    )
  for index in indices:
    check_not_empty(indices=index)
  shape = (*indices[-1].shape, codebook.shape[1])
  total = jnp.zeros(shape, wide_dtype(codebook))
  for scale, index in enumerate(indices):
    total = total + _up(scale, index, codebook, shape, phi_fn, method)
  return total.astype(codebook.dtype)


def _up(
  scale: int,
  index: jax.Array,
  codebook: jax.Array,
  shape: tuple[int, ...],
  phi_fn: PhiFn | None,
  method: str,
) -> jax.Array:
  """What a scale adds to the sum."""
  check_choice(("cubic", "linear"), method=method)
  codes = vector.codes_from_indices(index, codebook).astype(wide_dtype(codebook))
  codes = jax.image.resize(codes, shape, method)
  return codes if phi_fn is None else phi_fn(scale, codes)


def _down(z: jax.Array, height: int, width: int) -> jax.Array:
  """Averages over areas, shape (B, height, width, D)."""
  rows, columns = _averages(z.shape[1], height), _averages(z.shape[2], width)
  z = jnp.einsum("hH,bHwd->bhwd", rows.astype(z.dtype), z, precision="highest")
  return jnp.einsum("wW,bhWd->bhwd", columns.astype(z.dtype), z, precision="highest")


def _averages(size: int, count: int) -> np.ndarray:
  """Matrix (count, size) of averages over equal areas, which overlap if count does not divide size."""
  cell, place = np.arange(count)[:, None], np.arange(size)
  covered = (place >= cell * size // count) & (place < -(-(cell + 1) * size // count))
  return covered / covered.sum(axis=1, keepdims=True)


def _check_scales(scales: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> None:
  fits = all(0 < h <= shape[0] and 0 < w <= shape[1] for h, w in scales)
  if not scales or not fits or tuple(scales[-1]) != shape:
    raise ValueError(
      f"scales must be sizes within the map's and end with it, {shape}, got {tuple(scales)}"
    )
