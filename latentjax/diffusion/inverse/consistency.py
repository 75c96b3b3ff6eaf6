"""The nearest data that agrees with a measurement."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_batch, check_positive_int, check_range, wide_dtype
from latentjax.diffusion.inverse._misfit import MeasureFn, misfit, per_row, row_dot

__all__ = ["hard_data_consistency"]


def hard_data_consistency(
  measure_fn: MeasureFn,
  x_init: ArrayLike,
  measurement: ArrayLike,
  *,
  num_steps: int = 20,
  tolerance: ArrayLike = 0.0,
) -> jax.Array:
  r"""Least squares from a starting point, by conjugate gradients on every row.

  .. math:: x(y) = \arg\min_x \|y - A(x)\|^2, \qquad \text{from } x_0

  For linear A and enough steps (its rank), the solution nearest to x_0, x_0 + A^+ (y - A x_0). Otherwise
  steps are those of the linearised problem, and one that does not lower a row's misfit is taken back and
  tried at half its length down the gradient. ReSample minimises the same by gradient descent or Adam, with
  a rate to choose; as there, stopping at the noise's size keeps noise out of x.

  Args:
    measure_fn: A, `(x) -> y`, row by row, (B, ...) to (B, ...), differentiable; decodes first if x is
      latent.
    x_init: x_0, shape (B, ...).
    measurement: y, shape (B, ...).
    num_steps: conjugate gradient steps; each measures three times.
    tolerance: a row stops when ||y - A(x)|| is no larger, not negative. Can be traced.

  Returns:
    x(y), the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the measurement has another shape than what measure_fn returns, or a number is out of
      range.

  Example:
    >>> first = lambda x: x[:, :1]
    >>> hard_data_consistency(first, jnp.zeros((1, 2)), jnp.array([[3.0]])).tolist()
    [[3.0, 0.0]]

  References:
    Song et al., Solving Inverse Problems with Latent Diffusion Models via Hard Data Consistency, 2023.
      arXiv:2307.08123
  """
  check_batch(x_init=x_init)
  check_positive_int(num_steps=num_steps)
  check_range(0.0, tolerance=tolerance)
  x_init = jnp.asarray(x_init)
  wide, y = wide_dtype(x_init), jnp.asarray(measurement)
  error_of = lambda x: misfit(measure_fn, x.astype(x_init.dtype), y).astype(wide)
  least = jnp.square(jnp.asarray(tolerance, wide))

  def step(carry: tuple, _: None) -> tuple[tuple, None]:
    x, direction, last, damping = carry
    error, pull = jax.vjp(error_of, x)
    gradient = -pull(error)[0]
    size = row_dot(gradient, gradient)
    direction = gradient + per_row(_ratio(size, last), x) * direction
    moved = -jax.jvp(error_of, (x,), (direction,))[1]
    length = damping * _ratio(row_dot(error, moved), row_dot(moved, moved))
    trial = x + per_row(length, x) * direction
    before, after = row_dot(error, error), row_dot(error_of(trial), error_of(trial))
    better = (after < before) & (before > least)
    x = jnp.where(per_row(better, x), trial, x)
    # What is taken back starts anew: without a last size the direction is the gradient.
    last = jnp.where(better, size, 0)
    damping = jnp.where(better, jnp.minimum(1, 2 * damping), damping / 2)
    return (x, direction, last, damping), None

  x = x_init.astype(wide)
  ones = jnp.ones_like(x[(slice(None), *[0] * (x.ndim - 1))])
  start = x, jnp.zeros_like(x), 0 * ones, ones
  carry, _ = jax.lax.scan(step, start, None, length=num_steps)
  return carry[0].astype(x_init.dtype)


def _ratio(a: jax.Array, b: jax.Array) -> jax.Array:
  """a / b, and 0 where b is."""
  return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
