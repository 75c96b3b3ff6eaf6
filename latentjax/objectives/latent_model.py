"""What every latent-variable model with Gaussian q(z|x) offers besides training."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int, check_rank, check_same_shape
from latentjax.densities import gaussian

__all__ = ["BoundTerms", "LatentModel", "Prior", "make_latent_model", "standard_normal_prior"]

Params = Any
Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
Objective = Callable[[Params, Any, jax.Array, Batch], tuple[jax.Array, tuple[Any, Metrics]]]
EncodeFn = Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]]
DecodeFn = Callable[[Params, jax.Array], Any]


class BoundTerms(NamedTuple):
  """The evidence lower bound of every example and its two parts, in nats, each of shape (B,)."""

  elbo: jax.Array
  log_likelihood: jax.Array
  kl: jax.Array


class Prior(NamedTuple):
  """Distribution of z, with parameters in the model's own `params` where it has any.

  Attributes:
    log_prob: `(params, z) -> log p(z)` in nats for z of shape (..., Z), shape (...).
    sample: `(params, key, num_samples) -> z`, shape (num_samples, Z).
    kl: `(params, mean, log_scale) -> KL(q(z|x) || p(z))` in nats, shape (B,), for a diagonal Gaussian
      q; None where it has no closed form and is to be estimated at the samples of z.
  """

  log_prob: Callable[[Params, jax.Array], jax.Array]
  sample: Callable[[Params, jax.Array, int], jax.Array]
  kl: Callable[[Params, jax.Array, jax.Array], jax.Array] | None = None


class LatentModel(NamedTuple):
  """A training objective and the functions of the model it trains.

  `params` is whatever the networks take.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`, means over the
      batch.
    bound: `(params, key, x) -> BoundTerms`, the lower bound of every example.
    encode: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z); where q(z|x) is no Gaussian, what
      the objective says.
    decode: `(params, z) -> mean of p(x|z)`, shape (B, ...).
    sample: `(params, key, num_samples) -> mean of p(x|z)` for z from the prior, shape (num_samples,
      ...).
    log_weights: `(params, key, x, *, num_samples) -> log p(x, z) - log q(z|x)` for z from q, shape
      (num_samples, B).
    init_state: the model_state that training starts with; () where the objective carries nothing.
  """

  objective: Objective
  bound: Callable[[Params, jax.Array, jax.Array], BoundTerms]
  encode: Callable[[Params, jax.Array], Any]
  decode: Callable[[Params, jax.Array], jax.Array]
  sample: Callable[[Params, jax.Array, int], jax.Array]
  log_weights: Callable[..., jax.Array]
  init_state: Any = ()


def standard_normal_prior(latent_dim: int) -> Prior:
  """The prior N(0, I)."""

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    return jax.random.normal(key, (num_samples, latent_dim))

  return Prior(
    lambda params, z: gaussian.standard_log_prob(z),
    sample,
    lambda params, mean, log_scale: gaussian.kl_standard(mean, log_scale),
  )


def make_latent_model(
  objective: Objective,
  bound: Callable[[Params, jax.Array, jax.Array], BoundTerms],
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  likelihood: ModuleType,
  latent_dim: int,
  prior: Prior | None = None,
  init_state: Any = (),
) -> LatentModel:
  """Completes an objective and its bound with the functions that depend on the networks alone.

  Args:
    objective: the training objective.
    bound: its lower bound per example.
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    latent_dim: Z.
    prior: p(z); N(0, I) by default.
    init_state: the model_state that training starts with.

  Returns:
    The model.
  """
  check_positive_int(latent_dim=latent_dim)
  prior_z = standard_normal_prior(latent_dim) if prior is None else prior

  def encode(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return posterior(encode_fn, params, x)

  def decode(params: Params, z: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fn(params, z)))

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    check_positive_int(num_samples=num_samples)
    return decode(params, prior_z.sample(params, key, num_samples))

  def log_weights(params: Params, key: jax.Array, x: jax.Array, *, num_samples: int) -> jax.Array:
    mean, log_scale = posterior(encode_fn, params, x)
    z = gaussian.sample(key, mean, log_scale, num_samples=num_samples)
    log_joint = log_likelihood(decode_fn, likelihood, params, x, z) + prior_z.log_prob(params, z)
    return log_joint - gaussian.log_prob(z, mean, log_scale)

  return LatentModel(objective, bound, encode, decode, sample, log_weights, init_state)


def posterior(encode_fn: EncodeFn, params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Parameters of q(z|x), checked: a log_scale that broadcasts would be shared by all examples."""
  mean, log_scale = encode_fn(params, x)
  check_rank(2, mean=mean)
  check_same_shape(mean=mean, log_scale=log_scale)
  return mean, log_scale


def log_likelihood(
  decode_fn: DecodeFn, likelihood: ModuleType, params: Params, x: jax.Array, z: jax.Array
) -> jax.Array:
  """log p(x|z) in nats, shape (K, B), for x of shape (B, ...) and z of shape (K, B, Z).

  Likelihood parameters without a batch axis, such as one scale for all pixels, are shared by all
  examples.
  """
  num_samples, batch_size, dim = z.shape
  # The network sees one batch. Examples are its slow axis, so a sharded batch stays where it is.
  flat = jnp.swapaxes(z, 0, 1).reshape(batch_size * num_samples, dim)
  x_params = [
    param.reshape(batch_size, num_samples, *param.shape[1:]) if param.ndim >= x.ndim else param
    for param in as_tuple(decode_fn(params, flat))
  ]
  return likelihood.log_prob(x[:, None], *x_params, event_ndim=x.ndim - 1).T


def as_tuple(x_params: Any) -> tuple[jax.Array, ...]:
  """Likelihood parameters as a tuple, whether the network returns one array or several."""
  return tuple(x_params) if isinstance(x_params, tuple | list) else (x_params,)


def take_feature(batch: Batch, feature: str) -> jax.Array:
  """The array of a batch that the model is trained on."""
  if feature not in batch:
    raise KeyError(f"feature must be one of {', '.join(map(repr, batch))}, got {feature!r}")
  return batch[feature]


def mean_metrics(terms: BoundTerms) -> Metrics:
  """Means over the batch, as float32 scalars."""
  return {name: jnp.mean(term).astype(jnp.float32) for name, term in terms._asdict().items()}
