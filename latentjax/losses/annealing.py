"""Weights, capacities and temperatures that change during training, as pure functions of the step."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range

__all__ = ["cyclical_annealing", "exponential_annealing", "linear_annealing"]


def linear_annealing(
  step: ArrayLike, *, num_steps: int, start: float = 0.0, end: float = 1.0
) -> jax.Array:
  r"""Straight line from one value to another, constant afterwards.

  .. math:: s + (e - s) \min(t / T, 1)

  Args:
    step: t, number of finished steps, any shape. Can be traced.
    num_steps: T, the step at which the end is reached.
    start: value at step 0.
    end: value from step T on.

  Returns:
    The value, the shape of step, float32.

  Raises:
    TypeError: if num_steps is not an integer.
    ValueError: if num_steps is below 1, or an end is not finite.

  Example:
    >>> linear_annealing(jnp.array([0, 5, 20]), num_steps=10, end=25.0).tolist()
    [0.0, 12.5, 25.0]

  References:
    Bowman et al., Generating Sentences from a Continuous Space, 2016. arXiv:1511.06349
    Burgess et al., Understanding disentangling in beta-VAE, 2018. arXiv:1804.03599
  """
  check_positive_int(num_steps=num_steps)
  check_range(strict=True, start=start, end=end)
  progress = jnp.clip(jnp.asarray(step, jnp.float32) / num_steps, 0.0, 1.0)
  # Exact at both ends, unlike start + (end - start) * progress.
  return start * (1 - progress) + end * progress


def cyclical_annealing(
  step: ArrayLike,
  *,
  num_steps: int,
  num_cycles: int = 4,
  ramp: float = 0.5,
  start: float = 0.0,
  end: float = 1.0,
) -> jax.Array:
  r"""Several linear ramps, each followed by a constant stretch; constant after the last.

  .. math::

    s + (e - s) \min(\tau / R, 1), \qquad
    \tau = \frac{t \bmod (T / M)}{T / M}

  Args:
    step: t, number of finished steps, any shape. Can be traced.
    num_steps: T, the steps of all cycles together; a multiple of num_cycles.
    num_cycles: M.
    ramp: R, the share of a cycle in which the value rises, in (0, 1].
    start: value at the beginning of every cycle.
    end: value on the constant stretches, and from step T on.

  Returns:
    The value, the shape of step, float32.

  Raises:
    TypeError: if a number of steps or cycles is not an integer.
    ValueError: if it is below 1, num_cycles does not divide num_steps, ramp is not in (0, 1], or an
      end is not finite.

  Example:
    >>> cyclical_annealing(jnp.array([0, 1, 2, 3, 4, 5, 8]), num_steps=8, num_cycles=2).tolist()
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0]

  References:
    Fu et al., Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing, 2019.
      arXiv:1903.10145
  """
  check_positive_int(num_steps=num_steps, num_cycles=num_cycles)
  check_range(0.0, 1.0, ramp=ramp)
  if num_steps % num_cycles or not ramp:
    raise ValueError(
      f"num_cycles must divide num_steps and ramp must be positive, got num_cycles {num_cycles}, "
      f"num_steps {num_steps}, ramp {ramp}"
    )
  length = num_steps // num_cycles
  step = jnp.asarray(step)
  share = (step % length).astype(jnp.float32) / (length * ramp)
  progress = jnp.where(step >= num_steps, 1.0, jnp.minimum(share, 1.0))
  check_range(strict=True, start=start, end=end)
  return start * (1 - progress) + end * progress


def exponential_annealing(
  step: ArrayLike, *, rate: float, start: float = 1.0, minimum: float = 0.5, interval: int = 1
) -> jax.Array:
  r"""Exponential decay to a floor, such as that of a relaxation's temperature.

  .. math:: \max(m, \, s \, e^{-r t'}), \qquad t' = N \lfloor t / N \rfloor

  Args:
    step: t, number of finished steps, any shape. Can be traced.
    rate: r per step, at least 0; the paper tries 1e-5 and 1e-4.
    start: value at step 0.
    minimum: m, where the decay ends.
    interval: N, the steps for which the value stays as it is.

  Returns:
    The value, the shape of step, float32.

  Raises:
    TypeError: if interval is not an integer.
    ValueError: if interval is below 1, rate is negative, or 0 < minimum <= start does not hold.

  Example:
    >>> exponential_annealing(jnp.array([0, 9, 10, 1000]), rate=0.01, interval=10).tolist()
    [1.0, 1.0, 0.90483..., 0.5]

  References:
    Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017.
      arXiv:1611.01144
  """
  check_positive_int(interval=interval)
  check_range(0.0, rate=rate)
  check_range(0.0, strict=True, start=start, minimum=minimum)
  check_range(high=start, minimum=minimum)
  held = interval * (jnp.asarray(step) // interval)
  # The exponent is cut off where the floor begins, so that it never leaves the range of float32.
  exponent = jnp.minimum(rate * held.astype(jnp.float32), math.log(start / minimum))
  return jnp.maximum(minimum, start * jnp.exp(-exponent))
