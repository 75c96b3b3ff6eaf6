"""Static checks of shapes, dtypes and hyper-parameters.

They read only what is known while tracing, so they cost nothing under `jit`. Arrays are passed by
keyword: the keyword is the name that the message shows.
"""

import math
import numbers
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

__all__ = [
  "check_alike",
  "check_batch",
  "check_choice",
  "check_float",
  "check_not_empty",
  "check_positive_int",
  "check_range",
  "check_rank",
  "check_same_shape",
  "wide_dtype",
]


def check_float(**arrays: ArrayLike) -> None:
  """Refuses arrays that are not floating point.

  Raises:
    TypeError: naming the first such array.
  """
  for name, array in arrays.items():
    dtype = jnp.result_type(array)
    if not jnp.issubdtype(dtype, jnp.floating):
      raise TypeError(f"{name} must be a floating point array, got {dtype}")


def check_rank(rank: int, **arrays: ArrayLike) -> None:
  """Refuses arrays whose number of axes is not `rank`, or that have no element.

  Raises:
    ValueError: naming the first such array.
  """
  for name, array in arrays.items():
    if jnp.ndim(array) != rank:
      raise ValueError(f"{name} must have {rank} axes, got shape {jnp.shape(array)}")
  check_not_empty(**arrays)


def check_not_empty(**arrays: ArrayLike) -> None:
  """Refuses arrays without an element, of which there is no maximum, mean or norm.

  Raises:
    ValueError: naming the first such array.
  """
  for name, array in arrays.items():
    if 0 in jnp.shape(array):
      raise ValueError(f"{name} must not be empty, got shape {jnp.shape(array)}")


def check_same_shape(**arrays: ArrayLike) -> None:
  """Refuses arrays whose shapes differ.

  Raises:
    ValueError: naming every array and its shape.
  """
  shapes = {name: jnp.shape(array) for name, array in arrays.items()}
  if len(set(shapes.values())) > 1:
    got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    raise ValueError(f"{' and '.join(shapes)} must have the same shape, got {got}")


def check_batch(**arrays: ArrayLike) -> None:
  """Refuses arrays that are not floating point, have no batch axis, or are empty.

  Raises:
    TypeError: naming the first that is not floating point.
    ValueError: naming the first without an axis, or without an element.
  """
  check_float(**arrays)
  for name, array in arrays.items():
    if jnp.ndim(array) == 0:
      raise ValueError(f"{name} must have a batch axis, got a scalar")
  check_not_empty(**arrays)


def check_alike(rank: int, **arrays: ArrayLike) -> None:
  """Refuses arrays that are not floating point, not of `rank` axes, empty, or not of one shape.

  Raises:
    TypeError: naming the first that is not floating point.
    ValueError: naming the first array if its rank is another or it is empty, or all if their shapes
      differ.
  """
  check_float(**arrays)
  name, array = next(iter(arrays.items()))
  check_rank(rank, **{name: array})
  check_same_shape(**arrays)


def check_range(
  low: float = -math.inf, high: float = math.inf, *, strict: bool = False, **values: ArrayLike
) -> None:
  """Refuses numbers outside [low, high], or outside (low, high) if `strict`.

  A traced value, such as an annealed weight, is not known yet and passes.

  Raises:
    ValueError: naming the first such number.
  """
  for name, value in values.items():
    if not isinstance(value, numbers.Real | np.number):
      continue
    if not (low < value < high if strict else low <= value <= high):
      left, right = "()" if strict else "[]"
      raise ValueError(f"{name} must be in {left}{low}, {high}{right}, got {value}")


def check_positive_int(**values: int) -> None:
  """Refuses anything but a Python integer of at least 1.

  Raises:
    TypeError: if a value is not an integer.
    ValueError: if it is below 1.
  """
  for name, value in values.items():
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
      raise TypeError(f"{name} must be a positive integer, got {value!r}")
    if value < 1:
      raise ValueError(f"{name} must be a positive integer, got {value}")


def check_choice(options: Sequence[str], **values: str) -> None:
  """Refuses a string that is not one of `options`.

  Raises:
    ValueError: naming the value and the options.
  """
  for name, value in values.items():
    if value not in options:
      wanted = ", ".join(repr(option) for option in options)
      raise ValueError(f"{name} must be one of {wanted}, got {value!r}")


def wide_dtype(*arrays: ArrayLike) -> np.dtype:
  """Dtype in which sums over these arrays are taken: float32, or float64 if one of them is."""
  return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
