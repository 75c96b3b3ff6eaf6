"""Score matching without noise: the trace of the score's Jacobian, exact or by random projections."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_choice, check_float, check_positive_int, wide_dtype
from latentjax.collectives import draw_rows

__all__ = ["implicit_score_matching_loss", "sliced_score_matching_loss"]

ScoreFn = Callable[[jax.Array], jax.Array]
PROJECTIONS = ("rademacher", "normal")


def implicit_score_matching_loss(
  key: jax.Array,
  score_fn: ScoreFn,
  x: ArrayLike,
  *,
  num_projections: int | None = None,
  projection: str = "rademacher",
  axis_name: str | None = None,
) -> jax.Array:
  r"""Hyvarinen's objective, the Fisher divergence up to a constant of the data.

  .. math::

    \mathrm{tr}(\nabla_x s(x)) + \tfrac12 \|s(x)\|^2, \qquad
    E_p\Big[\tfrac12 \|s - \nabla \log p\|^2\Big] = E_p[\text{loss}] + \tfrac12 E_p \|\nabla \log p\|^2

  The trace is exact, with one Jacobian-vector product for every entry of an example, or Hutchinson's
  unbiased estimate from a few random projections, which is `sliced_score_matching_loss`.

  Args:
    key: random key, the same on every device; not used if the trace is exact.
    score_fn: `x -> score`, (B, ...) to (B, ...); a row's score depends on that row alone.
    x: data, shape (B, ...).
    num_projections: of every example, for the estimate; None: the exact trace.
    projection: "rademacher" (signs, the least variance) or "normal".
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`; the
      projections do not depend on how.

  Returns:
    Loss per example, shape (B,), float32 or wider; it is not bounded below by 0. Gradient flows to what
    score_fn holds, through second derivatives, and to x.

  Raises:
    TypeError: if x is not floating point or num_projections is not an integer.
    ValueError: if a shape does not fit or projection is unknown.

  Example:
    >>> x = jnp.array([[1.0, 2.0]])
    >>> implicit_score_matching_loss(jax.random.key(0), lambda x: -x, x).tolist()  # -2 + 5 / 2
    [0.5]

  References:
    Hyvarinen, Estimation of Non-Normalized Statistical Models by Score Matching, 2005.
  """
  if num_projections is not None:
    return sliced_score_matching_loss(
      key,
      score_fn,
      x,
      num_projections=num_projections,
      projection=projection,
      axis_name=axis_name,
    )
  check_choice(PROJECTIONS, projection=projection)
  score, push = _linearized(score_fn, x)
  x = jnp.asarray(x)
  size = x[:1].size

  def diagonal(place: jax.Array) -> jax.Array:
    chosen = jnp.arange(size).reshape(x.shape[1:]) == place
    moved = push(jnp.where(chosen, jnp.ones_like(x), 0))
    return jnp.sum(jnp.where(chosen, _wide(moved), 0), axis=_events(x))

  trace = jnp.sum(jax.lax.map(diagonal, jnp.arange(size)), axis=0)
  return trace + 0.5 * jnp.sum(jnp.square(_wide(score)), axis=_events(x))


def sliced_score_matching_loss(
  key: jax.Array,
  score_fn: ScoreFn,
  x: ArrayLike,
  *,
  num_projections: int = 1,
  projection: str = "rademacher",
  variance_reduced: bool = True,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Score matching along random directions, one Jacobian-vector product for each.

  .. math::

    \frac1K \sum_k v_k^\top \nabla_x (v_k^\top s(x)) + \tfrac12 (v_k^\top s(x))^2, \qquad E[v v^\top] = I

  or, variance reduced, with the mean of the second term over v, 1/2 ||s(x)||^2, in its place. In either
  form the expectation over v is that of `implicit_score_matching_loss`.

  Args:
    key: random key, the same on every device.
    score_fn: `x -> score`, (B, ...) to (B, ...); a row's score depends on that row alone.
    x: data, shape (B, ...).
    num_projections: K, of every example.
    projection: "rademacher" (signs) or "normal".
    variance_reduced: whether the second term is its mean over directions.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`; the
      projections do not depend on how.

  Returns:
    Loss per example, shape (B,), float32 or wider. Gradient flows to what score_fn holds, through second
    derivatives, and to x.

  Raises:
    TypeError: if x is not floating point or num_projections is not an integer.
    ValueError: if a shape does not fit, num_projections is below 1 or projection is unknown.

  Example:
    >>> x = jnp.array([[1.0, 2.0]])
    >>> sliced_score_matching_loss(jax.random.key(0), lambda x: -x, x).tolist()
    [0.5]

  References:
    Song et al., Sliced Score Matching: A Scalable Approach to Density and Score Estimation, 2019.
      arXiv:1905.07088
  """
  check_positive_int(num_projections=num_projections)
  check_choice(PROJECTIONS, projection=projection)
  score, push = _linearized(score_fn, x)
  x = jnp.asarray(x)
  draw = jax.random.rademacher if projection == "rademacher" else jax.random.normal

  def projected(key: jax.Array) -> jax.Array:
    v = draw_rows(key, lambda k, s: draw(k, s, wide_dtype(x)), x.shape, axis_name=axis_name)
    curvature = jnp.sum(v * _wide(push(v.astype(x.dtype))), axis=_events(x))
    if variance_reduced:
      return curvature
    return curvature + 0.5 * jnp.square(jnp.sum(v * _wide(score), axis=_events(x)))

  terms = jax.lax.map(projected, jax.random.split(key, num_projections))
  loss = jnp.mean(terms, axis=0)
  if variance_reduced:
    loss += 0.5 * jnp.sum(jnp.square(_wide(score)), axis=_events(x))
  return loss


def _linearized(score_fn: ScoreFn, x: ArrayLike) -> tuple[jax.Array, Callable]:
  """Scores, and the product of the Jacobian with directions."""
  check_float(x=x)
  x = jnp.asarray(x)
  if x.ndim < 2:
    raise ValueError(f"x must have shape (B, ...), got {x.shape}")
  score, push = jax.linearize(score_fn, x)
  check_alike(x.ndim, x=x, score=score)
  return score, push


def _wide(x: jax.Array) -> jax.Array:
  return x.astype(wide_dtype(x))


def _events(x: jax.Array) -> tuple[int, ...]:
  return tuple(range(1, x.ndim))
