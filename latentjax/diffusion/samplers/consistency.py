"""Sampling from consistency models, in one step or several."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import wide_dtype
from latentjax.diffusion.processes import Process
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.diffusion.samplers._steps import (
  DenoiseFn,
  Step,
  check_times,
  levels,
  pairs,
  wide,
)

__all__ = ["consistency"]


def consistency(
  key: jax.Array,
  consistency_fn: DenoiseFn,
  x_init: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Multistep consistency sampling: to the data at once, and back to a smaller noise level.

  .. math::

    z_s = \alpha_s f(z_t, t) + \sqrt{\sigma_s^2 - \alpha_s^2 \sigma_0^2 / \alpha_0^2} \; \epsilon

  where index 0 is times[-1], whose noise f leaves in; the step to it adds none. Two times are one step.

  Args:
    key: random key; without a use for one step.
    consistency_fn: f, `(z_t, t) -> x`, the end of the ODE's path through z_t; t of shape ().
    x_init: z at times[0], shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,), to the time at which f is the identity.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall.

  Example:
    >>> from latentjax.diffusion.processes import edm
    >>> point = lambda x, t: jnp.full_like(x, 3.0)
    >>> times = jnp.array([1.0, 0.5, 0.0])
    >>> consistency(jax.random.key(0), point, jnp.ones((2, 1)), process=edm(), times=times).tolist()
    [[3.0], [3.0]]

  References:
    Song et al., Consistency Models, 2023, algorithm 1. arXiv:2303.01469
  """
  x, times = jnp.asarray(x_init), check_times(times, x_init)
  estimate, every = wide(consistency_fn, x.dtype), levels(process, times)
  rest = every.sigma[-1] / every.alpha[-1]

  def advance(z: jax.Array, inputs: tuple[Step, jax.Array]) -> tuple[jax.Array, None]:
    step, key = inputs
    added = jnp.square(step.next.sigma) - jnp.square(step.next.alpha * rest)
    noise = jnp.sqrt(jnp.maximum(added, 0)) * draw_noise(key, z, axis_name)
    return step.next.alpha * estimate(z, step.now.t) + noise, None

  inputs = pairs(every), jax.random.split(key, times.shape[0] - 1)
  z, _ = jax.lax.scan(advance, x.astype(wide_dtype(x)), inputs)
  return z.astype(x.dtype)
