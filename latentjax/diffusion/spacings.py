"""Where samplers step: times `(num_steps + 1,)` that fall from start to end."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int, check_range
from latentjax.diffusion.processes import Process, time_at_log_snr
from latentjax.diffusion.processes.coefficients import check_interval, check_log_snr

__all__ = ["karras", "log_snr", "quadratic", "uniform"]


def uniform(*, num_steps: int, start: float = 1.0, end: float = 0.0) -> jax.Array:
  r"""Equal steps of time.

  .. math:: t_i = t_{start} + \tfrac iN (t_{end} - t_{start})

  Args:
    num_steps: N.
    start: first time, at most 1.
    end: last time, below start, at least 0.

  Returns:
    Times, float32, shape (N + 1,).

  Raises:
    TypeError: if num_steps is not an integer.
    ValueError: if a number is out of range.

  Example:
    >>> uniform(num_steps=4).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0]

  References:
    Song et al., Denoising Diffusion Implicit Models, 2021 ("linear"). arXiv:2010.02502
  """
  return _between(lambda share: start + share * (end - start), num_steps, start, end)


def quadratic(*, num_steps: int, start: float = 1.0, end: float = 0.0) -> jax.Array:
  r"""Equal steps of the square root of time: shorter ones near the data.

  .. math:: t_i = \big(\sqrt{t_{start}} + \tfrac iN (\sqrt{t_{end}} - \sqrt{t_{start}})\big)^2

  Args:
    num_steps: N.
    start: first time, at most 1.
    end: last time, below start, at least 0.

  Returns:
    Times, float32, shape (N + 1,).

  Raises:
    TypeError: if num_steps is not an integer.
    ValueError: if a number is out of range.

  Example:
    >>> quadratic(num_steps=4).tolist()
    [1.0, 0.5625, 0.25, 0.0625, 0.0]

  References:
    Song et al., Denoising Diffusion Implicit Models, 2021 ("quadratic"). arXiv:2010.02502
  """
  root = lambda share: start**0.5 + share * (end**0.5 - start**0.5)
  return _between(lambda share: jnp.square(root(share)), num_steps, start, end)


def karras(
  *, process: Process, num_steps: int, rho: float = 7.0, start: float = 1.0, end: float = 0.0
) -> jax.Array:
  r"""Equal steps of a root of the noise level sigma / alpha, EDM's spacing for any process.

  .. math::

    \Big(\frac{\sigma}{\alpha}\Big)_{t_i} = \Big(s_{start}^{1 / \rho} + \tfrac iN (s_{end}^{1 / \rho} -
    s_{start}^{1 / \rho})\Big)^\rho

  For the process `edm` with the same rho it is `uniform`. EDM puts a last step to no noise behind the
  lowest level; here the lowest level may be zero, which the formula allows.

  Args:
    process: its log_snr is inverted.
    num_steps: N.
    rho: positive; 7 as in the paper.
    start: first time, at most 1, where the process must have alpha > 0.
    end: last time, below start, at least 0.

  Returns:
    Times, float32, shape (N + 1,). Detached.

  Raises:
    TypeError: if num_steps is not an integer.
    ValueError: if a number is out of range, or alpha is 0 at start.

  Example:
    >>> from latentjax.diffusion.processes import edm
    >>> karras(process=edm(), num_steps=4).round(4).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0]

  References:
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, eq. 5.
      arXiv:2206.00364
  """
  check_range(0.0, strict=True, rho=rho)
  check_log_snr(process, start=start)
  root = lambda t: jnp.exp(-process.log_snr(t) / (2 * rho))

  def time(share: jax.Array) -> jax.Array:
    level = root(start) + share * (root(end) - root(start))
    safe = jnp.where(level > 0, level, 1)
    wanted = jnp.where(level > 0, -2 * rho * jnp.log(safe), jnp.inf)
    return time_at_log_snr(wanted, process=process)

  return _between(time, num_steps, start, end)


def log_snr(
  *, process: Process, num_steps: int, start: float = 1.0, end: float = 1e-3
) -> jax.Array:
  r"""Equal steps of the log signal-to-noise ratio.

  .. math:: \lambda_{t_i} = \lambda_{start} + \tfrac iN (\lambda_{end} - \lambda_{start})

  Args:
    process: its log_snr is inverted.
    num_steps: N.
    start: first time, at most 1, where the process must have alpha > 0.
    end: last time, below start, where it must have sigma > 0.

  Returns:
    Times, float32, shape (N + 1,). Detached.

  Raises:
    TypeError: if num_steps is not an integer.
    ValueError: if a number is out of range, or the ratio is not finite at an end.

  Example:
    >>> from latentjax.diffusion.processes import from_log_snr
    >>> process = from_log_snr(lambda t: 8 - 16 * t)
    >>> log_snr(process=process, num_steps=2, end=0.0).round(4).tolist()
    [1.0, 0.5, 0.0]

  References:
    Lu et al., DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10
      Steps, 2022. arXiv:2206.00927
  """
  check_log_snr(process, start=start, end=end)

  def time(share: jax.Array) -> jax.Array:
    first, last = process.log_snr(start), process.log_snr(end)
    return time_at_log_snr(first + share * (last - first), process=process)

  return _between(time, num_steps, start, end)


def _between(
  time: Callable[[jax.Array], jax.Array], num_steps: int, start: float, end: float
) -> jax.Array:
  """Times at N + 1 shares of the way, the ends exact."""
  check_positive_int(num_steps=num_steps)
  check_interval(start, end)
  inner = time(jnp.arange(1, num_steps) / num_steps)
  return jnp.concatenate([jnp.full(1, start), inner, jnp.full(1, end)]).astype(jnp.float32)
