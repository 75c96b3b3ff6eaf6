"""How much of its latent space a model uses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype

__all__ = ["ActiveUnits", "active_units"]


class ActiveUnits(NamedTuple):
  """Activity of every latent unit.

  Attributes:
    variance: over the data, of the unit's posterior mean, shape (Z,).
    mask: True where the unit is active, shape (Z,).
    num_active: number of active units, int32, shape ().
  """

  variance: jax.Array
  mask: jax.Array
  num_active: jax.Array


def active_units(means: ArrayLike, *, threshold: float = 0.01) -> ActiveUnits:
  r"""Which latent units carry information about the data.

  .. math:: A_u = \mathrm{Var}_x\left(E_{q(z|x)}[z_u]\right) > \text{threshold}

  The variance is that of the N examples (divided by N), in the units of z squared; a unit that has
  collapsed onto its prior has variance 0. For a prior N(0, I) and q near the posterior it is at most
  about 1. The threshold is the paper's, where the variances fall into two groups.

  Args:
    means: posterior mean of every example of the data set, shape (N, Z). Of a unit that is not in
      the first stochastic layer, the mean over samples of the layers between.
    threshold: smallest variance of an active unit, at least 0, exclusive.

  Returns:
    ActiveUnits. Gradient flows to means through the variance.

  Raises:
    TypeError: if means is not floating point.
    ValueError: if means is not of rank 2, has no example, or the threshold is negative.

  Example:
    >>> active_units(jnp.array([[1.0, 0.0], [-1.0, 0.01]])).mask.tolist()
    [True, False]

  References:
    Burda et al., Importance Weighted Autoencoders, 2016, section 5.2. arXiv:1509.00519
  """
  check_float(means=means)
  check_rank(2, means=means)
  check_range(low=0.0, threshold=threshold)
  means = jnp.asarray(means, wide_dtype(means))
  if means.shape[0] == 0:
    raise ValueError(f"means must have at least one example, got shape {means.shape}")
  variance = jnp.var(means, axis=0)
  mask = variance > threshold
  return ActiveUnits(variance, mask, jnp.sum(mask, dtype=jnp.int32))
