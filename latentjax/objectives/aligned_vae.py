"""VAEs of several modalities whose latent distributions are aligned (CADA-VAE)."""

from collections.abc import Callable, Sequence
from itertools import combinations
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int, check_range
from latentjax.densities import gaussian, laplace
from latentjax.losses.elbo import elbo, w2_gaussian
from latentjax.objectives.gaussian_vae import Schedule
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  EncodeFn,
  Metrics,
  Objective,
  Params,
  as_tuple,
  log_likelihood,
  posterior,
  take_feature,
)

__all__ = ["AlignedModel", "cada_vae"]


class AlignedModel(NamedTuple):
  """A training objective for several modalities with one latent space, and its functions.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`, means over the
      batch; model_state counts the calls.
    encode: `(params, modality, x) -> (mean, log_scale)` of q(z|x), each (B, Z); modality is an index.
    decode: `(params, modality, z) -> mean of p(x|z)`, shape (B, ...).
    init_state: the model_state that training starts with.
  """

  objective: Objective
  encode: Callable[[Params, int, jax.Array], tuple[jax.Array, jax.Array]]
  decode: Callable[[Params, int, jax.Array], jax.Array]
  init_state: jax.Array


def cada_vae(
  encode_fns: Sequence[EncodeFn],
  decode_fns: Sequence[DecodeFn],
  *,
  latent_dim: int,
  features: Sequence[str],
  likelihoods: Sequence[ModuleType] | None = None,
  beta: Schedule = 1.0,
  gamma: Schedule = 1.0,
  delta: Schedule = 1.0,
  axis_name: str | None = None,
) -> AlignedModel:
  r"""One VAE per modality, aligned by cross-reconstruction and by the distance of their posteriors.

  .. math::

    \sum_i -\log p_i(x_i|z_i) + \beta \, KL(q_i \,\|\, N(0, I))
    + \gamma \sum_{i \ne j} -\log p_j(x_j|z_i)
    + \delta \sum_{i < j} W_2(q_i, q_j), \qquad z_i \sim q_i = q_i(z|x_i)

  averaged over the batch. With the default Laplace likelihoods and decoders that return (mean, 0.0)
  both reconstructions are the paper's L1 distances up to a constant. W_2 is not squared. Each pair
  of modalities counts once in the last sum, as in the authors' program; the paper's sum over j /= i
  has it twice. gamma = delta = 0 gives separate VAEs, whose latent spaces have nothing to do with
  each other.

  Args:
    encode_fns: for each modality `(params, x) -> (mean, log_scale)` of q_i(z|x), each (B, Z).
    decode_fns: for each modality `(params, z) -> parameters of p_i(x|z)`.
    latent_dim: Z.
    features: for each modality the name of the batch's array, shape (B, ...), floating point.
    likelihoods: for each modality the density family of p_i; Laplace by default.
    beta: weight of the divergences, a number or a function of the number of finished steps, such as
      `lambda step: linear_annealing(step - 100, num_steps=500, end=0.25)`. With accumulated
      gradients micro-batches are counted.
    gamma: weight of the cross-reconstructions, a number or such a function.
    delta: weight of the distances, a number or such a function.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    AlignedModel. The metrics of `objective` are, summed over the modalities, elbo, log_likelihood, kl,
    and, summed over pairs, cross_log_likelihood and distance, means over the batch in nats (the
    distance in the unit of z).

  Raises:
    TypeError: if latent_dim is not an integer.
    ValueError: if there are not as many networks and likelihoods as features, fewer than two of them,
      latent_dim is below 1 or a weight is negative.

  Example:
    >>> encode, decode = lambda w, x: (x @ w, 0 * x @ w), lambda w, z: (z @ w.T, 0.0)
    >>> model = cada_vae([encode] * 2, [decode] * 2, latent_dim=2, features=["image", "attributes"])
    >>> batch = {"image": jnp.ones((4, 3)), "attributes": jnp.ones((4, 3))}
    >>> _, (count, metrics) = model.objective(jnp.ones((3, 2)), 0, jax.random.key(0), batch)
    >>> int(count), float(metrics["distance"])
    (1, 0.0)

  References:
    Schönfeld et al., Generalized Zero- and Few-Shot Learning via Aligned Variational Autoencoders,
      2019. arXiv:1812.01784
  """
  check_positive_int(latent_dim=latent_dim)
  families = [laplace] * len(features) if likelihoods is None else list(likelihoods)
  sizes = {len(encode_fns), len(decode_fns), len(families), len(features)}
  if len(sizes) > 1 or len(features) < 2:
    raise ValueError(
      "encode_fns, decode_fns, likelihoods and features must have one entry for each of at least "
      f"two modalities, got {len(encode_fns)}, {len(decode_fns)}, {len(families)} and {len(features)}"
    )
  fixed = lambda weight: 0.0 if callable(weight) else weight
  check_range(low=0.0, beta=fixed(beta), gamma=fixed(gamma), delta=fixed(delta))
  modalities = range(len(features))

  def log_p(params: Params, modality: int, x: jax.Array, z: jax.Array) -> jax.Array:
    decode_fn, family = decode_fns[modality], families[modality]
    shaped = lambda params, z: tuple(map(jnp.asarray, as_tuple(decode_fn(params, z))))
    return log_likelihood(shaped, family, params, x, z[None])[0]

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    xs = [take_feature(batch, feature) for feature in features]
    laws = [encode(params, i, x) for i, x in enumerate(xs)]
    zs = [
      gaussian.sample(jax.random.fold_in(key, i), *law, axis_name=axis_name)
      for i, law in enumerate(laws)
    ]
    total = lambda terms: sum(terms, jnp.zeros(len(xs[0])))
    own = total(log_p(params, i, xs[i], zs[i]) for i in modalities)
    kl = total(gaussian.kl_standard(*law) for law in laws)
    cross = total(log_p(params, j, xs[j], zs[i]) for i in modalities for j in modalities if i != j)
    distance = total(w2_gaussian(*laws[i], *laws[j]) for i, j in combinations(modalities, 2))
    weight = lambda value: value(model_state) if callable(value) else value
    loss = -elbo(own, kl, beta=weight(beta)) - weight(gamma) * cross + weight(delta) * distance
    shown = {
      "elbo": elbo(own, kl),
      "log_likelihood": own,
      "kl": kl,
      "cross_log_likelihood": cross,
      "distance": distance,
    }
    metrics = {name: jnp.mean(term).astype(jnp.float32) for name, term in shown.items()}
    return jnp.mean(loss), (model_state + 1, metrics)

  def encode(params: Params, modality: int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return posterior(encode_fns[modality], params, x)

  def decode(params: Params, modality: int, z: jax.Array) -> jax.Array:
    return families[modality].mean(*as_tuple(decode_fns[modality](params, z)))

  return AlignedModel(objective, encode, decode, jnp.int32(0))
