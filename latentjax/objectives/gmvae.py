"""Gaussian-mixture VAE: several latent factors, each with its own mixture prior and its own labels."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.collectives import device_mean
from latentjax.densities import gaussian
from latentjax.densities.mixture import log_joint
from latentjax.densities.mixture_em import GaussianMixture
from latentjax.losses.elbo import elbo, mixture_kl
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  Metrics,
  Objective,
  Params,
  as_tuple,
  mean_metrics,
  take_feature,
)

__all__ = ["component_logits", "gmvae"]


def gmvae(
  encode_fn: Callable[..., Sequence[tuple[jax.Array, jax.Array]]],
  decode_fn: Callable[..., Any],
  mixtures_fn: Callable[[Params], Sequence[GaussianMixture]],
  *,
  labels: Sequence[str | None],
  likelihood: ModuleType = gaussian,
  beta: ArrayLike = 1.0,
  label_weight: ArrayLike = 1.0,
  condition: str | None = None,
  feature: str = "image",
  axis_name: str | None = None,
) -> Objective:
  r"""Objective of a VAE with F factors z_f, each drawn from a component y_f of a mixture.

  .. math::

    -E_q[\log p(x|z_1, ..., z_F)]
    + \beta \sum_f E_{q(y_f|x)} KL(q(z_f|x) \| N(\mu_{y_f}, s_{y_f}^2)) + KL(q(y_f|x) \| p(y_f))

  q(y|x) are the components' responsibilities p(y|z) at the sample of z. Where y is known, its term is
  taken at the label, and label_weight times -log q(y|x) is added, so that the labels also train
  the encoder. Everything is summed over axes between batch and latent: with z of shape (B, T, Z)
  every frame of a sequence has its own z, y and label.

  Args:
    encode_fn: `(params, x) -> F pairs (mean, log_scale)` of q(z_f|x), each (B, ..., Z_f).
    decode_fn: `(params, zs) -> parameters of p(x|zs)` for the tuple of F samples.
    mixtures_fn: `(params) -> F mixtures`, the priors.
    labels: for every factor the name of the batch's integer array (B, ...) of components, negative
      where unknown, or None if all are unknown.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.gaussian`.
    beta: weight of the divergences in the loss.
    label_weight: weight of -log q(y|x) of the known labels.
    condition: name of a batch's array that both networks are given as their last argument, such as
      the notes of a performance.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    Objective. It passes model_state through unchanged and has the metrics elbo, log_likelihood and kl
    in nats at beta = 1, and label_nll, the mean of -log q(y|x) over all labels of known value.

  Raises:
    ValueError: if a weight is negative, or the networks give another number of factors than labels.

  Example:
    >>> prior = GaussianMixture(jnp.zeros(2), jnp.array([[-1.0], [1.0]]), jnp.zeros((2, 1)))
    >>> encode = lambda w, x: [(x @ w, 0 * x @ w)]
    >>> decode = lambda w, zs: (zs[0] @ w.T, jnp.zeros(()))
    >>> objective = gmvae(encode, decode, lambda w: [prior], labels=["label"])
    >>> batch = {"image": jnp.ones((4, 3)), "label": jnp.array([0, 1, -1, -1])}
    >>> _, (_, metrics) = objective(jnp.zeros((3, 1)), (), jax.random.key(0), batch)
    >>> float(metrics["kl"]) > 0.5  # from a standard Gaussian to components at -1 and 1
    True

  References:
    Luo, Agres & Herremans, Learning Disentangled Representations of Timbre and Pitch for Musical
      Instrument Sounds Using Gaussian Mixture Variational Autoencoders, 2019. arXiv:1906.08152
    Tan, Luo & Herremans, Generative Modelling for Controllable Audio Synthesis of Expressive Piano
      Performance, 2020 (per frame, conditioned on notes). arXiv:2006.09833
  """
  check_range(0.0, beta=beta, label_weight=label_weight)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    given = () if condition is None else (take_feature(batch, condition),)
    posteriors, mixtures = encode_fn(params, x, *given), mixtures_fn(params)
    if not len(posteriors) == len(mixtures) == len(labels):
      raise ValueError(
        f"labels must have one entry for each factor, got {len(labels)} for {len(posteriors)} "
        f"posteriors and {len(mixtures)} mixtures"
      )
    zs, kl = [], jnp.zeros(len(x))
    nll = known = kl
    for index, ((mean, log_scale), mixture, label) in enumerate(zip(posteriors, mixtures, labels)):
      z = gaussian.sample(jax.random.fold_in(key, index), mean, log_scale, axis_name=axis_name)
      y_logits = component_logits(z, mixture)
      if label is not None:
        y = take_feature(batch, label)
        log_q = jnp.take_along_axis(y_logits, jnp.maximum(y, 0)[..., None], axis=-1)[..., 0]
        nll, known = nll - _per_row(jnp.where(y >= 0, log_q, 0)), known + _per_row(y >= 0)
        y_logits = jnp.where(y[..., None] >= 0, one_hot_logits(y, mixture), y_logits)
      zs.append(z)
      kl = kl + _per_row(mixture_kl(mean, log_scale, y_logits, *mixture))
    x_params = as_tuple(decode_fn(params, tuple(zs), *given))
    log_p = likelihood.log_prob(x, *x_params, event_ndim=x.ndim - 1)
    metrics = mean_metrics(BoundTerms(elbo(log_p, kl), log_p, kl))
    # Devices may hold different numbers of labels: the mean is that of the global batch.
    mean_nll, labelled = (device_mean(jnp.mean(rows), axis_name) for rows in (nll, known))
    metrics["label_nll"] = mean_nll / jnp.maximum(labelled, jnp.finfo(labelled.dtype).tiny)
    loss = -elbo(log_p, kl, beta=beta) + label_weight * nll
    return jnp.mean(loss), (model_state, metrics)

  return objective


def component_logits(z: jax.Array, mixture: GaussianMixture) -> jax.Array:
  """log p(y|z), the logarithm of the responsibilities, shape (..., M) for z of shape (..., Z)."""
  return jax.nn.log_softmax(log_joint(z, *mixture))


def one_hot_logits(y: jax.Array, mixture: GaussianMixture) -> jax.Array:
  """Logits that give all probability to a label."""
  return jnp.where(jnp.arange(len(mixture.logits)) == y[..., None], 0.0, -1e9)


def _per_row(values: jax.Array) -> jax.Array:
  """Sums over all axes but that of the batch."""
  return jnp.sum(values, axis=tuple(range(1, values.ndim)))
