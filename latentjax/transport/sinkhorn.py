"""Entropic optimal transport between two sets of samples, debiased."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_positive_int, check_range
from latentjax.transport._pairs import (
  as_sets,
  distances,
  potential_after,
  self_potential,
  soft_minimum,
)

__all__ = ["sinkhorn_divergence"]


def sinkhorn_divergence(
  x: ArrayLike,
  y: ArrayLike,
  *,
  epsilon: float = 1.0,
  num_iterations: int = 50,
  cost: str = "half_squared",
) -> jax.Array:
  r"""Debiased entropic optimal transport of two sets with uniform weights; to be minimised.

  .. math::

    S = W(\alpha, \beta) - \tfrac12 W(\alpha, \alpha) - \tfrac12 W(\beta, \beta), \qquad
    W = \min_\pi \langle \pi, c \rangle + \varepsilon KL(\pi \,\|\, \alpha \otimes \beta)

  For epsilon to 0 it is the optimal transport cost, for epsilon to infinity half the squared
  distance of the means (cost "half_squared") or half the energy distance ("euclidean"). Positive,
  and 0 for equal sets. Computed by Sinkhorn's iteration on the dual potentials, in log-space; the
  smaller epsilon is against the costs, the more iterations it takes.

  Args:
    x: one set for every example, shape (B, S, D).
    y: the other, shape (B, R, D).
    epsilon: weight of the entropy, in units of the cost.
    num_iterations: Sinkhorn iterations.
    cost: "half_squared" (half the squared Euclidean distance) or "euclidean".

  Returns:
    Divergence, shape (B,), float32 or wider. Gradient flows to both sets, through the iterations.

  Raises:
    TypeError: if a set is not floating point or num_iterations is not an integer.
    ValueError: if the shapes do not match, epsilon is not positive, num_iterations is below 1 or the
      cost is unknown.

  Example:
    >>> x = jnp.array([[[0.0], [1.0]]])
    >>> round(float(sinkhorn_divergence(x, x + 2.0, epsilon=0.5)[0]), 3)  # a shift costs 2^2 / 2
    2.0

  References:
    Feydy et al., Interpolating between Optimal Transport and MMD using Sinkhorn Divergences, 2019.
      arXiv:1810.08278
    Chatterjee et al., PULASki, 2023. arXiv:2312.15686
  """
  x, y = as_sets(x, y)
  check_range(0.0, strict=True, epsilon=epsilon)
  check_positive_int(num_iterations=num_iterations)
  check_choice(("half_squared", "euclidean"), cost=cost)

  def own(members: jax.Array) -> jax.Array:
    """Half the entropic cost of a set and itself, for which both potentials are the same."""
    costs = distances(members, members, cost)
    potential = self_potential(costs, epsilon, num_iterations)
    return jnp.mean(soft_minimum(costs, potential, epsilon), axis=1)

  return _dual_value(distances(x, y, cost), epsilon, num_iterations) - own(x) - own(y)


def _dual_value(costs: jax.Array, epsilon: float, num_iterations: int) -> jax.Array:
  """Dual value after some iterations, for costs (B, S, R); a lower bound that rises to the optimum."""
  f = potential_after(num_iterations, lambda rows, columns, f: rows(columns(f)), costs, epsilon)
  g = soft_minimum(costs, f, epsilon, -2)
  # One marginal is now exact, so the term of the dual that sums the plan vanishes.
  return jnp.mean(f, axis=1) + jnp.mean(g, axis=1)
