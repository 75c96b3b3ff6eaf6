"""Importance weighted auto-encoder (Burda et al., 2016), its relatives, and memory that K does not move."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from latentjax.checks import check_choice, check_positive_int
from latentjax.densities import bernoulli, gaussian
from latentjax.losses.importance import effective_sample_size, iwae_bound
from latentjax.losses.routing import scale_gradient
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  Prior,
  log_likelihood,
  posterior,
  standard_normal_prior,
  take_feature,
)
from latentjax.objectives.vae import vae

__all__ = ["iwae"]

BoundFn = Callable[[jax.Array], jax.Array]


def iwae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  prior: Prior | None = None,
  num_samples: int = 50,
  bound: BoundFn = iwae_bound,
  inference_bound: BoundFn | None = None,
  estimator: str = "standard",
  block_size: int | None = 10,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""Importance weighted auto-encoder: any bound of the log weights, with a choice of gradients for q.

  .. math:: -\frac1B \sum_b \mathcal{L}(\log w_{1b}, \ldots, \log w_{Kb}), \qquad
     w_{kb} = \frac{p(x_b|z_{kb})\, p(z_{kb})}{q(z_{kb}|x_b)}, \quad z_{kb} \sim q(z|x_b)

  The bound decides the method:

  - `iwae_bound`: IWAE;
  - `partial(renyi_bound, alpha=0.5)`: variational Renyi, VR-alpha;
  - `lambda log_w: miwae_bound(log_w.reshape(M, K // M, -1))`: MIWAE, M groups;
  - `partial(ciwae_bound, beta=0.05)`: CIWAE;
  - `iwae_bound` with MIWAE as the inference_bound: PIWAE.

  With a block_size, samples are decoded in blocks whose activations are computed again in the backward
  pass, so memory grows with the block and not with K, for the cost of one more forward pass. (On
  CPU, XLA is slow at gradients of convolutions inside a loop: take None there.) A row's weights need all
  its samples and no other row, so where K samples of some rows fit, None with micro-batches of rows
  (`accumulate` of the training loop) bounds memory as well and saves that pass. The noise of a sample
  is that of its index and its row, whatever the block_size.

  The estimator "dreg" takes, for any bound L, the gradient of the samples' path with the coefficients

  .. math:: \frac{\partial \mathcal{L}}{\partial \log w_k}
     - \frac{\partial^2 \mathcal{L}}{\partial (\log w_k)^2},

  which is what the score of q comes to when it is reparameterised once more: the squared normalised
  weights of the paper for IWAE, alpha w + (1 - alpha) w^2 for VR-alpha, 1/K for the ELBO.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first; parameters with fewer axes are shared by all examples. It is mapped over samples.
    latent_dim: Z.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    prior: p(z); N(0, I) by default.
    num_samples: K, samples of z per example.
    bound: `(log_w) -> (B,)` for log_w of shape (K, B), to be maximised; each example by itself.
    inference_bound: the bound that q(z|x) ascends, where it is another one than the model's.
    estimator: gradient for q: "standard" is the reparameterised one; "stl" leaves the score of q
      out, which is unbiased for the ELBO and biased for other bounds with K > 1; "dreg" is unbiased,
      with less variance, and costs one more forward pass where there are blocks.
    block_size: samples that are decoded at a time; None for all of them, without rematerialisation.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`; the
      noise is then that of the same rows on one device. Only `objective` uses it.

  Returns:
    LatentModel, that of `vae` with another objective. `objective` returns the mean of the negative
    bound over the (local) batch in nats and passes model_state through unchanged; its metrics are
    bound and elbo, in nats, and effective_sample_size.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1 or the estimator is unknown.

  Example:
    >>> model = iwae(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, _ = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(loss)  # 3 log 2: q is the posterior, all weights are equal
    2.07944...

  References:
    Burda et al., Importance Weighted Autoencoders, 2016. arXiv:1509.00519
    Li & Turner, Renyi Divergence Variational Inference, 2016. arXiv:1602.02311
    Rainforth et al., Tighter Variational Bounds are Not Necessarily Better, 2018. arXiv:1802.04537
    Roeder et al., Sticking the Landing, 2017. arXiv:1703.09194
    Tucker et al., Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, 2019.
      arXiv:1810.04152
  """
  check_positive_int(num_samples=num_samples)
  if block_size is not None:
    check_positive_int(block_size=block_size)
  check_choice(("standard", "stl", "dreg"), estimator=estimator)
  prior_z = standard_normal_prior(latent_dim) if prior is None else prior
  q_bound = bound if inference_bound is None else inference_bound

  def log_weight(params: Params, q: Any, x: jax.Array, z: jax.Array) -> jax.Array:
    (log_p_x,) = log_likelihood(decode_fn, likelihood, params, x, z[None])
    return log_p_x + prior_z.log_prob(params, z) - gaussian.log_prob(z, *q)

  def path_scales(params: Params, q: Any, key: jax.Array, x: jax.Array) -> jax.Array:
    if estimator != "dreg":
      return jnp.ones((num_samples, x.shape[0]), q[0].dtype)

    def one(k: jax.Array) -> jax.Array:
      z = gaussian.sample(jax.random.fold_in(key, k), *q, axis_name=axis_name)
      return log_weight(params, q, x, z)

    return _dreg_scales(q_bound, map_samples(one, jnp.arange(num_samples), block_size=block_size))

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    q = posterior(encode_fn, params, x)
    scales = path_scales(*stop_gradient((params, q)), key, x)
    density = q if estimator == "standard" else stop_gradient(q)

    def heads(k: jax.Array, scale: jax.Array) -> tuple[jax.Array, ...]:
      z = gaussian.sample(jax.random.fold_in(key, k), *q, axis_name=axis_name)
      path = scale_gradient(z, scale[:, None])
      if inference_bound is None:
        return (log_weight(params, density, x, path),)
      model = log_weight(params, stop_gradient(q), x, stop_gradient(z))
      return model, log_weight(stop_gradient(params), density, x, path)

    log_w, *inference = map_samples(heads, jnp.arange(num_samples), scales, block_size=block_size)
    value = bound(log_w)
    loss = -jnp.mean(value)
    for log_w_inference in inference:  # the gradient alone
      inferred = jnp.mean(q_bound(log_w_inference))
      loss -= inferred - stop_gradient(inferred)
    return loss, (model_state, weight_metrics(value, log_w))

  model = vae(encode_fn, decode_fn, latent_dim=latent_dim, likelihood=likelihood, prior=prior)
  return model._replace(objective=objective)


