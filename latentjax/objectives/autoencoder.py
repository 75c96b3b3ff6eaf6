"""Auto-encoders with a deterministic encoder: reconstruction plus a penalty on codes and decoder."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_range, check_rank
from latentjax.densities import bernoulli
from latentjax.losses.smoothness import jacobian_penalty
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  Metrics,
  Objective,
  Params,
  Prior,
  as_tuple,
  log_likelihood,
  take_feature,
)

__all__ = ["Autoencoder", "make_autoencoder", "rae"]

CodeFn = Callable[[Params, jax.Array], Any]
PenaltyFn = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, Metrics]]


class Autoencoder(NamedTuple):
  """A training objective and the functions of the deterministic auto-encoder it trains.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    encode: `(params, x) -> z`, shape (B, Z).
    decode: `(params, z) -> mean of p(x|z)`, shape (B, ...).
    sample: `(params, key, num_samples) -> mean of p(x|z)` for z from the prior; None for a model
      that has no prior: fit a density to its codes.
  """

  objective: Objective
  encode: Callable[[Params, jax.Array], jax.Array]
  decode: Callable[[Params, jax.Array], jax.Array]
  sample: Callable[[Params, jax.Array, int], jax.Array] | None


def make_autoencoder(
  encode_fn: CodeFn,
  decode_fn: DecodeFn,
  penalty_fn: PenaltyFn,
  *,
  likelihood: ModuleType = bernoulli,
  prior: Prior | None = None,
  feature: str = "image",
) -> Autoencoder:
  """A deterministic auto-encoder from its penalty.

  Args:
    encode_fn: `(params, x) -> z`, shape (B, Z), or a tuple that begins with z.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    penalty_fn: `(params, key, z) -> (penalty, metrics)`, per example or a number for the batch.
    likelihood: density family of p(x|z); the reconstruction error is -log p(x|z).
    prior: p(z) that the codes are matched to; None if there is none.
    feature: name of the batch's array to model, shape (B, ...), floating point.

  Returns:
    Autoencoder. `objective` passes model_state through unchanged.
  """

  def encode(params: Params, x: jax.Array) -> jax.Array:
    z = as_tuple(encode_fn(params, x))[0]
    check_rank(2, z=z)
    return z

  def decode(params: Params, z: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fn(params, z)))

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    z = encode(params, x)
    (log_p_x,) = log_likelihood(decode_fn, likelihood, params, x, z[None])
    penalty, metrics = penalty_fn(params, key, z)
    metrics = {"log_likelihood": jnp.mean(log_p_x).astype(jnp.float32)} | metrics
    return jnp.mean(penalty - log_p_x), (model_state, metrics)

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    assert prior is not None
    return decode(params, prior.sample(params, key, num_samples))

  return Autoencoder(objective, encode, decode, None if prior is None else sample)


def rae(
  encode_fn: CodeFn,
  decode_fn: DecodeFn,
  *,
  regularizer: str = "l2",
  likelihood: ModuleType = bernoulli,
  beta: ArrayLike = 1e-2,
  reg_weight: ArrayLike = 1e-3,
  decoder_params_fn: Callable[[Params], Any] = lambda params: params["decoder"],
  feature: str = "image",
  axis_name: str | None = None,
) -> Autoencoder:
  r"""Regularised auto-encoder: small codes and a smooth decoder instead of noise.

  .. math::

    -\log p(x|E(x)) + \frac{\beta}{2} \|E(x)\|^2 + \lambda R, \qquad
    R_{l2} = \|\theta_D\|^2, \quad R_{gp} = \|\nabla_z D(z)\|_F^2 \text{ at } z = E(x)

  D(z) are the parameters of p(x|z), such as logits. There is no prior: to sample, fit a density to
  the codes of the training data. The Jacobian's norm is estimated without bias by one random
  projection.

  Args:
    encode_fn: `(params, x) -> z`, shape (B, Z), or a tuple that begins with z.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple; the first is D(z).
    regularizer: "l2" (weight decay of the decoder) or "gp" (gradient penalty).
    likelihood: density family of p(x|z).
    beta: weight of the codes' size.
    reg_weight: lambda.
    decoder_params_fn: `(params) -> the decoder's`, whose norm "l2" penalises.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    Autoencoder; the metrics are log_likelihood in nats and regularizer, means.

  Raises:
    ValueError: if the regularizer is unknown or a weight is negative.

  Example:
    >>> model = rae(lambda w, x: x @ w, lambda w, z: z @ w.T, decoder_params_fn=lambda w: w)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, (_, metrics) = model.objective(jnp.ones((3, 2)), (), jax.random.key(0), batch)
    >>> float(metrics["regularizer"])
    6.0

  References:
    Ghosh et al., From Variational to Deterministic Autoencoders, 2020. arXiv:1903.12436
  """
  check_choice(("l2", "gp"), regularizer=regularizer)
  check_range(low=0.0, beta=beta, reg_weight=reg_weight)

  def penalty_fn(params: Params, key: jax.Array, z: jax.Array) -> tuple[jax.Array, Metrics]:
    if regularizer == "l2":
      leaves = jax.tree.leaves(decoder_params_fn(params))
      smooth = jnp.sum(jnp.stack([jnp.sum(jnp.square(leaf)) for leaf in leaves]))
    else:
      smooth = jacobian_penalty(
        key, lambda z: as_tuple(decode_fn(params, z))[0], z, axis_name=axis_name
      )
    size = 0.5 * jnp.sum(jnp.square(z), axis=-1)
    penalty = jnp.asarray(beta) * size + jnp.asarray(reg_weight) * smooth
    return penalty, {"regularizer": jnp.mean(smooth)}

  return make_autoencoder(encode_fn, decode_fn, penalty_fn, likelihood=likelihood, feature=feature)
