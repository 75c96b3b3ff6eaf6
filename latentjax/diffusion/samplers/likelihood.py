"""Exact log-likelihood by the probability-flow ODE, with an adaptive solver."""

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_float, check_positive_int, check_range, wide_dtype
from latentjax.collectives import draw_rows
from latentjax.diffusion.processes import Process, time_at_log_snr
from latentjax.diffusion.samplers._steps import (
  DenoiseFn,
  Levels,
  check_times,
  levels,
  noise_of,
  wide,
)

__all__ = ["ode_log_likelihood"]

LogProbFn = Callable[[jax.Array], jax.Array]


def ode_log_likelihood(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  prior_log_prob_fn: LogProbFn | None = None,
  trace: str = "exact",
  num_probes: int = 1,
  rtol: float = 1e-5,
  atol: float = 1e-5,
  max_steps: int = 4096,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Log-likelihood of a diffusion or flow model, by the change of variables along its ODE.

  .. math::

    \log p(x) = \log p_T(z_T) + D \log \frac{n_T}{n_0} + \int_{u_0}^{u_T} \nabla_{\bar z} \cdot h \, du,
    \qquad \frac{d \bar z}{du} = h = \hat\epsilon - \hat x

  in the coordinates z / n over u = sigma / n, with n = alpha + sigma, in which the ODE is finite at both
  ends of time. Solved by Dormand and Prince's method of order 5; the error of the worst row decides
  about a step. The divergence is the exact trace, D derivatives, or Hutchinson's estimate
  e^T J e, unbiased, with signs e that stay the same along the path.

  Args:
    key: random key, the same on every device; not used by the exact trace.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape (). A row's answer must not
      depend on other rows.
    x: z at times[-1], shape (B, ...): data, with the noise that the process has there.
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,), from the prior's to that of x; the solver takes its own steps between
      the first and the last.
    prior_log_prob_fn: `(z) -> (B,)`, log density of z at times[0]; None: N(0, sigma^2 I).
    trace: "exact" or "hutchinson".
    num_probes: vectors e for each row.
    rtol: relative error of a step, positive.
    atol: absolute error of a step, positive.
    max_steps: most steps to take, refused ones included.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or, with check_vma=False
      since the solver needs it, `shard_map`; neither a row's signs nor, but for
      rounding, the solver's steps depend on how.

  Returns:
    Log-likelihood in nats (B,), float32 or wider, NaN where max_steps did not do, and the latents, z at
    times[0], the shape and dtype of x. Derivatives in forward mode alone (`jax.jvp`, `jax.jacfwd`), with
    respect to x and to what denoise_fn holds, not to the process; to train, use `variational_loss`.

  Raises:
    ImportError: if diffrax is not installed.
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, trace is unknown, or a number is out of
      range.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> process, times = rectified_flow(), jnp.array([1.0, 0.0])
    >>> denoise = lambda x, t: x * (1 - t) / ((1 - t) ** 2 + t**2)  # of data N(0, 1)
    >>> log_prob, _ = ode_log_likelihood(
    ...   jax.random.key(0), denoise, jnp.zeros((1, 2)), process=process, times=times
    ... )
    >>> round(float(log_prob[0]), 3)  # -log(2 pi)
    -1.838

  References:
    Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021.
      arXiv:2011.13456
    Grathwohl et al., FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models,
      2018 (the estimate of the trace). arXiv:1810.01367
  """
  check_choice(("exact", "hutchinson"), trace=trace)
  check_positive_int(num_probes=num_probes, max_steps=max_steps)
  check_range(0.0, strict=True, rtol=rtol, atol=atol)
  check_float(x=x)
  x, times = jnp.asarray(x), check_times(times, x)
  dtype = wide_dtype(x)
  data, prior = (_detached_levels(process, times[end]) for end in (-1, 0))
  tangents = _tangents(key, x, trace, num_probes, axis_name)
  denoise = wide(denoise_fn, x.dtype)

  def slope(u: jax.Array, state: tuple, _: None) -> tuple[jax.Array, jax.Array]:
    at = _levels_at(u, process)

    def h(straight: jax.Array) -> jax.Array:
      z = (at.alpha + at.sigma) * straight
      x0 = denoise(z, at.t)
      return noise_of(z, x0, at) - x0

    value, along = jax.linearize(h, state[0])
    return value, _divergence(along, tangents, value)

  state = x.astype(dtype) / (data.alpha + data.sigma), jnp.zeros(x.shape[0], dtype)
  ends = (at.sigma / (at.alpha + at.sigma) for at in (data, prior))
  norm = partial(_worst_row, axis_name=axis_name)
  straight, gained = _solve(
    slope, state, *ends, rtol=rtol, atol=atol, norm=norm, max_steps=max_steps
  )
  z = (prior.alpha + prior.sigma) * straight
  dim = math.prod(x.shape[1:])
  scaled = dim * jnp.log((prior.alpha + prior.sigma) / (data.alpha + data.sigma))
  log_prob = _normal_log_prob(z, prior.sigma) if prior_log_prob_fn is None else prior_log_prob_fn(z)
  return log_prob + scaled + gained, z.astype(x.dtype)


def _solve(
  slope: Callable,
  state: tuple[jax.Array, jax.Array],
  start: jax.Array,
  end: jax.Array,
  *,
  rtol: float,
  atol: float,
  norm: Callable[[tuple[jax.Array, jax.Array]], jax.Array],
  max_steps: int,
) -> tuple[jax.Array, jax.Array]:
  """The state at the end; NaN if that takes more steps than allowed."""
  diffrax = _import_diffrax()
  solution = diffrax.diffeqsolve(
    diffrax.ODETerm(slope),
    diffrax.Dopri5(),
    start,
    end,
    None,
    state,
    stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol, norm=norm),
    adjoint=diffrax.ForwardMode(),
    max_steps=max_steps,
    throw=False,
  )
  solved = solution.result == diffrax.RESULTS.successful
  return jax.tree.map(lambda a: jnp.where(solved, a[-1], jnp.nan), solution.ys)


def _import_diffrax() -> ModuleType:
  try:
    import diffrax
  except ImportError as error:
    raise ImportError("ode_log_likelihood needs diffrax: pip install 'latentjax[ode]'") from error
  return diffrax


def _levels_at(u: jax.Array, process: Process) -> Levels:
  """The process where sigma / (alpha + sigma) is u."""
  inside = jnp.clip(u, jnp.finfo(u.dtype).tiny, 1 - jnp.finfo(u.dtype).epsneg)
  log_snr = jnp.where(u < 1, 2 * (jnp.log1p(-inside) - jnp.log(inside)), -jnp.inf)
  t = time_at_log_snr(jnp.where(u > 0, log_snr, jnp.inf), process=process)
  return _detached_levels(process, jnp.where(u > 0, jnp.where(u < 1, t, 1), 0))


def _detached_levels(process: Process, t: jax.Array) -> Levels:
  return jax.lax.stop_gradient(levels(process, t))


def _tangents(
  key: jax.Array, x: jax.Array, trace: str, num_probes: int, axis_name: str | None
) -> jax.Array:
  """Directions whose products e^T J e sum to the trace: (D, 1, ...) units, (K, B, ...) of signs."""
  dtype, dim = wide_dtype(x), math.prod(x.shape[1:])
  if trace == "exact":
    return jnp.eye(dim, dtype=dtype).reshape(dim, 1, *x.shape[1:])
  draw = lambda key, shape: jax.random.rademacher(key, shape, dtype)
  signs = draw_rows(key, draw, (num_probes, *x.shape), axis=1, axis_name=axis_name)
  return signs / math.sqrt(num_probes)


def _divergence(along: Callable, tangents: jax.Array, like: jax.Array) -> jax.Array:
  """Trace of the Jacobian of each row, (B,): a few directions at a time."""

  def product(tangent: jax.Array) -> jax.Array:
    tangent = jnp.broadcast_to(tangent, like.shape)
    return jnp.sum(tangent * along(tangent), axis=tuple(range(1, like.ndim)))

  products = jax.lax.map(product, tangents, batch_size=min(16, tangents.shape[0]))
  return jnp.sum(products, axis=0)


def _normal_log_prob(z: jax.Array, sigma: jax.Array) -> jax.Array:
  dim = math.prod(z.shape[1:])
  squares = jnp.sum(jnp.square(z / sigma), axis=tuple(range(1, z.ndim)))
  return -0.5 * squares - dim * (0.5 * math.log(2 * math.pi) + jnp.log(sigma))


def _worst_row(error: tuple[jax.Array, jax.Array], axis_name: str | None) -> jax.Array:
  """Root mean square of a row's entries, of the row of the whole batch where it is largest; detached."""
  z, gained = jax.lax.stop_gradient(error)
  rows = jnp.sqrt(jnp.mean(jnp.square(z.reshape(z.shape[0], -1)), axis=1))
  worst = jnp.maximum(jnp.max(rows), jnp.max(jnp.abs(gained)))
  return worst if axis_name is None else jax.lax.pmax(worst, axis_name)
