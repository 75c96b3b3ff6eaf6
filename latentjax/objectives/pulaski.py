"""Segmentation that learns how raters disagree (Kohl et al., 2018; Chatterjee et al., 2023)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int, check_range, check_rank, check_same_shape
from latentjax.densities import bernoulli, gaussian
from latentjax.objectives.latent_model import (
  Batch,
  EncodeFn,
  Metrics,
  Objective,
  Params,
  take_feature,
)

__all__ = ["SegmentationModel", "pulaski"]

PosteriorFn = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


class SegmentationModel(NamedTuple):
  """A training objective for p(y|x) over masks y, and samples of it.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    sample: `(params, key, x, *, num_samples) -> probabilities` of mask pixels for z from p(z|x), shape
      (B, num_samples, ...).
  """

  objective: Objective
  sample: Callable[..., jax.Array]


def pulaski(
  prior_fn: EncodeFn,
  posterior_fn: PosteriorFn,
  decode_fn: Callable[[Params, jax.Array, jax.Array], jax.Array],
  *,
  distance_fn: Callable[[jax.Array, jax.Array], jax.Array] | None,
  beta: float = 1.0,
  num_samples: int | None = None,
  image_feature: str = "image",
  mask_feature: str = "masks",
  axis_name: str | None = None,
) -> SegmentationModel:
  r"""Conditional variational autoencoder of masks, with a distance of sets as its reconstruction term.

  .. math::

    \frac1R \sum_r D\big(\{\hat y_{rk}\}_{k \le K}, \{y_s\}_{s \le R}\big)
    + \beta \, KL(q(z|x, y_r) \,\|\, p(z|x)),
    \qquad \hat y_{rk} = \sigma(f(x, z_{rk})), \quad z_{rk} \sim q(z|x, y_r)

  The K samples of any one rater's posterior are compared with the masks of all R raters, as two sets:
  it is not enough that each mask comes back from its own z, any z of the image has to give the raters'
  distribution. The authors' program takes one rater r at random in a step; this is the mean over r.
  Without a distance it is the probabilistic U-Net's bound: cross-entropy of each mask with its own
  samples, mean over raters.

  Args:
    prior_fn: `(params, x) -> (mean, log_scale)` of p(z|x), each (B, Z).
    posterior_fn: `(params, x, y) -> (mean, log_scale)` of q(z|x, y) for equally many rows.
    decode_fn: `(params, x, z) -> logits` of the mask's pixels, the shape of y, for equally many rows.
    distance_fn: `(x, y) -> (N,)` of sets (N, K, D) and (N, R, D) of flattened masks in [0, 1], such as
      `hausdorff_divergence`, `sinkhorn_divergence`, `generalized_energy_distance`, or
      `frechet_distance` of features; None for cross-entropy. N is B R.
    beta: weight of the divergence.
    num_samples: K, samples of z per mask; None: as many as there are raters, as the authors have.
    image_feature: name of the batch's x, shape (B, ...).
    mask_feature: name of the batch's masks, shape (B, R, ...), floating point, 0 or 1.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    SegmentationModel. The objective's metrics are reconstruction (the first term) and kl, means over
    batch (and raters).

  Raises:
    TypeError: if num_samples is not an integer.
    ValueError: if num_samples is below 1 or beta is negative.

  References:
    Chatterjee et al., PULASki: Learning inter-rater variability using statistical distances to
      improve probabilistic segmentation, 2023. arXiv:2312.15686
    Kohl et al., A Probabilistic U-Net for Segmentation of Ambiguous Images, 2018.
      arXiv:1806.05034
  """
  if num_samples is not None:
    check_positive_int(num_samples=num_samples)
  check_range(0.0, beta=beta)

  def reconstruction(logits: jax.Array, masks: jax.Array) -> jax.Array:
    """For logits (B, R, K, ...) and masks (B, R, ...), shape (B,)."""
    num_rows, num_raters, num_samples = logits.shape[:3]
    if distance_fn is None:
      event_ndim = masks.ndim - 2
      log_prob = bernoulli.log_prob(masks[:, :, None], logits, event_ndim=event_ndim)
      return -jnp.mean(log_prob, axis=(1, 2))
    samples = jax.nn.sigmoid(logits).reshape(num_rows * num_raters, num_samples, -1)
    everyone = jnp.repeat(masks.reshape(num_rows, num_raters, -1), num_raters, axis=0)
    return jnp.mean(distance_fn(samples, everyone).reshape(num_rows, num_raters), axis=1)

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x, masks = take_feature(batch, image_feature), take_feature(batch, mask_feature)
    num_rows, num_raters = masks.shape[:2]
    x_each = jnp.repeat(x, num_raters, axis=0)
    mean, log_scale = posterior_fn(params, x_each, masks.reshape(-1, *masks.shape[2:]))
    check_rank(2, mean=mean)
    check_same_shape(mean=mean, log_scale=log_scale)
    by_row = lambda a: a.reshape(num_rows, num_raters, -1)
    prior = (a[:, None] for a in prior_fn(params, x))
    kl = jnp.mean(gaussian.kl(by_row(mean), by_row(log_scale), *prior), axis=1)
    # Noise belongs to images, the rows of the batch: (K, B, R, Z).
    count = num_raters if num_samples is None else num_samples
    z = gaussian.sample(
      key, by_row(mean), by_row(log_scale), num_samples=count, axis_name=axis_name
    )
    flat = jnp.moveaxis(z, 0, 2).reshape(-1, z.shape[-1])
    logits = decode_fn(params, jnp.repeat(x_each, count, axis=0), flat)
    logits = logits.reshape(num_rows, num_raters, count, *masks.shape[2:])
    misfit = reconstruction(logits, masks)
    metrics = {"reconstruction": jnp.mean(misfit), "kl": jnp.mean(kl)}
    return jnp.mean(misfit + beta * kl), (model_state, metrics)

  def sample(params: Params, key: jax.Array, x: jax.Array, *, num_samples: int) -> jax.Array:
    z = gaussian.sample(key, *prior_fn(params, x), num_samples=num_samples)
    flat = jnp.moveaxis(z, 0, 1).reshape(-1, z.shape[-1])
    probabilities = jax.nn.sigmoid(decode_fn(params, jnp.repeat(x, num_samples, axis=0), flat))
    return probabilities.reshape(x.shape[0], num_samples, *probabilities.shape[1:])

  return SegmentationModel(objective, sample)
