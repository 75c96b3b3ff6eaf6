"""Stochastic interpolants between two distributions: flows, bridges with noise, Schroedinger bridges."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_choice, check_range, wide_dtype
from latentjax.diffusion.processes.coefficients import with_slope
from latentjax.diffusion.processes.predictions import draw_noise, expand_time
from latentjax.diffusion.processes.schedules import TimeFn, as_time
from latentjax.losses.score.denoising import PredictFn
from latentjax.losses.score.times import TimeSampler, antithetic_times

__all__ = [
  "Interpolant",
  "interpolant_drift",
  "interpolant_loss",
  "linear_interpolant",
  "trigonometric_interpolant",
]


class Interpolant(NamedTuple):
  """z_t = alpha(t) x_0 + beta(t) x_1 + gamma(t) eps, functions of t in [0, 1], of any shape.

  Attributes:
    alpha: share of x_0, from 1 to 0.
    beta: share of x_1, from 0 to 1.
    gamma: standard deviation of the noise, 0 at both ends.
  """

  alpha: TimeFn
  beta: TimeFn
  gamma: TimeFn


def linear_interpolant(*, scale: ArrayLike = 1.0) -> Interpolant:
  r"""Straight lines with the noise of a Brownian bridge.

  .. math:: z_t = (1 - t) x_0 + t x_1 + s \sqrt{t (1 - t)} \, \epsilon

  With pairs from the entropic plan of entropy weight 2 s^2 for the squared distance
  (`transport.entropic_partners`), it is the Schroedinger bridge of a Brownian motion of scale s.

  Args:
    scale: s, not negative. Can be traced.

  Returns:
    The interpolant.

  Raises:
    ValueError: if scale is negative.

  Example:
    >>> float(linear_interpolant(scale=2.0).gamma(0.5))
    1.0

  References:
    Albergo et al., Stochastic Interpolants: A Unifying Framework for Flows and Diffusions, 2023.
      arXiv:2303.08797
    Tong et al., Simulation-free Schroedinger bridges via score and flow matching, 2023. arXiv:2307.03672
  """
  check_range(0.0, scale=scale)
  gamma = lambda t: _bridge(as_time(t), scale)
  return Interpolant(lambda t: 1 - as_time(t), lambda t: as_time(t), gamma)


def trigonometric_interpolant(*, scale: ArrayLike = 0.0) -> Interpolant:
  r"""A quarter circle, which keeps the variance of independent ends of equal variance.

  .. math:: z_t = \cos(\pi t / 2) x_0 + \sin(\pi t / 2) x_1 + s \sqrt{t (1 - t)} \, \epsilon

  Args:
    scale: s, not negative. Can be traced.

  Returns:
    The interpolant.

  Raises:
    ValueError: if scale is negative.

  Example:
    >>> path = trigonometric_interpolant()
    >>> float(path.alpha(1.0)), float(path.beta(1.0))
    (0.0, 1.0)

  References:
    Albergo and Vanden-Eijnden, Building Normalizing Flows with Stochastic Interpolants, 2022.
      arXiv:2209.15571
  """
  check_range(0.0, scale=scale)
  return Interpolant(
    lambda t: jnp.sin(0.5 * math.pi * (1 - as_time(t))),  # exactly 0 at t = 1
    lambda t: jnp.sin(0.5 * math.pi * as_time(t)),
    lambda t: _bridge(as_time(t), scale),
  )


def interpolant_loss(
  key: jax.Array,
  predict_fn: PredictFn,
  x_0: ArrayLike,
  x_1: ArrayLike,
  *,
  interpolant: Interpolant,
  prediction: str = "velocity",
  antithetic: bool = False,
  time_sampler: TimeSampler = antithetic_times,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared error of the velocity, or of the noise, of a stochastic interpolant.

  .. math::

    \|\hat v(z_t, t) - (\dot\alpha x_0 + \dot\beta x_1 + \dot\gamma \epsilon)\|^2 \quad \text{or} \quad
    \|\hat\epsilon(z_t, t) - \epsilon\|^2

  The minima are the velocity of the ODE that moves the marginals, and -gamma times their score; together they
  are the drifts of the SDEs with these marginals, see `interpolant_drift`. With
  `linear_interpolant(scale=s)` and entropic pairs the two losses are those of [SF]2M, whose score is weighted
  so. The slope of gamma is not bounded at the ends; the mean over both signs of the noise (antithetic)
  has bounded variance, at twice the evaluations.

  Args:
    key: random key, the same on every device.
    predict_fn: `(z_t, t) -> prediction`, z_t (B, ...), t (B,).
    x_0: points at t = 0, shape (B, ...).
    x_1: their partners at t = 1, the same shape.
    interpolant: alpha, beta and gamma.
    prediction: "velocity" or "eps".
    antithetic: whether to take the mean over eps and -eps.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    axis_name: mapped device axis over which the pairs are split, inside `pmap` or `shard_map`; times and
      noise do not depend on how.

  Returns:
    Loss per pair, summed over its entries, shape (B,), float32 or wider. Gradient flows to what
    predict_fn holds and to both points.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or prediction is unknown.

  Example:
    >>> x_0, x_1 = jnp.zeros((4, 2)), jnp.ones((4, 2))
    >>> path = linear_interpolant(scale=0.0)
    >>> zeros = lambda z, t: jnp.zeros_like(z)
    >>> interpolant_loss(jax.random.key(0), zeros, x_0, x_1, interpolant=path).tolist()
    [2.0, 2.0, 2.0, 2.0]

  References:
    Albergo et al., Stochastic Interpolants: A Unifying Framework for Flows and Diffusions, 2023.
      arXiv:2303.08797
    Tong et al., Simulation-free Schroedinger bridges via score and flow matching, 2023. arXiv:2307.03672
  """
  check_choice(("velocity", "eps"), prediction=prediction)
  check_alike(jnp.ndim(x_0), x_0=x_0, x_1=x_1)
  x_0, x_1 = jnp.asarray(x_0), jnp.asarray(x_1)
  key_time, key_noise = jax.random.split(key)
  t = time_sampler(key_time, batch_size=x_0.shape[0], axis_name=axis_name)
  time = expand_time(t, x_0)
  eps = draw_noise(key_noise, x_0, axis_name).astype(wide_dtype(x_0))
  (a, a_slope), (b, b_slope), (c, c_slope) = (with_slope(fn, time) for fn in interpolant)

  def error(eps: jax.Array) -> jax.Array:
    predicted = predict_fn((a * x_0 + b * x_1 + c * eps).astype(x_0.dtype), t)
    check_alike(x_0.ndim, x_0=x_0, prediction=predicted)
    wanted = eps if prediction == "eps" else a_slope * x_0 + b_slope * x_1 + c_slope * eps
    squared = jnp.square(predicted.astype(wanted.dtype) - wanted)
    return jnp.sum(squared, axis=tuple(range(1, x_0.ndim)))

  return 0.5 * (error(eps) + error(-eps)) if antithetic else error(eps)


