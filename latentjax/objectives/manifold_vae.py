"""Variational auto-encoders whose latent space is a compact manifold with a uniform prior."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.densities import bernoulli, brownian, von_mises_fisher
from latentjax.densities.manifolds import Manifold, sphere
from latentjax.losses.elbo import elbo
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Objective,
  Params,
  as_tuple,
  log_likelihood,
  mean_metrics,
  take_feature,
)

__all__ = ["ManifoldModel", "hyperspherical_vae", "manifold_vae"]

Posterior = tuple[jax.Array, jax.Array]


class ManifoldModel(NamedTuple):
  """A training objective and the functions of the model it trains, without a density of q(z|x).

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`, means over the
      batch.
    bound: `(params, key, x) -> BoundTerms`, the lower bound of every example.
    encode: `(params, x) -> parameters of q(z|x)`: points on the manifold (B, A) and their spread (B,).
    decode: `(params, z) -> mean of p(x|z)`, shape (B, ...).
    sample: `(params, key, num_samples) -> mean of p(x|z)` for uniform z, shape (num_samples, ...).
  """

  objective: Objective
  bound: Callable[[Params, jax.Array, jax.Array], BoundTerms]
  encode: EncodeFn
  decode: Callable[[Params, jax.Array], jax.Array]
  sample: Callable[[Params, jax.Array, int], jax.Array]


def manifold_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  manifold: Manifold,
  likelihood: ModuleType = bernoulli,
  beta: ArrayLike = 1.0,
  max_time: float = 1.0,
  num_steps: int = 10,
  num_samples: int = 1,
  feature: str = "image",
  axis_name: str | None = None,
) -> ManifoldModel:
  r"""Diffusion VAE: the posterior is Brownian motion on a manifold, started at the encoder's point.

  .. math:: -\frac1B \sum_b \frac1K \sum_k \log p(x_b|z_{kb}) - \beta \left(\log \mathrm{Vol}
    - \frac{d}{2} \log 2\pi t_b - \frac{d}{2} + \frac{\mathrm{Scal}}{4} t_b\right)

  The divergence is the expansion for small times t, so times are kept below `max_time`, smoothly: 1/t
  is the sum of those of the encoder's time and of `max_time` (the paper clips them).

  Args:
    encode_fn: `(params, x) -> (point, log_time)`, shapes (B, A) and (B,); the point is projected on
      the manifold here.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first. With K samples it gets K * B rows at once.
    manifold: of the latent variable, such as `densities.manifolds.sphere(dim=2)`.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    beta: weight of the divergence in the loss; the metrics and `bound` always have beta = 1.
    max_time: bound of t in squared radians.
    num_steps: steps of the random walk.
    num_samples: K, samples of z per example.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    ManifoldModel. `objective` returns the mean of the negative bound over the (local) batch in nats,
    passes model_state through unchanged, and has the metrics elbo, log_likelihood and kl, means in
    nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1, beta is negative or max_time is not positive.

  Example:
    >>> encode = lambda w, x: (x @ w, x[:, 0] - 3)
    >>> model = manifold_vae(encode, lambda w, z: z @ w.T, manifold=sphere(dim=1))
    >>> point, log_time = model.encode(jnp.eye(3, 2), jnp.array([[3.0, 4.0, 0.0]]))
    >>> point.round(3).tolist()
    [[0.600..., 0.800...]]

  References:
    Perez Rey, Menkovski & Portegies, Diffusion Variational Autoencoders, 2020. arXiv:1901.08991
  """
  check_positive_int(num_steps=num_steps)
  check_range(low=0.0, strict=True, max_time=max_time)

  def encode(params: Params, x: jax.Array) -> Posterior:
    point, raw = _checked(encode_fn(params, x), manifold.ambient_dim)
    log_max = math.log(max_time)
    return manifold.project(point), log_max - jax.nn.softplus(log_max - raw)

  def draw(key: jax.Array, q: Posterior, axis_name: str | None) -> jax.Array:
    return brownian.sample(
      key,
      *q,
      manifold=manifold,
      num_steps=num_steps,
      num_samples=num_samples,
      axis_name=axis_name,
    )

  def kl(q: Posterior) -> jax.Array:
    return brownian.kl_uniform(q[1], manifold=manifold)

  return _make_model(
    encode, decode_fn, draw, kl, manifold, likelihood, beta, num_samples, feature, axis_name
  )


def hyperspherical_vae(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  posterior: ModuleType = von_mises_fisher,
  likelihood: ModuleType = bernoulli,
  beta: ArrayLike = 1.0,
  num_samples: int = 1,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""VAE on the unit sphere: a von Mises-Fisher or power spherical posterior and a uniform prior.

  .. math:: -\frac1B \sum_b \frac1K \sum_k \log p(x_b|z_{kb}) - \beta \left(\log |S^{D-1}|
    - H[q(z|x_b)]\right)

  Args:
    encode_fn: `(params, x) -> (direction, log_concentration)`, shapes (B, D) and (B,); the direction
      is normalised here.
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first. With K samples it gets K * B rows at once.
    latent_dim: D, numbers in a unit vector.
    posterior: family of q(z|x), `densities.von_mises_fisher` or `densities.power_spherical`.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    beta: weight of the divergence in the loss; the metrics and `bound` always have beta = 1.
    num_samples: K, samples of z per example.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel, whose `encode` returns directions (B, D) and log concentrations (B,). `objective`
    returns the mean of the negative bound over the (local) batch in nats, passes model_state through
    unchanged, and has the metrics elbo, log_likelihood and kl, means in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if latent_dim is below 2, num_samples below 1 or beta negative.

  Example:
    >>> encode = lambda w, x: (x @ w, x[:, 0])
    >>> model = hyperspherical_vae(encode, lambda w, z: z @ w.T, latent_dim=3)
    >>> direction, log_concentration = model.encode(jnp.eye(3), jnp.array([[0.0, 3.0, 4.0]]))
    >>> direction.round(3).tolist()
    [[0.0, 0.600..., 0.800...]]

  References:
    Davidson et al., Hyperspherical Variational Auto-Encoders, 2018. arXiv:1804.00891
    De Cao & Aziz, The Power Spherical Distribution, 2020. arXiv:2006.04437
  """
  check_positive_int(latent_dim=latent_dim)
  check_range(low=2, latent_dim=latent_dim)
  space = sphere(dim=latent_dim - 1)

  def encode(params: Params, x: jax.Array) -> Posterior:
    direction, log_concentration = _checked(encode_fn(params, x), latent_dim)
    return space.project(direction), log_concentration

  def draw(key: jax.Array, q: Posterior, axis_name: str | None) -> jax.Array:
    return posterior.sample(key, *q, num_samples=num_samples, axis_name=axis_name)

  def log_weights(params: Params, key: jax.Array, x: jax.Array, *, num_samples: int) -> jax.Array:
    q = encode(params, x)
    z = posterior.sample(key, *q, num_samples=num_samples)
    log_joint = log_likelihood(decode_fn, likelihood, params, x, z) - space.log_volume
    return log_joint - posterior.log_prob(z, *q)

  kl = lambda q: posterior.kl_uniform(*q)
  model = _make_model(
    encode, decode_fn, draw, kl, space, likelihood, beta, num_samples, feature, axis_name
  )
  return LatentModel(**model._asdict(), log_weights=log_weights)


def _make_model(
  encode: EncodeFn,
  decode_fn: DecodeFn,
  draw: Callable[[jax.Array, Posterior, str | None], jax.Array],
  kl: Callable[[Posterior], jax.Array],
  manifold: Manifold,
  likelihood: ModuleType,
  beta: ArrayLike,
  num_samples: int,
  feature: str,
  axis_name: str | None,
) -> ManifoldModel:
  check_positive_int(num_samples=num_samples)
  check_range(low=0.0, beta=beta)

  def terms(params: Params, key: jax.Array, x: jax.Array, axis_name: str | None) -> BoundTerms:
    q = encode(params, x)
    z = draw(key, q, axis_name)
    log_p_x = jnp.mean(log_likelihood(decode_fn, likelihood, params, x, z), axis=0)
    return BoundTerms(elbo(log_p_x, kl(q)), log_p_x, kl(q))

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    drawn = terms(params, key, take_feature(batch, feature), axis_name)
    loss = -elbo(drawn.log_likelihood, drawn.kl, beta=beta)
    return jnp.mean(loss), (model_state, mean_metrics(drawn))

  def bound(params: Params, key: jax.Array, x: jax.Array) -> BoundTerms:
    return terms(params, key, x, None)

  def decode(params: Params, z: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fn(params, z)))

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    return decode(params, brownian.sample_uniform(key, manifold=manifold, num_samples=num_samples))

  return ManifoldModel(objective, bound, encode, decode, sample)


def _checked(q: tuple[jax.Array, jax.Array], dim: int) -> Posterior:
  """Refuses what would broadcast: one spread for all examples, or one per dimension."""
  point, spread = q
  if jnp.ndim(point) != 2 or jnp.shape(point)[1] != dim or jnp.shape(spread) != point.shape[:1]:
    raise ValueError(
      f"encode_fn must return shapes (B, {dim}) and (B,), got {jnp.shape(point)} and "
      f"{jnp.shape(spread)}"
    )
  return point, spread
