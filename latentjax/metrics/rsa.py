"""Representational similarity analysis: whether two representations find the same pairs alike."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice
from latentjax.collectives import all_gather_rows
from latentjax.distances import squared_distances
from latentjax.losses.contrastive import l2_normalize
from latentjax.metrics._pairs import as_pair, safe_sqrt, scaled
from latentjax.metrics._ranks import average_ranks

__all__ = ["rsa"]


def rsa(
  x: ArrayLike,
  y: ArrayLike,
  *,
  dissimilarity: str = "correlation",
  kind: str = "spearman",
  axis_name: str | None = None,
) -> jax.Array:
  r"""Correlation of the dissimilarities of all pairs of examples in two representations.

  .. math:: \mathrm{corr}\big((d^x_{ij})_{i < j}, (d^y_{ij})_{i < j}\big), \qquad
    d^x_{ij} = 1 - \mathrm{corr}(x_i, x_j) \;\text{ or }\; \|x_i - x_j\|

  The pairs are not independent: for a p-value, permute the examples. Made for tens to a few thousand
  examples (stimuli, conditions): it holds the N^2 / 2 dissimilarities of both.

  Args:
    x: first representation, shape (N, D).
    y: second representation, shape (N, E).
    dissimilarity: "correlation", one minus that over the columns, for which a constant row has
      correlation 0 with all, or "euclidean".
    kind: "spearman" for the correlation of ranks (ties have their mean rank), which asks for the same
      order alone, or "pearson".
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar in [-1, 1], float32 or wider, the same on every device; 0 if all dissimilarities of a
    representation are equal. Gradient flows to both for "pearson", it is zero for "spearman".

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if an array is not of rank 2, their rows are not as many, there are fewer than 3 rows, or
      a choice is unknown.

  Example:
    >>> x = jnp.array([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0], [4.0, 1.0]])
    >>> round(float(rsa(x, 7 - 3 * x[:, ::-1], dissimilarity="euclidean", kind="pearson")), 5)
    1.0

  References:
    Kriegeskorte, Mur & Bandettini, Representational Similarity Analysis: Connecting the Branches of
      Systems Neuroscience, 2008.
  """
  check_choice(("correlation", "euclidean"), dissimilarity=dissimilarity)
  check_choice(("pearson", "spearman"), kind=kind)
  pair = as_pair(3, axis_name, x=x, y=y)
  vectors = [_dissimilarities(rows, dissimilarity, axis_name) for rows in pair]
  if kind == "spearman":
    vectors = [average_ranks(jax.lax.stop_gradient(vector)) for vector in vectors]
  a, b = (_standardised(vector) for vector in vectors)
  return jnp.sum(a * b)


def _dissimilarities(x: jax.Array, kind: str, axis_name: str | None) -> jax.Array:
  """Those of all pairs i < j, shape (N (N - 1) / 2,)."""
  x = all_gather_rows(scaled(x, axis_name), axis_name)
  pairs = jnp.triu_indices(len(x), 1)
  if kind == "euclidean":
    return safe_sqrt(squared_distances(x, x, exact=True)[pairs])
  centred = x - jnp.mean(x, axis=1, keepdims=True)
  largest = jnp.max(jnp.abs(x), axis=1, keepdims=True)
  least = 4 * jnp.finfo(x.dtype).eps * largest
  constant = jnp.max(jnp.abs(centred), axis=1, keepdims=True) <= least
  unit = l2_normalize(jnp.where(constant, 0, centred))
  return 1 - jnp.matmul(unit, unit.T, precision="highest")[pairs]


def _standardised(vector: jax.Array) -> jax.Array:
  """Mean 0 and norm 1, or 0 if it is constant."""
  centred = vector - jnp.mean(vector)
  squared = jnp.sum(jnp.square(centred))
  size = jnp.max(jnp.abs(jax.lax.stop_gradient(vector)))
  constant = squared <= len(vector) * jnp.square(4 * jnp.finfo(vector.dtype).eps * size)
  return jnp.where(constant, 0, centred * jax.lax.rsqrt(jnp.where(constant, 1, squared)))
