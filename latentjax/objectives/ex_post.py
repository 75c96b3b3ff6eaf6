"""Sampling from what the encoder really uses: mixtures fitted after training, and a second VAE."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_float, check_positive_int, check_range, check_rank
from latentjax.densities import bernoulli, gaussian, gaussian_full
from latentjax.densities.mixture_em import far_apart
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  as_tuple,
  take_feature,
)
from latentjax.objectives.vae import vae

__all__ = ["FullGaussianMixture", "ex_post_sampler", "fit_gaussian_mixture", "two_stage_vae"]


class FullGaussianMixture(NamedTuple):
  """Mixture of M Gaussians with full covariances.

  Attributes:
    logits: logarithms of the weights, shape (M,).
    mean: shape (M, Z).
    scale_tril: Cholesky factors of the covariances, shape (M, Z, Z).
  """

  logits: jax.Array
  mean: jax.Array
  scale_tril: jax.Array

  def log_prob(self, z: jax.Array) -> jax.Array:
    """log p(z) in nats for z of shape (N, Z), shape (N,)."""
    return jax.nn.logsumexp(self.log_joint(z), axis=1)

  def log_joint(self, z: jax.Array) -> jax.Array:
    """log p(z, component) in nats for z of shape (N, Z), shape (N, M)."""
    log_p = gaussian_full.log_prob(z[:, None], self.mean[None], self.scale_tril[None])
    return log_p + jax.nn.log_softmax(self.logits)

  def sample(self, key: jax.Array, num_samples: int) -> jax.Array:
    """Draws, shape (num_samples, Z)."""
    key_component, key_noise = jax.random.split(key)
    component = jax.random.categorical(key_component, self.logits, shape=(num_samples,))
    return gaussian_full.sample(key_noise, self.mean[component], self.scale_tril[component])


def fit_gaussian_mixture(
  key: jax.Array,
  z: jax.Array,
  *,
  num_components: int = 10,
  num_steps: int = 100,
  ridge: float = 1e-4,
) -> FullGaussianMixture:
  r"""Maximum-likelihood mixture of Gaussians with full covariances, by expectation-maximisation.

  .. math:: r_{nm} = p(m | z_n), \quad \mu_m = \frac{\sum_n r_{nm} z_n}{\sum_n r_{nm}}, \quad
     \Sigma_m = \frac{\sum_n r_{nm} (z_n - \mu_m)(z_n - \mu_m)^\top}{\sum_n r_{nm}} + \rho \bar v I

  The means start at rows of z, each drawn with probability proportional to its squared distance from
  those before, the covariances at that of z. Without a ridge a component can shrink onto one point.

  Args:
    key: random key, for the start.
    z: encodings, such as posterior means or samples, shape (N, Z).
    num_components: M; the paper has 10.
    num_steps: number of iterations.
    ridge: rho, what is added to the variances, relative to the mean variance of z.

  Returns:
    The mixture. It is meant for sampling; it is not differentiated.

  Raises:
    TypeError: if z is not floating point or a number is not an integer.
    ValueError: if z is not of rank 2, has fewer rows than components, or a number is out of range.

  Example:
    >>> z = jnp.array([[0.0], [2.0], [10.0], [12.0]])
    >>> mixture = fit_gaussian_mixture(jax.random.key(0), z, num_components=1)
    >>> mixture.mean.tolist()
    [[6.0]]

  References:
    Ghosh et al., From Variational to Deterministic Autoencoders, 2020 (ex-post density
      estimation). arXiv:1903.12436
    Bishop, Pattern Recognition and Machine Learning, 2006.
  """
  check_float(z=z)
  check_rank(2, z=z)
  check_positive_int(num_components=num_components, num_steps=num_steps)
  check_range(low=0.0, ridge=ridge)
  if z.shape[0] < num_components:
    raise ValueError(f"z must have at least {num_components} rows, got shape {z.shape}")
  dim = z.shape[1]
  floor = ridge * jnp.mean(jnp.var(z, axis=0)) * jnp.eye(dim)

  def maximise(weights: jax.Array) -> FullGaussianMixture:
    """From responsibilities, shape (N, M)."""
    size = jnp.maximum(jnp.sum(weights, axis=0), 1e-6)  # a component may die out
    mean = weights.T @ z / size[:, None]

    def covariance(center: jax.Array, weight: jax.Array) -> jax.Array:
      return (weight[:, None] * (z - center)).T @ (z - center)

    spread = jax.vmap(covariance, (0, 1))(mean, weights) / size[:, None, None] + floor
    return FullGaussianMixture(jnp.log(size / z.shape[0]), mean, jnp.linalg.cholesky(spread))

  def step(_: int, mixture: FullGaussianMixture) -> FullGaussianMixture:
    return maximise(jax.nn.softmax(mixture.log_joint(z), axis=1))

  everything = maximise(jnp.ones((z.shape[0], 1)))
  start = FullGaussianMixture(
    jnp.zeros(num_components),
    far_apart(key, z, num_components),
    jnp.tile(everything.scale_tril, (num_components, 1, 1)),
  )
  return jax.lax.fori_loop(0, num_steps, step, start)


def ex_post_sampler(
  model: LatentModel, sample_fn: Callable[[jax.Array, int], jax.Array]
) -> LatentModel:
  r"""The same model, sampled from a density of z that was fitted after training.

  .. math:: z \sim \hat p(z) \approx \frac1N \sum_n q(z|x_n), \qquad E[x | z]

  Args:
    model: any trained LatentModel.
    sample_fn: `(key, num_samples) -> z`, shape (num_samples, Z), such as `FullGaussianMixture.sample`.

  Returns:
    LatentModel whose `sample` draws z from sample_fn; all else, bounds included, keeps the old prior.

  Example:
    >>> model = vae(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2)
    >>> model = ex_post_sampler(model, lambda key, num_samples: jnp.zeros((num_samples, 2)))
    >>> model.sample(jnp.ones((1, 2)), jax.random.key(0), 3).tolist()
    [[0.5], [0.5], [0.5]]

  References:
    Ghosh et al., From Variational to Deterministic Autoencoders, 2020. arXiv:1903.12436
  """

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    check_positive_int(num_samples=num_samples)
    return model.decode(params, sample_fn(key, num_samples))

  return model._replace(sample=sample)


def two_stage_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  second_encode_fn: EncodeFn,
  second_decode_fn: DecodeFn,
  *,
  latent_dim: int,
  second_latent_dim: int | None = None,
  likelihood: ModuleType = bernoulli,
  num_samples: int = 1,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""A VAE, and a second one that learns the distribution of the first one's latent variables.

  .. math::

    -\mathcal{L}_1(x) - \mathcal{L}_2(\mathrm{sg}[z]), \quad z \sim q(z|x); \qquad
    u \sim N(0, I), \; z \sim p_2(z|u), \; x \sim p_1(x|z)

  The first formula is trained, the second sampled. z is detached, so the first stage trains as it
  would alone. The paper trains one stage after the other; here they share a step, so the second follows
  a first that still moves, and both end at the same optimum.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`. The paper has a Gaussian of learned scale.
    second_encode_fn: `(params, z) -> (mean, log_scale)` of q(u|z), each (B, U).
    second_decode_fn: `(params, u) -> (mean, log_scale)` of p(z|u), a Gaussian; the log_scale may be
      a scalar that all share.
    latent_dim: Z.
    second_latent_dim: U; Z by default, as in the paper.
    likelihood: density family of p(x|z).
    num_samples: K, samples of z and of u per example.
    feature: name of the batch's array to model, shape (B, ...).
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel. `sample` runs both stages; all else is the first stage. The metrics are those of
    `vae`, and with the prefix second_ those of the second stage.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1.

  Example:
    >>> networks = (lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T)
    >>> second = (lambda w, z: (z, 0 * z), lambda w, u: (u, jnp.zeros(())))
    >>> model = two_stage_vae(*networks, *second, latent_dim=2)
    >>> model.sample(jnp.ones((3, 2)), jax.random.key(0), 5).shape
    (5, 3)

  References:
    Dai & Wipf, Diagnosing and Enhancing VAE Models, 2019. arXiv:1903.05789
  """
  second_dim = latent_dim if second_latent_dim is None else second_latent_dim
  shared: dict[str, Any] = {"num_samples": num_samples, "axis_name": axis_name}
  first = vae(
    encode_fn, decode_fn, latent_dim=latent_dim, likelihood=likelihood, feature=feature, **shared
  )
  second = vae(
    second_encode_fn,
    second_decode_fn,
    latent_dim=second_dim,
    likelihood=gaussian,
    feature="latent",
    **shared,
  )

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    loss, (model_state, metrics) = first.objective(params, model_state, key, batch)
    key_latent, key_second = jax.random.split(jax.random.fold_in(key, 2))
    q = first.encode(jax.lax.stop_gradient(params), take_feature(batch, feature))
    z = gaussian.sample(key_latent, *q, axis_name=axis_name)
    extra, (_, found) = second.objective(params, (), key_second, {"latent": z})
    metrics = metrics | {f"second_{name}": value for name, value in found.items()}
    return loss + extra, (model_state, metrics)

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    check_positive_int(num_samples=num_samples)
    key_second, key_latent = jax.random.split(key)
    u = jax.random.normal(key_second, (num_samples, second_dim))
    mean, log_scale = as_tuple(second_decode_fn(params, u))
    return first.decode(params, gaussian.sample(key_latent, mean, log_scale))

  return first._replace(objective=objective, sample=sample)
