"""JointVAE (Dupont, 2018): continuous and discrete latent variables, each with a capacity of its own."""

import math
from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.collectives import device_mean
from latentjax.densities import bernoulli, categorical, gaussian, gumbel_softmax
from latentjax.losses.elbo import capacity_loss, elbo
from latentjax.objectives.gaussian_vae import Schedule, at_step
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  DecodeFn,
  LatentModel,
  Metrics,
  Params,
  as_tuple,
  log_likelihood,
  mean_metrics,
  take_feature,
)

__all__ = ["joint_vae"]

Posterior = tuple[jax.Array, jax.Array, jax.Array]


def joint_vae(
  encode_fn: Callable[[Params, jax.Array], Posterior],
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  num_variables: int,
  num_classes: int,
  capacity_z: Schedule,
  capacity_c: Schedule,
  gamma: ArrayLike = 30.0,
  temperature: ArrayLike = 0.67,
  likelihood: ModuleType = bernoulli,
  num_samples: int = 1,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""VAE with Gaussian z and categorical c whose divergences are held at capacities that grow.

  .. math::

    -E_q[\log p(x|z, c)] + \gamma \, |KL(q(z|x) \| N(0, I)) - C_z(t)|
      + \gamma \, |KL(q(c|x) \| U) - C_c(t)|

  Both divergences are means over the (global) batch before the distance is taken, so examples may
  differ in what they carry. c is relaxed (Gumbel-softmax) in training; `bound`, `sample` and
  `log_weights` take exact categorical samples. C_c is cut at N log C, the most that c can carry.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale, logits)` of q(z|x), each (B, Z), and of q(c|x),
      (B, N, C).
    decode_fn: `(params, zc) -> parameters of p(x|z, c)` for zc of shape (B, Z + N * C): z, then the N
      one-hot (or relaxed) vectors. With K samples it gets K * B rows at once.
    latent_dim: Z.
    num_variables: N.
    num_classes: C.
    capacity_z: C_z in nats, a number or a function of the number of finished steps, such as
      `linear_annealing`.
    capacity_c: C_c in nats, likewise.
    gamma: weight of the distances.
    temperature: tau > 0 of the relaxation.
    likelihood: density family of p(x|z, c), a module such as `latentjax.densities.bernoulli`.
    num_samples: K, samples per example.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel; `encode` returns what encode_fn does, `decode` takes zc. model_state is the number of
    finished steps. Metrics: elbo, log_likelihood, kl, kl_z, kl_c, capacity_z and capacity_c in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size, a weight or a capacity is out of range, or encode_fn's shapes are wrong.

  Example:
    >>> encode = lambda w, x: (x @ w, 0 * x @ w, jnp.zeros((len(x), 1, 3)))
    >>> model = joint_vae(encode, lambda w, zc: zc[:, :2] @ w.T, latent_dim=2, num_variables=1,
    ...                   num_classes=3, capacity_z=0.1, capacity_c=9.0, gamma=10.0)
    >>> batch = {"image": jnp.ones((4, 5))}
    >>> loss, _ = model.objective(jnp.zeros((5, 2)), model.init_state, jax.random.key(0), batch)
    >>> float(loss)  # 5 log 2 + 10 * 0.1 + 10 log 3
    15.4518...

  References:
    Dupont, Learning Disentangled Joint Continuous and Discrete Representations, 2018.
      arXiv:1804.00104
  """
  check_positive_int(
    latent_dim=latent_dim,
    num_variables=num_variables,
    num_classes=num_classes,
    num_samples=num_samples,
  )
  check_range(0.0, gamma=gamma)
  check_range(0.0, strict=True, temperature=temperature)
  if not callable(capacity_z):
    check_range(0.0, capacity_z=capacity_z)
  if not callable(capacity_c):
    check_range(0.0, capacity_c=capacity_c)
  shape, max_capacity = (num_variables, num_classes), num_variables * math.log(num_classes)

  def encode(params: Params, x: jax.Array) -> Posterior:
    mean, log_scale, logits = encode_fn(params, x)
    wanted = (len(x), latent_dim), (len(x), latent_dim), (len(x), *shape)
    got = tuple(jnp.shape(part) for part in (mean, log_scale, logits))
    if got != wanted:
      raise ValueError(
        f"encode_fn must return mean, log_scale and logits of shapes {wanted}, got {got}"
      )
    return mean, log_scale, logits

  def draw(
    key: jax.Array, q: Posterior, num: int, name: str | None
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Exact samples of z, (K, B, Z), the labels c, (K, B, N), and both side by side."""
    key_z, key_c = jax.random.split(key)
    z = gaussian.sample(key_z, q[0], q[1], num_samples=num, axis_name=name)
    c = categorical.sample(key_c, q[2], num_samples=num, axis_name=name)
    return z, c, join(z, jax.nn.one_hot(c, num_classes, dtype=z.dtype))

  def objective(
    params: Params, model_state: jax.Array, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[jax.Array, Metrics]]:
    x = take_feature(batch, feature)
    q = encode(params, x)
    key_z, key_c = jax.random.split(key)
    z = gaussian.sample(key_z, q[0], q[1], num_samples=num_samples, axis_name=axis_name)
    c = gumbel_softmax.sample(
      key_c, q[2], temperature=temperature, num_samples=num_samples, axis_name=axis_name
    )
    log_p = jnp.mean(log_likelihood(decode_fn, likelihood, params, x, join(z, c)), axis=0)
    kl_z, kl_c = divergences(q)
    now = [jnp.float32(at_step(value, model_state)[0]) for value in (capacity_z, capacity_c)]
    caps = {"capacity_z": now[0], "capacity_c": jnp.minimum(now[1], max_capacity)}
    distance = [
      capacity_loss(device_mean(jnp.mean(kl), axis_name), capacity=capacity, gamma=gamma)
      for kl, capacity in zip((kl_z, kl_c), caps.values())
    ]
    parts = {"kl_z": jnp.mean(kl_z), "kl_c": jnp.mean(kl_c)} | caps
    terms = BoundTerms(elbo(log_p, kl_z + kl_c), log_p, kl_z + kl_c)
    return sum(distance, -jnp.mean(log_p)), (model_state + 1, mean_metrics(terms) | parts)

  def bound(params: Params, key: jax.Array, x: jax.Array) -> BoundTerms:
    q = encode(params, x)
    zc = draw(key, q, num_samples, None)[2]
    log_p = jnp.mean(log_likelihood(decode_fn, likelihood, params, x, zc), axis=0)
    kl_z, kl_c = divergences(q)
    kl = kl_z + kl_c
    return BoundTerms(elbo(log_p, kl), log_p, kl)

  def decode(params: Params, z: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fn(params, z)))

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    check_positive_int(num_samples=num_samples)
    zeros = jnp.zeros((num_samples, latent_dim))
    prior = (zeros, zeros, jnp.zeros((num_samples, *shape)))
    return decode(params, draw(key, prior, 1, None)[2][0])

  def log_weights(params: Params, key: jax.Array, x: jax.Array, *, num_samples: int) -> jax.Array:
    q = encode(params, x)
    z, c, zc = draw(key, q, num_samples, None)
    log_q = gaussian.log_prob(z, q[0], q[1]) + categorical.log_prob(c, q[2])
    log_p = log_likelihood(decode_fn, likelihood, params, x, zc)
    return log_p + gaussian.standard_log_prob(z) - max_capacity - log_q

  state = jnp.zeros((), jnp.int32)
  return LatentModel(objective, bound, encode, decode, sample, log_weights, state)


def join(z: jax.Array, c: jax.Array) -> jax.Array:
  """z of shape (K, B, Z) and c of shape (K, B, N, C) as (K, B, Z + N * C)."""
  return jnp.concatenate([z, c.reshape(*c.shape[:2], -1)], axis=-1)


def divergences(q: Posterior) -> tuple[jax.Array, jax.Array]:
  """KL of z and of c from their priors in nats, each of shape (B,)."""
  return gaussian.kl_standard(q[0], q[1]), categorical.kl_uniform(q[2])
