"""Importance weighted auto-encoder with several stochastic layers (Burda et al., 2016)."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int
from latentjax.densities import bernoulli, gaussian
from latentjax.losses.importance import iwae_bound
from latentjax.objectives.iwae import map_samples, weight_metrics
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
  posterior,
  take_feature,
)

__all__ = ["hierarchical_iwae"]


def hierarchical_iwae(
  encode_fns: Sequence[EncodeFn],
  decode_fns: Sequence[DecodeFn],
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  num_samples: int = 50,
  bound: Callable[[jax.Array], jax.Array] = iwae_bound,
  block_size: int | None = 10,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Any bound of the log weights of a chain of Gaussian latent layers.

  .. math:: w = \frac{p(x|z_1)\, p(z_1|z_2) \cdots p(z_{L-1}|z_L)\, p(z_L)}
     {q(z_1|x)\, q(z_2|z_1) \cdots q(z_L|z_{L-1})}

  With one layer it is `iwae` with its standard estimator; blocks and noise are as there, and
  `bound=lambda log_w: log_w.mean(axis=0)` gives the VAE with K samples.

  Args:
    encode_fns: from the bottom up: `(params, x) -> (mean, log_scale)` of q(z_1|x), then `(params,
      z_l) -> (mean, log_scale)` of q(z_{l+1}|z_l), each (B, Z_l).
    decode_fns: from the bottom up: `(params, z_1) -> parameters of p(x|z_1)`, then `(params, z_{l+1})
      -> (mean, log_scale)` of p(z_l|z_{l+1}).
    latent_dim: dimensions of the top layer, whose prior is N(0, I).
    likelihood: density family of p(x|z_1), a module such as `latentjax.densities.bernoulli`.
    num_samples: K, paths of samples per example.
    bound: `(log_w) -> (B,)` for log_w of shape (K, B), to be maximised; each example by itself.
    block_size: samples that are decoded at a time; None for all of them, without rematerialisation.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; the
      noise is then that of the same rows on one device. Only `objective` uses it.

  Returns:
    LatentModel. `objective` returns the mean of the negative bound over the (local) batch in nats
    and has the metrics of `iwae`; `encode` gives q(z_1|x), `decode` the mean of p(x|z_1), `bound` the
    ELBO of one sample, with all of its divergence in `kl`.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1, or the numbers of encoders and decoders differ or are 0.

  Example:
    >>> bottom, top = lambda w, x: (x @ w, 0 * x @ w), lambda w, z: (0 * z, 0 * z)
    >>> decode = lambda w, z: z @ w.T
    >>> model = hierarchical_iwae((bottom, top), (decode, top), latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, _ = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(loss)  # 3 log 2: q is the posterior, all weights are equal
    2.07944...

  References:
    Burda et al., Importance Weighted Autoencoders, 2016. arXiv:1509.00519
  """
  check_positive_int(latent_dim=latent_dim, num_samples=num_samples)
  if block_size is not None:
    check_positive_int(block_size=block_size)
  if not len(encode_fns) == len(decode_fns) > 0:
    raise ValueError(
      "encode_fns and decode_fns must have one function for each layer, "
      f"got {len(encode_fns)} and {len(decode_fns)}"
    )

  def sample_terms(
    params: Params, key: jax.Array, q: Any, x: jax.Array, axis_name: str | None
  ) -> tuple[jax.Array, jax.Array]:
    """log p(x|z_1) and log w of one path, each (B,)."""
    z = [gaussian.sample(jax.random.fold_in(key, 0), *q, axis_name=axis_name)]
    log_q = gaussian.log_prob(z[0], *q)
    log_p = jnp.zeros_like(log_q)
    for layer in range(1, len(encode_fns)):
      q = posterior(encode_fns[layer], params, z[-1])
      z.append(gaussian.sample(jax.random.fold_in(key, layer), *q, axis_name=axis_name))
      log_q += gaussian.log_prob(z[-1], *q)
      log_p += gaussian.log_prob(z[-2], *posterior(decode_fns[layer], params, z[-1]))
    (log_p_x,) = log_likelihood(decode_fns[0], likelihood, params, x, z[0][None])
    return log_p_x, log_p_x + log_p + gaussian.standard_log_prob(z[-1]) - log_q

  def log_weights(
    params: Params,
    key: jax.Array,
    x: jax.Array,
    *,
    num_samples: int,
    block_size: int | None = None,
    axis_name: str | None = None,
  ) -> jax.Array:
    q = posterior(encode_fns[0], params, x)

    def one(k: jax.Array) -> jax.Array:
      return sample_terms(params, jax.random.fold_in(key, k), q, x, axis_name)[1]

    return map_samples(one, jnp.arange(num_samples), block_size=block_size)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    log_w = log_weights(
      params, key, x, num_samples=num_samples, block_size=block_size, axis_name=axis_name
    )
    value = bound(log_w)
    return -jnp.mean(value), (model_state, weight_metrics(value, log_w))

  def one_sample(params: Params, key: jax.Array, x: jax.Array) -> BoundTerms:
    log_p_x, log_w = sample_terms(params, key, posterior(encode_fns[0], params, x), x, None)
    return BoundTerms(log_w, log_p_x, log_p_x - log_w)

  def encode(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return posterior(encode_fns[0], params, x)

  def decode(params: Params, z: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fns[0](params, z)))

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    check_positive_int(num_samples=num_samples)
    z = jax.random.normal(jax.random.fold_in(key, 0), (num_samples, latent_dim))
    for layer in range(len(decode_fns) - 1, 0, -1):
      mean, log_scale = posterior(decode_fns[layer], params, z)
      z = gaussian.sample(jax.random.fold_in(key, layer), mean, log_scale)
    return decode(params, z)

  return LatentModel(objective, one_sample, encode, decode, sample, log_weights)
