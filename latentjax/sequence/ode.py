"""Ordinary differential equations by the classical Runge-Kutta method, differentiable in everything."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_rank

__all__ = ["rk4"]


def rk4(
  y: ArrayLike,
  times: ArrayLike,
  velocity_fn: Callable[[jax.Array, jax.Array], jax.Array],
  *,
  num_substeps: int = 1,
) -> jax.Array:
  r"""Solution of an initial value problem at given times, by the classical fourth-order method.

  .. math::

    \dot y = f(y, t), \qquad y_{n+1} = y_n + \tfrac{h}{6} (k_1 + 2 k_2 + 2 k_3 + k_4)

  The error is of order h^4. Reverse-mode gradients go through the steps (discretise, then
  differentiate), so they are exact for the computed solution.

  Args:
    y: state at times[0], any shape, such as (B, D).
    times: increasing or decreasing, shape (T,).
    velocity_fn: `(y, t) -> dy/dt`, the shape of y.
    num_substeps: steps of equal length between two neighbouring times.

  Returns:
    The states, shape (T, ...), the first of them y. Gradient flows to y, to times and to whatever
    velocity_fn closes over.

  Raises:
    TypeError: if y or times is not floating point or num_substeps is not an integer.
    ValueError: if times is not of rank 1 or num_substeps is below 1.

  Example:
    >>> float(rk4(1.0, jnp.linspace(0.0, 1.0, 11), lambda y, t: y)[-1])  # e
    2.71827...

  References:
    Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I, 1993, table 1.2 of section
      II.1.
  """
  check_float(y=y, times=times)
  check_rank(1, times=times)
  check_positive_int(num_substeps=num_substeps)
  y, times = jnp.asarray(y), jnp.asarray(times)

  def step(y: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
    k1 = velocity_fn(y, t)
    k2 = velocity_fn(y + 0.5 * h * k1, t + 0.5 * h)
    k3 = velocity_fn(y + 0.5 * h * k2, t + 0.5 * h)
    k4 = velocity_fn(y + h * k3, t + h)
    return (y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)).astype(y.dtype)

  def interval(y: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    start, h = ends[0], (ends[1] - ends[0]) / num_substeps
    for i in range(num_substeps):
      y = step(y, start + i * h, h)
    return y, y

  _, states = jax.lax.scan(interval, y, (times[:-1], times[1:]))
  return jnp.concatenate([y[None], states])
