"""Wasserstein distance of two samples in one dimension at a time: sorted projections."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows

__all__ = ["sliced_wasserstein_distance"]


def sliced_wasserstein_distance(
  key: jax.Array,
  x: ArrayLike,
  y: ArrayLike,
  *,
  num_projections: int = 50,
  order: float = 2.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Wasserstein distance of two samples, averaged over random directions.

  .. math::

    \Big(\frac1L \sum_l W_p^p(X \theta_l, Y \theta_l)\Big)^{1/p}, \qquad
    W_p^p(u, v) = \int_0^1 \big|F_u^{-1}(t) - F_v^{-1}(t)\big|^p dt

  with directions uniform on the sphere. In one dimension the best coupling sorts both samples; where they
  differ in size, quantiles are coupled. A shift by s gives about |s| / sqrt(D) for p = 2: distances are
  smaller than without slicing. Biased upwards as every distance of samples.

  Args:
    key: random key, the same on every device.
    x: one sample, shape (N, D).
    y: the other, shape (M, D).
    num_projections: L.
    order: p, at least 1.
    axis_name: mapped device axis over which the rows of both are split, inside `pmap` or `shard_map`;
      devices exchange projections.

  Returns:
    Scalar, float32 or wider, the same on every device, in units of x; NaN if an entry is. Gradient flows to
    both samples, 0 where the distance is.

  Raises:
    TypeError: if a sample is not floating point, or num_projections no integer.
    ValueError: if a sample is not of rank 2 or empty, their widths differ, or a number is out of range.

  Example:
    >>> x = jax.random.normal(jax.random.key(0), (10, 1))
    >>> round(float(sliced_wasserstein_distance(jax.random.key(1), x, x + 3.0)), 4)
    3.0

  References:
    Rabin et al., Wasserstein Barycenter and its Application to Texture Mixing, 2011.
    Bonneel et al., Sliced and Radon Wasserstein Barycenters of Measures, 2015.
  """
  check_float(x=x, y=y)
  check_rank(2, x=x, y=y)
  check_positive_int(num_projections=num_projections)
  check_range(1.0, order=order)
  shapes = jnp.shape(x), jnp.shape(y)
  if shapes[0][1] != shapes[1][1]:
    raise ValueError(f"x and y must have the same width, got {shapes[0]} and {shapes[1]}")
  dtype = wide_dtype(x, y)
  directions = jax.random.normal(key, (shapes[0][1], num_projections), dtype)
  directions /= jnp.linalg.norm(directions, axis=0)
  u, v = (
    all_gather_rows(jnp.matmul(jnp.asarray(z, dtype), directions, precision="highest"), axis_name)
    for z in (x, y)
  )
  first, second, mass = _coupling(len(u), len(v))
  apart = jnp.abs(jnp.sort(u, axis=0)[first] - jnp.sort(v, axis=0)[second])
  # Relative to the largest, so that powers neither overflow nor vanish.
  largest = jax.lax.stop_gradient(jnp.max(apart))
  scale = jnp.where(largest > 0, largest, 1)
  powers = jnp.matmul(jnp.asarray(mass, dtype), (apart / scale) ** order, precision="highest")
  mean = jnp.mean(powers)
  return jnp.where(mean == 0, 0, scale * jnp.where(mean == 0, 1, mean) ** (1 / order))


def _coupling(num_x: int, num_y: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Which sorted rows are coupled, and the mass that each pair moves; at most N + M - 1 pairs."""
  # In units of 1 / (N M), so that levels are integers.
  levels = np.unique(np.concatenate([num_y * np.arange(num_x + 1), num_x * np.arange(num_y + 1)]))
  start = levels[:-1]
  return start // num_y, start // num_x, np.diff(levels) / (num_x * num_y)
