"""Embeddings that are a standard Gaussian along every direction (LeJEPA's SIGReg)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.collectives import device_mean
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["epps_pulley", "sigreg_loss"]


def epps_pulley(
  x: ArrayLike, *, limit: float = 5.0, num_points: int = 17, axis_name: str | None = None
) -> jax.Array:
  r"""Epps-Pulley statistic: distance of samples' characteristic function from N(0, 1)'s.

  .. math::

    B \int \Big| \frac1B \sum_b e^{i t x_b} - e^{-t^2 / 2} \Big|^2 e^{-t^2 / 2} \, dt

  by the trapezoid rule over [-limit, limit]. Its mean for samples of N(0, 1) does not depend on B; of
  any others it grows with B. Value and gradient are bounded in x.

  Args:
    x: samples, shape (B, ...); every column is a sample of its own.
    limit: upper end of the integral, positive.
    num_points: points in [0, limit], at least 2; the integrand is even.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Statistic of every column, shape (...), float32 or wider, the same on every device. Gradient flows
    to x.

  Raises:
    TypeError: if x is not floating point or num_points is not an integer.
    ValueError: if x has no rows, limit is not positive or num_points is below 2.

  Example:
    >>> same, spread = jnp.zeros((4, 1)), jnp.array([[-1.2], [-0.4], [0.4], [1.2]])
    >>> bool(epps_pulley(spread)[0] < epps_pulley(same)[0])
    True

  References:
    Epps & Pulley, A Test for Normality Based on the Empirical Characteristic Function, 1983.
    Balestriero & LeCun, LeJEPA: Provable and Scalable Self-Supervised Learning Without the
      Heuristics, 2025. arXiv:2511.08544
  """
  check_float(x=x)
  check_range(0.0, strict=True, limit=limit)
  check_positive_int(num_points=num_points)
  if num_points < 2:
    raise ValueError(f"num_points must be at least 2, got {num_points}")
  if jnp.ndim(x) < 1:
    raise ValueError("x must have at least 1 axis, got 0")
  x = jnp.asarray(x, wide_dtype(x))
  points = np.linspace(0, limit, num_points)
  weights = 2 * np.full(num_points, limit / (num_points - 1))
  weights[[0, -1]] /= 2
  density = np.exp(-(points**2) / 2)
  num_rows = x.shape[0] * (1 if axis_name is None else jax.lax.axis_size(axis_name))

  @jax.checkpoint  # nothing of size num_points x B
  def characteristic(t: jax.Array) -> jax.Array:
    return jnp.mean(jnp.stack([jnp.cos(t * x), jnp.sin(t * x)]), axis=1)

  waves = jax.lax.map(characteristic, jnp.asarray(points, x.dtype))
  real, imaginary = jnp.moveaxis(device_mean(waves, axis_name), 1, 0)
  axes = (num_points,) + (1,) * (x.ndim - 1)
  target, scale = (
    jnp.asarray(a.reshape(axes), x.dtype) for a in (density, num_rows * weights * density)
  )
  return jnp.sum(scale * (jnp.square(real - target) + jnp.square(imaginary)), axis=0)


def sigreg_loss(
  key: jax.Array,
  z: ArrayLike,
  *,
  num_slices: int = 256,
  limit: float = 5.0,
  num_points: int = 17,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Sketched isotropic Gaussian regularisation: `epps_pulley` along random directions (LeJEPA).

  .. math:: \frac1M \sum_{m=1}^M T(\{a_m^\top z_b\}_b), \qquad a_m \sim U(S^{D - 1})

  It is least if the embeddings are distributed as N(0, I), hence of full rank. Beside it LeJEPA needs
  only that views agree.

  Args:
    key: random key of the directions, the same on every device; a new one in every step.
    z: embeddings, not normalised, shape (B, D).
    num_slices: M, number of directions.
    limit: see `epps_pulley`.
    num_points: see `epps_pulley`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`. Devices
      exchange means over their rows, 2 num_points num_slices numbers.

  Returns:
    Loss of the batch, a scalar, float32 or wider, the same on every device. Gradient flows to z.

  Raises:
    TypeError: if z is not floating point or an integer is not one.
    ValueError: if z is not of rank 2 or a number is out of range.

  Example:
    >>> z = jax.random.normal(jax.random.key(0), (64, 3))
    >>> good, bad = (sigreg_loss(jax.random.key(1), x) for x in (z, 0 * z))
    >>> bool(good < 3 < 20 < bad)
    True

  References:
    Balestriero & LeCun, LeJEPA: Provable and Scalable Self-Supervised Learning Without the
      Heuristics, 2025. arXiv:2511.08544
  """
  check_float(z=z)
  check_rank(2, z=z)
  check_positive_int(num_slices=num_slices)
  z = jnp.asarray(z, wide_dtype(z))
  directions = l2_normalize(jax.random.normal(key, (z.shape[1], num_slices), z.dtype), axis=0)
  slices = jnp.matmul(z, directions, precision="highest")
  return jnp.mean(epps_pulley(slices, limit=limit, num_points=num_points, axis_name=axis_name))
