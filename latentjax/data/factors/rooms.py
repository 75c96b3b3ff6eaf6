"""Rooms with an object, six factors, by tracing rays through shapes that have closed forms."""

from __future__ import annotations

import functools
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
from latentjax.data.factors.shapes import hue_to_rgb

SHAPES = ("cube", "cylinder", "sphere", "capsule")
_FAR = 1e3
_WALL = 3.0  # half the width of the room
_EYE = (0.0, 2.3, -4.6)  # before the room is turned; the walls behind it are left out
_LIGHT = (0.45, 0.8, -0.4)  # of length 1 but for the last digit
_AMBIENT = 0.45
# Arrays of the x, y (up) and z of many vectors: with the axis last, XLA would not vectorise.
Vector = tuple[jax.Array, jax.Array, jax.Array]
# Distance along every ray, and the cosine of the light's angle there.
Hit = tuple[jax.Array, jax.Array]


def rooms(*, side: int = 64, samples: int = 2, sampler: Sampler | None = None) -> FactorSet:
  r"""A room with an object: hues of floor, wall and object, scale, shape and orientation.

  .. math:: x = \sum_s \mathrm{rgb}_s\, \mathrm{mean}_r\left([s = s(r)]\,
      (0.45 + 0.55 \max(n_r^\top \ell, 0))\right)

  over the rays r of a pixel, with s(r) the nearest of floor, wall and object and n_r its normal. As many
  values as in 3D Shapes, 10 x 10 x 10 x 8 x 4 x 15, in another room. The orientation turns the room and
  what is in it, from -30 to 30 degrees. There are no shadows but for the darker floor below the object.

  Args:
    side: H = W in pixels.
    samples: n: a pixel is the mean of n x n rays.
    sampler: how factors are drawn; independently by default.

  Returns:
    The set; images are uint8, (H, W, 3).

  Raises:
    TypeError: if a number is not an integer.
    ValueError: if one is not positive.

  Example:
    >>> rooms(side=8, samples=1).render(jnp.zeros(6)).shape, rooms().num_combinations
    ((8, 8, 3), 480000)

  References:
    Burgess & Kim, 3D Shapes Dataset, 2018: the factors and their numbers of values.
  """
  check_positive_int(side=side, samples=samples)
  factors = (
    Factor("floor_hue", 10, 0.0, 1.0, "circular"),
    Factor("wall_hue", 10, 0.0, 1.0, "circular"),
    Factor("object_hue", 10, 0.0, 1.0, "circular"),
    Factor("scale", 8, 0.9, 1.5),
    categorical("shape", len(SHAPES)),
    Factor("orientation", 15, -math.pi / 6, math.pi / 6),
  )
  rays = _rays(side, samples)

  def render(indices: jax.Array) -> jax.Array:
    floor, wall, thing, scale, shape, turn = values_of(indices, factors)
    # What leaves a loop is stored: three surfaces and three channels would each trace the rays again.
    traced = jax.lax.map(lambda rays: _trace(rays, turn, scale, shape), rays)

    def add(planes: jax.Array, traced: jax.Array) -> tuple[jax.Array, None]:
      surface = jnp.floor(traced)
      return planes + jnp.where(surface == np.arange(3)[:, None, None], traced - surface, 0), None

    planes, _ = jax.lax.scan(add, 0 * scale + jnp.zeros((3, side, side)), traced)
    colours = 256 / samples**2 * (0.15 + 0.8 * hue_to_rgb(jnp.stack([floor, wall, thing])))
    image = sum(plane[..., None] * colour for plane, colour in zip(planes, colours))
    # Casts to 8 bits alone round, in some programs and not in others.
    return jnp.floor(jnp.minimum(image, 255)).astype(jnp.uint8)

  return factor_set("rooms", factors, render, sampler=sampler)


def _rays(side: int, samples: int) -> np.ndarray:
  """Directions from the eye through the samples of the pixels, (samples ** 2, 3, side, side)."""
  forward = np.array([0.0, 0.55, 0.0]) - _EYE
  forward /= np.linalg.norm(forward)
  right = np.array([1.0, 0.0, 0.0])
  up = np.cross(forward, right)
  places = np.arange(side) + (np.arange(samples)[:, None] + 0.5) / samples
  across = (places / side * 2 - 1) * 0.52
  column, row = across[None, :, None, :], across[:, None, :, None]
  along = np.broadcast_arrays(*(f + column * r - row * u for f, r, u in zip(forward, right, up)))
  rays = (np.stack(along) / np.linalg.norm(along, axis=0)).astype(np.float32)
  return rays.reshape(3, -1, side, side).swapaxes(0, 1)


def _trace(rays: jax.Array, turn: jax.Array, scale: jax.Array, shape: jax.Array) -> jax.Array:
  """Which of floor, wall and object each ray (3, ...) meets, plus the brightness there, in [0, 1)."""
  cos, sin = jnp.cos(turn), jnp.sin(turn)
  to_room = lambda x, y, z: (cos * x - sin * z, y, sin * x + cos * z)
  eye, ray, light = to_room(*_EYE), to_room(*rays), to_room(*_LIGHT)
  surfaces = [
    _floor(eye, ray, scale),
    _walls(eye, ray, light),
    _object(eye, ray, light, scale, shape),
  ]
  distance, cosine = surfaces[0]
  surface = jnp.zeros_like(distance)
  for k, (nearer, other) in enumerate(surfaces[1:], 1):
    ahead = nearer < distance
    distance, cosine = jnp.where(ahead, nearer, distance), jnp.where(ahead, other, cosine)
    surface = jnp.where(ahead, float(k), surface)
  brightness = _AMBIENT + (1 - _AMBIENT) * jnp.maximum(cosine, 0.0)
  return surface + jnp.minimum(brightness, 0.999)


