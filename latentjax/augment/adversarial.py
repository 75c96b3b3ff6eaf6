"""Adversarial examples: the change of an input, within a box around it, that raises a loss most."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_batch, check_positive_int, check_range, wide_dtype
from latentjax.collectives import draw_rows

__all__ = ["fgsm", "pgd"]

LossFn = Callable[[jax.Array], jax.Array]


def fgsm(
  x: ArrayLike, loss_fn: LossFn, *, epsilon: ArrayLike, low: float = 0.0, high: float = 1.0
) -> jax.Array:
  r"""One step of size epsilon along the sign of the loss's gradient (fast gradient sign method).

  .. math:: x' = \mathrm{clip}\big(x + \epsilon \, \mathrm{sign}(\nabla_x \ell(x)), low, high\big)

  The best step for a loss that is linear in x.

  Args:
    x: examples, shape (B, ...), in [low, high].
    loss_fn: `(x) -> loss` per example, shape (B,), each of its own example alone: what the attack
      raises, such as the cross-entropy of a classifier's logits.
    epsilon: largest change of a number, at least 0, up to a rounding of x's dtype. Can be traced.
    low: smallest number of an example.
    high: largest.

  Returns:
    Examples, as x. Detached.

  Raises:
    TypeError: if x is not floating point.
    ValueError: if epsilon is negative or low is above high.

  Example:
    >>> fgsm(jnp.array([[0.5, 0.95]]), lambda x: jnp.sum(x, axis=1), epsilon=0.25).tolist()
    [[0.75, 1.0]]

  References:
    Goodfellow et al., Explaining and Harnessing Adversarial Examples, 2015. arXiv:1412.6572
  """
  x = _checked(x, epsilon, low, high)
  return jnp.clip(x + _step(loss_fn, x, epsilon), low, high).astype(x.dtype)


def pgd(
  key: jax.Array,
  x: ArrayLike,
  loss_fn: LossFn,
  *,
  epsilon: ArrayLike = 0.3,
  step_size: ArrayLike = 0.01,
  num_steps: int = 40,
  low: float = 0.0,
  high: float = 1.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Many small steps from a random start in the box, each projected back (projected gradient).

  .. math::

    x_0 \sim U(x - \epsilon, x + \epsilon), \qquad
    x_{t+1} = \Pi\big(x_t + \alpha \, \mathrm{sign}(\nabla \ell(x_t))\big)

  where the projection clips to [x - epsilon, x + epsilon] and to [low, high].

  Args:
    key: random key, the same on every device.
    x: examples, shape (B, ...), in [low, high].
    loss_fn: `(x) -> loss` per example, shape (B,), each of its own example alone.
    epsilon: largest change of a number, at least 0, up to a rounding of x's dtype. Can be traced.
    step_size: alpha, at least 0; num_steps of them should cross the box. Can be traced.
    num_steps: steps.
    low: smallest number of an example.
    high: largest.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      starts are then those of the same rows on one device.

  Returns:
    Examples, as x. Detached.

  Raises:
    TypeError: if x is not floating point or num_steps is not an integer.
    ValueError: if a size is negative, num_steps is below 1, or low is above high.

  Example:
    >>> loss = lambda x: jnp.sum(x, axis=1)
    >>> pgd(jax.random.key(0), jnp.array([[0.5, 0.95]]), loss, epsilon=0.25, step_size=0.1).tolist()
    [[0.75, 1.0]]

  References:
    Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, 2018.
      arXiv:1706.06083
  """
  x = _checked(x, epsilon, low, high)
  check_positive_int(num_steps=num_steps)
  check_range(low=0.0, step_size=step_size)
  dtype = wide_dtype(x)
  epsilon = jnp.asarray(epsilon, dtype)
  floor, ceiling = jnp.maximum(x - epsilon, low), jnp.minimum(x + epsilon, high)
  noise = draw_rows(
    key,
    lambda key, shape: jax.random.uniform(key, shape, dtype, -1.0, 1.0),
    x.shape,
    axis_name=axis_name,
  )
  step = lambda _, moved: jnp.clip(moved + _step(loss_fn, moved, step_size), floor, ceiling)
  start = jnp.clip(x + epsilon * noise, floor, ceiling)
  return jax.lax.fori_loop(0, num_steps, step, start).astype(x.dtype)


def _step(loss_fn: LossFn, x: jax.Array, size: ArrayLike) -> jax.Array:
  gradient = jax.grad(lambda x: jnp.sum(loss_fn(x)))(x)
  return jnp.asarray(size, wide_dtype(x)) * jnp.sign(gradient)


def _checked(x: ArrayLike, epsilon: ArrayLike, low: float, high: float) -> jax.Array:
  check_batch(x=x)
  check_range(low=0.0, epsilon=epsilon)
  if low > high:
    raise ValueError(f"low must be at most high, got {low} and {high}")
  return jax.lax.stop_gradient(jnp.asarray(x))