def map_samples(fn: Callable, *args: jax.Array, block_size: int | None) -> Any:
  """`vmap(fn)(*args)`, block by block, with nothing kept for the backward pass but the arguments."""
  if block_size is None or block_size >= args[0].shape[0]:
    return jax.vmap(fn)(*args)
  # The loop keeps the compiler from merging the two forward passes; a barrier would only cost time.
  again = jax.checkpoint(lambda args: fn(*args), prevent_cse=False)
  return jax.lax.map(again, args, batch_size=block_size)


def weight_metrics(bound: jax.Array, log_w: jax.Array, **others: jax.Array) -> Metrics:
  """Means over the batch, float32 and detached, of a bound, of what the log weights tell, and others."""
  log_w = stop_gradient(log_w)
  metrics = {"bound": bound, "elbo": log_w, "effective_sample_size": effective_sample_size(log_w)}
  return {
    name: jnp.mean(stop_gradient(value)).astype(jnp.float32)
    for name, value in (metrics | others).items()
  }


def _dreg_scales(bound: BoundFn, log_w: jax.Array) -> jax.Array:
  """Coefficients of the path's gradient relative to those of the bound's own, shape (K, B)."""
  slope = jax.grad(lambda log_w: jnp.sum(bound(log_w)))

  def curvature(k: jax.Array) -> jax.Array:
    tangent = jnp.zeros_like(log_w).at[k].set(1)
    return jax.jvp(slope, (log_w,), (tangent,))[1][k]

  first = slope(log_w)
  second = jax.lax.map(curvature, jnp.arange(log_w.shape[0]), batch_size=16)
  # A sample without weight has no gradient, whatever its scale.
  weightless = jnp.abs(first) < jnp.finfo(first.dtype).tiny
  return jnp.where(weightless, 0, 1 - second / jnp.where(weightless, 1, first))
