"""Variational importance sampling by the forward chi-square divergence (Li et al., 2024)."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from latentjax.checks import check_positive_int
from latentjax.densities import bernoulli, gaussian
from latentjax.losses.importance import (
  chi2_divergence_bound,
  chi2_proposal_loss,
  iwae_bound,
)
from latentjax.objectives.iwae import map_samples, weight_metrics
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  Prior,
  log_likelihood,
  posterior,
  standard_normal_prior,
  take_feature,
)
from latentjax.objectives.vae import vae

__all__ = ["vis"]


def vis(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  prior: Prior | None = None,
  num_samples: int = 50,
  block_size: int | None = 10,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""The model ascends an importance-sampling estimate of log p(x), the proposal lowers its variance.

  .. math::

    \frac1B \sum_b -\log \frac1K \sum_k \frac{p_\theta(x_b, z_{kb})}{q(z_{kb}|x_b)}
    + \log \frac1K \sum_k \left(\frac{p(x_b, z_{kb})}{q_\phi(z_{kb}|x_b)}\right)^2,
    \quad z_{kb} \sim q(z|x_b)

  The first term is for the model with q held fixed, the second for q with the model held fixed; all
  samples are detached. Up to 2 log p(x) the second is log(1 + chi2(p(z|x) || q)), so q covers the
  posterior where the ELBO's q would sit on one of its modes. The paper updates the two in turn;
  here they share a step. The estimates are those of `iwae_bound` and `chi2_proposal_loss`,
  consistent, biased at finite K. Samples need no reparameterisation.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first; parameters with fewer axes are shared by all examples. It is mapped over samples.
    latent_dim: Z.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    prior: p(z); N(0, I) by default.
    num_samples: K, samples of z per example.
    block_size: samples that are decoded at a time; None for all of them, without rematerialisation.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; the
      noise is then that of the same rows on one device. Only `objective` uses it.

  Returns:
    LatentModel, that of `vae` with another objective. `objective` passes model_state through
    unchanged; its metrics are bound (of log p(x)), elbo and chi2 (the estimate of log(1 + chi2)),
    in nats, and effective_sample_size.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1.

  Example:
    >>> model = vis(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> _, (_, metrics) = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> bool(abs(metrics["chi2"]) < 1e-5)  # q is the posterior
    True

  References:
    Li, Wang, Li & Wu, Forward chi-square Divergence Based Variational Importance Sampling, 2024.
      arXiv:2311.02516
  """
  check_positive_int(num_samples=num_samples)
  if block_size is not None:
    check_positive_int(block_size=block_size)
  prior_z = standard_normal_prior(latent_dim) if prior is None else prior

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    q = posterior(encode_fn, params, x)

    def one(k: jax.Array) -> tuple[jax.Array, jax.Array]:
      key_sample = jax.random.fold_in(key, k)
      z = gaussian.sample(key_sample, *stop_gradient(q), axis_name=axis_name)
      (log_p_x,) = log_likelihood(decode_fn, likelihood, params, x, z[None])
      log_p, log_q = log_p_x + prior_z.log_prob(params, z), gaussian.log_prob(z, *q)
      return log_p - stop_gradient(log_q), stop_gradient(log_p) - log_q

    model, proposal = map_samples(one, jnp.arange(num_samples), block_size=block_size)
    bound = iwae_bound(model)
    metrics = weight_metrics(bound, model, chi2=chi2_divergence_bound(stop_gradient(model)))
    return jnp.mean(chi2_proposal_loss(proposal) - bound), (model_state, metrics)

  model = vae(encode_fn, decode_fn, latent_dim=latent_dim, likelihood=likelihood, prior=prior)
  return model._replace(objective=objective)
