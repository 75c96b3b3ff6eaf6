"""Variational auto-encoder (Kingma & Welling, 2014; beta-VAE: Higgins et al., 2017)."""

from types import ModuleType
from typing import Any

import jax

from latentjax.checks import check_range
from latentjax.densities import bernoulli
from latentjax.losses.elbo import elbo
from latentjax.objectives.gaussian_vae import Draw, Schedule, at_step, first_step, make_gaussian_vae
from latentjax.objectives.latent_model import (
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  Prior,
)

__all__ = ["vae"]


def vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  prior: Prior | None = None,
  beta: Schedule = 1.0,
  num_samples: int = 1,
  estimator: str = "analytic",
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Variational auto-encoder with a diagonal Gaussian posterior and, by default, the prior N(0, I).

  .. math:: -\frac1B \sum_b \frac1K \sum_k \log p(x_b|z_{kb}) - \beta \, KL(q(z|x_b) \,\|\, p(z))

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first; parameters with fewer axes are shared by all examples. With K samples it gets K *
      B rows at once.
    latent_dim: Z.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli` or
      `gaussian`.
    prior: p(z), such as `vamp_prior`; N(0, I) by default.
    beta: weight of the divergence in the loss, a number or a function of the number of calls so far
      (the model_state then counts them); the metrics and `bound` always have beta = 1.
    num_samples: K, samples of z per example.
    estimator: "analytic" takes the divergence in closed form (the paper's estimator B), "sampled"
      takes log q(z|x) - log p(z) at the samples (estimator A).
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; the
      noise is then that of the same rows on one device. Only `objective` uses it.

  Returns:
    LatentModel. `objective` returns the mean of the negative bound over the (local) batch in nats
    and has the metrics elbo, log_likelihood and kl, means in nats. With a constant beta it passes
    model_state through unchanged.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1, beta is negative or the estimator is unknown.

  Example:
    >>> model = vae(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, _ = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(loss)  # 3 log 2 + 2 (1 - log 1 - 1) / 2
    2.079441...

  References:
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014, algorithm 1, eq. 6, 7 and 10.
      arXiv:1312.6114
    Higgins et al., beta-VAE, 2017, eq. 4. https://openreview.net/forum?id=Sy2fzU9gl
  """
  if not callable(beta):
    check_range(low=0.0, beta=beta)

  def loss_fn(
    params: Params, model_state: Any, key: jax.Array, draw: Draw
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    weight, model_state = at_step(beta, model_state)
    return -elbo(draw.log_likelihood, draw.kl, beta=weight), (model_state, {})

  return make_gaussian_vae(
    encode_fn,
    decode_fn,
    loss_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    prior=prior,
    num_samples=num_samples,
    estimator=estimator,
    feature=feature,
    axis_name=axis_name,
    init_state=first_step(beta),
  )
