"""Penalties that keep the physics of a partly physical decoder in use (Takeishi & Kalousis, 2021)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, check_same_shape, wide_dtype
from latentjax.densities import gaussian

__all__ = ["least_action_loss", "self_supervision_loss"]


def least_action_loss(
  mean: ArrayLike, mean_reduced: ArrayLike, log_scale: ArrayLike, kl_auxiliary: ArrayLike
) -> jax.Array:
  r"""Bound on how far the trained part of a decoder moves its predictions from physics alone.

  .. math::

    KL\big(p(\tilde x | x) \,\|\, p_r(\tilde x | x)\big) \le
    E_q\Big[\frac{\|m(z_P, z_A) - m_r(z_P)\|^2}{2 \sigma^2}\Big] + KL(q(z_A|x) \,\|\, p(z_A))

  p is the posterior predictive of the full model, p_r that of the reduced one, in which the trained
  part is replaced by a baseline (no force, say) and z_A by the prior; both are Gaussian with one
  sigma. By the chain rule the divergence of the joint law of (x, z_P, z_A) bounds that of x. The
  trained part then acts only where physics does not suffice.

  Args:
    mean: mean m of the full model, shape (B, ...).
    mean_reduced: mean m_r of the reduced model at the same z_P, shape (B, ...).
    log_scale: logarithm of sigma, the shape of mean or with leading axes missing.
    kl_auxiliary: divergence of q(z_A|x) from its prior in nats, shape (B,).

  Returns:
    Upper bound in nats at the samples of z, shape (B,), float32 or wider; to be minimised. Gradient
    flows to all arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the means differ in shape or kl_auxiliary is not of shape (B,).

  Example:
    >>> least_action_loss(jnp.ones((1, 4)), jnp.zeros((1, 4)), jnp.zeros(()), jnp.ones(1)).tolist()
    [3.0]

  References:
    Takeishi & Kalousis, Physics-Integrated Variational Autoencoders for Robust and Interpretable
      Generative Modeling, 2021. arXiv:2102.13156
  """
  check_float(mean=mean, mean_reduced=mean_reduced, log_scale=log_scale, kl_auxiliary=kl_auxiliary)
  check_same_shape(mean=mean, mean_reduced=mean_reduced)
  check_rank(1, kl_auxiliary=kl_auxiliary)
  if jnp.shape(kl_auxiliary) != jnp.shape(mean)[:1]:
    raise ValueError(
      f"kl_auxiliary must have one entry per row of mean {jnp.shape(mean)}, got "
      f"{jnp.shape(kl_auxiliary)}"
    )
  missing = jnp.ndim(mean) - jnp.ndim(log_scale)
  if missing < 0 or jnp.shape(log_scale) != jnp.shape(mean)[missing:]:
    raise ValueError(
      f"log_scale must have the shape of mean {jnp.shape(mean)}, leading axes aside, got "
      f"{jnp.shape(log_scale)}"
    )
  event_ndim = jnp.ndim(mean) - 1
  kl = gaussian.kl(mean, log_scale, mean_reduced, log_scale, event_ndim=event_ndim)
  return kl + jnp.asarray(kl_auxiliary, wide_dtype(kl))


def self_supervision_loss(prediction: ArrayLike, target: ArrayLike) -> jax.Array:
  r"""Squared distance from a target that the model made itself and that is not trained.

  .. math:: \| \hat y - \mathrm{sg}[y] \|^2

  Of the physics-integrated VAE both R_DA,1 (the encoder's cleaned data against the prediction of
  physics alone) and R_DA,2 (the encoder's z_P of simulated data against the z_P it was simulated
  with).

  Args:
    prediction: shape (B, ...).
    target: the shape of prediction.

  Returns:
    Loss, shape (B,), float32 or wider. Gradient flows to prediction; target is detached.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ.

  Example:
    >>> self_supervision_loss(jnp.ones((1, 4)), jnp.zeros((1, 4))).tolist()
    [4.0]

  References:
    Takeishi & Kalousis, Physics-Integrated Variational Autoencoders for Robust and Interpretable
      Generative Modeling, 2021, eq. 11 and 12. arXiv:2102.13156
  """
  check_float(prediction=prediction, target=target)
  check_same_shape(prediction=prediction, target=target)
  dtype = wide_dtype(prediction, target)
  target = jax.lax.stop_gradient(jnp.asarray(target, dtype))
  error = jnp.square(jnp.asarray(prediction, dtype) - target)
  return jnp.sum(error, axis=tuple(range(1, error.ndim)))
