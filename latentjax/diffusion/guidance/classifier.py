"""Classifier guidance: the score of a condition's probability, added to that of the data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import wide_dtype
from latentjax.diffusion.guidance._branches import DenoiseFn, estimate_of_score, within
from latentjax.diffusion.processes import Process

__all__ = ["classifier_guidance"]


def classifier_guidance(
  denoise_fn: DenoiseFn,
  log_prob_fn: Callable[[jax.Array, jax.Array], jax.Array],
  *,
  process: Process,
  scale: ArrayLike = 1.0,
) -> DenoiseFn:
  r"""Estimates of the data under the density p(z_t) p(y | z_t)^w.

  .. math::

    \hat x_w = \hat x + w \frac{\sigma_t^2}{\alpha_t} \nabla_{z_t} \log p(y | z_t)

  since score = (alpha x_hat - z_t) / sigma^2 (Tweedie's formula): the same as eps_hat - w sigma grad,
  the usual form. With exact estimates, and w = 1, it is the estimate given y. Any other log-potential
  may stand for log p, such as a function of `denoise_fn(x_t, t)`.

  Args:
    denoise_fn: `(x_t, t) -> x0_hat`, x_t (B, ...), t ().
    log_prob_fn: `(x_t, t) -> log p(y | x_t)` in nats, shape (B,), or a scalar for all rows; it is
      differentiated by x_t.
    process: alpha and sigma.
    scale: w. Can be traced.

  Returns:
    `(x_t, t) -> x0_hat`, float32 or wider. Gradient flows through both functions. Where alpha is 0, and z_t
    tells nothing of y, it is denoise_fn's.

  Raises:
    TypeError: if x_t is not floating point (when called).
    ValueError: if it is no batch (when called).

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> prior = lambda x, t: jnp.zeros_like(x)
    >>> log_prob = lambda x, t: x[:, 0]
    >>> guided = classifier_guidance(prior, log_prob, process=rectified_flow(), scale=3.0)
    >>> guided(jnp.zeros((1, 2)), 0.5).tolist()
    [[1.5, 0.0]]

  References:
    Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021. arXiv:2105.05233
  """

  def guided(x: jax.Array, t: jax.Array) -> jax.Array:
    x0 = denoise_fn(x, t)
    slope = jax.grad(lambda x: jnp.sum(log_prob_fn(x, t)))(x)
    return x0 + scale * estimate_of_score(slope.astype(wide_dtype(x0)), t, process)

  return within(None, guided, denoise_fn)
