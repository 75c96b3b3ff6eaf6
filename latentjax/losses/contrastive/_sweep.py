"""Pairs of rows of two arrays, one tile of scores at a time: the order of the tiles, over devices too.

Inside `pmap` and `shard_map`, columns of all devices are gathered where there are no blocks. With
blocks they go round: a device begins with its own, then has those of the next device, with the sums of
those columns so far, and so on; after a turn every sum is back on the device that the column is of. No
device ever holds more than two devices' rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.losses.contrastive._tiles import Operands, Tiling, product, put, take


def over_tiles(
  tiling: Tiling,
  visit: Callable,
  operands: Operands,
  row_sums: Any,
  column_sums: Any,
  row_inputs: Any = (),
  column_inputs: Any = (),
) -> tuple[Any, Any]:
  """Sums over the tiles of every row tile and of every column tile.

  Args:
    tiling: of the operands.
    visit: `visit(row_sums, column_sums, row_inputs, column_inputs, flipped, columns, scores)` of one
      tile gives the sums of its row tile and of its column tile with its scores (size, size) added;
      `flipped` is the row tile, (D, size), `columns` the column tile, (size, D).
    operands: from `prepare`.
    row_sums: sums to begin with, of every row tile, (row tiles, ...).
    column_sums: those of every column tile, (column tiles, ...).
    row_inputs: arrays (row tiles, ...), of which `visit` gets one row tile's.
    column_inputs: arrays (column tiles, ...), of which it gets one column tile's.

  Returns:
    Sums of every row tile and of every column tile.
  """
  of_columns = operands.columns, column_inputs
  sums = _circle(tiling, visit, operands, (row_sums, column_sums), row_inputs, of_columns)
  if tiling.ring is None:
    return sums
  num_devices = jax.lax.axis_size(tiling.ring)
  to_last = [(device, (device - 1) % num_devices) for device in range(num_devices)]
  go_round = lambda tree: jax.tree.map(lambda x: jax.lax.ppermute(x, tiling.ring, to_last), tree)

  def hop(carry: Any, number: jax.Array) -> tuple[Any, None]:
    (row_sums, column_sums), of_columns = carry
    column_sums, of_columns = go_round((column_sums, of_columns))
    sums = row_sums, column_sums
    return (_hop(tiling, visit, operands, sums, row_inputs, of_columns, number), of_columns), None

  (sums, _), _ = jax.lax.scan(hop, (sums, of_columns), jnp.arange(1, num_devices))
  return sums[0], go_round(sums[1])


def _circle(
  tiling: Tiling, visit: Callable, operands: Operands, sums: Any, row_inputs: Any, of_columns: Any
) -> tuple[Any, Any]:
  """Adds the pairs on this circle: of all devices, or of this one's rows with its own columns."""
  total = len(operands.columns)
  num_steps = total // 2 + 1 if tiling.half else total
  masked_steps = sorted({0, num_steps - 1}) if tiling.half else [0]

  def row_tile(column_sums: Any, row: tuple) -> tuple[Any, Any]:
    row_sums, inputs, rows, index, places = row

    def step(way: ArrayLike, sums: Any, masked: bool = True) -> Any:
      column = (index + way) % total
      column_places = take(operands.column_places, column)
      mask = (lambda scores: tiling.mask(scores, places, column_places)) if masked else None
      return _add_tile(visit, operands, sums, (inputs, rows), of_columns, column, mask)

    sums = row_sums, column_sums
    if tiling.filled_up:
      return jax.lax.fori_loop(0, num_steps, step, sums)[::-1]
    for way in masked_steps:
      sums = step(way, sums)
    if num_steps > len(masked_steps):
      stop = 1 + num_steps - len(masked_steps)
      sums = jax.lax.fori_loop(1, stop, partial(step, masked=False), sums)
    return sums[::-1]

  return _over_rows(row_tile, operands, sums, row_inputs)


def _hop(
  tiling: Tiling,
  visit: Callable,
  operands: Operands,
  sums: Any,
  row_inputs: Any,
  of_columns: Any,
  number: jax.Array,
) -> tuple[Any, Any]:
  """Adds the pairs of this device's rows with the columns of the device `number` places further.

  On the circle of all devices, the half turn from a row ends in the other view of its own device: a
  device further on has its columns of the same view before that end, and a device that comes round
  again, from the first on, those of the other view.
  """
  size = tiling.num_tiles
  again = jax.lax.axis_index(tiling.ring) + number >= jax.lax.axis_size(tiling.ring)

  def row_tile(column_sums: Any, row: tuple) -> tuple[Any, Any]:
    row_sums, inputs, rows, index, places = row
    view = (index // size + again) % tiling.num_views

    def step(tile: ArrayLike, sums: Any) -> Any:
      column = view * size + tile
      column_places = take(operands.column_places, column)
      counts = (places[:, None] >= 0) & (column_places >= 0)
      fill = lambda scores: jnp.where(counts, scores, -jnp.inf)
      mask = fill if tiling.filled_up else None
      return _add_tile(visit, operands, sums, (inputs, rows), of_columns, column, mask)

    return jax.lax.fori_loop(0, size, step, (row_sums, column_sums))[::-1]

  return _over_rows(row_tile, operands, sums, row_inputs)


def _add_tile(
  visit: Callable,
  operands: Operands,
  sums: Any,
  of_row: tuple,
  of_columns: Any,
  column: jax.Array,
  mask: Callable | None,
) -> tuple[Any, Any]:
  """Adds one tile to the sums of a row tile and to those of all column tiles."""
  (row_sums, column_sums), (row_inputs, rows) = sums, of_row
  columns, column_inputs = jax.tree.map(lambda tiles: take(tiles, column), of_columns)
  scores = operands.scale * product(rows, columns.T) + operands.bias
  scores = scores if mask is None else mask(scores)
  own = jax.tree.map(lambda tiles: take(tiles, column), column_sums)
  row_sums, own = visit(row_sums, own, row_inputs, column_inputs, rows.T, columns, scores)
  return row_sums, jax.tree.map(lambda tiles, tile: put(tiles, tile, column), column_sums, own)


def _over_rows(
  row_tile: Callable, operands: Operands, sums: Any, row_inputs: Any
) -> tuple[Any, Any]:
  """`row_tile(column_sums, row) -> (column_sums, row_sums)` of one row tile after the other."""
  row_sums, column_sums = sums
  tiles = row_sums, row_inputs, operands.rows, operands.which, operands.row_places
  if len(operands.rows) == 1:
    column_sums, row_sums = row_tile(column_sums, jax.tree.map(lambda tile: tile[0], tiles))
    return jax.tree.map(lambda sums: sums[None], row_sums), column_sums
  column_sums, row_sums = jax.lax.scan(row_tile, column_sums, tiles)
  return row_sums, column_sums
