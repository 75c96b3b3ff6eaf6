r"""Product of diagonal Gaussian experts, some of which may be missing.

.. math:: q(z) \propto p(z) \prod_{e} q_e(z)^{w_e}, \quad w_e \in \{0, 1\}
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_float, wide_dtype

__all__ = ["combine"]


def combine(
  mean: ArrayLike, log_scale: ArrayLike, mask: ArrayLike, *, prior_expert: bool = True
) -> tuple[jax.Array, jax.Array]:
  r"""The Gaussian that is proportional to the product of the experts that are present.

  .. math:: s^{-2} = 1 + \sum_e w_e s_e^{-2}, \quad m = s^2 \sum_e w_e s_e^{-2} m_e

  The one is the precision of the prior expert N(0, I); without it the product is that of the
  experts alone. Precisions are added as logarithms, so experts of any sharpness combine.

  Args:
    mean: means of the E experts, shape (E, B, Z).
    log_scale: logarithm of their standard deviations, shape (E, B, Z).
    mask: which experts are present, boolean or floating point (1 = keep, 0 = missing), shape (E,
      B). What a missing expert holds does not matter, be it infinite or NaN.
    prior_expert: whether N(0, I) is one of the experts, as in MVAE. Without it a row with no expert
      at all has no product: its mean is 0 and its log_scale infinite.

  Returns:
    (mean, log_scale) of the product, each (B, Z), float32 or wider: parameters for
    `densities.gaussian`. Gradient flows to the mean and log_scale of the experts that are present;
    it is zero for those that are missing. None reaches the mask.

  Raises:
    TypeError: if mean or log_scale is not floating point, or mask is neither boolean nor floating
      point.
    ValueError: if the shapes do not fit.

  Example:
    >>> one = jnp.ones((1, 1, 1))
    >>> combine(one, 0 * one, jnp.ones((1, 1), bool))[0].tolist()  # halfway to the prior
    [[0.5]]

  References:
    Wu & Goodman, Multimodal Generative Models for Scalable Weakly-Supervised Learning (MVAE), 2018.
      arXiv:1802.05335
    Cao & Fleet, Generalized Product of Experts, 2014. arXiv:1410.7827
  """
  check_alike(3, mean=mean, log_scale=log_scale)
  if jnp.result_type(mask) != jnp.bool_:
    check_float(mask=mask)
  if jnp.shape(mask) != jnp.shape(mean)[:2]:
    raise ValueError(f"mask must have shape {jnp.shape(mean)[:2]}, got {jnp.shape(mask)}")
  dtype = wide_dtype(mean, log_scale)
  present = (jnp.asarray(mask) > 0)[..., None]
  mean = jnp.where(present, jnp.asarray(mean, dtype), 0)
  log_scale = jnp.where(present, jnp.asarray(log_scale, dtype), 0)
  if prior_expert:
    mean, log_scale = (jnp.pad(p, ((1, 0), (0, 0), (0, 0))) for p in (mean, log_scale))
    present = jnp.pad(present, ((1, 0), (0, 0), (0, 0)), constant_values=True)
  return _product(mean, log_scale, present)


def _product(
  mean: jax.Array, log_scale: jax.Array, present: jax.Array
) -> tuple[jax.Array, jax.Array]:
  least = jnp.min(jnp.where(present, log_scale, jnp.inf), axis=0, keepdims=True)
  least = jax.lax.stop_gradient(jnp.where(jnp.isinf(least), 0, least))
  # Precisions relative to the sharpest expert's, whose own is one.
  precision = jnp.where(present, jnp.exp(2 * (least - log_scale)), 0)
  total = jnp.sum(precision, axis=0)
  some = jnp.any(present, axis=0)
  safe = jnp.where(some, total, 1)
  joint_log_scale = jnp.where(some, least[0] - 0.5 * jnp.log(safe), jnp.inf)
  return jnp.sum(precision * mean, axis=0) / safe, joint_log_scale
