"""The wake-sleep algorithm (Hinton et al., 1995) for one layer of continuous latent variables."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.densities import bernoulli, gaussian
from latentjax.losses.elbo import elbo
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  as_tuple,
  log_likelihood,
  mean_metrics,
  posterior,
  take_feature,
)
from latentjax.objectives.vae import vae

__all__ = ["wake_sleep"]


def wake_sleep(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Wake-sleep: the recognition network learns from the model's dreams, the generative from data.

  .. math:: \frac1B \sum_b -\log p(x_b, z_b) - \log q(z'_b|x'_b),
     \quad z_b \sim q(z|x_b), \quad (z'_b, x'_b) \sim p(z) p(x|z)

  The first term is the wake phase, the second the sleep phase. All samples are detached: parameters
  that only decode_fn reads get the gradient of the wake phase alone, those that only encode_fn reads
  that of the sleep phase alone. The loss is no bound on log p(x): the sleep phase minimises
  KL(p(z|x) || q(z|x)) over the model's own data. Both phases have the batch's size and share a step,
  as in the comparison of Kingma & Welling (2014, section 5).

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first; parameters with fewer axes are shared by all examples.
    latent_dim: Z.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli` or
      `gaussian`.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; the
      noise is then that of the same rows on one device. Only `objective` uses it.

  Returns:
    LatentModel. `objective` passes model_state through unchanged; its metrics are elbo,
    log_likelihood and kl at the wake samples, to be compared with those of `vae`, and sleep_loss,
    means in nats.

  Raises:
    TypeError: if latent_dim is not an integer.
    ValueError: if latent_dim is below 1.

  Example:
    >>> model = wake_sleep(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> _, (_, metrics) = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(metrics["elbo"])  # -3 log 2
    -2.079441...

  References:
    Hinton et al., The "wake-sleep" algorithm for unsupervised neural networks, Science 268, 1995.
    Kingma & Welling, Auto-Encoding Variational Bayes, 2014, section 5 and figure 2. arXiv:1312.6114
  """

  def wake(params: Params, key: jax.Array, x: jax.Array) -> tuple[jax.Array, BoundTerms]:
    mean, log_scale = posterior(encode_fn, jax.lax.stop_gradient(params), x)
    z = gaussian.sample(key, mean, log_scale, num_samples=1, axis_name=axis_name)
    (log_p_x,) = log_likelihood(decode_fn, likelihood, params, x, z)
    kl = gaussian.kl_standard(mean, log_scale)
    loss = -log_p_x - gaussian.standard_log_prob(z[0])
    return loss, BoundTerms(elbo(log_p_x, kl), log_p_x, kl)

  def sleep(params: Params, key: jax.Array, x: jax.Array) -> jax.Array:
    key_latent, key_data = jax.random.split(key)
    zeros = jnp.zeros((x.shape[0], latent_dim))
    z = gaussian.sample(key_latent, zeros, zeros, axis_name=axis_name)
    x_params = as_tuple(decode_fn(jax.lax.stop_gradient(params), z))
    # A parameter that all examples share would otherwise give one dream, not one for each example.
    x_params = tuple(jnp.broadcast_to(param, x.shape) for param in x_params)
    x_dream = likelihood.sample(key_data, *x_params, axis_name=axis_name)
    return -gaussian.log_prob(z, *posterior(encode_fn, params, x_dream.astype(x.dtype)))

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    key_wake, key_sleep = jax.random.split(key)
    wake_loss, terms = wake(params, key_wake, x)
    sleep_loss = sleep(params, key_sleep, x)
    metrics = mean_metrics(terms) | {"sleep_loss": jnp.mean(sleep_loss).astype(jnp.float32)}
    return jnp.mean(wake_loss + sleep_loss), (model_state, metrics)

  model = vae(encode_fn, decode_fn, latent_dim=latent_dim, likelihood=likelihood)
  return model._replace(objective=objective)
