"""The common ground of the objectives with a diagonal Gaussian q(z|x): draw once, then weigh the terms."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_positive_int
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
  Prior,
  log_likelihood,
  make_latent_model,
  mean_metrics,
  posterior,
  standard_normal_prior,
  take_feature,
)

__all__ = ["Draw", "LossFn", "Schedule", "at_step", "first_step", "make_gaussian_vae"]


class Draw(NamedTuple):
  """One pass of a batch through encoder, sampling and decoder.

  Attributes:
    x: the data, shape (B, ...).
    mean: of q(z|x), shape (B, Z).
    log_scale: of q(z|x), shape (B, Z).
    z: samples of q(z|x), shape (K, B, Z).
    log_likelihood: mean over the samples of log p(x|z) in nats, shape (B,).
    kl: KL(q(z|x) || p(z)) in nats, shape (B,).
  """

  x: jax.Array
  mean: jax.Array
  log_scale: jax.Array
  z: jax.Array
  log_likelihood: jax.Array
  kl: jax.Array


LossFn = Callable[[Params, Any, jax.Array, Draw], tuple[jax.Array, tuple[Any, Metrics]]]

# A hyper-parameter, or a function of the number of calls of the objective so far (the steps, unless
# gradients are accumulated: then the micro-batches).
Schedule = ArrayLike | Callable[[jax.Array], jax.Array]


def first_step(value: Schedule) -> Any:
  """The model_state to start with: a counter for a schedule, nothing for a constant."""
  return jnp.int32(0) if callable(value) else ()


def at_step(value: Schedule, model_state: Any) -> tuple[ArrayLike, Any]:
  """The value now, and the model_state of the next call."""
  return (value(model_state), model_state + 1) if callable(value) else (value, model_state)


def make_gaussian_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  loss_fn: LossFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  prior: Prior | None = None,
  num_samples: int = 1,
  estimator: str = "analytic",
  feature: str = "image",
  axis_name: str | None = None,
  init_state: Any = (),
) -> LatentModel:
  """An objective with a diagonal Gaussian q(z|x) from the loss of one draw.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first; parameters with fewer axes are shared by all examples. With K samples it gets K *
      B rows at once.
    loss_fn: `(params, model_state, key, draw) -> (loss, (model_state, metrics))`; the loss is
      per example, shape (B,), or a number for the whole batch. Its key is not that of the draw.
    latent_dim: Z.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    prior: p(z); N(0, I) by default.
    num_samples: K, samples of z per example.
    estimator: of the divergence: "analytic", or "sampled" at the samples of z. A prior without a
      closed form is always sampled.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.
    init_state: the model_state that training starts with.

  Returns:
    LatentModel. Its metrics are elbo (beta = 1), log_likelihood and kl, means in nats, and loss_fn's.
  """
  check_positive_int(num_samples=num_samples)
  check_choice(("analytic", "sampled"), estimator=estimator)
  prior_z = standard_normal_prior(latent_dim) if prior is None else prior
  closed_form = prior_z.kl if estimator == "analytic" else None

  def draw(params: Params, key: jax.Array, x: jax.Array, axis_name: str | None) -> Draw:
    mean, log_scale = posterior(encode_fn, params, x)
    z = gaussian.sample(key, mean, log_scale, num_samples=num_samples, axis_name=axis_name)
    log_p_x = jnp.mean(log_likelihood(decode_fn, likelihood, params, x, z), axis=0)
    if closed_form is not None:
      kl = closed_form(params, mean, log_scale)
    else:
      log_q = gaussian.log_prob(z, mean, log_scale)
      kl = jnp.mean(log_q - prior_z.log_prob(params, z), axis=0)
    return Draw(x, mean, log_scale, z, log_p_x, kl)

  def terms(drawn: Draw) -> BoundTerms:
    return BoundTerms(elbo(drawn.log_likelihood, drawn.kl), drawn.log_likelihood, drawn.kl)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    drawn = draw(params, key, take_feature(batch, feature), axis_name)
    key_loss = jax.random.fold_in(key, 1)
    loss, (model_state, metrics) = loss_fn(params, model_state, key_loss, drawn)
    return jnp.mean(loss), (model_state, mean_metrics(terms(drawn)) | metrics)

  def bound(params: Params, key: jax.Array, x: jax.Array) -> BoundTerms:
    return terms(draw(params, key, x, None))

  return make_latent_model(
    objective,
    bound,
    encode_fn,
    decode_fn,
    likelihood=likelihood,
    latent_dim=latent_dim,
    prior=prior,
    init_state=init_state,
  )
