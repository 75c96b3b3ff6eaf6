"""What the augmentations of one image share: checks, draws, and a change that happens or not."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype

Range = tuple[float, float]


def as_image(image: ArrayLike) -> jax.Array:
  """An image (H, W, C)."""
  check_float(image=image)
  check_rank(3, image=image)
  return jnp.asarray(image)


def uniform(key: jax.Array, image: jax.Array, interval: Range) -> jax.Array:
  """A number from an interval, in the dtype in which an image is changed."""
  low, high = interval
  return jax.random.uniform(key, (), wide_dtype(image), low, high)


def maybe(key: jax.Array, prob: float, changed: jax.Array, image: jax.Array) -> jax.Array:
  """The changed image with this probability, in the image's dtype."""
  check_range(0.0, 1.0, prob=prob)
  return jnp.where(jax.random.bernoulli(key, prob), changed.astype(image.dtype), image)


def check_interval(low: float = -math.inf, high: float = math.inf, **intervals: Range) -> None:
  """Refuses what is not two numbers of [low, high] in ascending order."""
  for name, interval in intervals.items():
    if len(interval) != 2 or not low <= interval[0] <= interval[1] <= high:
      raise ValueError(f"{name} must be two ascending numbers in [{low}, {high}], got {interval}")


def as_size(image: jax.Array, **sizes: int | tuple[int, int] | None) -> tuple[int, int]:
  """Height and width: those of the image for None, a square for a number."""
  ((name, size),) = sizes.items()
  if size is None:
    return image.shape[0], image.shape[1]
  height, width = size if isinstance(size, tuple) else (size, size)
  check_positive_int(**{name: height})
  check_positive_int(**{name: width})
  return height, width
