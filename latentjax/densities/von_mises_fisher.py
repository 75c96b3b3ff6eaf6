r"""Von Mises-Fisher density on the unit sphere, parameters `direction` and `log_concentration`.

.. math:: p(x) = \frac{\kappa^{D/2 - 1}}{(2\pi)^{D/2} I_{D/2 - 1}(\kappa)} e^{\kappa \mu^\top x}

Directions mu and points x are unit vectors, shape (..., D) with D >= 2; log kappa has shape (...).
That they have norm one is not checked: with raw network outputs, normalise first. Log-densities are
with respect to the area of the sphere. In all functions leading axes may be missing from any array,
and among arrays of equal rank batch axes may have size 1; everything else is refused. Results are
float32 (float64 for float64 inputs) whatever lower precision the inputs have; samples and means
keep the parameters' dtype. Values and gradients are finite for |log_concentration| <= 40, in any
dimension.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.densities._bessel import log_bessel
from latentjax.densities._shapes import Shape, draw_by_row, draw_samples, sum_event
from latentjax.densities._sphere import (
  half_square_distance,
  log_area,
  point_at_angle,
  promote_directions,
  sum_by_concentration,
)

__all__ = ["entropy", "kl", "kl_uniform", "log_prob", "mean", "sample"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


def log_prob(
  x: ArrayLike, direction: ArrayLike, log_concentration: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density in nats, summed over the event axes.

  .. math:: -\frac{\kappa}{2} \|x - \mu\|^2
    - \log \left[(2\pi)^{D/2} \kappa^{1 - D/2} I_{D/2 - 1}(\kappa) e^{-\kappa}\right]

  For unit vectors the same as the definition, without the cancellation of kappa; the gradients with
  respect to x and mu differ from kappa mu and kappa x by a radial part, which moves along the
  sphere do not see.

  Args:
    x: points, unit vectors, shape (..., D).
    direction: mu, unit vectors, shape (..., D).
    log_concentration: log kappa, shape (...), or with leading axes missing.
    event_ndim: number of trailing axes of x that make up one event, at least 1 (the last).

  Returns:
    Log-density in nats, the broadcast shape of x without the event axes. Gradient flows to all
    three arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, D is below 2 or `event_ndim` is not between
      1 and the rank.

  Example:
    >>> north = jnp.array([0.0, 0.0, 1.0])
    >>> float(log_prob(north, north, jnp.array(-40.0)))  # uniform: -log 4 pi
    -2.53102...

  References:
    Davidson et al., Hyperspherical Variational Auto-Encoders, 2018. arXiv:1804.00891
  """
  x, direction, log_concentration = promote_directions(
    event_ndim, {"x": x, "direction": direction}, {"log_concentration": log_concentration}
  )
  kappa = jnp.exp(log_concentration)
  log_p = -kappa * half_square_distance(x, direction) - _log_norm(kappa, x.shape[-1])
  return sum_event(log_p, event_ndim - 1)


