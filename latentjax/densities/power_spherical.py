r"""Power spherical density on the unit sphere, parameters `direction` and `log_concentration`.

.. math:: p(x) \propto (1 + \mu^\top x)^\kappa

A stand-in for the von Mises-Fisher density with the same symmetry, sampled without rejection and
with all quantities in closed form. Directions mu and points x are unit vectors, shape (..., D) with
D >= 2; log kappa has shape (...). That they have norm one is not checked: with raw network outputs,
normalise first. Log-densities are with respect to the area of the sphere. In all functions leading
axes may be missing from any array, and among arrays of equal rank batch axes may have size 1;
everything else is refused. Results are float32 (float64 for float64 inputs) whatever lower
precision the inputs have; samples and means keep the parameters' dtype. Values and gradients are
finite for |log_concentration| <= 40.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.densities._gamma import draw_log_gamma, log_gamma_ratio
from latentjax.densities._shapes import Shape, draw_by_row, draw_samples, sum_event
from latentjax.densities._sphere import (
  half_square_distance,
  log_area,
  point_at_angle,
  promote_directions,
  sum_by_concentration,
)

__all__ = ["entropy", "kl_uniform", "log_prob", "mean", "sample"]


def log_prob(
  x: ArrayLike, direction: ArrayLike, log_concentration: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Log-density in nats, summed over the event axes.

  .. math:: \kappa \log \frac{1 + \mu^\top x}{2} + \log \frac{\Gamma(\alpha + \beta)}{\Gamma(\alpha)}
    - \beta \log 4\pi, \quad \beta = \tfrac{D - 1}{2}, \; \alpha = \beta + \kappa

  At the point opposite to mu, where the density is zero, the logarithm stops at that of the dtype's
  least normal number.

  Args:
    x: points, unit vectors, shape (..., D).
    direction: mu, unit vectors, shape (..., D).
    log_concentration: log kappa, shape (...), or with leading axes missing.
    event_ndim: number of trailing axes of x that make up one event, at least 1 (the last).

  Returns:
    Log-density in nats, the broadcast shape of x without the event axes. Gradient flows to all
    three arguments; 1 + mu . x is computed as 2 - |x - mu|^2 / 2, which has the same derivative
    along the sphere.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly, D is below 2 or `event_ndim` is not between
      1 and the rank.

  Example:
    >>> north = jnp.array([0.0, 0.0, 1.0])
    >>> float(log_prob(north, north, jnp.array(-40.0)))  # uniform: -log 4 pi
    -2.53102...

  References:
    De Cao & Aziz, The Power Spherical Distribution, 2020. arXiv:2006.04437
  """
  x, direction, log_concentration = promote_directions(
    event_ndim, {"x": x, "direction": direction}, {"log_concentration": log_concentration}
  )
  kappa = jnp.exp(log_concentration)
  gap = 0.5 * half_square_distance(x, direction)
  floor = math.log(jnp.finfo(x.dtype).tiny)
  log_cosine = jnp.where(gap < 1, jnp.log1p(-jnp.where(gap < 1, gap, 0)), floor)
  return sum_event(kappa * log_cosine + _log_peak(kappa, x.shape[-1]), event_ndim - 1)


