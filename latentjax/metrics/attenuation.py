"""Slopes on latents that are estimated with error: how attenuated they are, and the correction."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows

__all__ = ["LatentSlopes", "latent_slopes", "split_half_slopes"]


class LatentSlopes(NamedTuple):
  """Slopes of an outcome on a latent of variance 1, means of those on the two estimates of it.

  Attributes:
    naive: least-squares slope; about beta sqrt(reliability), too small.
    iv: slope with one estimate as the instrument of the other; about beta / sqrt(reliability), too large.
    corrected: naive / sqrt(reliability) = iv sqrt(reliability), consistent for beta.
    reliability: correlation of the two estimates, not below the floor.
  """

  naive: jax.Array
  iv: jax.Array
  corrected: jax.Array
  reliability: jax.Array


def latent_slopes(
  outcome: ArrayLike,
  z_1: ArrayLike,
  z_2: ArrayLike,
  *,
  min_reliability: float = 0.01,
  axis_name: str | None = None,
) -> LatentSlopes:
  r"""Slope of an outcome on a latent, from two estimates of it with independent errors.

  .. math::

    b = \tfrac12 \big(\mathrm{cov}(y, \bar z_1) + \mathrm{cov}(y, \bar z_2)\big), \quad
    \rho = \mathrm{corr}(z_1, z_2), \quad b_{IV} = b / \rho, \quad
    b_{corrected} = b / \sqrt\rho = b_{IV} \sqrt\rho

  with estimates standardised to variance 1, which is how a latent without a unit is identified. That is
  why instruments, which mend a predictor in its own unit, overshoot: the variance 1 is that of the
  estimate, error included. Corrected least squares and corrected instruments are one number then. The
  second estimate is turned around if it is negatively correlated with the first. Errors of the two
  that correlate leave the correction too small.

  Args:
    outcome: y, shape (N,).
    z_1: estimate of the latent from one half of its indicators, in any unit, shape (N,).
    z_2: estimate from the other half, shape (N,).
    min_reliability: least reliability that is divided by, positive.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    LatentSlopes, scalars in units of y, float32 or wider, the same on every device. Their sign is
    that of z_1. 0 if an estimate is constant. Gradient flows to all arrays.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the arrays are not of rank 1 and one length, of at least 2, or min_reliability is not
      positive.

  Example:
    >>> y, z_1 = jnp.array([0.0, 1.0, 2.0, 3.0]), jnp.array([0.0, 2.0, 1.0, 3.0])
    >>> found = latent_slopes(y, z_1, jnp.array([1.0, 0.0, 2.0, 3.0]))
    >>> round(float(found.corrected / found.naive), 4), round(float(found.reliability), 4)
    (1.5811, 0.4)

  References:
    Jerzak & Jessee, Attenuation Bias with Latent Predictors, 2025. arXiv:2507.22218
    Spearman, The Proof and Measurement of Association between Two Things, 1904.
  """
  arrays = {"outcome": outcome, "z_1": z_1, "z_2": z_2}
  check_range(0.0, math.inf, strict=True, min_reliability=min_reliability)
  check_float(**arrays)
  check_rank(1, **arrays)
  dtype = wide_dtype(*arrays.values())
  rows = [all_gather_rows(jnp.asarray(array, dtype), axis_name) for array in arrays.values()]
  if len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
    got = ", ".join(f"{name} {jnp.shape(array)}" for name, array in arrays.items())
    raise ValueError(f"outcome, z_1 and z_2 must have one length of at least 2, got {got}")
  y, a, b = rows
  a, b = _standardised(a), _standardised(b)
  n = len(y)
  # Sums over n - 1, as the standard deviations are.
  signed = jnp.sum(a * b) / (n - 1)
  b = jnp.where(signed < 0, -b, b)
  reliability = jnp.maximum(jnp.abs(signed), min_reliability)
  naive = jnp.sum((y - jnp.mean(y)) * (a + b)) / (2 * (n - 1))
  return LatentSlopes(naive, naive / reliability, naive / jnp.sqrt(reliability), reliability)


def split_half_slopes(
  key: jax.Array,
  outcome: ArrayLike,
  items: ArrayLike,
  estimate_fn: Callable[[jax.Array], jax.Array],
  *,
  num_partitions: int = 10,
  min_reliability: float = 0.01,
) -> LatentSlopes:
  r"""Slopes of an outcome on a latent, for random halves of the latent's indicators.

  .. math:: z_1 = f(\mathrm{items}_{\pi(1..J/2)}), \quad z_2 = f(\mathrm{items}_{\pi(J/2+1..J)}), \quad
    \pi \;\text{random}

  and `latent_slopes` of them, for every partition; the median over partitions is the estimate (the
  authors' default). For a standard error, bootstrap the rows. With an odd number of items the second
  half has one more.

  Args:
    key: random key.
    outcome: y, shape (N,).
    items: indicators of the latent, shape (N, J), J >= 2; floating point, answers of 0 and 1 too.
    estimate_fn: estimate of the latent from some of the items, `estimate_fn(items (N, K)) -> (N,)`; any
      method, its unit and sign do not matter.
    num_partitions: P.
    min_reliability: least reliability that is divided by.

  Returns:
    LatentSlopes of arrays of shape (P,), float32 or wider. Their signs follow the estimates. Gradient
    flows to the arrays as far as estimate_fn lets it.

  Raises:
    TypeError: if an array is not floating point or num_partitions not an integer.
    ValueError: if items is not of shape (N, J) with J >= 2, or the outcome not of shape (N,).

  Example:
    >>> items = jnp.array([[0.0, 1.0], [2.0, 1.0], [3.0, 4.0], [5.0, 3.0]])
    >>> mean = lambda part: jnp.mean(part, axis=1)
    >>> found = split_half_slopes(jax.random.key(0), items[:, 0], items, mean, num_partitions=3)
    >>> found.corrected.shape
    (3,)

  References:
    Jerzak & Jessee, Attenuation Bias with Latent Predictors, 2025. arXiv:2507.22218
  """
  check_float(outcome=outcome, items=items)
  check_rank(2, items=items)
  check_positive_int(num_partitions=num_partitions)
  items = jnp.asarray(items)
  num_items = items.shape[1]
  if num_items < 2:
    raise ValueError(f"items must have at least 2 columns, got shape {items.shape}")

  def slopes(key: jax.Array) -> LatentSlopes:
    shuffled = items[:, jax.random.permutation(key, num_items)]
    halves = jnp.split(shuffled, [num_items // 2], axis=1)
    return latent_slopes(outcome, *map(estimate_fn, halves), min_reliability=min_reliability)

  return jax.vmap(slopes)(jax.random.split(key, num_partitions))


def _standardised(z: jax.Array) -> jax.Array:
  """Mean 0 and variance 1, over n - 1; 0 if it is constant."""
  z = z / jnp.maximum(jnp.max(jnp.abs(jax.lax.stop_gradient(z))), jnp.finfo(z.dtype).tiny)
  z = z - jnp.mean(z)
  variance = jnp.sum(jnp.square(z)) / (len(z) - 1)
  constant = variance <= 16 * jnp.finfo(z.dtype).eps ** 2
  return jnp.where(constant, 0, z * jax.lax.rsqrt(jnp.where(constant, 1, variance)))
