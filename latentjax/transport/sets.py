"""Energy distance, Hausdorff divergence and Frechet distance of two sets of samples."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_positive_int, check_range
from latentjax.transport._pairs import as_sets, distances, self_potential, soft_minimum

__all__ = ["frechet_distance", "generalized_energy_distance", "hausdorff_divergence"]


def generalized_energy_distance(x: ArrayLike, y: ArrayLike, *, distance: str = "iou") -> jax.Array:
  r"""Squared energy distance of two sets; to be minimised.

  .. math:: 2 E[d(x, y)] - E[d(x, x')] - E[d(y, y')]

  "iou" is d = 1 - IoU, of probabilities 1 - sum_i min(x_i, y_i) / sum_i max(x_i, y_i), which is the
  same for masks of 0 and 1; two empty masks have the distance 0. "euclidean" is Szekely's distance.
  All pairs count, also those of a member with itself, as in the evaluation of segmentations: the
  estimate is at least 0, and 0 for equal sets.

  Args:
    x: one set for every example, shape (B, S, D); for "iou" in [0, 1].
    y: the other, shape (B, R, D).
    distance: "iou" or "euclidean".

  Returns:
    Squared distance, shape (B,), float32 or wider; in [0, 2] for "iou". Gradient flows to both sets;
    it is zero between two members that coincide.

  Raises:
    TypeError: if a set is not floating point.
    ValueError: if the shapes do not match or the distance is unknown.

  Example:
    >>> masks = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> generalized_energy_distance(masks, masks[:, :1]).tolist()  # 2 / 2 - 1 / 2 - 0
    [0.5]

  References:
    Szekely & Rizzo, Energy statistics, 2013.
    Kohl et al., A Probabilistic U-Net for Segmentation of Ambiguous Images, 2018. arXiv:1806.05034
  """
  x, y = as_sets(x, y)
  check_choice(("iou", "euclidean"), distance=distance)
  mean = lambda a, b: jnp.mean(distances(a, b, distance), axis=(1, 2))
  return 2 * mean(x, y) - mean(x, x) - mean(y, y)


def hausdorff_divergence(
  x: ArrayLike,
  y: ArrayLike,
  *,
  epsilon: float = 1.0,
  num_iterations: int = 50,
  cost: str = "half_squared",
) -> jax.Array:
  r"""Smoothed, positive definite relative of the Hausdorff distance of two sets; to be minimised.

  .. math::

    \tfrac12 \langle \alpha - \beta, \, b - a \rangle, \qquad
    a(z) = -\varepsilon \log \frac1S \sum_s e^{(a(x_s) - c(z, x_s)) / \varepsilon}, \quad
    b(z) = -\varepsilon \log \frac1R \sum_r e^{(b(y_r) - c(z, y_r)) / \varepsilon}

  alpha and beta are the uniform measures of the sets, a and b their soft distance fields: what a
  member is far from counts by its nearest neighbours, not by an average over the whole other set. On
  its own set a field is the potential of the set's entropic transport to itself, by Sinkhorn's
  iteration; with soft distances alone nothing would keep the divergence from below 0. For epsilon to
  0 it is half the sum of the mean distances to the nearest member of the other set, for epsilon to
  infinity half the squared distance of the means (cost "half_squared") or half the energy distance
  ("euclidean").

  Args:
    x: one set for every example, shape (B, S, D).
    y: the other, shape (B, R, D).
    epsilon: temperature of the minimum, in units of the cost.
    num_iterations: Sinkhorn iterations of each set with itself.
    cost: "half_squared" (half the squared Euclidean distance) or "euclidean".

  Returns:
    Divergence, shape (B,), float32 or wider; 0 for equal sets. Gradient flows to both sets, through
    the iterations.

  Raises:
    TypeError: if a set is not floating point or num_iterations is not an integer.
    ValueError: if the shapes do not match, epsilon is not positive, num_iterations is below 1 or the
      cost is unknown.

  Example:
    >>> float(hausdorff_divergence(jnp.zeros((1, 1, 2)), jnp.ones((1, 3, 2)))[0])
    1.0

  References:
    Feydy & Trouve, Global divergences between measures: from Hausdorff distance to Optimal
      Transport, 2018. https://hal.archives-ouvertes.fr/hal-01827184
    Chatterjee et al., PULASki, 2023. arXiv:2312.15686
  """
  x, y = as_sets(x, y)
  check_range(0.0, strict=True, epsilon=epsilon)
  check_positive_int(num_iterations=num_iterations)
  check_choice(("half_squared", "euclidean"), cost=cost)

  def rise(members: jax.Array, others: jax.Array) -> jax.Array:
    """Mean over the others of the members' field, less that over themselves, shape (B,)."""
    own = distances(members, members, cost)
    potential = self_potential(own, epsilon, num_iterations)
    field = lambda costs: jnp.mean(soft_minimum(costs, potential, epsilon), axis=1)
    return field(distances(others, members, cost)) - field(own)

  return 0.5 * (rise(x, y) + rise(y, x))


def frechet_distance(x: ArrayLike, y: ArrayLike) -> jax.Array:
  r"""Squared Frechet distance of the Gaussians with the two sets' moments; to be minimised.

  .. math:: \|m_x - m_y\|^2 + \mathrm{tr}\big(C_x + C_y - 2 (C_x C_y)^{1/2}\big)

  It sees means and covariances alone, so members are features rather than pixels where those do not
  suffice. Covariances are divided by the size of the set. The trace of the root is the nuclear norm
  of the (S, R) matrix of inner products of centred members over sqrt(S R): no D x D matrix is made,
  and sets smaller than D, whose covariances are singular, need no jitter.

  Args:
    x: one set of features for every example, shape (B, S, D).
    y: the other, shape (B, R, D).

  Returns:
    Squared distance, shape (B,), float32 or wider; 0 for equal sets. Gradient flows to both sets.

  Raises:
    TypeError: if a set is not floating point.
    ValueError: if the shapes do not match.

  Example:
    >>> x = jnp.array([[[-1.0], [1.0]]])  # means 0, deviations 1 and 3
    >>> round(float(frechet_distance(x, 3 * x)[0]), 4)
    4.0

  References:
    Dowson & Landau, The Frechet distance between multivariate normal distributions, 1982.
    Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017. arXiv:1706.08500
  """
  x, y = as_sets(x, y)
  mean_x, mean_y = (jnp.mean(a, axis=1, keepdims=True) for a in (x, y))
  x, y = (x - mean_x) / math.sqrt(x.shape[1]), (y - mean_y) / math.sqrt(y.shape[1])
  products = jnp.einsum("bsd,brd->bsr", x, y, precision="highest")
  root_trace = jnp.sum(jnp.linalg.svd(products, compute_uv=False), axis=1)
  traces = jnp.sum(jnp.square(x), axis=(1, 2)) + jnp.sum(jnp.square(y), axis=(1, 2))
  return jnp.sum(jnp.square(mean_x - mean_y), axis=(1, 2)) + traces - 2 * root_trace
