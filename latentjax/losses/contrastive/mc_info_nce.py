"""InfoNCE between embeddings that are distributions on the sphere."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  check_same_shape,
)
from latentjax.densities import von_mises_fisher
from latentjax.losses.contrastive.info_nce import info_nce

__all__ = ["mc_info_nce"]


def mc_info_nce(
  key: jax.Array,
  anchor_direction: ArrayLike,
  anchor_log_concentration: ArrayLike,
  positive_direction: ArrayLike,
  positive_log_concentration: ArrayLike,
  *,
  concentration: ArrayLike = 20.0,
  num_samples: int = 16,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Probability of the positive among those of the batch, averaged over latents, then its -log.

  .. math::

    \ell_i = -\log \frac1K \sum_{k=1}^K
      \frac{\exp(\kappa\, z_{ki}^\top z^+_{ki})}{\sum_{j=1}^B \exp(\kappa\, z_{ki}^\top z^+_{kj})},
      \qquad z_{ki} \sim \mathrm{vMF}(\mu_i, \kappa_i), \quad z^+_{kj} \sim \mathrm{vMF}(\mu^+_j, \kappa^+_j)

  The mean inside the logarithm is what makes the posteriors as wide as the inputs are ambiguous;
  outside, where a single sample puts it, every width but 0 costs. Samples are reparameterised; the
  logarithm of K samples is biased upwards, the less the more. As all kappa_i go to infinity it is
  `info_nce` of the directions at temperature 1 / kappa. Deviation: negatives are the positives of
  the other anchors, each with the weight of the positive; the authors' code draws M of its own and
  gives each the weight 1 / M.

  Args:
    key: random key, the same on every device.
    anchor_direction: mu, unit vectors (see `l2_normalize`), shape (B, D) with D at least 2.
    anchor_log_concentration: log kappa_i, shape (B,).
    positive_direction: those of the other view of every anchor, shape (B, D).
    positive_log_concentration: its log concentrations, shape (B,).
    concentration: kappa, of a positive's latent about its anchor's; the inverse temperature. The
      authors keep it at the true value where that is known. Can be traced and receives a gradient.
    num_samples: K.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (K, block_size, block_size), forward and backward,
      instead of (K, B, B). The result does not depend on it.

  Returns:
    Loss per anchor in nats, shape (B,), float32 or wider. Gradient flows to all arrays, to the rows of
    every device, in reverse mode.

  Raises:
    TypeError: if an array is not floating point or num_samples or block_size is not an integer.
    ValueError: if shapes do not agree, or concentration, num_samples or block_size is not positive.

  Example:
    >>> mu, sure = jnp.eye(2), jnp.full(2, 40.0)
    >>> loss = mc_info_nce(jax.random.key(0), mu, sure, mu, sure, concentration=1.0)
    >>> round(float(loss[0]), 4)  # log(1 + 1 / e)
    0.3133

  References:
    Kirchhof, Kasneci & Oh, Probabilistic Contrastive Learning Recovers the Correct Aleatoric
      Uncertainty of Ambiguous Inputs, 2023. arXiv:2302.02865
  """
  directions = {"anchor_direction": anchor_direction, "positive_direction": positive_direction}
  log_concentrations = {
    "anchor_log_concentration": anchor_log_concentration,
    "positive_log_concentration": positive_log_concentration,
  }
  check_float(**directions, **log_concentrations)
  check_rank(2, **directions)
  check_same_shape(**directions)
  if jnp.shape(anchor_direction)[1] < 2:
    raise ValueError(f"anchor_direction must have D >= 2, got {jnp.shape(anchor_direction)}")
  for name, array in log_concentrations.items():
    if jnp.shape(array) != jnp.shape(anchor_direction)[:1]:
      expected = jnp.shape(anchor_direction)[:1]
      raise ValueError(f"{name} must have shape {expected}, got {jnp.shape(array)}")
  check_range(0.0, strict=True, concentration=concentration)
  check_positive_int(num_samples=num_samples)
  z = von_mises_fisher.sample(
    key,
    jnp.stack(list(directions.values()), axis=1),
    jnp.stack(list(log_concentrations.values()), axis=1),
    num_samples=num_samples,
    axis_name=axis_name,
  )

  def loss(anchors: jax.Array, positives: jax.Array) -> jax.Array:
    temperature = 1 / jnp.asarray(concentration)
    return info_nce(
      anchors, positives, temperature=temperature, axis_name=axis_name, block_size=block_size
    )

  return math.log(num_samples) - jax.nn.logsumexp(-jax.vmap(loss)(z[:, :, 0], z[:, :, 1]), axis=0)
