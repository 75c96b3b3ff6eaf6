"""Procedural pictures of one shape with four attributes, and a position and size of their own."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SIDE = 16
ATTRIBUTES = {
  "kind": ("disc", "square", "triangle"),
  "size": ("small", "large"),
  "fill": ("filled", "outline"),
  "shade": ("dim", "bright"),
}
NUM_VALUES = tuple(len(values) for values in ATTRIBUTES.values())

CLASSES = np.stack(np.unravel_index(np.arange(np.prod(NUM_VALUES)), NUM_VALUES), axis=1)


class Shapes(NamedTuple):
  """Pictures and all that is behind them.

  Attributes:
    image: shape (N, SIDE, SIDE, 1), float32 in [0, 1].
    attributes: index of the value of each attribute, shape (N, 4), int32.
    position: centre of the shape in pixels (row, column), shape (N, 2).
  """

  image: np.ndarray
  attributes: np.ndarray
  position: np.ndarray

  @property
  def y(self) -> jax.Array:
    """The attributes as a vector of zeros and ones."""
    return jnp.asarray(one_hot(self.attributes))

  @property
  def classes(self) -> jax.Array:
    """Index into CLASSES, all combinations of attributes."""
    return jnp.asarray(np.ravel_multi_index(self.attributes.T, NUM_VALUES))


def make_shapes(num_examples: int, *, seed: int, allowed: np.ndarray | None = None) -> Shapes:
  """Independent attributes, uniform over their values (or over the rows of `allowed`)."""
  rng = np.random.default_rng(seed)
  if allowed is None:
    attributes = np.stack([rng.integers(n, size=num_examples) for n in NUM_VALUES], axis=1)
  else:
    attributes = allowed[rng.integers(len(allowed), size=num_examples)]
  position = SIDE / 2 - 0.5 + rng.uniform(-2.5, 2.5, (num_examples, 2))
  jitter = rng.uniform(0.92, 1.08, num_examples)
  image = np.concatenate(
    [
      draw(*part)
      for part in zip(*(np.array_split(a, 8) for a in (attributes, position, jitter)))
      if len(part[0])
    ]
  )
  return Shapes(image, attributes.astype(np.int32), position.astype(np.float32))


def draw(attributes: np.ndarray, position: np.ndarray, jitter: np.ndarray) -> np.ndarray:
  """Pictures by signed distance to the shape's edge, with edges one pixel soft."""
  kind, size, fill, shade = attributes.T[:, :, None, None]
  radius = np.where(size == 1, 4.4, 2.6) * jitter[:, None, None]
  row, column = np.indices((SIDE, SIDE))[:, None] - position.T[:, :, None, None]
  disc = np.hypot(row, column) - radius
  square = np.maximum(np.abs(row), np.abs(column)) - 0.85 * radius
  triangle = np.maximum(row - 0.7 * radius, 0.866 * np.abs(column) - 0.5 * row - 0.65 * radius)
  distance = np.choose(kind, [disc, square, triangle])
  distance = np.where(fill == 1, np.abs(distance + 0.5) - 0.7, distance)
  level = np.where(shade == 1, 1.0, 0.5) * np.clip(0.5 - distance, 0, 1)
  return level[..., None].astype(np.float32)


def one_hot(attributes: np.ndarray) -> np.ndarray:
  """Attributes as one vector of zeros and ones, shape (N, 9), float32."""
  parts = [np.eye(n, dtype=np.float32)[column] for n, column in zip(NUM_VALUES, attributes.T)]
  return np.concatenate(parts, axis=1)


def exchange(attributes: np.ndarray, which: int) -> np.ndarray:
  """The same attributes with the next value of one of them."""
  new = attributes.copy()
  new[:, which] = (new[:, which] + 1) % NUM_VALUES[which]
  return new


def centroid(image: jax.Array) -> jax.Array:
  """Centre of mass in pixels (row, column) of what is brighter than 0.1, shape (N, 2)."""
  mass = jnp.maximum(image[..., 0] - 0.1, 0)
  steps = jnp.arange(SIDE)
  moments = jnp.stack([mass.sum(2) @ steps, mass.sum(1) @ steps], axis=1)
  return moments / (mass.sum((1, 2))[:, None] + 1e-9)
