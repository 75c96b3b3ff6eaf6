"""Flows given by their velocity, between any two distributions, as ODE or SDE."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.diffusion.samplers._steps import DenoiseFn, wide

__all__ = ["velocity_flow"]


def velocity_flow(
  key: jax.Array,
  velocity_fn: Callable[[jax.Array, jax.Array], jax.Array],
  x_init: ArrayLike,
  *,
  times: ArrayLike,
  scale: ArrayLike | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""A flow by Heun's method, of order 2; or, with noise, an SDE by Euler's and Maruyama's.

  .. math::

    \frac{dz}{dt} = v(z, t) \qquad \text{or} \qquad dz = v(z, t) \, dt + s \, dw

  For flows that no `Process` describes: interpolants of two distributions, bridges, paths on a simplex.
  Time may run either way; an SDE's drift is that of its direction (`interpolant_drift`).

  Args:
    key: random key; not used by the ODE.
    velocity_fn: `(z_t, t) -> velocity` or drift, z_t (B, ...), t of shape ().
    x_init: z at times[0], shape (B, ...).
    times: falling or rising, shape (N + 1,).
    scale: s, not negative, of shape (); None: the ODE. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    z at times[-1], the shape and dtype of x_init. Gradient flows through all steps.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,), fall and rise, or scale is negative.

  Example:
    >>> towards = lambda z, t: jnp.full_like(z, 2.0)
    >>> velocity_flow(jax.random.key(0), towards, jnp.ones((1, 1)), times=jnp.linspace(0, 1, 5)).tolist()
    [[3.0]]

  References:
    Albergo et al., Stochastic Interpolants: A Unifying Framework for Flows and Diffusions, 2023.
      arXiv:2303.08797
  """
  times = _check_times(times, x_init)
  if scale is not None:
    check_range(0.0, scale=scale)
  x = jnp.asarray(x_init)
  velocity: DenoiseFn = wide(velocity_fn, x.dtype)

  def heun(z: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    t, step, _ = inputs
    first = velocity(z, t)
    second = velocity(z + step * first, t + step)
    return z + 0.5 * step * (first + second), None

  def euler_maruyama(z: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
    t, step, key = inputs
    noise = jnp.asarray(scale, z.dtype) * jnp.sqrt(jnp.abs(step)) * draw_noise(key, z, axis_name)
    return z + step * velocity(z, t) + noise, None

  inputs = times[:-1], jnp.diff(times), jax.random.split(key, times.shape[0] - 1)
  advance = heun if scale is None else euler_maruyama
  z, _ = jax.lax.scan(advance, x.astype(wide_dtype(x)), inputs)
  return z.astype(x.dtype)


def _check_times(times: ArrayLike, x_init: ArrayLike) -> jax.Array:
  check_float(times=times, x_init=x_init)
  check_rank(1, times=times)
  if jnp.shape(times)[0] < 2:
    raise ValueError(f"times must have shape (N + 1,) with N > 0, got {jnp.shape(times)}")
  if not isinstance(times, jax.core.Tracer):
    steps = np.diff(np.asarray(times))
    if not (np.all(steps > 0) or np.all(steps < 0)):
      raise ValueError(f"times must fall or rise, got {times}")
  return jnp.asarray(times, wide_dtype(x_init))
