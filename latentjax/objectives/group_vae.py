"""VAEs that know which examples share something: ML-VAE, GVAE, and pairs with unknown shared factors."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_positive_int, check_range
from latentjax.densities import bernoulli, gaussian
from latentjax.losses.elbo import elbo
from latentjax.losses.groups import (
  adaptive_shared_mask,
  group_average,
  group_product,
  group_sizes,
)
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  log_likelihood,
  mean_metrics,
  posterior,
  take_feature,
)
from latentjax.objectives.vae import vae

__all__ = ["ada_gvae", "group_vae"]

_AGGREGATES: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {
  "average": group_average,
  "product": group_product,
}


def group_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  shared_dim: int,
  aggregate: str = "product",
  likelihood: ModuleType = bernoulli,
  beta: ArrayLike = 1.0,
  num_samples: int = 1,
  feature: str = "image",
  group_feature: str = "group",
  axis_name: str | None = None,
) -> LatentModel:
  r"""VAE whose first latent variables are shared by all examples of a group.

  .. math::

    \sum_g \sum_{b \in g} \Big( E[\log p(x_b|c_b, s_b)] - \beta KL(q(s_b|x_b) \| p(s)) \Big)
    - \beta KL(q(c|x_g) \| p(c)), \qquad c_b \sim q(c|x_g)

  The loss is minus the formula over the number of examples. "product" is the ML-VAE, in which
  q(c|x_g) is the product of the members' posteriors, "average" the GVAE. Every member decodes a
  sample of c of its own, as in the paper. A batch should hold whole groups; what is there of a group
  counts as the group.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first.
    latent_dim: Z.
    shared_dim: number of leading latent variables c that a group shares; the others, s, are the
      example's own.
    aggregate: "product" or "average".
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    beta: weight of the divergences in the loss.
    num_samples: K, samples of z per example.
    feature: name of the batch's array to model, shape (B, ...).
    group_feature: name of the batch's array of groups, any integers, shape (B,).
    axis_name: mapped device axis over which the batch is split; groups may lie across devices.

  Returns:
    LatentModel. The metrics are elbo, log_likelihood and kl per example, with a group's divergence
    divided among its members, means in nats. `bound` and `log_weights` take every example as a group
    of its own.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1, shared_dim exceeds latent_dim, beta is negative or the aggregate
      is unknown.

  Example:
    >>> model = group_vae(
    ...   lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2, shared_dim=1
    ... )
    >>> batch = {"image": jnp.ones((4, 3)), "group": jnp.array([0, 0, 1, 1])}
    >>> _, (_, metrics) = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(metrics["kl"])  # two members of scale 1: (1/2 - 1 + log 2) / 2 nats, half of it each
    0.048286...

  References:
    Bouchacourt, Tomioka & Nowozin, Multi-Level Variational Autoencoder, 2018.
      arXiv:1705.08841
    Hosoya, Group-based Learning of Disentangled Representations with Generalizability for Novel
      Contents, 2019. arXiv:1809.02383
  """
  check_range(low=0.0, beta=beta)
  check_positive_int(latent_dim=latent_dim, shared_dim=shared_dim, num_samples=num_samples)
  check_range(high=latent_dim, shared_dim=shared_dim)
  check_choice(tuple(_AGGREGATES), aggregate=aggregate)
  is_shared = jnp.arange(latent_dim) < shared_dim

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x, group = take_feature(batch, feature), take_feature(batch, group_feature)
    own = posterior(encode_fn, params, x)
    together = _AGGREGATES[aggregate](*own, group, axis_name=axis_name)
    mean, log_scale = (jnp.where(is_shared, *pair) for pair in zip(together, own))
    z = gaussian.sample(key, mean, log_scale, num_samples=num_samples, axis_name=axis_name)
    log_p_x = jnp.mean(log_likelihood(decode_fn, likelihood, params, x, z), axis=0)
    size = group_sizes(group, axis_name=axis_name)[:, None]
    kl = gaussian.kl_standard(mean, log_scale, event_ndim=0)
    kl = jnp.sum(jnp.where(is_shared, kl / size, kl), axis=1)
    metrics = mean_metrics(BoundTerms(elbo(log_p_x, kl), log_p_x, kl))
    return -jnp.mean(elbo(log_p_x, kl, beta=beta)), (model_state, metrics)

  model = vae(encode_fn, decode_fn, latent_dim=latent_dim, likelihood=likelihood)
  return model._replace(objective=objective)


def ada_gvae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  aggregate: str = "average",
  threshold: float = 0.5,
  likelihood: ModuleType = bernoulli,
  beta: ArrayLike = 1.0,
  num_samples: int = 1,
  feature: str = "image",
  pair_feature: str = "image_pair",
  axis_name: str | None = None,
) -> LatentModel:
  r"""VAE on pairs that share unknown factors of variation, which it finds by itself.

  .. math::

    \frac12 \sum_{a \in \{1, 2\}} E_{\tilde q(z|x_a)}[\log p(x_a|z)]
    - \beta KL(\tilde q(z|x_a) \| p(z))

  In q~ the latent variables whose two posteriors are close (`adaptive_shared_mask`) have one
  posterior for both images: their average in the Ada-GVAE, their product in the Ada-ML-VAE (whose
  variance the authors' code doubles). The others keep their own. The loss is minus the mean over
  pairs.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z). It gets 2 B rows, the
      images of a pair one after the other.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first.
    latent_dim: Z.
    aggregate: "average" (Ada-GVAE) or "product" (Ada-ML-VAE).
    threshold: where between the smallest and the largest divergence of a pair sharing ends.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    beta: weight of the divergence in the loss.
    num_samples: K, samples of z per image.
    feature: name of the pairs' first images, shape (B, ...).
    pair_feature: name of their second images, shape (B, ...).
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel. The metrics are elbo, log_likelihood and kl per image, means in nats, and shared, the
    mean number of latent variables that a pair shares. The encoder of one image needs no pair.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1, threshold is not in [0, 1], beta is negative or the aggregate is
      unknown.

  Example:
    >>> model = ada_gvae(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3)), "image_pair": jnp.zeros((4, 3))}
    >>> w = jnp.array([[0.1, 1.0]] * 3)
    >>> _, (_, metrics) = model.objective(w, (), jax.random.key(0), batch)
    >>> float(metrics["shared"])
    1.0

  References:
    Locatello et al., Weakly-Supervised Disentanglement Without Compromises, 2020.
      arXiv:2002.02886
  """
  check_range(low=0.0, beta=beta)
  check_range(0.0, 1.0, threshold=threshold)
  check_positive_int(num_samples=num_samples)
  check_choice(tuple(_AGGREGATES), aggregate=aggregate)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    # The images of a pair are neighbours throughout, so that a sharded batch stays where it is.
    pairs = jnp.stack([take_feature(batch, feature), take_feature(batch, pair_feature)], axis=1)
    size = pairs.shape[0]
    x = pairs.reshape(2 * size, *pairs.shape[2:])
    own = [param.reshape(size, 2, -1) for param in posterior(encode_fn, params, x)]
    shared = adaptive_shared_mask(
      *(param[:, image] for image in (0, 1) for param in own), threshold=threshold
    )
    together = jax.vmap(lambda *q: _AGGREGATES[aggregate](*q, jnp.zeros(2, jnp.int32)))(*own)
    mean, log_scale = (jnp.where(shared[:, None], *pair) for pair in zip(together, own))
    samples = [
      gaussian.sample(
        jax.random.fold_in(key, image),
        mean[:, image],
        log_scale[:, image],
        num_samples=num_samples,
        axis_name=axis_name,
      )
      for image in (0, 1)
    ]
    z = jnp.stack(samples, axis=2).reshape(num_samples, 2 * size, -1)
    log_p_x = jnp.mean(log_likelihood(decode_fn, likelihood, params, x, z), axis=0)
    kl = gaussian.kl_standard(mean, log_scale).reshape(2 * size)
    metrics = mean_metrics(BoundTerms(elbo(log_p_x, kl), log_p_x, kl))
    metrics["shared"] = jnp.mean(jnp.sum(shared, axis=1).astype(jnp.float32))
    return -jnp.mean(elbo(log_p_x, kl, beta=beta)), (model_state, metrics)

  model = vae(encode_fn, decode_fn, latent_dim=latent_dim, likelihood=likelihood)
  return model._replace(objective=objective)
