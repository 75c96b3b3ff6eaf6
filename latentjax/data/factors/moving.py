"""Moving sprites: short videos whose factors are static (what) or dynamic (where to)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from latentjax.checks import check_positive_int
from latentjax.data.factors.factor import (
  Factor,
  FactorSet,
  Sampler,
  categorical,
  factor_set,
  values_of,
)
from latentjax.data.factors.shapes import hue_to_rgb, outlines
from latentjax.data.factors.sprites import SHAPES, draw, paint, pick

STATIC = ("shape", "scale", "colour")
DYNAMIC = ("x", "y", "rotation", "heading", "speed", "spin")


def moving_sprites(
  *,
  num_frames: int = 16,
  side: int = 64,
  shapes: tuple[str, ...] = SHAPES,
  sampler: Sampler | None = None,
) -> FactorSet:
  r"""Videos of a sprite that flies straight, bounces off the walls and spins.

  .. math:: p_t = \mathrm{bounce}(p_0 + t\, v\, (\cos\phi, \sin\phi)), \qquad
      \theta_t = \theta_0 + t\, \omega

  The first three factors (`STATIC`) hold for all frames, the others (`DYNAMIC`) are of the motion; speeds are
  in sides, and spins in turns, per video. Walls are a quarter of the side from the image's edge. Every factor
  but the rotation and spin of a shape with symmetries can be told from a video of four frames or more.

  Args:
    num_frames: T.
    side: H = W in pixels.
    shapes: keys of `shapes.OUTLINES`.
    sampler: how factors are drawn; independently by default.

  Returns:
    The set; videos are uint8, (T, H, W, 3), and its extra feature "path" is x, y in pixels and the
    rotation in radians of every frame, (T, 3).

  Raises:
    TypeError: if a number is not an integer.
    ValueError: if one is not positive, or a shape is unknown.

  Example:
    >>> videos = moving_sprites(num_frames=2, side=16)
    >>> videos.render(jnp.zeros(9)).shape
    (2, 16, 16, 3)
  """
  check_positive_int(num_frames=num_frames, side=side)
  stacked = outlines(shapes)
  low, high, frame = side / 4, 3 * side / 4, max(num_frames - 1, 1)
  inset = side / 64  # of a start at a wall, two headings would make the same video
  factors = (
    categorical("shape", len(shapes)),
    Factor("scale", 4, 0.11 * side, 0.22 * side),
    Factor("colour", 8, 0.0, 1.0, "circular"),
    Factor("x", 16, low + inset, high - inset),
    Factor("y", 16, low + inset, high - inset),
    Factor("rotation", 16, 0.0, 2 * math.pi, "circular"),
    Factor("heading", 16, 0.0, 2 * math.pi, "circular"),
    Factor("speed", 4, 0.25 * side / frame, side / frame),
    Factor("spin", 5, -2 * math.pi / frame, 2 * math.pi / frame),
  )

  def path(indices: jax.Array) -> jax.Array:
    _, _, _, x, y, rotation, heading, speed, spin = values_of(indices, factors)
    time = np.arange(num_frames, dtype=np.float32)
    columns = bounce(x + time * speed * jnp.cos(heading), low, high)
    rows = bounce(y + time * speed * jnp.sin(heading), low, high)
    return jnp.stack([columns, rows, rotation + time * spin], axis=1)

  def render(indices: jax.Array) -> jax.Array:
    shape, scale, hue, *_ = values_of(indices, factors)
    outline, colour = pick(stacked, shape), hue_to_rgb(hue)

    def frame(state: jax.Array) -> jax.Array:
      return paint(draw(outline, scale, state[2], state[0], state[1], side=side), colour)

    return jax.vmap(frame)(path(indices))

  return factor_set(
    "moving_sprites", factors, render, feature="video", extras={"path": path}, sampler=sampler
  )


def bounce(place: jax.Array, low: float, high: float) -> jax.Array:
  """Where something is that flew to `place` between two walls that it bounced off."""
  span = high - low
  return low + span - jnp.abs(jnp.mod(place - low, 2 * span) - span)
