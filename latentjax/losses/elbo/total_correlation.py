"""Decomposition of the divergence from the prior into information, total correlation and the rest."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_choice,
  check_float,
  check_positive_int,
  check_range,
  check_same_shape,
  wide_dtype,
)
from latentjax.collectives import all_gather_rows, row_offset
from latentjax.densities import gaussian

__all__ = ["TotalCorrelationTerms", "tcvae_kl", "total_correlation_terms"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


Columns = tuple[jax.Array, jax.Array]
Latent = tuple[jax.Array, jax.Array, jax.Array]
LogWeights = tuple[float, float]


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

  The weighted estimates of log q(z) and of each log q(z_d) are low, by between log B (the own
  component outweighs the others) and about log N; by exactly log N at B = N, where the total
  correlation is (D - 1) log N too high. The stratified estimate of q(z) is
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
    all arguments, from every example's terms to every other's mean and log_scale, in reverse mode.

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
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, 2018: the
      decomposition, minibatch weighted and stratified sampling. arXiv:1802.04942
  """
  check_alike(2, z=z, mean=mean, log_scale=log_scale)
  check_positive_int(dataset_size=dataset_size)
  check_choice(("weighted", "stratified"), estimator=estimator)
  if block_size is not None:
    check_positive_int(block_size=block_size)
  dtype = wide_dtype(z, mean, log_scale)
  z, mean, log_scale = (jnp.asarray(array, dtype) for array in (z, mean, log_scale))
  columns = (all_gather_rows(mean, axis_name).T, all_gather_rows(log_scale, axis_name).T)
  log_weights = _mixture_log_weights(columns[0].shape[1], dataset_size, estimator)
  indices = row_offset(z.shape[0], axis_name) + jnp.arange(z.shape[0])
  block_size = z.shape[0] if block_size is None else min(block_size, z.shape[0])
  log_joint, log_marginals = _in_blocks(z, indices, columns, log_weights, block_size)
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
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders (beta-TCVAE), 2018.
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


def _in_blocks(
  z: jax.Array, indices: jax.Array, columns: Columns, log_weights: LogWeights, block_size: int
) -> tuple[jax.Array, jax.Array]:
  """`_log_mixtures` of `block_size` rows at a time; rows that fill up the last block are cut off."""
  num_rows = z.shape[0]
  padding = -num_rows % block_size
  blocks = (
    jnp.pad(z, ((0, padding), (0, 0))).reshape(-1, block_size, z.shape[1]),
    jnp.pad(indices, (0, padding)).reshape(-1, block_size),
  )
  run = lambda block: _log_mixtures(log_weights, *block, columns)
  log_joint, log_marginals = jax.lax.map(run, blocks)
  return log_joint.reshape(-1)[:num_rows], log_marginals.reshape(-1)[:num_rows]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_mixtures(
  log_weights: LogWeights, z: jax.Array, indices: jax.Array, columns: Columns
) -> tuple[jax.Array, jax.Array]:
  """log q(z) and sum_d log q(z_d) of rows z (R, D), with means and log scales (D, B).

  One latent variable at a time: its (R, B) log densities are added to those of the joint and
  forgotten. The gradient is written out because it makes them again with one exponential and no
  reduction, from the log sums kept by the forward pass.
  """
  return _forward(log_weights, z, indices, columns)[0]


def _forward(
  log_weights: LogWeights, z: jax.Array, indices: jax.Array, columns: Columns
) -> tuple[tuple[jax.Array, jax.Array], tuple]:
  weights = _weight_matrix(log_weights, indices, columns)

  def add_latent(joint: jax.Array, latent: Latent) -> tuple[jax.Array, jax.Array]:
    log_prob = _log_prob(*latent)[0]
    return joint + log_prob, jax.nn.logsumexp(log_prob + weights, axis=1)

  joint, log_marginals = jax.lax.scan(add_latent, _zeros(z, columns), (z.T, *columns))
  log_joint = jax.nn.logsumexp(joint + weights, axis=1)
  residuals = (z, indices, columns, log_joint, log_marginals)
  return (log_joint, jnp.sum(log_marginals, axis=0)), residuals


def _backward(log_weights: LogWeights, residuals: tuple, grads: tuple) -> tuple:
  z, indices, columns, log_joint, log_marginals = residuals
  grad_joint, grad_marginal = (grad[:, None] for grad in grads)
  weights = _weight_matrix(log_weights, indices, columns)
  latents = (z.T, *columns)
  add_latent = lambda joint, latent: (joint + _log_prob(*latent)[0], None)
  joint, _ = jax.lax.scan(add_latent, _zeros(z, columns), latents)
  # Gradient of the joint with respect to every log density, the same for all latent variables.
  shared = grad_joint * jnp.exp(joint + weights - log_joint[:, None])
  ones = jnp.ones(z.shape[0], z.dtype)
  dot = partial(jnp.matmul, precision="highest")

  def latent_grads(_: None, inputs: tuple[Latent, jax.Array]) -> tuple[None, tuple]:
    latent, log_marginal = inputs
    log_prob, standardised = _log_prob(*latent)
    grad = shared + grad_marginal * jnp.exp(log_prob + weights - log_marginal[:, None])
    pull, precision = grad * standardised, jnp.exp(-latent[2])
    # Sums as matrix products, whose operands are computed once and not once per sum.
    grad_log_scale = dot(ones, pull * standardised - grad)
    return None, (-dot(pull, precision), dot(ones, pull) * precision, grad_log_scale)

  _, (grad_z, *grad_columns) = jax.lax.scan(latent_grads, None, (latents, log_marginals))
  return grad_z.T, np.zeros(indices.shape, jax.dtypes.float0), tuple(grad_columns)


_log_mixtures.defvjp(_forward, _backward)


def _log_prob(z: jax.Array, mean: jax.Array, log_scale: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Log densities (R, B) of one latent variable, z (R,), and its standardised values."""
  standardised = (z[:, None] - mean) * jnp.exp(-log_scale)
  return -0.5 * jnp.square(standardised) - log_scale - _HALF_LOG_2PI, standardised


def _weight_matrix(
  log_weights: LogWeights, indices: jax.Array, columns: Columns
) -> jax.Array | float:
  own, other = log_weights
  if own == other:
    return other
  is_own = indices[:, None] == jnp.arange(columns[0].shape[1])
  return jnp.where(is_own, own, other).astype(columns[0].dtype)


def _zeros(z: jax.Array, columns: Columns) -> jax.Array:
  # Made from the inputs, so that inside `shard_map` it varies over the devices as they do.
  return jnp.zeros_like(z[:, :1] + columns[0][:1])
