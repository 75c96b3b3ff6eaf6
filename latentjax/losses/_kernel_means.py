"""Kernels of two points, and their means over the pairs of rows of two samples."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from latentjax.checks import check_choice, check_range
from latentjax.collectives import all_gather_rows, device_mean, row_offset
from latentjax.distances import squared_distances_to

# From columns (N, D) to a function of points (..., D) that returns (..., N).
KernelTo = Callable[[jax.Array], Callable[[jax.Array], jax.Array]]

KERNELS = ("rbf", "imq")


def distance_kernel(kernel: str, bandwidths: Sequence[float] | jax.Array) -> KernelTo:
  """Sum over bandwidths h of exp(-d / 2h) ("rbf") or h / (h + d) ("imq"), d the squared distance."""
  check_choice(KERNELS, kernel=kernel)
  if not isinstance(bandwidths, jax.Array):
    for bandwidth in bandwidths:
      check_range(0.0, strict=True, bandwidths=bandwidth)

  def kernel_to(columns: jax.Array) -> Callable[[jax.Array], jax.Array]:
    distances = squared_distances_to(columns)

    def values(points: jax.Array) -> jax.Array:
      scaled = distances(points) / jnp.asarray(bandwidths, columns.dtype).reshape(
        -1, *[1] * points.ndim
      )
      return jnp.sum(jnp.exp(-0.5 * scaled) if kernel == "rbf" else 1 / (1 + scaled), axis=0)

    return values

  return kernel_to


def mean_discrepancy(
  x: jax.Array,
  y: jax.Array,
  kernel_to: KernelTo,
  *,
  unbiased: bool,
  axis_name: str | None,
  block_size: int | None,
) -> jax.Array:
  """Squared maximum mean discrepancy: E k(x, x') + E k(y, y') - 2 E k(x, y)."""
  mean = partial(_mean, kernel_to=kernel_to, axis_name=axis_name, block_size=block_size)
  return mean(x, x, distinct=unbiased) + mean(y, y, distinct=unbiased) - 2 * mean(x, y)


def _mean(
  x: jax.Array,
  y: jax.Array,
  *,
  kernel_to: KernelTo,
  axis_name: str | None,
  block_size: int | None,
  distinct: bool = False,
) -> jax.Array:
  """Mean of k over all pairs, or over the pairs of two different rows."""
  columns = all_gather_rows(y, axis_name)
  num_rows = columns.shape[0]
  kernel = kernel_to(columns)

  def row_sum(row: tuple[jax.Array, jax.Array]) -> jax.Array:
    point, index = row
    values = kernel(point)
    return jnp.sum(jnp.where(jnp.arange(num_rows) == index, 0.0, values) if distinct else values)

  rows = (x, row_offset(x.shape[0], axis_name) + jnp.arange(x.shape[0]))
  if block_size is None:
    sums = jax.vmap(row_sum)(rows)
  else:
    size = min(block_size, x.shape[0])
    sums = jax.lax.map(jax.checkpoint(row_sum), rows, batch_size=size)
  if distinct and num_rows < 2:
    raise ValueError(f"estimator 'unbiased' must have at least 2 rows of x and y, got {num_rows}")
  return device_mean(jnp.mean(sums), axis_name) / (
    num_rows - distinct
  )  # their product may be beyond int32
