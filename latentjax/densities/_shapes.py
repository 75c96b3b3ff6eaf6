"""What all densities share: how arguments broadcast, which axes are summed, where samples go."""

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, wide_dtype
from latentjax.collectives import draw_rows

Shape = tuple[int, ...]


def promote(event_ndim: int | None, /, **arrays: ArrayLike) -> tuple[jax.Array, ...]:
  """Checks that shapes combine explicitly (`check_shapes`); returns arrays in float32 or wider.

  Several event axes are merged into the last of them, the others keep size 1: (B, 28, 28, 1) becomes
  (B, 1, 1, 784). A channel axis of size 1 would otherwise be the loop that XLA has to vectorise
  (on CPU that is ten times slower).

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if shapes do not combine, or there are fewer than `event_ndim` axes.
  """
  check_float(**arrays)
  shapes = {name: jnp.shape(array) for name, array in arrays.items()}
  check_shapes(event_ndim, shapes)
  if event_ndim is None or event_ndim < 2:
    return widen(*arrays.values())
  event_shape = max(shapes.values(), key=len)[-event_ndim:]
  return tuple(_merge_event(array, event_shape) for array in widen(*arrays.values()))


def _merge_event(array: jax.Array, event_shape: Shape) -> jax.Array:
  if array.ndim == 0:
    return array
  if array.ndim < len(event_shape):
    array = jnp.broadcast_to(array, event_shape)
  lead = array.shape[: array.ndim - len(event_shape)]
  return array.reshape(*lead, *[1] * (len(event_shape) - 1), math.prod(event_shape))


def widen(*arrays: ArrayLike) -> tuple[jax.Array, ...]:
  """The arrays in their common dtype, float32 or wider."""
  dtype = wide_dtype(*arrays)
  return tuple(jnp.asarray(array, dtype) for array in arrays)


def counts_to_float(x: ArrayLike) -> ArrayLike:
  """Integer counts as floating point; everything else as it came, to be checked by `promote`."""
  is_integer = jnp.issubdtype(jnp.result_type(x), jnp.integer)
  return jnp.asarray(x, jnp.float32) if is_integer else x


def check_shapes(event_ndim: int | None, shapes: Mapping[str, Shape]) -> None:
  """Refuses shapes that combine only by silent stretching.

  Leading axes may be missing altogether: (B, D), (D,) and () against (K, B, D). Among the shapes
  with the most axes batch axes may have size 1: (B, 1, D) against (1, N, D); with `event_ndim=None`
  no axis is a batch axis. Anything else, such as (B,) against (B, 1), is refused.

  Raises:
    ValueError: if shapes do not combine, or there are fewer than `event_ndim` axes.
  """
  listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
  rank = max(map(len, shapes.values()))
  event_ndim = rank if event_ndim is None else event_ndim
  if not 0 <= event_ndim <= rank:
    raise ValueError(f"event_ndim must be in [0, {rank}] for {listed}, got {event_ndim}")
  if not _combine(list(shapes.values()), rank, event_ndim):
    raise ValueError(
      f"{' and '.join(shapes)} must have equal shapes, up to missing leading axes and, at equal "
      f"rank, batch axes of size 1; got {listed} with event_ndim={event_ndim}"
    )


def sum_event(values: jax.Array, event_ndim: int) -> jax.Array:
  """Sums over the last `event_ndim` axes."""
  return jnp.sum(values, axis=tuple(range(values.ndim - event_ndim, values.ndim)))


def draw_samples(
  key: jax.Array,
  draw: Callable[[jax.Array, Shape], jax.Array],
  shape: Shape,
  num_samples: int | None,
  axis_name: str | None,
) -> jax.Array:
  """Noise of shape (B, ...), or (K, B, ...) for K samples; each of the B rows has its own stream."""
  if num_samples is None:
    return draw_rows(key, draw, shape, axis_name=axis_name)
  check_positive_int(num_samples=num_samples)
  # Without a batch axis the K samples are the rows.
  axis = min(1, len(shape))
  return draw_rows(key, draw, (num_samples, *shape), axis=axis, axis_name=axis_name)


def draw_by_row(
  key: jax.Array,
  draw: Callable[..., jax.Array],
  params: Sequence[jax.Array],
  num_samples: int | None,
  axis_name: str | None,
) -> jax.Array:
  """Like `draw_samples`, for noise whose law depends on the row: `draw(key, shape, *row_params)`.

  The parameters have the batch axis first, or are all scalars. What `draw` returns may have any
  number of axes after those of the samples.
  """
  if num_samples is not None:
    check_positive_int(num_samples=num_samples)

  def draw_row(row_key: jax.Array, *row: jax.Array) -> jax.Array:
    leading = () if num_samples is None else (num_samples,)
    return draw(row_key, (*leading, *row[0].shape), *row)

  if not params[0].shape:
    return draw_row(key, *params)
  keys = draw_rows(key, lambda row_key, _: row_key, params[0].shape[:1], axis_name=axis_name)
  return jax.vmap(draw_row, out_axes=0 if num_samples is None else 1)(keys, *params)


def _combine(shapes: list[Shape], rank: int, event_ndim: int) -> bool:
  full = []
  for axis, sizes in enumerate(zip(*(shape for shape in shapes if len(shape) == rank))):
    distinct = set(sizes) - {1} if axis < rank - event_ndim else set(sizes)
    if len(distinct) > 1:
      return False
    full.append(max(sizes))
  return all(shape == tuple(full[rank - len(shape) :]) for shape in shapes if len(shape) < rank)
