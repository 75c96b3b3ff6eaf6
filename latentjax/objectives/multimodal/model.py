"""What all multimodal objectives share: modalities that may be missing, their experts and likelihoods."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.densities import bernoulli, gaussian, mixture
from latentjax.objectives.latent_model import (
  Batch,
  BoundTerms,
  DecodeFn,
  EncodeFn,
  Metrics,
  Objective,
  Params,
  as_tuple,
  log_likelihood,
  mean_metrics,
  posterior,
)

__all__ = ["Modality", "MultimodalModel", "Posterior"]

Arrays = Mapping[str, jax.Array]


class Modality(NamedTuple):
  """One kind of data: its networks and its likelihood.

  Attributes:
    encode_fn: `(params, x) -> (mean, log_scale)` of the expert q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.categorical`. A
      missing x is replaced by zeros, which must have a finite log_prob.
    weight: factor of log p(x|z) in the loss; the metrics and bounds always have 1.
  """

  encode_fn: EncodeFn
  decode_fn: DecodeFn
  likelihood: ModuleType = bernoulli
  weight: float = 1.0


class Posterior(NamedTuple):
  """q(z | what is present) as a mixture of Gaussians, the parameters of `latentjax.densities.mixture`.

  A product of experts is a mixture of one component. Where nothing is present it is the prior.

  Attributes:
    logits: shape (B, S); -1e4 for a component that needs a missing modality.
    mean: shape (B, S, Z).
    log_scale: shape (B, S, Z).
  """

  logits: jax.Array
  mean: jax.Array
  log_scale: jax.Array


class MultimodalModel(NamedTuple):
  """A training objective and the functions of the model it trains.

  `xs` maps names of modalities to arrays of shape (B, ...); those it lacks are missing for all
  examples, other names are ignored. `mask` says which modalities are present, boolean or 0 / 1, shape
  (B, M) in the order of the modalities; None: all of xs. What stands in a missing entry does not
  matter, be it NaN, and neither it nor the networks of its modality receive a gradient from there.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`, means over the
      batch.
    bound: `(params, key, xs, mask=None) -> BoundTerms`, the lower bound on log p(what is present).
    encode: `(params, xs, mask=None) -> Posterior`.
    decode: `(params, z) -> means of p(x|z)` of all modalities, each (B, ...).
    sample: `(params, key, num_samples) -> means of p(x|z)` of all modalities for one z from the
      prior, each (num_samples, ...).
    cross_generate: `(params, key, xs, mask=None) -> means of p(x|z)` of all modalities, the missing
      ones among them, for one z from q(z | what is present), each (B, ...).
    log_weights: `(params, key, xs, mask=None, *, num_samples) -> log p(what is present, z) - log q(z)`
      for z from q, shape (num_samples, B).
    init_state: the model_state that training starts with, ().
  """

  objective: Objective
  bound: Callable[..., BoundTerms]
  encode: Callable[..., Posterior]
  decode: Callable[[Params, jax.Array], dict[str, jax.Array]]
  sample: Callable[[Params, jax.Array, int], dict[str, jax.Array]]
  cross_generate: Callable[..., dict[str, jax.Array]]
  log_weights: Callable[..., jax.Array]
  init_state: Any = ()


class Observed(NamedTuple):
  """Data with zeros in place of what is missing.

  Attributes:
    xs: the arrays that there are, each (B, ...).
    mask: which entries are present, boolean, shape (M, B).
  """

  xs: dict[str, jax.Array]
  mask: jax.Array


PosteriorFn = Callable[[Params, Observed], Posterior]
LossFn = Callable[[Params, jax.Array, Observed, str | None], tuple[jax.Array, BoundTerms]]


def make_multimodal_model(
  modalities: Mapping[str, Modality],
  posterior_fn: PosteriorFn,
  loss_fn: LossFn,
  *,
  latent_dim: int,
  mask_feature: str,
  axis_name: str | None,
) -> MultimodalModel:
  """Completes a posterior and a loss with all that depends on the networks alone.

  Args:
    modalities: the networks of every modality.
    posterior_fn: `(params, observed) -> Posterior`.
    loss_fn: `(params, key, observed, axis_name) -> (loss, terms)`, both per example.
    latent_dim: Z.
    mask_feature: name of the mask in a batch; without it everything is present.
    axis_name: mapped device axis over which the batch is split; only `objective` uses it.

  Returns:
    The model.

  Raises:
    TypeError: if latent_dim is not an integer.
    ValueError: if there is no modality, a weight is negative or latent_dim is below 1.
  """
  check_positive_int(latent_dim=latent_dim)
  if not modalities:
    raise ValueError("modalities must name at least one modality, got none")
  for modality in modalities.values():
    check_range(low=0.0, weight=modality.weight)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    observed = observe(modalities, batch, batch.get(mask_feature))
    loss, terms = loss_fn(params, key, observed, axis_name)
    return jnp.mean(loss), (model_state, mean_metrics(terms))

  def bound(
    params: Params, key: jax.Array, xs: Arrays, mask: ArrayLike | None = None
  ) -> BoundTerms:
    return loss_fn(params, key, observe(modalities, xs, mask), None)[1]

  def encode(params: Params, xs: Arrays, mask: ArrayLike | None = None) -> Posterior:
    return posterior_fn(params, observe(modalities, xs, mask))

  def decode(params: Params, z: jax.Array) -> dict[str, jax.Array]:
    return {
      name: modality.likelihood.mean(*as_tuple(modality.decode_fn(params, z)))
      for name, modality in modalities.items()
    }

  def sample(params: Params, key: jax.Array, num_samples: int) -> dict[str, jax.Array]:
    check_positive_int(num_samples=num_samples)
    return decode(params, jax.random.normal(key, (num_samples, latent_dim)))

  def cross_generate(
    params: Params, key: jax.Array, xs: Arrays, mask: ArrayLike | None = None
  ) -> dict[str, jax.Array]:
    return decode(params, mixture.sample(key, *encode(params, xs, mask)))

  def log_weights(
    params: Params,
    key: jax.Array,
    xs: Arrays,
    mask: ArrayLike | None = None,
    *,
    num_samples: int,
  ) -> jax.Array:
    observed = observe(modalities, xs, mask)
    q = posterior_fn(params, observed)
    z = mixture.sample(key, *q, num_samples=num_samples)
    log_p_x = jnp.sum(log_likelihoods(modalities, params, observed, z), axis=0)
    return log_p_x + gaussian.standard_log_prob(z) - mixture.log_prob(z, *q)

  return MultimodalModel(objective, bound, encode, decode, sample, cross_generate, log_weights)


def observe(modalities: Mapping[str, Modality], xs: Arrays, mask: ArrayLike | None) -> Observed:
  """Takes the modalities out of a batch and replaces what is missing by zeros."""
  xs = {name: jnp.asarray(xs[name]) for name in modalities if name in xs}
  if not xs:
    raise ValueError(f"xs must have one of the modalities {', '.join(map(repr, modalities))}")
  sizes = {name: x.shape[0] for name, x in xs.items()}
  if len(set(sizes.values())) > 1:
    raise ValueError(f"xs must have the same number of rows each, got {sizes}")
  shape = (next(iter(sizes.values())), len(modalities))
  given = jnp.ones(shape, bool) if mask is None else jnp.asarray(mask) > 0
  if given.shape != shape:
    raise ValueError(f"mask must have shape {shape}, (B, M), got {given.shape}")
  there = jnp.array([name in xs for name in modalities])
  present = dict(zip(modalities, (given & there).T))
  clean = {
    name: jnp.where(present[name].reshape(-1, *[1] * (x.ndim - 1)), x, jnp.zeros_like(x))
    for name, x in xs.items()
  }
  return Observed(clean, (given & there).T)


def encode_experts(
  modalities: Mapping[str, Modality], params: Params, observed: Observed, latent_dim: int
) -> tuple[jax.Array, jax.Array]:
  """(mean, log_scale) of every modality's expert, each (M, B, Z); zeros where it is missing."""
  zeros = jnp.zeros((observed.mask.shape[1], latent_dim))
  pairs = [
    posterior(modality.encode_fn, params, observed.xs[name])
    if name in observed.xs
    else (zeros, zeros)
    for name, modality in modalities.items()
  ]
  present = observed.mask[..., None]
  mean, log_scale = (jnp.where(present, jnp.stack(each), 0.0) for each in zip(*pairs))
  return mean, log_scale


