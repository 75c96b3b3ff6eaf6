"""How much of a signal quantisation leaves."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_not_empty, check_same_shape, wide_dtype
from latentjax.collectives import device_mean

__all__ = ["sqnr"]


def sqnr(
  x: ArrayLike,
  x_q: ArrayLike,
  *,
  axis: int | tuple[int, ...] | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Ratio of the energies of a signal and of its quantisation noise, in decibels (SQNR).

  .. math:: 10 \log_{10} \frac{E \|x\|^2}{E \|x - x_q\|^2}

  A bit more is worth 6.02 dB where the noise is uniform over a step.

  Args:
    x: signal: weights, activations or outputs, any shape.
    x_q: the same quantised, or computed by a quantised network; the shape of x.
    axis: axes over which the means are taken; None: all.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      rows have to be among the axes of the means.

  Returns:
    Decibels, float32 or wider, of the shape of x without these axes, the same on every device;
    infinite without noise, and minus infinity for noise without a signal. Gradient flows to both
    arguments; it is zero without noise or signal.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or are empty.

  Example:
    >>> float(sqnr(jnp.array([10.0, 10.0]), jnp.array([9.0, 11.0])))
    20.0

  References:
    Pandey et al., A Practical Mixed Precision Algorithm for Post-Training Quantization, 2023.
      arXiv:2302.05397
  """
  check_float(x=x, x_q=x_q)
  check_same_shape(x=x, x_q=x_q)
  check_not_empty(x=x)
  dtype = wide_dtype(x, x_q)
  x, x_q = jnp.asarray(x, dtype), jnp.asarray(x_q, dtype)
  # In units of the largest number: squares of very small or large ones would leave float32.
  largest = jnp.maximum(jnp.max(jnp.abs(x)), jnp.max(jnp.abs(x_q)))
  largest = jax.lax.stop_gradient(largest)
  if axis_name is not None:
    largest = jax.lax.pmax(largest, axis_name)
  unit = jnp.where(largest > 0, largest, 1)
  energy = lambda array: device_mean(jnp.mean(jnp.square(array / unit), axis), axis_name)
  signal, noise = energy(x), energy(x - x_q)
  log = lambda value: jnp.log10(jnp.where(value > 0, value, 1))
  ratio = jnp.where(signal > 0, 10 * (log(signal) - log(noise)), -jnp.inf)
  return jnp.where(noise > 0, ratio, jnp.where(noise == 0, jnp.inf, jnp.nan))
