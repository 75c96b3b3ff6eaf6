"""k-means: a codebook from vectors."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_batch,
  check_choice,
  check_positive_int,
  wide_dtype,
)
from latentjax.quantizers._nearest import nearest_rows
from latentjax.quantizers.ema import draw_vectors

__all__ = ["kmeans"]


def kmeans(
  key: jax.Array,
  x: ArrayLike,
  *,
  num_codes: int,
  num_steps: int = 10,
  init: str = "random",
  block_size: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Codebook by Lloyd's algorithm from random vectors, or from vectors far apart (k-means++).

  .. math:: c_k \leftarrow \frac{1}{n_k} \sum_{i : k(x_i) = k} x_i

  A code that has no vectors stays where it is. The first codes are different vectors. With
  `init="random"` all are as likely: of many equal ones, such as those of an image's background,
  several are drawn, and all of their codes but one stay without vectors for ever. With "plus_plus"
  they are drawn one after the other, with probability

  .. math:: p_i \propto \min_{j < k} \|x_i - c_j\|^2

  so that no two are equal while there are others. That is num_codes passes over the vectors, the
  arithmetic of one more step but not its speed: each pass is a matrix times a vector.

  Args:
    key: random key, the same on every device.
    x: vectors, shape (..., D), at least num_codes of them, finite.
    num_codes: N.
    num_steps: iterations, at least 1.
    init: "random" or "plus_plus", how the first codes are drawn.
    block_size: vectors at a time, see `nearest_code`.
    axis_name: mapped device axis over which the vectors are split, inside `pmap` or `shard_map`. All
      devices' vectors count, and every device has the same codebook.

  Returns:
    Codebook, shape (N, D), float32 or wider. Detached.

  Raises:
    TypeError: if x is not floating point, or a number is not an integer.
    ValueError: if x has no axis of vectors or fewer vectors than codes, a number is not positive, or
      init is neither.

  Example:
    >>> x = jnp.array([[0.0], [2.0], [10.0], [12.0]])
    >>> sorted(kmeans(jax.random.key(1), x, num_codes=2).ravel().tolist())
    [1.0, 11.0]

  References:
    Lloyd, Least Squares Quantization in PCM, 1982.
    Arthur & Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
  """
  check_batch(x=x)
  x = jnp.asarray(x)
  if x.ndim < 2:
    raise ValueError(f"x must be vectors (..., D), got shape {x.shape}")
  check_positive_int(num_codes=num_codes, num_steps=num_steps)
  check_choice(("random", "plus_plus"), init=init)
  rows = jax.lax.stop_gradient(x).reshape(-1, x.shape[-1]).astype(wide_dtype(x))
  total = rows.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  if total < num_codes:
    raise ValueError(f"x must have at least num_codes = {num_codes} vectors, got {total}")
  if init == "random":
    start = draw_vectors(key, rows, num_rows=num_codes, axis_name=axis_name, replace=False)
  else:
    start = _far_apart(key, rows, num_codes, axis_name)

  def step(codes: jax.Array, _: None) -> tuple[jax.Array, None]:
    indices = nearest_rows(rows, codes, block_size=block_size)
    # About the code that they are near to, the mean of vectors far from the origin keeps its digits.
    residuals = jnp.zeros_like(codes).at[indices].add(rows - codes[indices])
    counts = jnp.zeros_like(codes[:, 0]).at[indices].add(1)
    if axis_name is not None:
      residuals, counts = jax.lax.psum((residuals, counts), axis_name)
    return codes + residuals / jnp.maximum(counts, 1)[:, None], None

  codes, _ = jax.lax.scan(step, start, None, length=num_steps)
  return codes


def _far_apart(key: jax.Array, rows: jax.Array, num_codes: int, axis_name: str | None) -> jax.Array:
  """Rows drawn by their squared distance to the nearest one drawn before, (num_codes, D)."""
  key_first, key_next = jax.random.split(key)
  first = draw_vectors(key_first, rows, num_rows=1, axis_name=axis_name)[0]
  squares = lambda code: jnp.sum(jnp.square(rows - code), axis=1)

  def step(distances: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    code = _draw_by(key, distances, rows, axis_name)
    return jnp.minimum(distances, squares(code)), code

  _, codes = jax.lax.scan(step, squares(first), jax.random.split(key_next, num_codes - 1))
  return jnp.concatenate([first[None], codes])


def _draw_by(
  key: jax.Array, weights: jax.Array, rows: jax.Array, axis_name: str | None
) -> jax.Array:
  """One row, with probability proportional to its weight, the same on every device.

  By the inverse of the distribution function: one random number, whatever the number of rows.
  """
  below = jnp.cumsum(weights)
  point = jax.random.uniform(key, (), weights.dtype)

  def pick(point: jax.Array) -> jax.Array:
    place = jnp.minimum(jnp.searchsorted(below, point, side="right"), len(rows) - 1)
    # A gather, not a slice: of rows that `jit` has split over devices, only one is exchanged.
    return rows[place[None]][0]

  if axis_name is None:
    return pick(point * below[-1])
  ends = jnp.cumsum(jax.lax.all_gather(below[-1], axis_name))
  point = point * ends[-1]
  device = jnp.minimum(jnp.searchsorted(ends, point, side="right"), len(ends) - 1)
  row = pick(point - jnp.where(device > 0, ends[device - 1], 0))
  return jax.lax.psum(jnp.where(device == jax.lax.axis_index(axis_name), row, 0), axis_name)
