"""Numbers in order within each label, by sorting integers, which is several times faster than pairs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Ordered(NamedTuple):
  """Column x in order, and once more in order within each label.

  Attributes:
    x: ascending, shape (N,).
    inner: ascending within each label, labels in sequence, shape (N,).
    keys: label * N + rank in x of every row of inner, ascending, shape (N,).
    start: row of inner where each label begins, shape (V,).
    size: rows of each label, shape (V,).
  """

  x: jax.Array
  inner: jax.Array
  keys: jax.Array
  start: jax.Array
  size: jax.Array


def check_key_range(num_rows: int, num_values: int) -> None:
  """Refuses what does not fit the integers that are sorted."""
  if num_rows * num_values >= 2**31:
    raise ValueError(f"rows times values must be below 2^31, got {num_rows} times {num_values}")


def order_within(x: jax.Array, labels: jax.Array, num_values: int) -> Ordered:
  """Orders for every column of x (N, Z) and of labels (N, F), with leading axes (Z, F)."""
  num_rows = x.shape[0]
  numbers = sortable(x).T
  ascending = jnp.sort(numbers)
  ranks = jax.vmap(jnp.searchsorted)(ascending, numbers)  # equal numbers share one

  def one(column: jax.Array, rank: jax.Array, label: jax.Array) -> Ordered:
    keys = jnp.sort(label * num_rows + rank)
    size = jnp.zeros(num_values, jnp.int32).at[label].add(1)
    return Ordered(column, column[keys % num_rows], keys, jnp.cumsum(size) - size, size)

  of_column = jax.vmap(one, (None, None, 0))
  columns = jax.lax.bitcast_convert_type(sortable(ascending), x.dtype)
  return jax.vmap(of_column, (0, 0, None))(columns, ranks, labels.astype(jnp.int32).T)


def sortable(x: jax.Array) -> jax.Array:
  """Integers in the order of the numbers, and what they are the bits of in the order of the integers."""
  bits = jax.lax.bitcast_convert_type(x, f"int{8 * x.dtype.itemsize}")
  return jnp.where(bits < 0, bits ^ jnp.iinfo(bits.dtype).max, bits)