def log_likelihoods(
  modalities: Mapping[str, Modality], params: Params, observed: Observed, z: jax.Array
) -> jax.Array:
  """log p(x|z) of every modality for z of shape (K, B, Z), (M, K, B); zero where it is missing."""
  values = [
    log_likelihood(modality.decode_fn, modality.likelihood, params, observed.xs[name], z)
    if name in observed.xs
    else jnp.zeros(z.shape[:-1])
    for name, modality in modalities.items()
  ]
  return jnp.where(observed.mask[:, None], jnp.stack(values), 0.0)


def weighted(modalities: Mapping[str, Modality], log_p_x: jax.Array) -> jax.Array:
  """Sum over the modalities, the first axis, with their weights in the loss."""
  weights = jnp.array([modality.weight for modality in modalities.values()], log_p_x.dtype)
  return jnp.tensordot(weights, log_p_x, axes=1)


def as_posterior(mean: jax.Array, log_scale: jax.Array, valid: jax.Array) -> Posterior:
  """Equal mixture of the valid ones of S components, (S, B, Z) and (S, B); the prior if none is."""
  mean, log_scale = (jnp.where(valid[..., None], param, 0.0) for param in (mean, log_scale))
  weighs = valid | ~jnp.any(valid, axis=0)
  logits = jnp.where(weighs, 0.0, -1e4).astype(mean.dtype)
  return Posterior(logits.T, jnp.swapaxes(mean, 0, 1), jnp.swapaxes(log_scale, 0, 1))


def sample_components(
  key: jax.Array, q: Posterior, num_samples: int, axis_name: str | None
) -> jax.Array:
  """Samples of every component, shape (K, S, B, Z)."""
  z = gaussian.sample(key, q.mean, q.log_scale, num_samples=num_samples, axis_name=axis_name)
  return jnp.swapaxes(z, 1, 2)
