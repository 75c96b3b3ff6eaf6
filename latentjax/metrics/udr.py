"""Unsupervised disentanglement ranking: models that found the same latents are believed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_float, check_range, check_rank, wide_dtype
from latentjax.metrics.probes import check_finite, standardised
from latentjax.metrics.sparse_probes import coordinate_descent

__all__ = ["UDR", "udr"]


class UDR(NamedTuple):
  """How far each of several models agrees with the others.

  Attributes:
    scores: of every model, the median of its pairs, shape (M,).
    pairs: similarity of the latents of two models, shape (M, M), of all (i, j); 0 on the diagonal.
    correlations: of the latents of two models, at least 0, shape (M, M, Z, Z).
  """

  scores: jax.Array
  pairs: jax.Array
  correlations: jax.Array


def udr(
  codes: ArrayLike,
  *,
  kl: ArrayLike | None = None,
  method: str = "lasso",
  l1: ArrayLike = 0.1,
  kl_threshold: ArrayLike = 0.01,
) -> UDR:
  r"""Ranks models by how alike their latents are, up to order, sign and subset; knows no factors.

  .. math::

    U_{ij} = \frac12 \Big[ \frac1{Z_j} \sum_b \frac{\max_a R_{ab}^2}{\sum_a R_{ab}}
      + \frac1{Z_i} \sum_a \frac{\max_b R_{ab}^2}{\sum_b R_{ab}} \Big], \qquad
    \mathrm{UDR}_i = \mathrm{median}_{j \ne i} \, U_{ji}

  R_ab is, for latent a of model i and b of model j, both standardised over the data, the magnitude of
  a's weight in a lasso regression of b on all of i's latents ("lasso"), or of Spearman's rank
  correlation ("spearman"). Sums are over informative latents, those whose mean KL divergence exceeds
  the threshold; their numbers are Z_i and Z_j.

  As disentanglement_lib, with its lasso penalty; the paper's equation divides both sums by Z_i + Z_j,
  the same where the two numbers are. Identical models with independent latents score 1 by rank
  correlation, and (1 - l1) by lasso, which shrinks.

  Args:
    codes: means of q(z|x) of M >= 2 models for the same N examples, shape (M, N, Z), floating point.
    kl: KL divergence of every latent from the prior, in nats, averaged over the data, shape (M, Z);
      by default all latents that vary are informative.
    method: "lasso" or "spearman".
    l1: penalty of the lasso, as in `lasso_probe`. Can be traced.
    kl_threshold: nats above which a latent is informative. Can be traced.

  Returns:
    UDR, float32 or wider. A pair in which a model has no informative latent has similarity 0, as has a
    latent that correlates with nothing. A model whose traced codes are not finite scores nan, and the
    medians of the others are without it. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if codes are not of rank 3 or a single model's, a concrete one is not finite, kl is of
      another shape, or the method is unknown.

  Example:
    >>> z = jax.random.normal(jax.random.key(0), (200, 3))
    >>> found = udr(jnp.stack([z, -z[:, ::-1], z @ jnp.ones((3, 3))]), method="spearman")
    >>> int(jnp.argmin(found.scores))
    2

  References:
    Duan et al., Unsupervised Model Selection for Variational Disentangled Representation Learning,
      2020, section 4. arXiv:1905.12614
  """
  check_float(codes=codes)
  check_rank(3, codes=codes)
  check_choice(("lasso", "spearman"), method=method)
  check_range(0.0, l1=l1)
  num_models, _, dim = jnp.shape(codes)
  if num_models < 2:
    raise ValueError(f"codes must be those of at least 2 models, got shape {jnp.shape(codes)}")
  check_finite(codes=codes)
  z = jax.lax.stop_gradient(jnp.asarray(codes, wide_dtype(codes)))
  if method == "spearman":
    z = jax.vmap(jax.vmap(_ranks, 1, 1))(z)
  z = jax.vmap(lambda z: standardised(z)[0])(z)
  informative = jnp.any(z != 0, axis=1)
  if kl is not None:
    check_float(kl=kl)
    if jnp.shape(kl) != (num_models, dim):
      raise ValueError(f"kl must have shape {(num_models, dim)}, got {jnp.shape(kl)}")
    informative &= jax.lax.stop_gradient(jnp.asarray(kl)) > kl_threshold
  z = z * informative[:, None]
  # Covariances of all latents of all models in one product: (M, M, Z, Z).
  flat = z.transpose(1, 0, 2).reshape(z.shape[1], -1)
  moments = jnp.matmul(flat.T, flat, precision="highest") / len(flat)
  moments = moments.reshape(num_models, dim, num_models, dim).transpose(0, 2, 1, 3)
  if method == "lasso":
    own = moments[jnp.arange(num_models), jnp.arange(num_models)]
    weights = lambda gram, target: coordinate_descent(gram, target, jnp.asarray(l1, z.dtype))
    moments = jax.vmap(jax.vmap(weights, (None, 0)))(own, moments)
  correlations = jnp.abs(moments)
  pairs = jax.vmap(jax.vmap(_similarity, (0, None, 0)), (0, 0, None))(
    correlations, informative, informative
  )
  finite = jnp.all(jnp.isfinite(jnp.asarray(codes)), axis=(1, 2))
  pairs = jnp.where(finite[:, None] & finite, pairs, jnp.nan)
  off_diagonal = ~jnp.eye(num_models, dtype=bool)
  scores = jnp.nanmedian(jnp.where(off_diagonal, pairs, jnp.nan), axis=0)
  return UDR(scores, jnp.where(off_diagonal, pairs, 0), correlations)


def _similarity(r: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
  """How close R (Z, Z) is to one correlation of 1 in each informative row and column."""
  r = jnp.where(rows[:, None] & columns, r, 0)

  def strength(r: jax.Array, count: jax.Array) -> jax.Array:
    total = jnp.sum(r, axis=0)
    ratio = jnp.square(jnp.max(r, axis=0)) / jnp.where(total > 0, total, 1)
    return jnp.sum(ratio) / jnp.maximum(count, 1)

  return 0.5 * (strength(r, jnp.sum(columns)) + strength(r.T, jnp.sum(rows)))


def _ranks(x: jax.Array) -> jax.Array:
  """Ranks from 0 to 1, those of ties their mean."""
  order = jnp.sort(x)
  both = jnp.searchsorted(order, x) + jnp.searchsorted(order, x, side="right")
  return both.astype(x.dtype) / (2 * len(x))
