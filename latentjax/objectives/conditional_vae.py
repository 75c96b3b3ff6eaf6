"""Conditional variational auto-encoder (Sohn et al., 2015): data x given attributes y."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int, check_range
from latentjax.densities import bernoulli, gaussian
from latentjax.losses.elbo import elbo
from latentjax.objectives.gaussian_vae import Schedule, at_step, first_step
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  Metrics,
  Objective,
  Params,
  as_tuple,
  log_likelihood,
  mean_metrics,
  posterior,
  take_feature,
)

__all__ = ["ConditionalModel", "conditional_vae"]

ConditionalEncodeFn = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
ConditionalDecodeFn = Callable[[Params, jax.Array, jax.Array], Any]
PriorFn = Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]]


class ConditionalModel(NamedTuple):
  """A training objective for p(x|y) and the functions of the model it trains.

  x has shape (B, ...), y has B rows too, in whatever form the networks take attributes.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`, means over the
      batch.
    bound: `(params, key, x, y) -> BoundTerms`, the lower bound on log p(x|y) of every example.
    encode: `(params, x, y) -> (mean, log_scale)` of q(z|x, y), each (B, Z).
    prior: `(params, y) -> (mean, log_scale)` of p(z|y), each (B, Z).
    decode: `(params, z, y) -> mean of p(x|z, y)`, shape (B, ...).
    sample: `(params, key, y) -> mean of p(x|z, y)` for z ~ p(z|y), one for every row of y.
    swap: `(params, x, y, y_new) -> mean of p(x|z, y_new)` at the posterior mean of z given x and y:
      the same example with other attributes.
    log_weights: `(params, key, x, y, *, num_samples) -> log p(x, z|y) - log q(z|x, y)` for z from q,
      shape (num_samples, B).
    init_state: the model_state that training starts with; () where the objective carries nothing.
  """

  objective: Objective
  bound: Callable[[Params, jax.Array, jax.Array, jax.Array], BoundTerms]
  encode: ConditionalEncodeFn
  prior: PriorFn
  decode: Callable[[Params, jax.Array, jax.Array], jax.Array]
  sample: Callable[[Params, jax.Array, jax.Array], jax.Array]
  swap: Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]
  log_weights: Callable[..., jax.Array]
  init_state: Any = ()


def conditional_vae(
  encode_fn: ConditionalEncodeFn,
  decode_fn: ConditionalDecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  prior_fn: PriorFn | None = None,
  beta: Schedule = 1.0,
  num_samples: int = 1,
  feature: str = "image",
  condition: str = "label",
  axis_name: str | None = None,
) -> ConditionalModel:
  r"""Conditional VAE: a lower bound on log p(x|y), with attributes y in encoder, decoder and prior.

  .. math::

    -\frac1B \sum_b \frac1K \sum_k \log p(x_b|z_{kb}, y_b)
    - \beta \, KL(q(z|x_b, y_b) \,\|\, p(z|y_b))

  With `prior_fn=None` the prior is N(0, I), independent of y: then z and y are independent in the
  model, and what y tells about x has no reason to be in z. The divergence is in closed form.

  Args:
    encode_fn: `(params, x, y) -> (mean, log_scale)` of q(z|x, y), each (B, Z).
    decode_fn: `(params, z, y) -> parameters of p(x|z, y)`, an array or a tuple of arrays whose batch
      axis comes first; parameters with fewer axes are shared by all examples. With K samples it gets
      K * B rows at once.
    latent_dim: Z.
    likelihood: density family of p(x|z, y), a module such as `latentjax.densities.bernoulli`.
    prior_fn: `(params, y) -> (mean, log_scale)` of p(z|y), each (B, Z); N(0, I) by default.
    beta: weight of the divergence in the loss, a number or a function of the number of calls so far,
      for annealing; the metrics and `bound` always have beta = 1. Below 1 it favours sharp samples.
    num_samples: K, samples of z per example.
    feature: name of the batch's array x to model, shape (B, ...), floating point.
    condition: name of the batch's array y, B rows.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`. Only
      `objective` uses it.

  Returns:
    ConditionalModel. `objective` returns the mean of the negative bound over the (local) batch in
    nats and has the metrics elbo, log_likelihood and kl, means in nats. With a constant beta it passes
    model_state through unchanged.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1 or beta is negative.

  Example:
    >>> model = conditional_vae(
    ...   lambda w, x, y: (x @ w, 0 * x @ w), lambda w, z, y: z @ w.T + y, latent_dim=2)
    >>> model.sample(jnp.ones((3, 2)), jax.random.key(0), jnp.zeros((4, 1))).shape
    (4, 3)

  References:
    Sohn, Lee & Yan, Learning Structured Output Representation using Deep Conditional Generative
      Models, NeurIPS 2015.
    Yan et al., Attribute2Image: Conditional Image Generation from Visual Attributes, 2016.
      arXiv:1512.00570
  """
  check_positive_int(latent_dim=latent_dim, num_samples=num_samples)
  if not callable(beta):
    check_range(low=0.0, beta=beta)

  def prior(params: Params, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    if prior_fn is not None:
      return prior_fn(params, y)
    zeros = jnp.zeros((len(y), latent_dim))
    return zeros, zeros

  def log_p_x(params: Params, x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
    every_y = jnp.repeat(y, len(z), axis=0)  # examples are the slow axis of the network's batch
    decode_rows = lambda params, z: decode_fn(params, z, every_y)
    return log_likelihood(decode_rows, likelihood, params, x, z)

  def bound_terms(
    params: Params, key: jax.Array, x: jax.Array, y: jax.Array, axis_name: str | None
  ) -> BoundTerms:
    mean, log_scale = encode(params, x, y)
    z = gaussian.sample(key, mean, log_scale, num_samples=num_samples, axis_name=axis_name)
    log_p = jnp.mean(log_p_x(params, x, y, z), axis=0)
    kl = gaussian.kl(mean, log_scale, *prior(params, y))
    return BoundTerms(elbo(log_p, kl), log_p, kl)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x, y = take_feature(batch, feature), take_feature(batch, condition)
    terms = bound_terms(params, key, x, y, axis_name)
    weight, model_state = at_step(beta, model_state)
    loss = -elbo(terms.log_likelihood, terms.kl, beta=weight)
    return jnp.mean(loss), (model_state, mean_metrics(terms))

  def encode(params: Params, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    return posterior(lambda params, x: encode_fn(params, x, y), params, x)

  def decode(params: Params, z: jax.Array, y: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fn(params, z, y)))

  def sample(params: Params, key: jax.Array, y: jax.Array) -> jax.Array:
    return decode(params, gaussian.sample(key, *prior(params, y)), y)

  def swap(params: Params, x: jax.Array, y: jax.Array, y_new: jax.Array) -> jax.Array:
    return decode(params, encode(params, x, y)[0], y_new)

  def bound(params: Params, key: jax.Array, x: jax.Array, y: jax.Array) -> BoundTerms:
    return bound_terms(params, key, x, y, None)

  def log_weights(
    params: Params, key: jax.Array, x: jax.Array, y: jax.Array, *, num_samples: int
  ) -> jax.Array:
    mean, log_scale = encode(params, x, y)
    z = gaussian.sample(key, mean, log_scale, num_samples=num_samples)
    log_joint = log_p_x(params, x, y, z) + gaussian.log_prob(z, *prior(params, y))
    return log_joint - gaussian.log_prob(z, mean, log_scale)

  return ConditionalModel(
    objective, bound, encode, prior, decode, sample, swap, log_weights, first_step(beta)
  )
