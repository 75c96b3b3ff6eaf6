"""Weights of one sign, of three values, or of powers of two: products without multiplications."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_not_empty, check_range, wide_dtype
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.network._bits import check_bits

__all__ = ["binarize", "power_of_two_quantize", "ternarize"]

Axes = int | tuple[int, ...] | None


def binarize(w: ArrayLike, *, axis: Axes = None) -> jax.Array:
  r"""Signs with the scale that is nearest to the weights (XNOR-Net).

  .. math::

    w_q = \alpha \, \mathrm{sign}(w), \qquad \alpha = \frac1n \|w\|_1, \qquad
    \frac{\partial \, \mathrm{sign}(w)}{\partial w} := 1[|w| \le 1]

  alpha minimises |w - alpha sign(w)|^2. sign(0) is 1.

  Args:
    w: weights, any shape.
    axis: axes that share a scale; None: all. For a matrix (K, N) with a scale for each output: 0.

  Returns:
    Quantised weights, of the shape and dtype of w. Gradient: straight-through for the sign, as
    above, and the ordinary one of alpha. (The paper has 1 / n in place of the latter, which couples
    the weights.)

  Raises:
    TypeError: if w is not floating point.

  Example:
    >>> binarize(jnp.array([3.0, -1.0])).tolist()
    [2.0, -2.0]

  References:
    Rastegari et al., XNOR-Net: ImageNet Classification Using Binary Convolutional Neural Networks,
      2016. arXiv:1603.05279
  """
  wide = _wide(w)
  scale = jnp.mean(jnp.abs(wide), axis, keepdims=True)
  signs = jnp.where(wide < 0, -1, 1).astype(wide.dtype)
  signs = straight_through(jnp.where(jnp.abs(wide) <= 1, wide, 0), signs)
  return (scale * signs).astype(jnp.result_type(w))


def ternarize(w: ArrayLike, *, threshold: ArrayLike = 0.7, axis: Axes = None) -> jax.Array:
  r"""Signs or zeros with the scale that is nearest to the weights (ternary weight networks).

  .. math::

    w_q = \alpha \, \mathrm{sign}(w) \, 1[|w| > \Delta], \qquad \Delta = t \, \mathrm{mean} |w|,
    \qquad \alpha = \mathrm{mean} \{ |w| : |w| > \Delta \}

  alpha is optimal for its threshold, which with t = 0.7 is nearly so for normal and uniform weights.

  Args:
    w: weights, any shape.
    threshold: t, not negative. Can be traced.
    axis: axes that share a scale, see `binarize`.

  Returns:
    Quantised weights, of the shape and dtype of w. The gradient is the identity (straight-through).

  Raises:
    TypeError: if w is not floating point.
    ValueError: if threshold is negative.

  Example:
    >>> ternarize(jnp.array([3.0, -1.0, 0.2])).tolist()
    [2.0, -2.0, 0.0]

  References:
    Li et al., Ternary Weight Networks, 2016. arXiv:1605.04711
  """
  check_range(0, threshold=threshold)
  wide = _wide(w)
  sizes = jnp.abs(jax.lax.stop_gradient(wide))
  kept = sizes > threshold * jnp.mean(sizes, axis, keepdims=True)
  total = jnp.sum(sizes, axis, where=kept, keepdims=True)
  scale = total / jnp.maximum(jnp.sum(kept, axis, keepdims=True), 1)
  w_q = jnp.where(kept, scale * jnp.sign(wide), 0)
  return straight_through(wide, w_q).astype(jnp.result_type(w))


def power_of_two_quantize(w: ArrayLike, *, bits: ArrayLike = 4, axis: Axes = None) -> jax.Array:
  r"""Nearest of 0 and signed powers of two (logarithmic quantisation).

  .. math::

    w_q \in \{0, \pm 2^{e_1}, \pm 2^{e_1 - 1}, \ldots, \pm 2^{e_0}\}, \qquad
    e_1 = \lfloor \log_2 (\tfrac43 \max |w|) \rfloor, \qquad e_0 = e_1 - 2^{b-1} + 2

  That is 2^b - 1 values. (INQ has half as many powers, and a bit for 0 alone.) Nearest by value;
  halfway, the larger magnitude.

  Args:
    w: weights, any shape.
    bits: b, from 2 to 7. Can be traced.
    axis: axes that share a range of exponents, see `binarize`.

  Returns:
    Quantised weights, of the shape and dtype of w. The gradient is the identity (straight-through).

  Raises:
    TypeError: if w is not floating point or bits not an integer.
    ValueError: if bits is out of range.

  Example:
    >>> power_of_two_quantize(jnp.array([0.9, -0.3, 0.7, 0.01]), bits=3).tolist()
    [1.0, -0.25, 0.5, 0.0]

  References:
    Zhou et al., Incremental Network Quantization: Towards Lossless CNNs with Low-Precision Weights,
      2017. arXiv:1702.03044
  """
  check_bits(bits)
  check_range(2, 7, bits=bits)
  wide = _wide(w)
  sizes = jnp.abs(jax.lax.stop_gradient(wide))
  last = _nearest_exponent(jnp.max(sizes, axis, keepdims=True))
  first = last - 2 ** (bits - 1) + 2
  exponent = jnp.clip(_nearest_exponent(sizes), first, last)
  powers = jnp.ldexp(jnp.ones_like(wide), exponent)
  w_q = jnp.where(sizes < powers / 2, 0, jnp.sign(wide) * powers)
  return straight_through(wide, w_q).astype(jnp.result_type(w))


def _nearest_exponent(sizes: jax.Array) -> jax.Array:
  """floor(log2(4 / 3 x)) from the float's own bits: exact."""
  mantissa, exponent = jnp.frexp(sizes)
  return exponent - (mantissa < 0.75)


def _wide(w: ArrayLike) -> jax.Array:
  check_float(w=w)
  check_not_empty(w=w)
  return jnp.asarray(w, wide_dtype(w))
