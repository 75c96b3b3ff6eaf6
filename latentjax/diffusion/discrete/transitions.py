r"""What a discrete process does to tokens, in O(K).

Nothing here is a matrix of states by states. Logarithms of 0 are -1e30, which keeps gradients finite.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_not_empty, wide_dtype
from latentjax.collectives import draw_rows
from latentjax.diffusion.discrete.process import DiscreteProcess, TimeFn, never
from latentjax.diffusion.processes.predictions import expand_time

__all__ = ["corrupt", "draw_prior", "transition_log_prob"]

LOG_ZERO = -1e30


class LogShares(NamedTuple):
  """Log-probabilities that a token is kept, has become one token by a redraw, or is masked."""

  keep: jax.Array
  each: jax.Array
  mask: jax.Array


def corrupt(
  key: jax.Array,
  x: ArrayLike,
  t: ArrayLike,
  *,
  process: DiscreteProcess,
  axis_name: str | None = None,
) -> jax.Array:
  r"""The process at time t, sampled.

  .. math:: x_t \sim q(x_t | x_0)

  Args:
    key: random key, the same on every device.
    x: tokens of the data, integers in [0, K), shape (B, ...).
    t: times in [0, 1], shape (B,) or ().
    process: the discrete process.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    x_t, int32, the shape of x, in [0, K] with K for [MASK]. Nothing to differentiate.

  Raises:
    TypeError: if x is not integer.
    ValueError: if the shape of t does not fit.

  Example:
    >>> from latentjax.diffusion.discrete import absorbing
    >>> x, t, process = jnp.array([[2, 0], [1, 1]]), jnp.array([0.0, 1.0]), absorbing(num_tokens=3)
    >>> corrupt(jax.random.key(0), x, t, process=process)
    Array([[2, 0],
           [3, 3]], dtype=int32)

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
  """
  x = check_tokens("x", x)
  time = expand_time(t, x)

  keys = jax.random.split(key, 3)
  rows = partial(draw_rows, shape=x.shape, axis_name=axis_name)
  struck = lambda key, clock: rows(key, jax.random.uniform) < clock(time)
  if process.replaced is not never:
    new = rows(keys[2], lambda key, shape: jax.random.randint(key, shape, 0, process.num_tokens))
    x = jnp.where(struck(keys[1], process.replaced), new, x)
  if process.has_mask:
    x = jnp.where(struck(keys[0], process.masked), process.num_tokens, x)
  return x


def draw_prior(
  key: jax.Array, *, shape: tuple[int, ...], process: DiscreteProcess, axis_name: str | None = None
) -> jax.Array:
  r"""Tokens as the process ends, from which samplers start.

  .. math:: p(x_1) = \gamma_1 \, \delta_{\mathrm{MASK}} + (1 - \gamma_1) / K

  Args:
    key: random key, the same on every device.
    shape: (B, ...), rows on this device.
    process: the discrete process; gamma is its share of masked tokens.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    x_1, int32, of this shape.

  Raises:
    Nothing.

  Example:
    >>> from latentjax.diffusion.discrete import absorbing
    >>> draw_prior(jax.random.key(0), shape=(1, 3), process=absorbing(num_tokens=7)).tolist()
    [[7, 7, 7]]

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
  """
  always = process._replace(replaced=lambda t: jnp.ones_like(process.masked(t)))
  return corrupt(key, jnp.zeros(shape, jnp.int32), 1.0, process=always, axis_name=axis_name)


def transition_log_prob(
  x_s: ArrayLike, s: ArrayLike, t: ArrayLike, *, process: DiscreteProcess
) -> jax.Array:
  r"""Log-probabilities of all states at t, given those at s; from s = 0, the cumulative ones.

  .. math::

    q(x_t | x_s) = (1 - m) \big((1 - r) \, \delta_{x_s} + r / K\big) + m \, \delta_{\mathrm{MASK}},
    \qquad m = \frac{\gamma_t - \gamma_s}{1 - \gamma_s}, \quad r = \frac{v_t - v_s}{1 - v_s}

  with the process's shares gamma of masked and v of replaced tokens; a masked token stays.

  Args:
    x_s: states at s, integers in [0, K], shape (B, ...).
    s: times in [0, 1], shape (B,) or ().
    t: later times, shape (B,) or ().
    process: the discrete process.

  Returns:
    Log-probabilities, shape (B, ..., K) or, with [MASK], (B, ..., K + 1), float32; -1e30 for what is
    impossible.

  Raises:
    TypeError: if x_s is not integer.
    ValueError: if the shape of a time does not fit.

  Example:
    >>> from latentjax.diffusion.discrete import absorbing
    >>> log_q = transition_log_prob(jnp.array([[1]]), 0.5, 0.75, process=absorbing(num_tokens=2))
    >>> jnp.exp(log_q).tolist()
    [[[0.0, 0.5, 0.5]]]

  References:
    Gu et al., Vector Quantized Diffusion Model for Text-to-Image Synthesis, 2022. arXiv:2111.14822
  """
  x_s = check_tokens("x_s", x_s)
  shares = step_shares(expand_time(s, x_s), expand_time(t, x_s), process)
  log_q = from_token(is_token(x_s, process), shares)
  if not process.has_mask:
    return log_q
  masked = (x_s == process.num_tokens)[..., None]
  log_q = append(log_q, shares.mask)
  return jnp.where(masked, append(jnp.full_like(log_q[..., :-1], LOG_ZERO), 0.0), log_q)


def step_shares(s: jax.Array, t: jax.Array, process: DiscreteProcess) -> LogShares:
  """Of tokens that are not masked at s, at t; times that broadcast with tokens."""
  masked, replaced = _strikes(process.masked, s, t), _strikes(process.replaced, s, t)
  stays = _log_rest(masked)
  return LogShares(
    stays + _log_rest(replaced),
    stays + _log(replaced) - np.log(process.num_tokens),
    _log(masked),
  )


def from_token(token: jax.Array, shares: LogShares) -> jax.Array:
  """log(each + keep [j = token]) for one-hot tokens (..., K); the same in either direction."""
  kept = jnp.where(token, shares.keep[..., None], LOG_ZERO)
  return jnp.maximum(jnp.logaddexp(shares.each[..., None], kept), LOG_ZERO)


def is_token(x: jax.Array, process: DiscreteProcess) -> jax.Array:
  """One-hot (..., K), False throughout for [MASK]."""
  return x[..., None] == jnp.arange(process.num_tokens)


def certain(x: jax.Array, process: DiscreteProcess) -> jax.Array:
  """Logits (..., K) of tokens that are known."""
  return jnp.where(is_token(x, process), 0.0, LOG_ZERO)


def append(log_p: jax.Array, last: jax.Array | float) -> jax.Array:
  """One more state (...,) after (..., K)."""
  last = jnp.broadcast_to(jnp.asarray(last, log_p.dtype), log_p.shape[:-1])
  return jnp.concatenate([log_p, last[..., None]], axis=-1)


def check_tokens(name: str, x: ArrayLike) -> jax.Array:
  """Tokens, int32."""
  if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
    raise TypeError(f"{name} must be integers, got {jnp.result_type(x)}")
  if jnp.ndim(x) == 0:
    raise ValueError(f"{name} must have a batch axis, got a scalar")
  check_not_empty(**{name: x})
  return jnp.asarray(x, jnp.int32)


def check_logits(
  logits: ArrayLike, x: ArrayLike, process: DiscreteProcess, name: str = "x_t"
) -> tuple[jax.Array, jax.Array]:
  """Logits (..., K), float32 or wider, and tokens (...)."""
  x = check_tokens(name, x)
  check_float(logits=logits)
  if jnp.shape(logits) != (*x.shape, process.num_tokens):
    raise ValueError(
      f"logits must have shape {(*x.shape, process.num_tokens)}, one for each of the "
      f"{process.num_tokens} tokens at every place of {name}, got {jnp.shape(logits)}"
    )
  return jnp.asarray(logits, wide_dtype(logits)), x


def _strikes(clock: TimeFn, s: jax.Array, t: jax.Array) -> jax.Array:
  """Probability that a clock strikes between s and t if it has not before."""
  early, late = clock(s), clock(t)
  left = 1 - early
  return jnp.clip(jnp.where(left > 0, (late - early) / jnp.where(left > 0, left, 1), 0), 0, 1)


def _log(p: jax.Array) -> jax.Array:
  return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1)), LOG_ZERO)


def _log_rest(p: jax.Array) -> jax.Array:
  """log(1 - p)."""
  return jnp.where(p < 1, jnp.log1p(-jnp.where(p < 1, p, 0)), LOG_ZERO)
