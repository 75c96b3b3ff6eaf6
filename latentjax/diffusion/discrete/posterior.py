"""What a discrete process has done to tokens: Bayes' rule in O(K)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.diffusion.discrete.process import DiscreteProcess
from latentjax.diffusion.discrete.transitions import (
  LOG_ZERO,
  append,
  check_logits,
  from_token,
  is_token,
  step_shares,
)
from latentjax.diffusion.processes.predictions import expand_time

__all__ = ["posterior_log_prob"]


def posterior_log_prob(
  logits: ArrayLike, x_t: ArrayLike, s: ArrayLike, t: ArrayLike, *, process: DiscreteProcess
) -> jax.Array:
  r"""Log-probabilities of all states at s, given those at t and a distribution of the data.

  .. math:: p(x_s | x_t) = \sum_{x_0} q(x_s | x_t, x_0) \, p(x_0 | x_t), \qquad
    q(x_s | x_t, x_0) = \frac{q(x_s | x_0) \, q(x_t | x_s)}{q(x_t | x_0)}

  Right for every s < t, next to t or not, if the logits are those of the true p(x_0 | x_t); with one
  token for certain it is q(x_s | x_t, x_0). What x_t excludes as x_0 (under `absorbing`, any other token
  where one is seen) is taken out of p(x_0 | x_t), and the rest normalised. The sum is in closed form:
  with w = p(x_0 | x_t) / q(x_t | x_0), for a token that is seen,

  .. math:: p(x_s = j | x_t) = q(x_t | x_s = j) \, \Big(\alpha_s w_j + \beta_s \sum_i w_i\Big)

  Some papers and programs take the expectation of q(x_s | x_0) alone, and normalise after that. This is
  another distribution: it is not that of the data even if the network is perfect.

  Args:
    logits: of p(x_0 | x_t), need not be normalised, shape (B, ..., K).
    x_t: states at t, integers in [0, K], shape (B, ...).
    s: times in [0, 1], shape (B,) or ().
    t: later times, shape (B,) or ().
    process: the discrete process.

  Returns:
    Log-probabilities, shape (B, ..., K) or, with [MASK], (B, ..., K + 1), float32 or wider; -1e30 for
    what is impossible. Gradient flows to the logits.

  Raises:
    TypeError: if x_t is not integer or logits are not floating point.
    ValueError: if a shape does not fit.

  Example:
    >>> from latentjax.diffusion.discrete import absorbing
    >>> masked, logits = jnp.array([[2]]), jnp.log(jnp.array([[[0.2, 0.8]]]))
    >>> log_p = posterior_log_prob(logits, masked, 0.5, 1.0, process=absorbing(num_tokens=2))
    >>> [round(float(p), 3) for p in jnp.exp(log_p[0, 0])]
    [0.1, 0.4, 0.5]

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
    Gu et al., Vector Quantized Diffusion Model for Text-to-Image Synthesis, 2022. arXiv:2111.14822
  """
  logits, x_t = check_logits(logits, x_t, process)
  s, t = expand_time(s, x_t), expand_time(t, x_t)
  start, step = step_shares(jnp.zeros_like(s), s, process), step_shares(s, t, process)
  log_w, log_total, log_p = weigh(logits, x_t, t, process)
  seen = from_token(is_token(x_t, process), step)
  seen += jnp.logaddexp(start.keep[..., None] + log_w, (start.each + log_total)[..., None])
  if not process.has_mask:
    return jnp.maximum(seen, LOG_ZERO)
  end = step_shares(jnp.zeros_like(t), t, process).mask
  # From [MASK]: tokens by what the data may be, all the more likely the more is unmasked in the step.
  unmasked = (step.mask - end)[..., None] + jnp.logaddexp(
    start.keep[..., None] + log_p, start.each[..., None]
  )
  masked = (x_t == process.num_tokens)[..., None]
  log_p = jnp.where(masked, append(unmasked, start.mask - end), append(seen, LOG_ZERO))
  return jnp.maximum(log_p, LOG_ZERO)


def weigh(
  logits: jax.Array, x_t: jax.Array, t: jax.Array, process: DiscreteProcess
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Logarithms of w = p(x_0 | x_t) / q(x_t | x_0) (..., K), where a token is seen; of its sum; of p."""
  shares = step_shares(jnp.zeros_like(t), t, process)
  log_q = from_token(is_token(x_t, process), shares)
  possible = log_q > LOG_ZERO / 2
  log_p = jax.nn.log_softmax(logits, axis=-1)
  left = jnp.where(possible, log_p, LOG_ZERO)
  left -= jax.nn.logsumexp(left, axis=-1, keepdims=True)
  log_w = jnp.where(possible, left - log_q, LOG_ZERO)
  return log_w, jax.nn.logsumexp(log_w, axis=-1), log_p
