"""What all samplers share: the schedule at their times, one `scan` over steps, conversions at a step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, wide_dtype
from latentjax.diffusion.processes import Process

DenoiseFn = Callable[[jax.Array, jax.Array], jax.Array]


class Levels(NamedTuple):
  """The process at every time, each of shape (N + 1,)."""

  t: jax.Array
  alpha: jax.Array
  sigma: jax.Array
  log_snr: jax.Array


class Step(NamedTuple):
  """From time t to the next one s: levels at both, each number of shape ()."""

  now: Levels
  next: Levels


def check_times(times: ArrayLike, x_init: ArrayLike) -> jax.Array:
  """Times (N + 1,), falling, in the dtype that steps of x_init are computed in: float32 or wider."""
  check_float(times=times, x_init=x_init)
  check_rank(1, times=times)
  if jnp.shape(times)[0] < 2:
    raise ValueError(f"times must have shape (N + 1,) with N > 0, got {jnp.shape(times)}")
  if not isinstance(times, jax.core.Tracer) and np.any(np.diff(np.asarray(times)) >= 0):
    raise ValueError(f"times must fall, got {times}")
  return jnp.asarray(times, wide_dtype(x_init))


def levels(process: Process, times: jax.Array) -> Levels:
  """The process at times (N + 1,)."""
  return Levels(times, process.alpha(times), process.sigma(times), process.log_snr(times))


def pairs(all_levels: Levels) -> Step:
  """Steps from each time to the next, for `scan`: arrays (N,)."""
  return Step(jax.tree.map(lambda a: a[:-1], all_levels), jax.tree.map(lambda a: a[1:], all_levels))


def share_resolved(step: Step) -> jax.Array:
  """1 - SNR_t / SNR_s, the share of the noise at t that is not yet there at s; 1 if s has none."""
  return -jnp.expm1(step.now.log_snr - step.next.log_snr)


def noise_of(x_t: jax.Array, x0: jax.Array, at: Levels) -> jax.Array:
  """eps of z_t = alpha x0 + sigma eps; where there is no noise, zero."""
  safe = jnp.where(at.sigma > 0, at.sigma, 1)
  return jnp.where(at.sigma > 0, (x_t - at.alpha * x0) / safe, 0)


def ddim_step(
  z: jax.Array, x0: jax.Array, step: Step, eta: ArrayLike
) -> tuple[jax.Array, jax.Array]:
  """Mean and deviation of z_s given z_t and the data: of q(z_s | z_t, x0) for eta = 1."""
  share = share_resolved(step)
  eta = jnp.asarray(eta, share.dtype)
  kept = jnp.sqrt(jnp.maximum(1 - jnp.square(eta) * share, 0))
  mean = step.next.alpha * x0 + kept * step.next.sigma * noise_of(z, x0, step.now)
  return mean, eta * jnp.sqrt(share) * step.next.sigma


def wide(fn: DenoiseFn, dtype: jnp.dtype) -> DenoiseFn:
  """denoise_fn on the dtype of x_init, its answer in the dtype that steps are computed in."""
  return lambda x, t: fn(x.astype(dtype), t).astype(x.dtype)
