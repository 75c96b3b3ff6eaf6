"""Divergence from a Gaussian-mixture prior whose component is a latent variable too."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, wide_dtype
from latentjax.densities import gaussian

__all__ = ["mixture_kl"]


def mixture_kl(
  mean: ArrayLike,
  log_scale: ArrayLike,
  y_logits: ArrayLike,
  prior_logits: ArrayLike,
  prior_mean: ArrayLike,
  prior_log_scale: ArrayLike,
) -> jax.Array:
  r"""Divergence of q(z|x) q(y|x) from p(y) p(z|y) in nats, z Gaussian and y one of M components.

  .. math:: \sum_y q(y|x) \, KL(q(z|x) \,\|\, N(\mu_y, s_y^2)) + KL(q(y|x) \,\|\, p(y))

  At least KL(q(z|x) || p(z)) of the mixture itself, so the ELBO stays a bound; least for
  q(y|x) proportional to p(y) exp(-KL(q(z|x) || N_y)). Memory is M times that of the means.

  Args:
    mean: of q(z|x), shape (..., Z).
    log_scale: logarithm of its standard deviation, shape (..., Z).
    y_logits: log q(y|x), need not be normalised, shape (..., M); a known component has one finite
      logit far above the others.
    prior_logits: log p(y), need not be normalised, shape (M,).
    prior_mean: of the components, shape (M, Z).
    prior_log_scale: logarithm of their standard deviations, shape (M, Z).

  Returns:
    Divergence in nats, at least 0 up to rounding, shape (...), float32 or wider. Gradient flows to all
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> mean, components = jnp.zeros((1, 2)), jnp.array([[0.0, 0.0], [9.0, 9.0]])
    >>> mixture_kl(mean, mean, jnp.array([[0.0, -99.0]]), jnp.zeros(2), components, 0 * components)
    Array([0.693147...], dtype=float32)

  References:
    Jiang et al., Variational Deep Embedding, 2017. arXiv:1611.05148
    Luo, Agres & Herremans, Learning Disentangled Representations of Timbre and Pitch for Musical
      Instrument Sounds Using Gaussian Mixture Variational Autoencoders, 2019. arXiv:1906.08152
  """
  arrays = {
    "mean": mean,
    "log_scale": log_scale,
    "y_logits": y_logits,
    "prior_logits": prior_logits,
    "prior_mean": prior_mean,
    "prior_log_scale": prior_log_scale,
  }
  check_float(**arrays)
  _check_shapes(**{name: jnp.shape(array) for name, array in arrays.items()})
  dtype = wide_dtype(*arrays.values())
  m_q, s_q, y, pi, m_p, s_p = (jnp.asarray(array, dtype) for array in arrays.values())
  log_q, log_p = jax.nn.log_softmax(y, axis=-1), jax.nn.log_softmax(pi)
  q = jnp.exp(log_q)
  # Of a component that is ruled out the divergence does not count, be it infinite.
  each = (
    jnp.where(q[..., None] > 0, array, 0)
    for array in (m_q[..., None, :], s_q[..., None, :], m_p, s_p)
  )
  return jnp.sum(q * (gaussian.kl(*each) + log_q - log_p), axis=-1)


def _check_shapes(
  mean: tuple[int, ...],
  log_scale: tuple[int, ...],
  y_logits: tuple[int, ...],
  prior_logits: tuple[int, ...],
  prior_mean: tuple[int, ...],
  prior_log_scale: tuple[int, ...],
) -> None:
  if len(prior_mean) != 2 or prior_log_scale != prior_mean or prior_logits != prior_mean[:1]:
    raise ValueError(
      "prior_logits, prior_mean and prior_log_scale must have shapes (M,), (M, Z) and (M, Z), got "
      f"{prior_logits}, {prior_mean} and {prior_log_scale}"
    )
  wanted = (*mean[:-1], prior_mean[0])
  if mean[-1:] != prior_mean[1:] or log_scale != mean or y_logits != wanted:
    raise ValueError(
      f"mean, log_scale and y_logits must have shapes (..., {prior_mean[1]}), the same and "
      f"(..., {prior_mean[0]}), got {mean}, {log_scale} and {y_logits}"
    )
