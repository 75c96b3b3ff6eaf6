"""Samples of a discrete diffusion model, and bits by whether they are to be flipped."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range, check_same_shape
from latentjax.collectives import draw_rows, row_offset
from latentjax.diffusion.discrete.posterior import posterior_log_prob
from latentjax.diffusion.discrete.process import DiscreteProcess
from latentjax.diffusion.discrete.transitions import (
  check_logits,
  check_tokens,
)
from latentjax.diffusion.samplers._steps import check_times

__all__ = ["ancestral", "logits_from_flips"]


def ancestral(
  key: jax.Array,
  predict_fn: Callable[[jax.Array, jax.Array], jax.Array],
  x_init: ArrayLike,
  *,
  process: DiscreteProcess,
  times: ArrayLike,
  temperature: ArrayLike = 1.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Tokens by the reverse chain, every place by itself in each step, over any times.

  .. math:: x_s \sim \sum_{x_0} q(x_s | x_t, x_0) \, p(x_0 | x_t)

  Each step's marginals are right at any distance of s from t, given the true p(x_0 | x_t): of a single
  place the samples are exact whatever the times. Places are drawn independently of each other, so of
  several the joint distribution is exact in the limit of many steps.

  Args:
    key: random key, the same on every device.
    predict_fn: `(x_t, t) -> logits` of p(x_0 | x_t), for int32 x_t (B, ...) and t of shape (), shape
      (B, ..., K).
    x_init: states at times[0], such as `draw_prior`'s, integers, shape (B, ...).
    process: the discrete process.
    times: falling, shape (N + 1,), to 0 for tokens of the data.
    temperature: positive; logits are divided by it. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    States at times[-1], int32, the shape of x_init. Nothing to differentiate.

  Raises:
    TypeError: if x_init is not integer, or times are not floating point.
    ValueError: if times do not fall or are not of shape (N + 1,), or temperature is not positive.

  Example:
    >>> from latentjax.diffusion.discrete import absorbing
    >>> always_two = lambda x_t, t: 99.0 * jax.nn.one_hot(jnp.full_like(x_t, 2), 3)
    >>> start, times = jnp.full((1, 4), 3), jnp.linspace(1.0, 0.0, 6)
    >>> process = absorbing(num_tokens=3)
    >>> ancestral(jax.random.key(0), always_two, start, process=process, times=times).tolist()
    [[2, 2, 2, 2]]

  References:
    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021.
      arXiv:2107.03006
    Gu et al., Vector Quantized Diffusion Model for Text-to-Image Synthesis, 2022 (fewer steps than in
      training). arXiv:2111.14822
  """
  x_init, times = check_tokens("x_init", x_init), check_times(times, times)
  check_range(0.0, strict=True, temperature=temperature)

  def step(x: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
    t, s, key = inputs
    logits, _ = check_logits(predict_fn(x, t), x, process)
    log_p = posterior_log_prob(logits / temperature, x, s, t, process=process)
    # One number for each place, by inversion: K of them, for Gumbel noise, take six times as long.
    share = jnp.cumsum(jnp.exp(log_p), axis=-1)
    draw = draw_rows(key, jax.random.uniform, x.shape, axis_name=axis_name)[..., None]
    return jnp.sum(share <= draw * share[..., -1:], axis=-1, dtype=jnp.int32), None

  # A constant start does not vary over the devices, but what is drawn does: so must the start.
  start = x_init + 0 * jnp.asarray(row_offset(len(x_init), axis_name), jnp.int32)
  keys = jax.random.split(key, times.shape[0] - 1)
  return jax.lax.scan(step, start, (times[:-1], times[1:], keys))[0]


def logits_from_flips(flips: ArrayLike, x_t: ArrayLike) -> jax.Array:
  r"""Logits of bits of the data, from those of their being other than what is seen.

  .. math:: p(x_0 = 1 - x_t | x_t) = \sigma(f)

  The residual prediction of binary latent diffusion: early in the process few bits have flipped, so the
  network starts from what it sees.

  Args:
    flips: f, shape (B, ...).
    x_t: bits seen, integers 0 and 1, the same shape.

  Returns:
    Logits of 0 and 1, as `bernoulli` has them, shape (B, ..., 2). Gradient flows to flips.

  Raises:
    TypeError: if x_t is not integer.
    ValueError: if the shapes differ.

  Example:
    >>> logits_from_flips(jnp.array([[2.0, 2.0]]), jnp.array([[0, 1]])).tolist()
    [[[0.0, 2.0], [2.0, 0.0]]]

  References:
    Wang et al., Binary Latent Diffusion, 2023. arXiv:2304.04820
  """
  x_t, flips = check_tokens("x_t", x_t), jnp.asarray(flips)
  check_same_shape(flips=flips, x_t=x_t)
  return jnp.where(x_t[..., None] == jnp.arange(2), 0, flips[..., None])