def interpolant_drift(
  velocity: ArrayLike,
  eps: ArrayLike,
  t: ArrayLike,
  *,
  interpolant: Interpolant,
  scale: ArrayLike,
  backward: bool = False,
) -> jax.Array:
  r"""Drift of the SDE of noise scale s that has the marginals of an interpolant.

  .. math:: dz = \Big(v \mp \frac{s^2}{2 \gamma_t} \hat\epsilon \Big) dt + s \, dw

  with minus forward in time and plus backward, where dt is negative; the score is -eps / gamma. For the
  Schroedinger bridge of scale s, forward from x_0 to x_1, s is its own.

  Args:
    velocity: v, shape (B, ...).
    eps: mean of the noise given z_t, the same shape.
    t: times inside (0, 1), where gamma is positive, shape (B,) or ().
    interpolant: its gamma.
    scale: s, not negative. Can be traced.
    backward: whether the SDE runs from t = 1 to t = 0.

  Returns:
    Drift, the shape and dtype of velocity. Gradient flows to all arrays.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or scale is negative.

  Example:
    >>> path, ones = linear_interpolant(scale=2.0), jnp.ones((1, 1))
    >>> interpolant_drift(ones, ones, 0.5, interpolant=path, scale=1.0).tolist()
    [[0.5]]

  References:
    Albergo et al., Stochastic Interpolants: A Unifying Framework for Flows and Diffusions, 2023.
      arXiv:2303.08797
  """
  check_range(0.0, scale=scale)
  check_alike(jnp.ndim(velocity), velocity=velocity, eps=eps)
  velocity = jnp.asarray(velocity)
  gamma = interpolant.gamma(expand_time(t, velocity))
  share = jnp.square(scale) / (2 * gamma) * jnp.asarray(eps)
  return (velocity + (share if backward else -share)).astype(velocity.dtype)


def _bridge(t: jax.Array, scale: ArrayLike) -> jax.Array:
  """s sqrt(t (1 - t)), with a slope of 0 at the ends, where it is infinite."""
  inside = t * (1 - t)
  root = jnp.sqrt(jnp.where(inside > 0, inside, 1))
  return jnp.where(inside > 0, jnp.asarray(scale) * root, 0)
