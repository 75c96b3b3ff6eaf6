"""Mutual information from the distances of nearest neighbours: no model, and nothing to train."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_positive_int
from latentjax.collectives import all_gather_rows, row_offset
from latentjax.losses.information._kernels import as_samples, check_block_size, map_rows

__all__ = ["ksg_mutual_information"]


def ksg_mutual_information(
  x: ArrayLike,
  y: ArrayLike,
  *,
  num_neighbours: int = 3,
  algorithm: str = "cubes",
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Mutual information by k nearest neighbours (Kraskov, Stoegbauer & Grassberger), in nats.

  .. math::

    \ell_i = \psi(k) + \psi(B) - \psi(n_i^x + 1) - \psi(n_i^y + 1), \qquad
    n_i^x = \#\{j \ne i : d(x_i, x_j) < \epsilon_i\}

  for "cubes", their first algorithm, where \epsilon_i is the distance of the k-th neighbour of
  (x_i, y_i) in the larger of the two distances, and d is the largest difference of a coordinate.
  Their second, "rectangles", counts with \le within the sides that just hold the k neighbours:

  .. math::

    \ell_i = \psi(k) - 1 / k + \psi(B) - \psi(n_i^x) - \psi(n_i^y), \qquad
    n_i^x = \#\{j \ne i : d(x_i, x_j) \le \max_{m \in kNN(i)} d(x_i, x_m)\}

  The mean of l is the estimate, a bound in neither direction. It is nearly unbiased in few dimensions
  and if x and y are independent; strong dependence in many dimensions is underestimated. It depends
  on the scales of x and y, which are to be made comparable first.

  Args:
    x: one sample, shape (B, D).
    y: the sample paired with it, shape (B, E).
    num_neighbours: k, at most B - 1. More of them: less variance, more bias.
    algorithm: "cubes" or "rectangles".
    axis_name: mapped device axis over which the rows of both samples are split, inside `pmap` or
      `shard_map`.
    block_size: rows at a time, to bound memory to (block_size, B); None takes all. The result does
      not depend on it.

  Returns:
    Estimate per example in nats, shape (B,), float32 or wider. A count has no gradient: both samples
    are detached.

  Raises:
    TypeError: if a sample is not floating point or a number of rows is not an integer.
    ValueError: if a sample is not of rank 2, their rows differ, there are not more of them than
      neighbours, or an option is unknown.

  Example:
    >>> x = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    >>> ksg_mutual_information(x, x, num_neighbours=1).mean().item()  # psi(4) - psi(1)
    1.8333...

  References:
    Kraskov, Stoegbauer & Grassberger, Estimating Mutual Information, 2004, algorithms 1 and 2.
      arXiv:cond-mat/0305641
  """
  samples = as_samples(x=x, y=y)
  check_positive_int(num_neighbours=num_neighbours)
  check_choice(("cubes", "rectangles"), algorithm=algorithm)
  check_block_size(block_size)
  columns = [all_gather_rows(sample, axis_name) for sample in samples]
  num_rows = columns[0].shape[0]
  if num_rows <= num_neighbours:
    raise ValueError(
      f"x and y must have more rows than the {num_neighbours} neighbours, got {num_rows}"
    )

  def count_neighbours(x: jax.Array, y: jax.Array, index: jax.Array) -> jax.Array:
    is_other = jnp.arange(num_rows) != index[..., None]
    distances = jnp.stack([_distances(x, columns[0]), _distances(y, columns[1])])
    joint = jnp.where(is_other, jnp.max(distances, axis=0), jnp.inf)
    nearest, which = jax.lax.top_k(-joint, num_neighbours)
    if algorithm == "cubes":
      within = distances < -nearest[..., -1:]
    else:
      sides = jnp.take_along_axis(distances, which[None], axis=-1)
      within = distances <= jnp.max(sides, axis=-1, keepdims=True)
    return jnp.moveaxis(jnp.sum(within & is_other, axis=-1), 0, -1)

  samples = [jax.lax.stop_gradient(sample) for sample in samples]
  indices = row_offset(samples[0].shape[0], axis_name) + jnp.arange(samples[0].shape[0])
  counts = map_rows(count_neighbours, *samples, indices, block_size=block_size)
  counts = counts.astype(samples[0].dtype)
  digamma = lambda count: jax.scipy.special.digamma(jnp.asarray(count, counts.dtype))
  known = digamma(num_neighbours) + digamma(num_rows)
  if algorithm == "cubes":
    return known - jnp.sum(digamma(counts + 1), axis=1)
  return known - 1 / num_neighbours - jnp.sum(digamma(counts), axis=1)


def _distances(points: jax.Array, columns: jax.Array) -> jax.Array:
  """Largest differences of a coordinate, of points (..., D) and all columns (B, D), shape (..., B)."""

  def widen(largest: jax.Array, coordinate: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    points, columns = coordinate
    return jnp.maximum(largest, jnp.abs(points[..., None] - columns)), None

  start = jnp.zeros_like(points[..., :1] - columns[:, 0])
  return jax.lax.scan(widen, start, (jnp.moveaxis(points, -1, 0), columns.T))[0]
