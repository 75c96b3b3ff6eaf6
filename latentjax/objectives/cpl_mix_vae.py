"""Coupled mixture VAEs (Marghi et al., 2021): several arms that have to agree on a discrete variable."""

from collections.abc import Callable
from itertools import combinations
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.collectives import draw_rows
from latentjax.densities import categorical, gaussian, gumbel_softmax
from latentjax.losses.elbo import elbo, simplex_distance
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

__all__ = ["cpl_mix_vae"]


def cpl_mix_vae(
  classify_fn: Callable[[Params, jax.Array], jax.Array],
  encode_fn: Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
  decode_fn: Callable[[Params, jax.Array, jax.Array], Any],
  *,
  num_arms: int,
  augment_fn: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
  coupling: ArrayLike = 1.0,
  distance: str = "scaled",
  eps: float = 1e-8,
  temperature: ArrayLike = 1.0,
  beta: ArrayLike = 1.0,
  likelihood: ModuleType = gaussian,
  feature: str = "image",
  axis_name: str | None = None,
) -> Objective:
  r"""Objective of A mixture VAEs on copies of the data, coupled by the distance of their classes.

  .. math::

    \sum_a -\mathcal{L}_a + \frac{\lambda}{A - 1} \sum_{a < b} d^2(q(c_a|x_a), q(c_b|x_b)),
    \qquad
    \mathcal{L}_a = E[\log p(x_a|s_a, c_a)] - \beta KL(q(s_a|x_a, c_a) \| N(0, I))
      - KL(q(c_a|x_a) \| U)

  The paper's loss divided by A - 1 (for A > 1), up to a constant. c is relaxed (Gumbel-softmax); the
  continuous state s depends on it. One arm alone is a mixture VAE; lambda = 0 trains A of them side
  by side.

  Args:
    classify_fn: `(params, x) -> logits` of q(c|x), (B, C), for the parameters of one arm.
    encode_fn: `(params, x, c) -> (mean, log_scale)` of q(s|x, c), each (B, S).
    decode_fn: `(params, s, c) -> parameters of p(x|s, c)`.
    num_arms: A; every leaf of `params` has a leading axis of this size.
    augment_fn: `(key, x) -> x` for one example, which keeps its class; every arm gets a copy of its
      own. None gives all arms the example itself.
    coupling: lambda, at least 0.
    distance: kind of `simplex_distance`.
    eps: of `simplex_distance`.
    temperature: tau > 0 of the relaxation.
    beta: weight of the state's divergence in the loss.
    likelihood: density family of p(x|s, c), a module such as `latentjax.densities.gaussian`.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    Objective. It passes model_state through unchanged; its metrics are elbo, log_likelihood and kl in
    nats, means over the arms, distance, the mean d^2 of the pairs, and consensus, the share of
    examples and pairs of arms whose most probable classes agree (1 for a single arm).

  Raises:
    TypeError: if num_arms is not an integer.
    ValueError: if num_arms is below 1, a weight is negative or the temperature is not positive.

  Example:
    >>> objective = cpl_mix_vae(lambda w, x: x @ w, lambda w, x, c: (x @ w, 0 * x @ w),
    ...                         lambda w, s, c: (s @ w.T, jnp.zeros(())), num_arms=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> _, (_, metrics) = objective(jnp.zeros((2, 3, 2)), (), jax.random.key(0), batch)
    >>> float(metrics["consensus"]), round(float(metrics["distance"]), 6)
    (1.0, 0.0)

  References:
    Marghi, Gala & Sümbül, Mixture Representation Learning with Coupled Autoencoders, 2021.
      arXiv:2007.09880
  """
  check_positive_int(num_arms=num_arms)
  check_range(0.0, coupling=coupling, beta=beta)
  check_range(0.0, strict=True, temperature=temperature)

  def arm(params: Params, key: jax.Array, x: jax.Array) -> tuple[jax.Array, ...]:
    """log p(x|s, c), both divergences and the logits of one arm."""
    key_augment, key_c, key_s = jax.random.split(key, 3)
    if augment_fn is not None:
      keys = draw_rows(key_augment, lambda row_key, _: row_key, x.shape[:1], axis_name=axis_name)
      x = jax.vmap(augment_fn)(keys, x)
    logits = classify_fn(params, x)
    c = gumbel_softmax.sample(key_c, logits, temperature=temperature, axis_name=axis_name)
    mean, log_scale = encode_fn(params, x, c)
    s = gaussian.sample(key_s, mean, log_scale, axis_name=axis_name)
    log_p = likelihood.log_prob(x, *as_tuple(decode_fn(params, s, c)), event_ndim=x.ndim - 1)
    kl_c = categorical.kl_uniform(logits, event_ndim=0)
    return log_p, gaussian.kl_standard(mean, log_scale), kl_c, logits

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x, keys = take_feature(batch, feature), jax.random.split(key, num_arms)
    log_p, kl_s, kl_c, logits = jax.vmap(arm, in_axes=(0, 0, None))(params, keys, x)
    pairs = list(combinations(range(num_arms), 2))
    apart = [
      simplex_distance(logits[a], logits[b], kind=distance, eps=eps, axis_name=axis_name)
      for a, b in pairs
    ]
    classes = jnp.argmax(logits, axis=-1)
    agree = [jnp.mean(classes[a] == classes[b]) for a, b in pairs]
    loss = jnp.sum(-elbo(log_p, beta * kl_s + kl_c), axis=0)
    if pairs:
      loss = loss + coupling / (num_arms - 1) * sum(apart)
    metrics = mean_metrics(BoundTerms(elbo(log_p, kl_s + kl_c), log_p, kl_s + kl_c))
    metrics["distance"] = jnp.mean(jnp.stack(apart)) if pairs else jnp.zeros(())
    metrics["consensus"] = jnp.mean(jnp.stack(agree)) if pairs else jnp.ones(())
    return jnp.mean(loss), (model_state, metrics)

  return objective
