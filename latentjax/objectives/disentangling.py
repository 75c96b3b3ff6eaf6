"""VAEs whose penalty presses the latent variables apart: total correlation, moments, capacity."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.densities import bernoulli
from latentjax.losses.elbo import (
  capacity_loss,
  dip_penalty,
  elbo,
  tcvae_kl,
  total_correlation_terms,
)
from latentjax.objectives.gaussian_vae import (
  Draw,
  Schedule,
  at_step,
  first_step,
  make_gaussian_vae,
)
from latentjax.objectives.latent_model import DecodeFn, EncodeFn, LatentModel, Metrics, Params

__all__ = ["capacity_vae", "dip_vae", "tc_vae"]

Result = tuple[jax.Array, tuple[Any, Metrics]]


def tc_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  dataset_size: int,
  likelihood: ModuleType = bernoulli,
  alpha: ArrayLike = 1.0,
  beta: Schedule = 6.0,
  gamma: ArrayLike = 1.0,
  estimator: str = "weighted",
  block_size: int | None = None,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""beta-TCVAE: the divergence split in three, with a weight for each.

  .. math:: -E_q[\log p(x|z)] + \alpha I(z; n) + \beta TC(z) + \gamma \sum_d KL(q(z_d) \| p(z_d))

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    latent_dim: Z.
    dataset_size: N, number of training examples.
    likelihood: density family of p(x|z).
    alpha: weight of the index-code mutual information.
    beta: weight of the total correlation, a number or a function of the number of calls so far.
    gamma: weight of the dimension-wise divergence.
    estimator: of the aggregate posterior, "weighted" or "stratified".
    block_size: rows at a time in the estimate, to bound memory.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel; the metrics have the three terms besides those of `vae`, means in nats.

  Example:
    >>> model = tc_vae(
    ...   lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2, dataset_size=100
    ... )
    >>> loss, (_, metrics) = model.objective(
    ...   jnp.ones((3, 2)), model.init_state, jax.random.key(0), {"image": jnp.ones((4, 3))}
    ... )
    >>> sorted(metrics)[-2:]
    ['mutual_information', 'total_correlation']

  References:
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, 2018, eq. 4.
      arXiv:1802.04942
  """

  def loss_fn(params: Params, model_state: Any, key: jax.Array, draw: Draw) -> Result:
    weight, model_state = at_step(beta, model_state)
    terms = total_correlation_terms(
      draw.z[0],
      draw.mean,
      draw.log_scale,
      dataset_size=dataset_size,
      estimator=estimator,
      axis_name=axis_name,
      block_size=block_size,
    )
    kl = tcvae_kl(terms, alpha=alpha, beta=weight, gamma=gamma)
    metrics = {name: jnp.mean(term) for name, term in terms._asdict().items()}
    return -elbo(draw.log_likelihood, kl), (model_state, metrics)

  return make_gaussian_vae(
    encode_fn,
    decode_fn,
    loss_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    feature=feature,
    axis_name=axis_name,
    init_state=first_step(beta),
  )


def dip_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  kind: str = "i",
  lambda_offdiag: ArrayLike = 10.0,
  lambda_diag: ArrayLike = 100.0,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""DIP-VAE: the covariance of the aggregate posterior is drawn towards the identity.

  .. math:: -ELBO + \lambda_{od} \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    latent_dim: Z.
    likelihood: density family of p(x|z).
    kind: "i" for the covariance of the means, "ii" for that of z.
    lambda_offdiag: weight of the covariances.
    lambda_diag: weight of the variances; the paper takes 10 lambda_offdiag for kind "i" and
      lambda_offdiag for kind "ii".
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel; the metrics have penalty besides those of `vae`.

  Example:
    >>> model = dip_vae(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, (_, metrics) = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(metrics["penalty"])  # both variances are 0
    200.0

  References:
    Kumar, Sattigeri & Balakrishnan, Variational Inference of Disentangled Latent Concepts from
      Unlabeled Observations, 2018. arXiv:1711.00848
  """

  def loss_fn(params: Params, model_state: Any, key: jax.Array, draw: Draw) -> Result:
    penalty = dip_penalty(
      draw.mean,
      draw.log_scale,
      kind=kind,
      lambda_offdiag=lambda_offdiag,
      lambda_diag=lambda_diag,
      axis_name=axis_name,
    )
    return penalty - elbo(draw.log_likelihood, draw.kl), (model_state, {"penalty": penalty})

  return make_gaussian_vae(
    encode_fn,
    decode_fn,
    loss_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    feature=feature,
    axis_name=axis_name,
  )


def capacity_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  capacity: Schedule,
  gamma: ArrayLike = 1000.0,
  likelihood: ModuleType = bernoulli,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Capacity-annealed VAE: the divergence of every example is held at C, which rises in training.

  .. math:: -E_q[\log p(x|z)] + \gamma \, | KL(q(z|x) \| p(z)) - C |

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    latent_dim: Z.
    capacity: C in nats, a number or a function of the number of calls so far, such as
      `functools.partial(linear_annealing, num_steps=100_000, end=25.0)`.
    gamma: weight of the distance.
    likelihood: density family of p(x|z).
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel; the metrics have capacity besides those of `vae`.

  Raises:
    ValueError: if a weight is negative.

  Example:
    >>> model = capacity_vae(
    ...   lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2, capacity=lambda t: 2.0 * t
    ... )
    >>> int(model.init_state)
    0

  References:
    Burgess et al., Understanding disentangling in beta-VAE, 2018. arXiv:1804.03599
  """
  check_range(low=0.0, gamma=gamma)

  def loss_fn(params: Params, model_state: Any, key: jax.Array, draw: Draw) -> Result:
    now, model_state = at_step(capacity, model_state)
    distance = capacity_loss(draw.kl, capacity=now, gamma=gamma)
    metrics = {"capacity": jnp.asarray(now, jnp.float32)}
    return distance - draw.log_likelihood, (model_state, metrics)

  return make_gaussian_vae(
    encode_fn,
    decode_fn,
    loss_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    feature=feature,
    axis_name=axis_name,
    init_state=first_step(capacity),
  )