def sample(
  key: jax.Array,
  direction: ArrayLike,
  log_concentration: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples.

  .. math:: z = \mu \cos\theta + v \sin\theta, \quad \cos\theta = 2 t - 1, \quad
    t \sim \mathrm{Beta}(\alpha, \beta)

  The unit tangent v at mu is a projected Gaussian (the paper reflects a fixed tangent instead: the
  same law). The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    direction: mu, unit vectors, shape (B, ..., D).
    log_concentration: log kappa, shape (B, ...) or with leading axes missing.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Unit vectors in the parameters' dtype, shape (B, ..., D), or (K, B, ..., D) if `num_samples=K`.
    Gradient flows to both parameters through the samples, to log_concentration by implicit
    differentiation of the Gamma distribution function.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not combine explicitly, D is below 2 or `num_samples` is below 1.

  Example:
    >>> north = jnp.array([[0.0, 0.0, 1.0]])
    >>> sample(jax.random.key(0), north, jnp.array([40.0])).round(3).tolist()
    [[...0.0, ...0.0, 1.0]]

  References:
    De Cao & Aziz, The Power Spherical Distribution, 2020. arXiv:2006.04437
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
    keys, beta = jax.random.split(row_key), 0.5 * (dim - 1)
    near = draw_log_gamma(keys[0], kappa + beta, shape)
    far = jax.random.loggamma(keys[1], beta, shape, kappa.dtype)
    # tan^2(angle / 2) = (1 - t) / t: exact for angles of any size.
    return 2 * jnp.arctan(jnp.exp(0.5 * (far - near)))

  def draw_noise(row_key: jax.Array, row_shape: Shape) -> jax.Array:
    return jax.random.normal(row_key, row_shape, kappa.dtype)

  angle = draw_by_row(key_angle, draw_angle, [kappa], num_samples, axis_name)
  noise = draw_samples(key_tangent, draw_noise, (*leading, dim), num_samples, axis_name)
  return point_at_angle(direction, angle, noise).astype(dtype)


def mean(direction: ArrayLike, log_concentration: ArrayLike) -> jax.Array:
  r"""Mean vector, inside the sphere.

  .. math:: E[x] = \frac{\kappa}{\kappa + D - 1} \mu

  Args:
    direction: mu, unit vectors, shape (..., D).
    log_concentration: log kappa, shape (...), or with leading axes missing.

  Returns:
    Mean in the parameters' dtype, shape (..., D). Gradient flows to both parameters.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not combine explicitly or D is below 2.

  Example:
    >>> mean(jnp.array([0.0, 1.0]), jnp.array(0.0)).tolist()
    [0.0, 0.5]

  References:
    De Cao & Aziz, The Power Spherical Distribution, 2020. arXiv:2006.04437
  """
  dtype = jnp.result_type(direction, log_concentration)
  direction, log_concentration = promote_directions(
    None, {"direction": direction}, {"log_concentration": log_concentration}
  )
  # kappa / (kappa + D - 1) as a sigmoid of log kappa.
  length = jax.nn.sigmoid(log_concentration - math.log(direction.shape[-1] - 1))
  return (length[..., None] * direction).astype(dtype)


def entropy(
  direction: ArrayLike, log_concentration: ArrayLike, *, event_ndim: int = 1
) -> jax.Array:
  r"""Differential entropy in nats, with respect to the area of the sphere.

  .. math:: H = \kappa \left(\psi(\alpha + \beta) - \psi(\alpha)\right)
    - \log \frac{\Gamma(\alpha + \beta)}{\Gamma(\alpha)} + \beta \log 4\pi

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
    De Cao & Aziz, The Power Spherical Distribution, 2020. arXiv:2006.04437
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
    >>> float(kl_uniform(jnp.array([0.0, 0.0, 1.0]), jnp.array(0.0)))  # log 2 - 1/2
    0.193147...

  References:
    De Cao & Aziz, The Power Spherical Distribution, 2020. arXiv:2006.04437
  """
  missing = lambda kappa, dim: log_area(dim) - _entropy(kappa, dim)
  return sum_by_concentration(missing, direction, log_concentration, event_ndim)


def _entropy(kappa: jax.Array, dim: int) -> jax.Array:
  log_peak, slope = jax.jvp(lambda k: _log_peak(k, dim), (kappa,), (jnp.ones_like(kappa),))
  return kappa * slope - log_peak


def _log_peak(kappa: jax.Array, dim: int) -> jax.Array:
  """Log-density at x = mu."""
  beta = 0.5 * (dim - 1)
  return log_gamma_ratio(kappa + beta, beta) - beta * math.log(4 * math.pi)
