"""Decomposition of the divergence from the prior into information, total correlation and the rest."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_choice,
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  check_same_shape,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows, row_offset
from latentjax.densities import gaussian

__all__ = ["TotalCorrelationTerms", "tcvae_kl", "total_correlation_terms"]


class TotalCorrelationTerms(NamedTuple):
  """Three parts of log q(z|x) - log p(z), in nats, each of shape (B,).

  Attributes:
    mutual_information: log q(z|x) - log q(z), whose mean is the index-code mutual information.
    total_correlation: log q(z) - sum_d log q(z_d).
    dimension_wise_kl: sum_d log q(z_d) - log p(z_d).
  """

  mutual_information: jax.Array
  total_correlation: jax.Array
  dimension_wise_kl: jax.Array


def total_correlation_terms(
  z: ArrayLike,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  dataset_size: int,
  estimator: str = "weighted",
  axis_name: str | None = None,
  block_size: int | None = None,
) -> TotalCorrelationTerms:
  r"""Index-code mutual information, total correlation and dimension-wise KL of every sample.

  .. math::

    \log\frac{q(z|x)}{p(z)} = \log\frac{q(z|x)}{q(z)} + \log\frac{q(z)}{\prod_d q(z_d)}
    + \sum_d \log\frac{q(z_d)}{p(z_d)}, \qquad \hat q(z_i) = \sum_{j=1}^B c_{ij} \, q(z_i|x_j)

  q(z) is the aggregate posterior over a data set of N examples, estimated from the batch, likewise
  its marginals q(z_d). The weights are, "weighted": c = 1 / (N B), and "stratified": 1 / N at
  j = i and (N - 1) / (N (B - 1)) elsewhere. The terms add up to log q(z|x) - log p(z) without error.

  The weighted estimate of log q(z) is low, by up to log N and in each of the marginals too: its
  constant (D - 1) log N in the total correlation has no gradient. The stratified estimate of q(z) is
  unbiased for a batch drawn without replacement, and at B = N all terms are exact; by Jensen log q(z)
  is still low for B < N. Deviation: the paper's stratified weights are 1 / (B - 1) for all j but i
  and one arbitrary other; these here are their average over which one, with the same mean and less
  variance. One (B, B) array at a time, or (block_size, B); never B x B x D, in the gradient either.

  Args:
    z: one sample of q(z|x) per example, shape (B, D).
    mean: means of q(z|x), shape (B, D).
    log_scale: logarithm of the standard deviations of q(z|x), shape (B, D).
    dataset_size: N, at least the global batch size.
    estimator: "weighted" or "stratified".
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows of z at a time, to bound memory; None takes all. The result does not depend on
      it.

  Returns:
    The three terms in nats, each of shape (B,), float32 or wider; p(z) is N(0, I). Gradient flows to
    all arguments, from every example's terms to every other's mean and log_scale.

  Raises:
    TypeError: if an array is not floating point or a size is not an integer.
    ValueError: if the shapes differ or are not of rank 2, dataset_size is below the batch size, the
      estimator is unknown, block_size is below 1, or one row is to be stratified.

  Example:
    >>> z = mean = log_scale = jnp.zeros((2, 3))
    >>> terms = total_correlation_terms(
    ...   z, mean, log_scale, dataset_size=2, estimator="stratified"
    ... )
    >>> [abs(round(float(term[0]), 5)) for term in terms]
    [0.0, 0.0, 0.0]

  References:
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, 2018, eq. 2, and
      appendix C: minibatch weighted and stratified sampling. arXiv:1802.04942
  """
  check_float(z=z, mean=mean, log_scale=log_scale)
  check_rank(2, z=z)
  check_same_shape(z=z, mean=mean, log_scale=log_scale)
  check_positive_int(dataset_size=dataset_size)
  check_choice(("weighted", "stratified"), estimator=estimator)
  if block_size is not None:
    check_positive_int(block_size=block_size)
  dtype = wide_dtype(z, mean, log_scale)
  z, mean, log_scale = (jnp.asarray(array, dtype) for array in (z, mean, log_scale))
  columns = [all_gather_rows(array, axis_name).T for array in (mean, log_scale)]
  weights = _mixture_log_weights(columns[0].shape[1], dataset_size, estimator)
  indices = row_offset(z.shape[0], axis_name) + jnp.arange(z.shape[0])

  row = partial(_aggregate_log_probs, columns=columns, log_weights=weights)
  if block_size is None:
    log_joint, log_marginals = jax.vmap(row)((z, indices))
  else:
    # Without the checkpoint every block would keep its part of the joint for the gradient.
    block_size = min(block_size, z.shape[0])
    log_joint, log_marginals = jax.lax.map(jax.checkpoint(row), (z, indices), batch_size=block_size)
  log_conditional = gaussian.log_prob(z, mean, log_scale)
  return TotalCorrelationTerms(
    log_conditional - log_joint,
    log_joint - log_marginals,
    log_marginals - gaussian.standard_log_prob(z),
  )


def tcvae_kl(
  terms: TotalCorrelationTerms,
  *,
  alpha: ArrayLike = 1.0,
  beta: ArrayLike = 6.0,
  gamma: ArrayLike = 1.0,
) -> jax.Array:
  r"""Weighted sum of the three terms, to take the place of the divergence in an ELBO.

  .. math:: \alpha \, I(z; n) + \beta \, TC(z) + \gamma \sum_d KL(q(z_d) \| p(z_d))

  With all weights 1 it is the sampled divergence. The beta-TCVAE tunes beta alone; alpha = 0 keeps
  the mutual information out of the penalty, as InfoVAE and DTS do against a collapsing posterior.

  Args:
    terms: from `total_correlation_terms`, each of shape (B,).
    alpha: weight of the index-code mutual information. Can be traced.
    beta: weight of the total correlation; 6 on dSprites. Can be traced.
    gamma: weight of the dimension-wise divergence. Can be traced.

  Returns:
    Penalty in nats, shape (B,), float32 or wider. Gradient flows to the terms.

  Raises:
    TypeError: if a term is not floating point.
    ValueError: if the shapes differ or a weight is not finite.

  Example:
    >>> tcvae_kl(TotalCorrelationTerms(jnp.ones(2), jnp.ones(2), jnp.ones(2))).tolist()
    [8.0, 8.0]

  References:
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, 2018, eq. 4.
      arXiv:1802.04942
    Li et al., Learning Disentangled Representations for Time Series, 2021. arXiv:2105.08179
  """
  check_float(**terms._asdict())
  check_same_shape(**terms._asdict())
  check_range(-math.inf, math.inf, strict=True, alpha=alpha, beta=beta, gamma=gamma)
  dtype = wide_dtype(*terms)
  weights = (jnp.asarray(weight, dtype) for weight in (alpha, beta, gamma))
  return jnp.sum(jnp.stack([weight * term for weight, term in zip(weights, terms)]), axis=0)


def _mixture_log_weights(batch_size: int, dataset_size: int, estimator: str) -> tuple[float, float]:
  """Log of the weight of a row's own component and of every other."""
  if dataset_size < batch_size:
    raise ValueError(
      f"dataset_size must be at least the global batch size {batch_size}, got {dataset_size}"
    )
  if estimator == "weighted":
    return (-math.log(dataset_size * batch_size),) * 2
  if batch_size == 1:
    raise ValueError("estimator 'stratified' must have a batch of at least 2 rows, got 1")
  others = (dataset_size - 1) / (dataset_size * (batch_size - 1))
  return -math.log(dataset_size), math.log(others)


def _aggregate_log_probs(
  row: tuple[jax.Array, jax.Array],
  columns: list[jax.Array],
  log_weights: tuple[float, float],
) -> tuple[jax.Array, jax.Array]:
  """log q(z) and sum_d log q(z_d) of one row z (D,), with means and log scales (D, B).

  One latent variable at a time: its log densities under all B components are added to those of the
  joint and forgotten, and made again for the gradient.
  """
  z, index = row
  own, other = log_weights
  is_own = jnp.arange(columns[0].shape[1]) == index
  weights = other if own == other else jnp.where(is_own, own, other)

  @jax.checkpoint
  def add_latent(joint: jax.Array, latent: tuple) -> tuple[jax.Array, jax.Array]:
    z_d, mean, log_scale = latent
    log_prob = gaussian.log_prob(z_d, mean, log_scale, event_ndim=0)
    return joint + log_prob, jax.nn.logsumexp(log_prob + weights)

  joint = jnp.zeros_like(columns[0][0])
  joint, log_marginals = jax.lax.scan(add_latent, joint, (z, *columns))
  return jax.nn.logsumexp(joint + weights), jnp.sum(log_marginals)
