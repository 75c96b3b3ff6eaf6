r"""Brownian bridges: processes from data to other data, such as from a frame of a video to the next.

.. math:: x_t = (1 - t) x + t y + s \sqrt{t (1 - t)} \, \epsilon

with x at t = 0 and y at t = 1, both without noise. Two of them that meet in x are the consecutive
Brownian bridge: x is the frame between y and z, and sampling starts at y and z, at nothing random.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_float, check_range, check_same_shape, wide_dtype
from latentjax.collectives import draw_rows
from latentjax.diffusion.processes.predictions import draw_noise, expand_time
from latentjax.diffusion.samplers._steps import check_times

__all__ = ["bridge_step", "bridged", "consecutive_bridge", "consecutive_bridge_loss"]

PredictFn = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def bridged(
  x: ArrayLike, y: ArrayLike, eps: ArrayLike, t: ArrayLike, *, scale: ArrayLike = 2**0.5
) -> jax.Array:
  r"""The bridge at time t.

  .. math:: x_t = (1 - t) x + t y + s \sqrt{t (1 - t)} \, \epsilon

  The papers' bridge over times [0, T] with variance t (T - t) / T is this one with s^2 = T; the authors'
  code has s^2 = 2.

  Args:
    x: data at t = 0, shape (B, ...).
    y: data at t = 1, the same shape.
    eps: standard normal noise, the same shape.
    t: times in [0, 1], shape (B,) or ().
    scale: s, not negative. Can be traced.

  Returns:
    x_t, the shape and dtype of x. Gradient flows to all arguments, to t inside (0, 1) alone.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or scale is negative.

  Example:
    >>> x, y, eps = jnp.zeros((1, 1)), jnp.full((1, 1), 4.0), jnp.ones((1, 1))
    >>> bridged(x, y, eps, 0.5, scale=1.0).tolist()
    [[2.5]]

  References:
    Li et al., BBDM: Image-to-Image Translation with Brownian Bridge Diffusion Models, 2022.
      arXiv:2205.07680
  """
  check_float(x=x, y=y, eps=eps)
  check_same_shape(x=x, y=y, eps=eps)
  check_range(0.0, scale=scale)
  x = jnp.asarray(x)
  wide = wide_dtype(x, y)
  time = expand_time(t, x)
  spread = jnp.asarray(scale, wide) * _root(time * (1 - time))
  return ((1 - time) * x + time * jnp.asarray(y, wide) + spread * eps).astype(x.dtype)


def bridge_step(
  key: jax.Array,
  x_t: ArrayLike,
  x_hat: ArrayLike,
  t: ArrayLike,
  s: ArrayLike,
  *,
  scale: ArrayLike = 2**0.5,
  axis_name: str | None = None,
) -> jax.Array:
  r"""A step of the bridge from t back to s < t, given its end x at 0: exact for the true x.

  .. math:: x_s = x_t - \frac{t - s}{t} (x_t - \hat x) + c \sqrt{\frac{s (t - s)}{t}} \, \epsilon

  The other end is not in it: given x_t, a bridge does not remember where it came from.

  Args:
    key: random key.
    x_t: the bridge at t, shape (B, ...).
    x_hat: estimate of its end at 0, the same shape.
    t: time in (0, 1], shape () or (B,).
    s: earlier time, in [0, t], of the same shape.
    scale: c, that of the bridge, see `bridged`. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    x_s, the shape and dtype of x_t; x_hat for s = 0. Gradient flows to both points.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or scale is negative.

  Example:
    >>> x_t, x_hat = jnp.full((1, 1), 4.0), jnp.zeros((1, 1))
    >>> bridge_step(jax.random.key(0), x_t, x_hat, 1.0, 0.25, scale=0.0).tolist()
    [[1.0]]

  References:
    Lyu et al., Frame Interpolation with Consecutive Brownian Bridge Diffusion, 2024. arXiv:2405.05953
  """
  check_float(x_t=x_t, x_hat=x_hat)
  check_same_shape(x_t=x_t, x_hat=x_hat)
  check_range(0.0, scale=scale)
  x_t = jnp.asarray(x_t)
  wide = wide_dtype(x_t)
  now, then = expand_time(t, x_t), expand_time(s, x_t, "s")
  kept = then / now
  mean = kept * x_t + (1 - kept) * jnp.asarray(x_hat, wide)
  spread = jnp.asarray(scale, wide) * _root(then * (1 - kept))
  return (mean + spread * draw_noise(key, x_t.astype(wide), axis_name)).astype(x_t.dtype)


def consecutive_bridge_loss(
  key: jax.Array,
  predict_fn: PredictFn,
  x: ArrayLike,
  y: ArrayLike,
  z: ArrayLike,
  *,
  scale: ArrayLike = 2**0.5,
  max_weight: ArrayLike = 5.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared error of the way to the middle, x_t - x, from one of two bridges that meet there.

  .. math::

    \min\Big(\frac{1}{s \sqrt{t (1 - t)}}, w\Big) \, \| x_t - x - f(x_t, x'_t, \pm t) \|^2, \qquad t \sim
    U[0, 1]

  where x_t is on the bridge from x to z, with time t, or on that to y, with time -t, each with
  probability 1/2, and x'_t is the other one, which has the same noise, as in the authors' code. There the
  side is drawn for the whole batch, here for every row; it has the absolute error as an option too.

  Args:
    key: random key, the same on every device.
    predict_fn: `(x_t, other, time) -> x_t - x`, arrays (B, ...), times (B,) in [-1, 1]; it holds y and z
      where the network is given them too.
    x: frames between, shape (B, ...).
    y: frames before, the same shape.
    z: frames after, the same shape.
    scale: s, see `bridged`. Can be traced.
    max_weight: w, positive. Can be traced.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`; times,
      sides and noise do not depend on how.

  Returns:
    Loss per example, summed over its entries, shape (B,), float32 or wider. Gradient flows to what
    predict_fn holds and to the frames.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or a number is out of range.

  Example:
    >>> frames = jnp.zeros((4, 2)), jnp.ones((4, 2)), jnp.ones((4, 2))
    >>> exact = lambda x_t, other, time: x_t  # of x = 0
    >>> consecutive_bridge_loss(jax.random.key(0), exact, *frames).tolist()
    [0.0, 0.0, 0.0, 0.0]

  References:
    Lyu et al., Frame Interpolation with Consecutive Brownian Bridge Diffusion, 2024. arXiv:2405.05953
  """
  check_alike(jnp.ndim(x), x=x, y=y, z=z)
  check_range(0.0, strict=True, max_weight=max_weight)
  x, y, z = jnp.asarray(x), jnp.asarray(y), jnp.asarray(z)
  wide = wide_dtype(x)
  key_place, key_noise = jax.random.split(key)
  # Uniform in [-1, 1): the side and the time.
  place = draw_rows(
    key_place,
    lambda key, shape: jax.random.uniform(key, shape, wide, -1, 1),
    x.shape[:1],
    axis_name=axis_name,
  )
  t, to_z = jnp.abs(place), expand_time(jnp.sign(place), x) > 0
  eps = draw_noise(key_noise, x, axis_name)
  x_t = bridged(x, jnp.where(to_z, z, y), eps, t, scale=scale)
  other = bridged(x, jnp.where(to_z, y, z), eps, t, scale=scale)
  given = predict_fn(x_t, other, place)
  check_alike(x.ndim, x=x, prediction=given)
  error = jnp.square(x_t.astype(wide) - x.astype(wide) - given.astype(wide))
  deviation = jnp.asarray(scale, wide) * jnp.sqrt(t * (1 - t))
  weight = 1 / jnp.maximum(deviation, 1 / jnp.asarray(max_weight, wide))
  return weight * jnp.sum(error, axis=tuple(range(1, x.ndim)))


