"""Terms of the variational bound: of one step, of one moment of continuous time, of the prior."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_same_shape
from latentjax.diffusion.discrete.posterior import posterior_log_prob, weigh
from latentjax.diffusion.discrete.process import DiscreteProcess
from latentjax.diffusion.discrete.transitions import (
  LOG_ZERO,
  LogShares,
  certain,
  check_logits,
  check_tokens,
  is_token,
  step_shares,
)
from latentjax.diffusion.processes.coefficients import with_slope
from latentjax.diffusion.processes.predictions import expand_time

__all__ = ["prior_kl", "rate_loss", "step_kl"]


def step_kl(
  logits: ArrayLike,
  x: ArrayLike,
  x_t: ArrayLike,
  s: ArrayLike,
  t: ArrayLike,
  *,
  process: DiscreteProcess,
) -> jax.Array:
  r"""Divergence of one step of the model from the posterior of the process, for any s < t.

  .. math:: \sum_{\mathrm{places}} \mathrm{KL}\big(q(x_s | x_t, x_0) \,\|\, p(x_s | x_t)\big)

  with p of `posterior_log_prob`; at s = 0 it is -log p(x_0 | x_t). Its expectations over q(x_t | x_0),
  summed over steps from 1 to 0, with the divergence of the prior, bound -log p(x) from above.

  Args:
    logits: of p(x_0 | x_t), shape (B, ..., K).
    x: tokens of the data, integers in [0, K), shape (B, ...).
    x_t: their states at t, which must be possible, integers in [0, K], shape (B, ...).
    s: times in [0, 1], shape (B,) or ().
    t: later times, shape (B,) or ().
    process: the discrete process.

  Returns:
    Divergence in nats, shape (B,), float32 or wider. Gradient flows to the logits.

  Raises:
    TypeError: if x or x_t are not integer or logits are not floating point.
    ValueError: if a shape does not fit.

  Example:
    >>> from latentjax.diffusion.discrete import absorbing
    >>> x, masked = jnp.array([[1]]), jnp.array([[4]])
    >>> kl = step_kl(jnp.zeros((1, 1, 4)), x, masked, 0.5, 1.0, process=absorbing(num_tokens=4))
    >>> round(float(kl[0]), 4)  # half of log 4
    0.6931

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
  """
  logits, x = check_logits(logits, x, process, "x")
  known = certain(x, process)
  log_q = posterior_log_prob(known, x_t, s, t, process=process)
  log_p = posterior_log_prob(logits, x_t, s, t, process=process)
  return _sum(jnp.exp(log_q) * (log_q - log_p))


def rate_loss(
  logits: ArrayLike, x: ArrayLike, x_t: ArrayLike, t: ArrayLike, *, process: DiscreteProcess
) -> jax.Array:
  r"""The divergence of a step per unit of time, as steps become short: the bound in continuous time.

  .. math::

    \sum_{\mathrm{places}} \sum_{j \ne x_t} R_t(j \to x_t) \Big(\hat r_j - r_j + r_j
    \log \frac{r_j}{\hat r_j}\Big), \qquad r_j = \frac{q(x_t = j | x_0)}{q(x_t | x_0)}, \quad
    \hat r_j = \sum_{x_0} p(x_0 | x_t) \, r_j(x_0)

  where the process jumps from j to x_t at the rate R. Under `absorbing` it is the cross entropy of the
  masked tokens times the slope of log gamma, 1 / t by default: the loss of MDLM and MD4. Its
  expectation over t ~ U[0, 1] and x_t, with the divergence of the prior, bounds -log p(x) from above.
  Where tokens are replaced the bound is infinite for a network that doubts what it sees up to t = 0.

  Args:
    logits: of p(x_0 | x_t), shape (B, ..., K).
    x: tokens of the data, integers in [0, K), shape (B, ...).
    x_t: their states at t, which must be possible, integers in [0, K], shape (B, ...).
    t: times in [0, 1), shape (B,) or ().
    process: the discrete process.

  Returns:
    Nats per unit of time, shape (B,), float32 or wider. Gradient flows to the logits.

  Raises:
    TypeError: if x or x_t are not integer or logits are not floating point.
    ValueError: if a shape does not fit.

  Example:
    >>> from latentjax.diffusion.discrete import absorbing
    >>> x, masked = jnp.array([[1]]), jnp.array([[4]])
    >>> loss = rate_loss(jnp.zeros((1, 1, 4)), x, masked, 0.5, process=absorbing(num_tokens=4))
    >>> round(float(loss[0]), 4)  # log 4 over t
    2.7726

  References:
    Campbell et al., A Continuous Time Framework for Discrete Denoising Models, 2022. arXiv:2205.14987
    Sahoo et al., Simple and Effective Masked Diffusion Language Models, 2024. arXiv:2406.07524
    Shi et al., Simplified and Generalized Masked Diffusion for Discrete Data, 2024. arXiv:2406.04329
  """
  logits, x = check_logits(logits, x, process, "x")
  x_t, t = check_tokens("x_t", x_t), expand_time(t, x)
  check_same_shape(x=x, x_t=x_t)
  mask_rate, replace_rate = (_rate(clock, t) for clock in (process.masked, process.replaced))
  shares = step_shares(jnp.zeros_like(t), t, process)
  log_r, log_r_hat = (
    _log_ratios(values, x_t, t, shares, process) for values in (certain(x, process), logits)
  )
  masked = x_t == process.num_tokens
  gap = jnp.where(is_token(x_t, process), 0, _gap(log_r, log_r_hat))
  return _sum(jnp.where(masked, mask_rate, replace_rate / process.num_tokens)[..., None] * gap)


def prior_kl(x: ArrayLike, *, process: DiscreteProcess) -> jax.Array:
  r"""Divergence of the process's end from the prior that samplers start from.

  .. math:: \sum_{\mathrm{places}} \mathrm{KL}\big(q(x_1 | x_0) \,\|\, p(x_1)\big)

  with p of `draw_prior`: 0 if at t = 1 every token is masked or has been drawn anew.

  Args:
    x: tokens of the data, integers in [0, K), shape (B, ...).
    process: the discrete process.

  Returns:
    Divergence in nats, shape (B,), float32.

  Raises:
    TypeError: if x is not integer.

  Example:
    >>> from latentjax.diffusion.discrete import uniform
    >>> prior_kl(jnp.array([[0, 3]]), process=uniform(num_tokens=4)).tolist()
    [0.0]

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
  """
  x = check_tokens("x", x)
  masked, replaced, k = process.masked(1.0), process.replaced(1.0), process.num_tokens
  # A token is what it was with probability 1 - v + v / K, and each other with v / K; the prior has 1 / K.
  xlog = lambda p: jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1) * k), 0)
  divergence = xlog(1 - replaced + replaced / k) + (k - 1) * xlog(replaced / k)
  return jnp.full(x.shape[:1], (1 - masked) * divergence * (x.size // x.shape[0]))


def _log_ratios(
  logits: jax.Array, x_t: jax.Array, t: jax.Array, shares: LogShares, process: DiscreteProcess
) -> jax.Array:
  """log of the expected q(j | x_0) / q(x_t | x_0) for all tokens j, (..., K)."""
  log_w, log_total, log_p = weigh(logits, x_t, t, process)
  keep, each, mask = (share[..., None] for share in shares)
  seen = jnp.logaddexp(keep + log_w, each + log_total[..., None])
  unmasked = jnp.logaddexp(keep + log_p, each) - mask
  return jnp.maximum(jnp.where((x_t == process.num_tokens)[..., None], unmasked, seen), LOG_ZERO)


def _gap(log_r: jax.Array, log_r_hat: jax.Array) -> jax.Array:
  """r_hat - r + r log(r / r_hat), which keeps its digits where the two are nearly equal."""
  some = log_r > LOG_ZERO / 2
  difference = jnp.where(some, log_r_hat - log_r, 0)
  far = jnp.exp(log_r_hat) - jnp.exp(log_r) * (1 + difference)
  near = jnp.exp(log_r) * (jnp.expm1(jnp.minimum(difference, 1.0)) - difference)
  return jnp.where(some & (difference <= 1), near, far)


def _rate(clock: Callable[[ArrayLike], jax.Array], t: jax.Array) -> jax.Array:
  """At which a clock strikes that has not yet; 0 where it surely has."""
  share, slope = with_slope(clock, t)
  return jnp.where(share < 1, slope / jnp.where(share < 1, 1 - share, 1), 0)


def _sum(terms: jax.Array) -> jax.Array:
  return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))
