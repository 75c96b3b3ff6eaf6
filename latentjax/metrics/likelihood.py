"""Likelihoods in the unit in which image models report them."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, wide_dtype

__all__ = ["bits_per_dimension"]


def bits_per_dimension(nll: ArrayLike, *, num_dims: int, bin_width: float = 1.0) -> jax.Array:
  r"""Negative log-likelihood in bits for each entry of an example.

  .. math:: \frac{1}{\log 2} \Big(\frac{\mathrm{nll}}{D} - \log \Delta\Big)

  For a density of values that stand for levels, Delta apart, it is what the levels themselves cost if the
  density is constant within a level (or an upper bound on it, if uniform noise of this width was added):
  256 levels of grey at 0, 1, ... 255 have Delta = 1; in [-1, 1], Delta = 2 / 256 as usually counted, that
  is 7 bits more.

  Args:
    nll: -log p in nats, summed over an example, any shape.
    num_dims: D, entries of an example.
    bin_width: Delta, distance of neighbouring levels in the unit of the density; 1 for a probability of
      discrete values.

  Returns:
    Bits per dimension, the shape of nll, float32 or wider. Gradient flows to nll.

  Raises:
    TypeError: if nll is not floating point or num_dims is not an integer.
    ValueError: if a number is not positive.

  Example:
    >>> float(bits_per_dimension(12 * jnp.log(2.0), num_dims=4))
    3.0
    >>> float(bits_per_dimension(jnp.array(0.0), num_dims=4, bin_width=2 / 256))
    7.0

  References:
    Theis et al., A note on the evaluation of generative models, 2015 (densities of levels).
      arXiv:1511.01844
  """
  check_float(nll=nll)
  check_positive_int(num_dims=num_dims)
  check_range(0.0, strict=True, bin_width=bin_width)
  nll = jnp.asarray(nll, wide_dtype(nll))
  return (nll / num_dims - math.log(bin_width)) / math.log(2)
