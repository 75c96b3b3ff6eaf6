"""Scenes of one to K objects: image, segmentation mask, and a caption from a grammar."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int
from latentjax.data.factors.factor import (
  Factor,
  FactorSet,
  Sampler,
  categorical,
  factor_set,
  values_of,
)
from latentjax.data.factors.shapes import coverage, hue_to_rgb, outlines
from latentjax.data.factors.sprites import pick

KINDS = ("square", "triangle", "circle")
SIZES = ("small", "large")
COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
LAYOUTS = ("order", "row", "column", "ring")
COUNTS = ("one", "two", "three", "four", "five", "six")
ROWS, SIDES = ("top", "middle", "bottom"), ("left", "centre", "right")
_MARKS = ("", ",", ".", ":", "a", "at", "in", "no", "object", "objects")
VOCABULARY = (*_MARKS, *COUNTS, *LAYOUTS, *SIZES, *COLOURS, *KINDS, *ROWS, *SIDES)
_TOKEN = {word: token for token, word in enumerate(VOCABULARY)}
_PER_OBJECT = 5  # factors


class Objects(NamedTuple):
  """What is in a scene, for all K objects, of which the first `num` are there.

  Attributes:
    num: number of objects, (), int32.
    layout: index into LAYOUTS, (), int32.
    kind: index into KINDS, (K,), int32.
    size: index into SIZES, (K,), int32.
    colour: index into COLOURS, (K,), int32.
    x: column of the centre in sides, (K,).
    y: row of the centre in sides, (K,).
  """

  num: jax.Array
  layout: jax.Array
  kind: jax.Array
  size: jax.Array
  colour: jax.Array
  x: jax.Array
  y: jax.Array


def scenes(*, max_objects: int = 4, side: int = 64, sampler: Sampler | None = None) -> FactorSet:
  r"""Several objects on black; later ones hide earlier ones.

  .. math:: x = \sum_k c_k\, \mathrm{rgb}_k \prod_{l > k} (1 - c_l)

  Factors are the count, the layout (no order, a row, a column, a ring), and kind, size, colour, x and y of
  each of the K objects. Without order x and y are the place; in a layout they move an object a little from
  its place in it. Those of objects that are not there change nothing.

  Args:
    max_objects: K, from 1 to 6.
    side: H = W in pixels.
    sampler: how factors are drawn; independently by default.

  Returns:
    The set; images are uint8, (H, W, 3). Extra features: "mask", uint8 (H, W, 1), 0 for the background and
    k for the k-th object where it covers half of the pixel and is the topmost that does; "caption", tokens
    of `write_caption`; "count", int32 ().

  Raises:
    TypeError: if a number is not an integer.
    ValueError: if one is out of range.

  Example:
    >>> made = scenes(side=16, max_objects=2)
    >>> made.render(jnp.zeros(12)).shape, made.sizes
    ((16, 16, 3), (2, 4, 3, 2, 6, 8, 8, 3, 2, 6, 8, 8))
  """
  check_positive_int(max_objects=max_objects, side=side)
  if max_objects > len(COUNTS):
    raise ValueError(f"max_objects must be at most {len(COUNTS)}, got {max_objects}")
  factors: tuple[Factor, ...] = (
    Factor("count", max_objects, 1.0, max_objects),
    categorical("layout", len(LAYOUTS)),
  )
  for k in range(1, max_objects + 1):
    kinds = zip(("kind", "size", "colour"), (len(KINDS), len(SIZES), len(COLOURS)))
    factors += tuple(categorical(f"{name}_{k}", size) for name, size in kinds)
    factors += (Factor(f"x_{k}", 8, 0.15, 0.85), Factor(f"y_{k}", 8, 0.15, 0.85))
  stacked = outlines(("square", "triangle", "disc"))
  describe = lambda indices: _describe(values_of(indices, factors))

  def cover(indices: jax.Array) -> jax.Array:
    """Share of every pixel under each object, as if it were alone, (K, H, W)."""
    objects = describe(indices)

    def one(kind: Any, size: Any, x: Any, y: Any) -> jax.Array:
      radius = side * jnp.where(size == 1, 0.13, 0.08)
      return coverage(pick(stacked, kind), radius, 0.0, side * x, side * y, side=side)

    there = jnp.arange(max_objects) < objects.num
    return there[:, None, None] * jax.vmap(one)(*(objects[k] for k in (2, 3, 5, 6)))

  def render(indices: jax.Array) -> jax.Array:
    free, planes = 1.0, []
    for alone in cover(indices)[::-1]:
      planes.append(alone * free)
      free = free * (1 - alone)
    visible = jax.lax.optimization_barrier(jnp.stack(planes[::-1]))
    colours = 256 * hue_to_rgb(describe(indices).colour / len(COLOURS))
    image = sum(plane[..., None] * colour for plane, colour in zip(visible, colours))
    # Casts to 8 bits alone round, in some programs and not in others.
    return jnp.floor(jnp.minimum(image, 255)).astype(jnp.uint8)

  def segment(indices: jax.Array) -> jax.Array:
    numbers = np.arange(1, max_objects + 1, dtype=np.uint8)[:, None, None]
    return jnp.max(jnp.where(cover(indices) >= 0.5, numbers, 0), axis=0)[..., None]

  extras = {
    "mask": segment,
    "caption": lambda indices: write_caption(describe(indices)),
    "count": lambda indices: describe(indices).num,
  }
  return factor_set("scenes", factors, render, extras=extras, sampler=sampler)


def write_caption(objects: Objects) -> jax.Array:
  """Tokens of a caption.

  The grammar: S -> COUNT ("object" | "objects") "in" LAYOUT ":" OBJECT {"," OBJECT} ".", OBJECT -> "a" SIZE
  COLOUR KIND "at" ROW SIDE, LAYOUT -> "no" "order" | "a" ("row" | "column" | "ring"). ROW and SIDE are the
  thirds of the image that an object's centre is in.

  Args:
    objects: one scene.

  Returns:
    Tokens, indices into VOCABULARY, int32 (6 + 8 K,), with 0 after the end.

  Example:
    >>> one = jnp.zeros(1, jnp.int32)
    >>> read_caption(write_caption(Objects(1, 1, one, one, one, one + 0.5, one + 0.1)))
    'one object in a row : a small red square at top centre .'
  """
  words = lambda *which: jnp.array([_TOKEN[word] for word in which], jnp.int32)
  count, num = jnp.asarray(objects.num), len(objects.kind)
  head = jnp.stack(
    [
      words(*COUNTS)[count - 1],
      words("object", "objects")[jnp.minimum(count, 2) - 1],
      jnp.int32(_TOKEN["in"]),
      words("no", "a", "a", "a")[objects.layout],
      words(*LAYOUTS)[objects.layout],
      jnp.int32(_TOKEN[":"]),
    ]
  )
  third = lambda place: jnp.clip(3 * place, 0, 2).astype(jnp.int32)
  order = jnp.arange(1, num + 1)
  body = jnp.stack(
    [
      jnp.broadcast_to(words("a"), num),
      words(*SIZES)[objects.size],
      words(*COLOURS)[objects.colour],
      words(*KINDS)[objects.kind],
      jnp.broadcast_to(words("at"), num),
      words(*ROWS)[third(objects.y)],
      words(*SIDES)[third(objects.x)],
      jnp.where(order == count, _TOKEN["."], _TOKEN[","]),
    ],
    axis=1,
  )
  return jnp.concatenate([head, jnp.where(order[:, None] <= count, body, 0).reshape(-1)])


def read_caption(tokens: ArrayLike) -> str:
  """Words of one caption, with blanks between.

  Args:
    tokens: indices into VOCABULARY, (L,), concrete.

  Returns:
    The sentence.

  Example:
    >>> read_caption(jnp.array([10, 8, 2, 0, 0]))
    'one object .'
  """
  return " ".join(VOCABULARY[token] for token in np.asarray(tokens) if token)


def _describe(values: jax.Array) -> Objects:
  count, layout = jnp.round(values[0]).astype(jnp.int32), values[1].astype(jnp.int32)
  kind, size, colour, x, y = values[2:].reshape(-1, _PER_OBJECT).T
  k = jnp.arange(len(x))
  along, turn = 0.1 + 0.8 * (k + 0.5) / count, 2 * math.pi * k / count
  middle = jnp.full(len(x), 0.5)
  columns = jnp.stack([x, along, middle, 0.5 + 0.28 * jnp.sin(turn)])[layout]
  rows = jnp.stack([y, middle, along, 0.5 - 0.28 * jnp.cos(turn)])[layout]
  nudge = jnp.where(layout == 0, 0.0, 0.08)
  places = columns + nudge * (x - 0.5), rows + nudge * (y - 0.5)
  kind, size, colour = (part.astype(jnp.int32) for part in (kind, size, colour))
  return Objects(count, layout, kind, size, colour, *places)
