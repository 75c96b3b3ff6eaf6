"""VAEs whose prior depends on an auxiliary variable u: the latents are identifiable (iVAE, IDVAE)."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.densities import categorical, gaussian
from latentjax.losses.elbo import elbo
from latentjax.objectives.conditional_vae import (
  ConditionalEncodeFn,
  ConditionalModel,
  PriorFn,
  conditional_vae,
)
from latentjax.objectives.gaussian_vae import Schedule, at_step
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  Metrics,
  Params,
  log_likelihood,
  take_feature,
)

__all__ = ["idvae", "ivae"]

ClassifyFn = Callable[[Params, jax.Array], jax.Array]


def ivae(
  encode_fn: ConditionalEncodeFn,
  decode_fn: DecodeFn,
  prior_fn: PriorFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = gaussian,
  beta: Schedule = 1.0,
  num_samples: int = 1,
  feature: str = "image",
  condition: str = "label",
  axis_name: str | None = None,
) -> ConditionalModel:
  r"""Identifiable VAE: u tells about x through the prior of z alone.

  .. math::

    -\frac1B \sum_b E_{q(z|x_b, u_b)}[\log p(x_b|z)] - \beta \, KL(q(z|x_b, u_b) \,\|\, p(z|u_b))

  `conditional_vae` with a learned prior and a decoder that does not see u. With enough different
  values of u and an injective decoder, z is determined up to order and a function of each
  coordinate.

  Args:
    encode_fn: `(params, x, u) -> (mean, log_scale)` of q(z|x, u), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first; parameters with fewer axes are shared by all examples.
    prior_fn: `(params, u) -> (mean, log_scale)` of p(z|u), each (B, Z).
    latent_dim: Z.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.gaussian`.
    beta: weight of the divergence in the loss, a number or a function of the number of calls so far.
    num_samples: K, samples of z per example.
    feature: name of the batch's array x, shape (B, ...), floating point.
    condition: name of the batch's array u, B rows.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    ConditionalModel, with u as its y; see `conditional_vae`.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1 or beta is negative.

  Example:
    >>> model = ivae(
    ...   lambda w, x, u: (x @ w, 0 * x @ w), lambda w, z: (z @ w.T, 0.0),
    ...   lambda w, u: (0 * u, u), latent_dim=2)
    >>> model.sample(jnp.ones((3, 2)), jax.random.key(0), jnp.zeros((4, 2))).shape
    (4, 3)

  References:
    Khemakhem et al., Variational Autoencoders and Nonlinear ICA: A Unifying Framework, 2020.
      arXiv:1907.04809
  """
  return conditional_vae(
    encode_fn,
    lambda params, z, u: decode_fn(params, z),
    latent_dim=latent_dim,
    likelihood=likelihood,
    prior_fn=prior_fn,
    beta=beta,
    num_samples=num_samples,
    feature=feature,
    condition=condition,
    axis_name=axis_name,
  )


def idvae(
  encode_fn: ConditionalEncodeFn,
  decode_fn: DecodeFn,
  prior_fn: PriorFn,
  aux_decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = gaussian,
  aux_likelihood: ModuleType = categorical,
  classify_fn: ClassifyFn | None = None,
  classifier_weight: ArrayLike = 1.0,
  beta: Schedule = 1.0,
  num_samples: int = 1,
  feature: str = "image",
  condition: str = "label",
  labelled: str = "labelled",
  axis_name: str | None = None,
) -> ConditionalModel:
  r"""Identifiable double VAE: the prior p(z|u) is itself the encoder of a VAE of u.

  .. math::

    \mathcal{L}(x, u) = E_{q(z|x, u)}[\log p(x|z)] - \beta \, KL(q(z|x, u) \,\|\, p(z|u))
    + E_{p(z|u)}[\log p(u|z)] - KL(p(z|u) \,\|\, N(0, I))

  is maximised. With a classifier, examples without u count with their expectation over q(u|x), by
  the sum over all classes, and those with u train the classifier:

  .. math::

    E_{q(u|x)}[\mathcal{L}(x, u)] + H(q(u|x)) \quad \text{without } u, \qquad
    \mathcal{L}(x, u) + \alpha \log q(u|x) \quad \text{with } u

  Args:
    encode_fn: `(params, x, u) -> (mean, log_scale)` of q(z|x, u), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`.
    prior_fn: `(params, u) -> (mean, log_scale)` of p(z|u), each (B, Z).
    aux_decode_fn: `(params, z) -> parameters of p(u|z)`.
    latent_dim: Z.
    likelihood: density family of p(x|z).
    aux_likelihood: density family of p(u|z); categorical for labels u of shape (B,), integer.
    classify_fn: `(params, x) -> logits` of q(u|x), shape (B, U), for labels 0 to U - 1; None if every
      example has its u. A step then costs U times as much.
    classifier_weight: alpha, at least 0.
    beta: weight of the first divergence, a number or a function of the number of calls so far.
    num_samples: K, samples of z per example.
    feature: name of the batch's array x, shape (B, ...), floating point.
    condition: name of the batch's array u, B rows.
    labelled: name of the batch's array, shape (B,), that is true where u is known. Elsewhere u is not
      read. Only with a classifier.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    ConditionalModel, with u as its y; its `bound` is that on log p(x|u). The metrics of `objective`
    are elbo, log_likelihood and kl of x and aux_elbo of u, means in nats, over q(u|x) where u is not
    known.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1 or a weight is negative.

  Example:
    >>> model = idvae(
    ...   lambda w, x, u: (x @ w, 0 * x @ w), lambda w, z: (z @ w.T, jnp.zeros(())),
    ...   lambda w, u: (u[:, None] * w[:1], 0 * u[:, None] * w[:1]), lambda w, z: z, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3)), "label": jnp.array([0, 1, 0, 1])}
    >>> _, (_, metrics) = model.objective(jnp.ones((3, 2)), (), jax.random.key(0), batch)
    >>> sorted(metrics)
    ['aux_elbo', 'elbo', 'kl', 'log_likelihood']

  References:
    Mita, Filippone & Michiardi, An Identifiable Double VAE For Disentangled Representations, 2021.
    Kingma et al., Semi-supervised Learning with Deep Generative Models, 2014, eq. 6 to 9, for the
      treatment of missing u. arXiv:1406.5298
  """
  check_range(low=0.0, classifier_weight=classifier_weight)
  model = ivae(
    encode_fn,
    decode_fn,
    prior_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    beta=beta,
    num_samples=num_samples,
    feature=feature,
    condition=condition,
    axis_name=axis_name,
  )

  def terms(
    params: Params, key: jax.Array, x: jax.Array, u: jax.Array, weight: ArrayLike
  ) -> Metrics:
    """All terms of L(x, u), each (B,)."""
    key_x, key_u = jax.random.split(key)
    mean, log_scale = model.encode(params, x, u)
    prior = prior_fn(params, u)
    draw = lambda key, *law: gaussian.sample(
      key, *law, num_samples=num_samples, axis_name=axis_name
    )
    z, z_prior = draw(key_x, mean, log_scale), draw(key_u, *prior)
    log_p = jnp.mean(log_likelihood(decode_fn, likelihood, params, x, z), axis=0)
    log_p_u = jnp.mean(log_likelihood(aux_decode_fn, aux_likelihood, params, u, z_prior), axis=0)
    kl, aux_elbo = gaussian.kl(mean, log_scale, *prior), elbo(log_p_u, gaussian.kl_standard(*prior))
    total = elbo(log_p, kl, beta=weight) + aux_elbo
    shown = {"elbo": elbo(log_p, kl), "log_likelihood": log_p, "kl": kl, "aux_elbo": aux_elbo}
    return shown | {"total": total}

  def expected_terms(params: Params, key: jax.Array, batch: Batch, weight: ArrayLike) -> Metrics:
    """The same in expectation over what is known of u, with the classifier's share of the total."""
    x, u = take_feature(batch, feature), take_feature(batch, condition)
    if classify_fn is None:
      return terms(params, key, x, u, weight)
    log_q = jax.nn.log_softmax(classify_fn(params, x))
    classes, known = jnp.arange(log_q.shape[1]), take_feature(batch, labelled).astype(bool)
    of_class = lambda c: terms(params, jax.random.fold_in(key, c), x, jnp.full(len(x), c), weight)
    every = jax.vmap(of_class)(classes)  # each (U, B)
    weights = jnp.where(known[:, None], u[:, None] == classes, jnp.exp(log_q))
    shown = {name: jnp.einsum("bu,ub->b", weights, term) for name, term in every.items()}
    # The log-probability of the known class, or the entropy: minus the mean log-probability.
    own = jnp.sum(weights * log_q, axis=1)
    return shown | {"total": shown["total"] + jnp.where(known, classifier_weight, -1.0) * own}

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    weight, model_state = at_step(beta, model_state)
    found = expected_terms(params, key, batch, weight)
    means = {name: jnp.mean(term) for name, term in found.items()}
    loss = -means.pop("total")
    return loss, (model_state, {k: v.astype(jnp.float32) for k, v in means.items()})

  return model._replace(objective=objective)