def _floor(eye: Vector, ray: Vector, scale: jax.Array) -> Hit:
  """The plane y = 0, darker around the origin."""
  hit = _ahead(-eye[1] / _not_zero(ray[1]))
  x, _, z = _at(eye, ray, hit)
  blob = jnp.exp(-(x * x + z * z) / jnp.square(0.62 * scale))
  return hit, _LIGHT[1] - (_LIGHT[1] + _AMBIENT) * 0.55 * blob


def _walls(eye: Vector, ray: Vector, light: Vector) -> Hit:
  """The walls that a ray meets; they stand on the square of the room."""
  to_x = (jnp.sign(ray[0]) * _WALL - eye[0]) / _not_zero(ray[0])
  to_z = (jnp.sign(ray[2]) * _WALL - eye[2]) / _not_zero(ray[2])
  cosine = jnp.where(to_x < to_z, -jnp.sign(ray[0]) * light[0], -jnp.sign(ray[2]) * light[2])
  return _ahead(jnp.minimum(to_x, to_z)), cosine


def _object(eye: Vector, ray: Vector, light: Vector, scale: jax.Array, shape: jax.Array) -> Hit:
  """One of the four shapes, on the floor at the origin, from parts of which it hides what it lacks."""
  half = 0.5 * scale
  pill = 0.8 * half
  zero = 0.0 * half
  # What a shape has no use for is empty, or a ball below the floor.
  of = lambda *numbers: jnp.select([shape == index for index in range(4)], numbers)
  scene = eye, ray, light
  parts = (
    _box(*scene, of(half, zero, zero, zero)),
    _tube(
      *scene,
      of(half, half, half, pill),
      of(half, zero, half, pill),
      of(zero, 2 * half, zero, 2 * half),
    ),
    _lid(*scene, of(zero, half, zero, zero), 2 * half),
    _ball(*scene, of(pill, pill, 1.2 * half, pill), of(-half, -half, 1.2 * half, pill)),
    _ball(*scene, pill, of(-half, -half, -half, 2 * half)),
  )
  return functools.reduce(_nearer, parts)


def _box(eye: Vector, ray: Vector, light: Vector, half: jax.Array) -> Hit:
  """A cube."""
  inverse = [1 / _not_zero(part) for part in ray]
  middle = [(m - e) * i for m, e, i in zip((0.0 * half, half, 0.0 * half), eye, inverse)]
  near = [m - half * jnp.abs(i) for m, i in zip(middle, inverse)]
  far = [m + half * jnp.abs(i) for m, i in zip(middle, inverse)]
  enter = jnp.maximum(jnp.maximum(near[0], near[1]), near[2])
  leave = jnp.minimum(jnp.minimum(far[0], far[1]), far[2])
  faces = [-jnp.sign(r) * towards for r, towards in zip(ray, light)]
  cosine = jnp.where(enter == near[0], faces[0], jnp.where(enter == near[1], faces[1], faces[2]))
  return _ahead(jnp.where(enter < leave, enter, _FAR)), cosine


def _ball(eye: Vector, ray: Vector, light: Vector, radius: jax.Array, height: jax.Array) -> Hit:
  """A sphere with its centre over the origin."""
  start = (eye[0], eye[1] - height, eye[2])
  half = _dot(ray, start)
  inside = half * half - (_dot(start, start) - radius**2)
  hit = _ahead(jnp.where(inside > 0, -half - jnp.sqrt(jnp.maximum(inside, 0.0)), _FAR))
  return hit, _dot(_at(start, ray, hit), light) / radius


def _tube(
  eye: Vector, ray: Vector, light: Vector, radius: jax.Array, low: jax.Array, high: jax.Array
) -> Hit:
  """The side of an upright cylinder."""
  square = ray[0] * ray[0] + ray[2] * ray[2]
  half = ray[0] * eye[0] + ray[2] * eye[2]
  inside = half * half - square * (eye[0] ** 2 + eye[2] ** 2 - radius**2)
  hit = (-half - jnp.sqrt(jnp.maximum(inside, 0.0))) / _not_zero(square)
  x, y, z = _at(eye, ray, hit)
  cosine = (x * light[0] + z * light[2]) / radius
  return _ahead(jnp.where((inside > 0) & (y > low) & (y < high), hit, _FAR)), cosine


def _lid(eye: Vector, ray: Vector, light: Vector, radius: jax.Array, height: jax.Array) -> Hit:
  """A disc parallel to the floor."""
  hit = (height - eye[1]) / _not_zero(ray[1])
  x, _, z = _at(eye, ray, hit)
  return _ahead(jnp.where(x * x + z * z < radius**2, hit, _FAR)), light[1] + 0.0 * hit


def _nearer(a: Hit, b: Hit) -> Hit:
  return jnp.minimum(a[0], b[0]), jnp.where(a[0] <= b[0], a[1], b[1])


def _ahead(distance: jax.Array) -> jax.Array:
  """Hits behind the eye are misses."""
  return jnp.where((distance > 0) & (distance < _FAR), distance, _FAR)


def _at(eye: Vector, ray: Vector, distance: jax.Array) -> Vector:
  x, y, z = (e + distance * r for e, r in zip(eye, ray))
  return x, y, z


def _dot(a: Vector, b: Vector) -> jax.Array:
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _not_zero(part: jax.Array) -> jax.Array:
  return jnp.where(part == 0, 1e-9, part)