def consecutive_bridge(
  key: jax.Array,
  predict_fn: PredictFn,
  y: ArrayLike,
  z: ArrayLike,
  *,
  times: ArrayLike,
  scale: ArrayLike = 2**0.5,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""The frame between y and z, by both bridges back from them, each in sight of the other.

  .. math::

    \hat x = x_t - f(x_t, x'_t, \pm t), \qquad x_s = x_t - \frac{t - s}{t} (x_t - \hat x) +
    c \sqrt{\frac{s (t - s)}{t}} \, \epsilon

  The variances of N equal steps add up to less than c^2; a diffusion model starts with 1 and adds to it. Each
  bridge draws its own noise, as in the authors' code, although in the loss both have the same. The authors'
  released sampler follows the bridge from z alone.

  Args:
    key: random key.
    predict_fn: `(x_t, other, time) -> x_t - x`, as for `consecutive_bridge_loss`; times of shape (B,).
    y: frames before, shape (B, ...).
    z: frames after, the same shape.
    times: falling from 1, shape (N + 1,).
    scale: c, see `bridged`; 0 draws nothing. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    Frames at times[-1] by the bridge from y and by that from z, each of the shape and dtype of y.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ, or times are not of shape (N + 1,) or do not fall.

  Example:
    >>> y, z = jnp.zeros((1, 1)), jnp.ones((1, 1))
    >>> middle = lambda x_t, other, time: x_t - 0.5
    >>> times = jnp.linspace(1.0, 0.0, 5)
    >>> from_y, from_z = consecutive_bridge(jax.random.key(0), middle, y, z, times=times)
    >>> from_y.round(5).tolist(), from_z.round(5).tolist()
    ([[0.5]], [[0.5]])

  References:
    Lyu et al., Frame Interpolation with Consecutive Brownian Bridge Diffusion, 2024. arXiv:2405.05953
  """
  check_alike(jnp.ndim(y), y=y, z=z)
  times = check_times(times, y)
  y, z = jnp.asarray(y), jnp.asarray(z)

  def advance(carry: tuple, inputs: tuple) -> tuple[tuple, None]:
    t, s, key = inputs

    def back(key: jax.Array, x_t: jax.Array, other: jax.Array, sign: int) -> jax.Array:
      way = predict_fn(x_t, other, jnp.full(x_t.shape[0], sign * t))
      return bridge_step(key, x_t, x_t - way, t, s, scale=scale, axis_name=axis_name)

    from_y, from_z = carry
    key_y, key_z = jax.random.split(key)
    return (back(key_y, from_y, from_z, -1), back(key_z, from_z, from_y, 1)), None

  inputs = times[:-1], times[1:], jax.random.split(key, times.shape[0] - 1)
  return jax.lax.scan(advance, (y, z), inputs)[0]


def _root(square: jax.Array) -> jax.Array:
  """Square root with a slope of 0 at 0, where it is infinite."""
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
