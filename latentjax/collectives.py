"""Rows of a batch that is split over devices, inside `pmap` and `shard_map`.

`axis_name=None` everywhere means that the whole batch is here already (a single device, or `jit`
with a sharded batch, where XLA inserts the collectives); then every function is the identity.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = ["all_gather_rows", "device_mean", "draw_rows", "local_rows", "row_offset"]


def all_gather_rows(x: jax.Array, axis_name: str | None) -> jax.Array:
  """The rows of all devices, in device order along axis 0.

  The gradient reaches the rows of every device: what other devices' losses owe to a row is summed
  on the device that holds it. The mean over devices of each device's mean loss therefore has the
  gradient of the global mean.
  """
  if axis_name is None:
    return x
  return jax.lax.all_gather(x, axis_name, axis=0, tiled=True)


def device_mean(x: jax.Array, axis_name: str | None) -> jax.Array:
  """Mean over the devices of what each has made of its own, equally many rows.

  For statistics that are smaller than the rows that they are made of: moments are exchanged, and
  products taken once, where `all_gather_rows` would exchange rows and repeat the products.
  """
  return x if axis_name is None else jax.lax.pmean(x, axis_name)


def row_offset(num_rows: int, axis_name: str | None) -> jax.Array | int:
  """Global index of the first of this device's `num_rows` rows."""
  return 0 if axis_name is None else jax.lax.axis_index(axis_name) * num_rows


def local_rows(x: jax.Array, axis_name: str | None) -> jax.Array:
  """This device's rows of an array of global rows; inverts `all_gather_rows`."""
  if axis_name is None:
    return x
  num_rows = x.shape[0] // jax.lax.axis_size(axis_name)
  return jax.lax.dynamic_slice_in_dim(x, row_offset(num_rows, axis_name), num_rows, axis=0)


def draw_rows(
  key: jax.Array,
  draw: Callable[[jax.Array, tuple[int, ...]], jax.Array],
  shape: tuple[int, ...],
  *,
  axis: int = 0,
  axis_name: str | None = None,
) -> jax.Array:
  """Random numbers in which a row depends only on `key` and on the row's index in the global batch.

  Every row has its own key, so a device draws its own rows without making those of the others, and
  a program gives the same noise on one device and on many. (Drawing the global array and slicing it
  costs its full size on every CPU device; a key per row costs a few per cent of the drawing.)

  Args:
    key: random key, the same on every device.
    draw: sampler of one row, `draw(key, row_shape)`.
    shape: shape of the result on this device; `()` draws a single number with `key` itself.
    axis: the axis of `shape` that runs over the rows of the batch.
    axis_name: name of the mapped device axis, inside `pmap` or `shard_map`.

  Returns:
    Array of the given shape.
  """
  if not shape:
    return draw(key, ())
  row_shape = shape[:axis] + shape[axis + 1 :]
  rows = row_offset(shape[axis], axis_name) + jnp.arange(shape[axis])
  return jax.vmap(lambda row: draw(jax.random.fold_in(key, row), row_shape), out_axes=axis)(rows)