def sample(
  key: jax.Array,
  direction: ArrayLike,
  log_concentration: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples.

  .. math:: z = \mu \cos\theta + v \sin\theta, \quad
    p(\theta) \propto e^{\kappa \cos\theta} \sin^{D - 2}\theta

  The angle comes from Wood's rejection sampler, the unit tangent v at mu from a projected Gaussian
  (the paper reflects a fixed tangent instead: the same law). The gradient with respect to kappa is
  that of the implicit function P(theta; kappa) = const, by quadrature, and so is unbiased; the
  paper's correction for the rejection step is not needed.

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    direction: mu, unit vectors, shape (B, ..., D).
    log_concentration: log kappa, shape (B, ...) or with leading axes missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Unit vectors in the parameters' dtype, shape (B, ..., D), or (K, B, ..., D) if `num_samples=K`.
    Gradient flows to both parameters through the samples.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not combine explicitly, D is below 2 or `num_samples` is below 1.

  Example:
    >>> north = jnp.array([[0.0, 0.0, 1.0]])
    >>> sample(jax.random.key(0), north, jnp.array([40.0])).round(3).tolist()
    [[...0.0, ...0.0, 1.0]]

  References:
    Wood, Simulation of the von Mises Fisher Distribution, 1994.
    Davidson et al., Hyperspherical Variational Auto-Encoders, 2018. arXiv:1804.00891
    Figurnov et al., Implicit Reparameterization Gradients, 2018. arXiv:1805.08498
  """
  dtype = jnp.result_type(direction, log_concentration)
  direction, log_concentration = promote_directions(
    None, {"direction": direction}, {"log_concentration": log_concentration}
  )
  dim = direction.shape[-1]
  leading = jnp.broadcast_shapes(direction.shape[:-1], log_concentration.shape)
  kappa = jnp.broadcast_to(jnp.exp(log_concentration), leading)
  key_angle, key_tangent = jax.random.split(key)

  def draw_angle(row_key: jax.Array, shape: Shape, kappa: jax.Array) -> jax.Array:
    return _draw_angle(row_key, jnp.broadcast_to(kappa, shape), dim)

  def draw_noise(row_key: jax.Array, row_shape: Shape) -> jax.Array:
    return jax.random.normal(row_key, row_shape, kappa.dtype)

  fixed = jax.lax.stop_gradient(kappa)
  angle = draw_by_row(key_angle, draw_angle, [fixed], num_samples, axis_name)
  # The value is the drawn angle, the derivative that of the implicit function.
  slope = jax.lax.stop_gradient(_angle_slope(angle, fixed, dim))
  angle += (kappa - fixed) * slope
  noise = draw_samples(key_tangent, draw_noise, (*leading, dim), num_samples, axis_name)
  return point_at_angle(direction, angle, noise).astype(dtype)


def mean(direction: ArrayLike, log_concentration: ArrayLike) -> jax.Array:
  r"""Mean vector, inside the sphere.

  .. math:: E[x] = \frac{I_{D/2}(\kappa)}{I_{D/2 - 1}(\kappa)} \mu

  Args:
    direction: mu, unit vectors, shape (..., D).
    log_concentration: log kappa, shape (...), or with leading axes missing.

  Returns:
    Mean in the parameters' dtype, shape (..., D). Gradient flows to both parameters.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or D is below 2.

  Example:
    >>> mean(jnp.array([0.0, 1.0]), jnp.array(20.0)).round(3).tolist()
    [0.0, 1.0]

  References:
    Mardia & Jupp, Directional Statistics, 2000.
  """
  dtype = jnp.result_type(direction, log_concentration)
  direction, log_concentration = promote_directions(
    None, {"direction": direction}, {"log_concentration": log_concentration}
  )
  kappa = jnp.exp(log_concentration)
  ratio = log_bessel(0.5 * direction.shape[-1] - 1, kappa)[1]
  return ((kappa * ratio)[..., None] * direction).astype(dtype)


def entropy(
  direction: ArrayLike, log_concentration: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Differential entropy in nats, with respect to the area of the sphere.

  .. math:: H = \log \left[(2\pi)^{D/2} \kappa^{1 - D/2} I_{D/2 - 1}(\kappa)\right]
    - \kappa \frac{I_{D/2}(\kappa)}{I_{D/2 - 1}(\kappa)}

  Args:
    direction: mu, shape (..., D); its values do not matter, its shape does.
    log_concentration: log kappa, shape (...), or with leading axes missing.
    event_ndim: number of trailing axes of direction that make up one event, at least 1.

  Returns:
    Entropy in nats, the broadcast shape without the event axes. Gradient flows to
    log_concentration; it is zero for direction.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, D is below 2 or `event_ndim` is not between
      1 and the rank.

  Example:
    >>> float(entropy(jnp.array([0.0, 0.0, 1.0]), jnp.array(-40.0)))  # uniform: log 4 pi
    2.53102...

  References:
    Davidson et al., Hyperspherical Variational Auto-Encoders, 2018 (as part of the divergence).
      arXiv:1804.00891
  """
  return sum_by_concentration(_entropy, direction, log_concentration, event_ndim)


def kl_uniform(
  direction: ArrayLike, log_concentration: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Kullback-Leibler divergence from the uniform density on the sphere, in nats.

  .. math:: \log \frac{2 \pi^{D/2}}{\Gamma(D/2)} - H

  Args:
    direction: mu, shape (..., D); its values do not matter, its shape does.
    log_concentration: log kappa, shape (...), or with leading axes missing.
    event_ndim: number of trailing axes of direction that make up one event, at least 1.

  Returns:
    Divergence in nats, at least 0 up to rounding, the broadcast shape without the event axes.
    Gradient flows to log_concentration; it is zero for direction.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, D is below 2 or `event_ndim` is not between
      1 and the rank.

  Example:
    >>> float(kl_uniform(jnp.array([0.0, 0.0, 1.0]), jnp.array(0.0)))  # coth 1 - 1 - log sinh 1
    0.15159...

  References:
    Davidson et al., Hyperspherical Variational Auto-Encoders, 2018. arXiv:1804.00891
  """
  missing = lambda kappa, dim: log_area(dim) - _entropy(kappa, dim)
  return sum_by_concentration(missing, direction, log_concentration, event_ndim)


def kl(
  direction_q: ArrayLike,
  log_concentration_q: ArrayLike,
  direction_p: ArrayLike,
  log_concentration_p: ArrayLike,
  *,
  event_ndim: int = 1,
) -> jax.Array:
  r"""Kullback-Leibler divergence KL(q || p) in nats.

  .. math:: A_q (\kappa_q - \kappa_p \mu_q^\top \mu_p) - \log Z_q + \log Z_p, \quad
    A_q = \frac{I_{D/2}(\kappa_q)}{I_{D/2 - 1}(\kappa_q)}

  Args:
    direction_q: mean direction of q, unit vectors, shape (..., D).
    log_concentration_q: log kappa of q, shape (...).
    direction_p: mean direction of p, unit vectors, shape (..., D).
    log_concentration_p: log kappa of p, shape (...).
    event_ndim: number of trailing axes of direction_q that make up one event, at least 1.

  Returns:
    Divergence in nats, at least 0 up to rounding, the broadcast shape without the event axes.
    Gradient flows to all four arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, D is below 2 or `event_ndim` is not between
      1 and the rank.

  Example:
    >>> north = jnp.array([0.0, 0.0, 1.0])
    >>> round(float(kl(north, jnp.array(1.0), north, jnp.array(1.0))), 6)
    0.0

  References:
    Derived from the density of Davidson et al., Hyperspherical Variational Auto-Encoders, 2018.
      arXiv:1804.00891
  """
  direction_q, direction_p, log_concentration_q, log_concentration_p = promote_directions(
    event_ndim,
    {"direction_q": direction_q, "direction_p": direction_p},
    {"log_concentration_q": log_concentration_q, "log_concentration_p": log_concentration_p},
  )
  dim = direction_q.shape[-1]
  kappa_q, kappa_p = jnp.exp(log_concentration_q), jnp.exp(log_concentration_p)
  log_norm_q, shortfall = _log_norm_and_shortfall(kappa_q, dim)
  apart = half_square_distance(direction_q, direction_p)
  cross = kappa_p * (shortfall + (1 - shortfall) * apart)
  divergence = cross - kappa_q * shortfall - log_norm_q + _log_norm(kappa_p, dim)
  return sum_event(divergence, event_ndim - 1)


def _entropy(kappa: jax.Array, dim: int) -> jax.Array:
  log_norm, shortfall = _log_norm_and_shortfall(kappa, dim)
  return log_norm + kappa * shortfall


def _log_norm(kappa: jax.Array, dim: int) -> jax.Array:
  """log of the integral of exp(kappa (mu . x - 1)) over the sphere."""
  # Beyond this limit it falls like kappa^-(D - 1) / 2 to the last digit, while the second derivatives
  # of the general formula leave the range of the dtype.
  limit = dim / float(jnp.finfo(kappa.dtype).eps)
  log_value = log_bessel(0.5 * dim - 1, jnp.minimum(kappa, limit))[0]
  log_value -= 0.5 * (dim - 1) * jnp.log(jnp.maximum(kappa / limit, 1))
  return log_value + 0.5 * dim * math.log(2 * math.pi)


def _log_norm_and_shortfall(kappa: jax.Array, dim: int) -> tuple[jax.Array, jax.Array]:
  """`_log_norm` and its negative derivative, which is 1 - E[mu . x] with all its digits."""
  log_norm, slope = jax.jvp(lambda k: _log_norm(k, dim), (kappa,), (jnp.ones_like(kappa),))
  return log_norm, -slope


def _draw_angle(key: jax.Array, kappa: jax.Array, dim: int) -> jax.Array:
  """Wood's algorithm for the angle, written in 1 - cos(angle), which keeps its digits."""
  b = (dim - 1) / (2 * kappa + jnp.hypot(2 * kappa, dim - 1.0))

  def propose(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    key, accepted = state
    key, key_radius, key_turn, key_accept = jax.random.split(key, 4)
    unit = [jax.random.uniform(k, kappa.shape, kappa.dtype) for k in (key_radius, key_turn)]
    # Beta((D - 1) / 2, (D - 1) / 2) by Ulrich's method.
    radius = jnp.sqrt(-jnp.expm1(2 / (dim - 2) * jnp.log(unit[0]))) if dim > 2 else 1.0
    beta = 0.5 + 0.5 * radius * jnp.cos(2 * math.pi * unit[1])
    gap = 2 * b * beta / (1 - (1 - b) * beta)
    log_ratio = jnp.log(0.5 * (1 + b)) - jnp.log1p(-(1 - b) * beta)
    log_accept = kappa * (2 * b / (1 + b) - gap) + (dim - 1) * log_ratio
    accept = jnp.log(jax.random.uniform(key_accept, kappa.shape, kappa.dtype)) <= log_accept
    return key, jnp.where((accepted < 0) & accept, gap, accepted)

  start = (key, 0 * kappa - 1)  # not a constant, which would be the same on all devices
  gap = jax.lax.while_loop(lambda state: jnp.any(state[1] < 0), propose, start)[1]
  return 2 * jnp.arcsin(jnp.sqrt(jnp.minimum(0.5 * gap, 1)))


def _angle_slope(angle: jax.Array, kappa: jax.Array, dim: int) -> jax.Array:
  """d angle / d kappa at a fixed value of the angle's distribution function.

  That is -(dP/dkappa) / p, with dP/dkappa the integral of (cos - E[cos]) p over the smaller tail,
  in which the sign does not change.
  """
  kappa = jnp.broadcast_to(kappa, angle.shape)
  shortfall = _log_norm_and_shortfall(kappa, dim)[1]
  inner = 2 * jnp.square(jnp.sin(0.5 * angle)) < shortfall
  root = dim - 2 + jnp.hypot(2 * kappa, dim - 2.0)
  curvature = 2 * kappa * kappa / root + 0.5 * root  # of -log p at its mode
  span = jnp.minimum(jnp.where(inner, angle, math.pi - angle), 12 / jnp.sqrt(curvature))
  nodes = 0.5 * span[..., None] * (jnp.asarray(_NODES, angle.dtype) + 1)
  away = jnp.where(inner[..., None], -nodes, nodes)
  other = angle[..., None] + away
  log_p = -2 * kappa[..., None] * jnp.sin(0.5 * away + angle[..., None]) * jnp.sin(0.5 * away)
  if dim > 2:
    tiny = jnp.finfo(angle.dtype).tiny
    log_sin = [jnp.log(jnp.maximum(jnp.sin(a), tiny)) for a in (other, angle[..., None])]
    log_p += (dim - 2) * (log_sin[0] - log_sin[1])
  centred = shortfall[..., None] - 2 * jnp.square(jnp.sin(0.5 * other))
  tail = 0.5 * span * jnp.sum(jnp.asarray(_WEIGHTS, angle.dtype) * centred * jnp.exp(log_p), -1)
  return jnp.where(inner, -tail, tail)
