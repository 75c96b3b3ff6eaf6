"""Sprites: one shape on black, with shape, scale, rotation, place and colour; and on the dSprites grid."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int
from latentjax.data.factors.factor import (
  Factor,
  FactorSet,
  Sampler,
  categorical,
  factor_set,
  values_of,
)
from latentjax.data.factors.shapes import Outline, coverage, hue_to_rgb, outlines

SHAPES = ("square", "ellipse", "heart")


def sprites(
  *,
  side: int = 64,
  shapes: tuple[str, ...] = SHAPES,
  num_scales: int = 6,
  num_rotations: int = 40,
  num_positions: int = 32,
  num_colours: int = 8,
  one_bit: bool = False,
  sampler: Sampler | None = None,
) -> FactorSet:
  r"""One anti-aliased shape on black; factors shape, scale, rotation, x, y and colour.

  .. math:: x = \lfloor 256\, c(\mathrm{shape}, s, \theta, x, y) \rfloor \cdot \mathrm{rgb}(\mathrm{colour})

  with c the `coverage`. Scales are linear from 0.5 to 1, of 0.22 sides; centres from a quarter to three
  quarters of the image, so that no sprite is cut off. Every shape turns about its centre of mass, by the
  whole circle: a square looks the same four times.

  Args:
    side: H = W in pixels.
    shapes: keys of `shapes.OUTLINES`.
    num_scales: number of scales.
    num_rotations: number of rotations, which divide the circle.
    num_positions: number of columns, and of rows.
    num_colours: number of hues, which divide the circle of colours; with 1 there is no such factor and
      images have one channel.
    one_bit: pixels are 0 or 255: whether their centre is inside.
    sampler: how factors are drawn; independently by default.

  Returns:
    The set; images are uint8, (H, W, 3), or (H, W, 1) without colours.

  Raises:
    TypeError: if a number is not an integer.
    ValueError: if one is not positive, or a shape is unknown.

  Example:
    >>> images = jax.vmap(sprites(side=16).render)(jnp.zeros((2, 6), jnp.int32))
    >>> images.shape, images.dtype.name
    ((2, 16, 16, 3), 'uint8')
  """
  check_positive_int(side=side, num_colours=num_colours)
  stacked = outlines(shapes)
  factors: tuple[Factor, ...] = (
    categorical("shape", len(shapes)),
    Factor("scale", num_scales, 0.11 * side, 0.22 * side),
    Factor("rotation", num_rotations, 0.0, 2 * math.pi, "circular"),
    Factor("x", num_positions, side / 4, 3 * side / 4),
    Factor("y", num_positions, side / 4, 3 * side / 4),
  )
  if num_colours > 1:
    factors += (Factor("colour", num_colours, 0.0, 1.0, "circular"),)

  def render(indices: jax.Array) -> jax.Array:
    shape, scale, rotation, x, y, *hue = values_of(indices, factors)
    outline = pick(stacked, shape)
    image = draw(outline, scale, rotation, x, y, side=side)
    if one_bit:
      image = jnp.where(image >= 128, 255, 0).astype(jnp.uint8)
    return paint(image, hue_to_rgb(hue[0])) if hue else image[..., None]

  return factor_set("sprites", factors, render, sampler=sampler)


def dsprites_grid(*, sampler: Sampler | None = None) -> FactorSet:
  """White sprites on the grid of dSprites: 3 x 6 x 40 x 32 x 32 factors, 64 x 64 pixels of one bit.

  Its number of images, order of the factors and of their values are those of dSprites, from which it
  differs in the outlines, and in that the 40 rotations divide the circle, where the last of theirs is the
  first again.

  Args:
    sampler: how factors are drawn; independently by default.

  Returns:
    The set; images are uint8, 0 or 255, (64, 64, 1).

  Example:
    >>> dsprites_grid().num_combinations
    737280

  References:
    Matthey, Higgins, Hassabis & Lerchner, dSprites: Disentanglement testing sprites dataset, 2017.
  """
  made = sprites(num_colours=1, one_bit=True, sampler=sampler)
  return made._replace(name="dsprites_grid")


def pick(stacked: Outline, shape: jax.Array) -> Outline:
  """One of several outlines, by a floating index."""
  which = shape.astype(jnp.int32)
  return Outline(*(jnp.asarray(part)[which] for part in stacked))


def draw(
  outline: Outline,
  scale: jax.Array,
  rotation: jax.Array,
  x: jax.Array,
  y: jax.Array,
  *,
  side: int,
) -> jax.Array:
  """A white shape, uint8 (H, W). Cutting off below 256 levels is unbiased over an edge."""
  level = coverage(outline, scale, rotation, x, y, side=side, level=256.0)
  # Casts to 8 bits alone round, in some programs and not in others.
  return jnp.floor(jnp.minimum(level, 255.0)).astype(jnp.uint8)


def paint(image: jax.Array, colour: jax.Array) -> jax.Array:
  """A white image in one colour, uint8 (H, W, 3)."""
  # Without the barrier XLA draws the shape once per channel.
  image = jax.lax.optimization_barrier(image)
  tint = jnp.round(256 * colour).astype(jnp.uint16)
  return ((image[..., None].astype(jnp.uint16) * tint) >> 8).astype(jnp.uint8)
