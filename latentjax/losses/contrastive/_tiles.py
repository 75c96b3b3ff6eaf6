"""Pairs of rows of two arrays, one tile of scores at a time: how rows lie in tiles.

Rows lie on a circle of N places, tile after tile, view after view. A pair counts if the way from i
to j, (j - i) mod N, is more than 0 and less than N; with `half`, less than N / 2. For two views, whose
rows of the same example lie half a turn apart, that is every pair of different examples once: what
is left out is a row with itself and with its other view. Only tiles at the start and at half a turn
have pairs to leave out, and every tile, hence every device, has the same work.

A tile holds every k-th row, not k neighbours: of a batch that `jit` has split over devices, each then
has an equal share of every tile.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, wide_dtype
from latentjax.collectives import all_gather_rows, row_offset


class Tiling(NamedTuple):
  """How rows lie in tiles; all of it static."""

  num_views: int
  num_devices: int  # whose rows lie on one circle
  num_rows: int  # of one view on one device
  num_tiles: int  # into which those are cut
  half: bool
  ring: str | None  # the axis on which columns go round, each device with a circle of its own

  @property
  def size(self) -> int:
    return -(-self.num_rows // self.num_tiles)

  @property
  def total(self) -> int:
    return self.num_views * self.num_devices * self.num_tiles

  @property
  def filled_up(self) -> bool:
    return self.num_tiles * self.size > self.num_rows

  @property
  def positions(self) -> np.ndarray:
    """Places (total, size) on the circle; those of rows that only fill up a tile are far off it."""
    circle = self.total * self.size
    places = np.arange(circle).reshape(-1, self.num_tiles, self.size)
    row = np.arange(self.num_tiles)[:, None] + self.num_tiles * np.arange(self.size)
    places = np.where(row < self.num_rows, places, -4 * circle)
    return places.reshape(self.total, self.size).astype(np.int32)

  def cut(self, view: jax.Array) -> jax.Array:
    """Tiles (num_tiles, size, D) of the rows of a view on this device."""
    if self.filled_up:
      view = jnp.pad(view, ((0, self.num_tiles * self.size - self.num_rows), (0, 0)))
    return jnp.swapaxes(view.reshape(self.size, self.num_tiles, -1), 0, 1)

  def join(self, sums: jax.Array) -> jax.Array:
    """Sums (views, devices or 1, num_rows) of tiles (..., size); inverts `cut`."""
    tiles = sums.reshape(self.num_views, -1, self.num_tiles, self.size)
    rows = jnp.swapaxes(tiles, 2, 3).reshape(*tiles.shape[:2], -1)
    return rows[..., : self.num_rows]

  def mask(self, scores: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Scores of the pairs of rows and columns at these positions, -inf for those that do not count."""
    circle = self.total * self.size
    way = columns[None, :] - rows[:, None]
    way = jnp.where(way < 0, way + circle, way)
    limit = circle // 2 if self.half else circle
    return jnp.where((way > 0) & (way < limit), scores, -jnp.inf)


class Operands(NamedTuple):
  """What the scores are made of.

  Attributes:
    rows: this device's, in tiles (row tiles, size, D).
    columns: those of all devices, or this device's if they go round, in tiles (column tiles, size, D).
    scale: factor of the products.
    bias: added to them.
    which: the number of each row tile among all, (row tiles,).
    row_places: positions of the rows on the circle, (row tiles, size).
    column_places: those of the columns, (column tiles, size).
  """

  rows: jax.Array
  columns: jax.Array
  scale: jax.Array
  bias: jax.Array
  which: jax.Array
  row_places: jax.Array
  column_places: jax.Array

  def zeros(self, *shape: int) -> jax.Array:
    """Zeros in float32 or wider that vary over the devices as the operands do."""
    return jnp.broadcast_to(jnp.zeros_like(self.scale), shape)


def prepare(
  x: Sequence[ArrayLike],
  y: Sequence[ArrayLike],
  scale: ArrayLike,
  bias: ArrayLike = 0.0,
  *,
  axis_name: str | None,
  block_size: int | None,
  half: bool = False,
) -> tuple[Tiling, Operands]:
  """Views of rows x and columns y, each (rows of this device, D), cut into tiles.

  `half` is for two views; without it there is one.
  """
  if block_size is not None:
    check_positive_int(block_size=block_size)
  num_rows = jnp.shape(x[0])[0]
  num_tiles = 1 if block_size is None else -(-num_rows // block_size)
  ring = None if block_size is None else axis_name
  gathered = axis_name if block_size is None else None
  num_devices = 1 if gathered is None else jax.lax.axis_size(gathered)
  tiling = Tiling(len(x), num_devices, num_rows, num_tiles, half, ring)
  wide = wide_dtype(*x, *y)
  # In float16, small weights would vanish.
  dtype = jnp.bfloat16 if jnp.result_type(*x, *y) == jnp.bfloat16 else wide
  scale = jnp.asarray(scale, wide)
  if dtype == wide:  # else scaled rows would be rounded; this way no tile needs a pass for it
    x, scale = [scale * jnp.asarray(view, wide) for view in x], jnp.ones_like(scale)
  cut = lambda view: tiling.cut(jnp.asarray(view, dtype))
  rows = jnp.concatenate([cut(view) for view in x])
  columns = jnp.concatenate([all_gather_rows(cut(view), gathered) for view in y])
  places = jnp.asarray(tiling.positions)
  first = np.arange(len(x))[:, None] * num_devices * num_tiles + np.arange(num_tiles)
  index = jnp.asarray(first.reshape(-1), jnp.int32) + row_offset(num_tiles, gathered)
  row_places = places[index]
  if block_size is None:  # all columns of a view, of all devices, are one tile
    columns = columns.reshape(len(x), -1, columns.shape[-1])
    places = places.reshape(len(x), -1)
    index = jnp.arange(len(x))
  # Made from the inputs, so that inside `shard_map` it varies over the devices as they do.
  zero = jnp.zeros_like(rows[0, 0, 0] + columns[0, 0, 0], wide)
  scale, bias = scale + zero, jnp.asarray(bias, wide) + zero
  return tiling, Operands(rows, columns, scale, bias, index, row_places, places)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Matrix product in float32 or wider; one of bfloat16 factors is exact up to the summation."""
  precision = None if a.dtype == jnp.bfloat16 else "highest"
  return jnp.matmul(a, b, precision=precision, preferred_element_type=wide_dtype(a))


def take(tiles: jax.Array, index: ArrayLike) -> jax.Array:
  return jax.lax.dynamic_index_in_dim(tiles, index, keepdims=False)


def put(tiles: jax.Array, tile: jax.Array, index: ArrayLike) -> jax.Array:
  return jax.lax.dynamic_update_index_in_dim(tiles, tile, index, axis=0)
