"""Binary spherical quantisation: the corners of a cube on the unit sphere (BSQ)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_batch, check_range, wide_dtype
from latentjax.losses.contrastive.normalize import l2_normalize
from latentjax.quantizers import _bits
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.quantized import Quantized

__all__ = ["binary_spherical_entropy_loss", "binary_spherical_quantize", "codes_from_indices"]


def binary_spherical_quantize(z: ArrayLike, *, beta: ArrayLike = 0.25) -> Quantized:
  r"""Signs of a vector on the unit sphere, at length 1.

  .. math::

    u = \frac{z}{\|z\|}, \quad q = \frac{\mathrm{sign}(u)}{\sqrt D}, \quad
    k = \sum_{i=0}^{D-1} 2^i\,[z_i > 0], \quad
    \ell = \beta\,\|u - q\|^2 \le \beta\Big(2 - \frac{2}{\sqrt D}\Big)

  The error is bounded, unlike that of signs of an unbounded z. The sign of 0, and of what is not a
  number, is -1.

  Args:
    z: vectors of any norm, shape (..., D) with D at most 31. Wider ones are split after
      normalisation, as u.reshape(..., G, D // G), and quantised by `lookup_free_quantize`.
    beta: weight of the commitment loss, not negative. Can be traced.

  Returns:
    Quantized: z_q (..., D) in the dtype of z, indices (...,), loss (...,), float32 or wider. The sign
    is straight-through: the gradient of z_q reaches z as if z_q were u / sqrt(D). The loss reaches z,
    its q is detached.

  Raises:
    TypeError: if z is not floating point.
    ValueError: if z is a scalar or D is not in [1, 31], or beta is negative.

  Example:
    >>> z_q, indices, loss = binary_spherical_quantize(jnp.array([[3.0, -0.1, 0.2, 5.0]]))
    >>> z_q.tolist(), indices.tolist()
    ([[0.5, -0.5, 0.5, 0.5]], [13])

  References:
    Zhao et al., Image and Video Tokenization with Binary Spherical Quantization, 2024.
      arXiv:2406.07548
  """
  z = _bits.check_bits(z)
  check_range(low=0.0, beta=beta)
  u = l2_normalize(z.astype(wide_dtype(z)))
  q, scale = _bits.signs(z).astype(u.dtype), z.shape[-1] ** -0.5
  z_q = (scale * straight_through(u, q)).astype(z.dtype)
  return Quantized(z_q, _bits.indices_from_signs(z), _bits.commitment(u, scale * q, beta))


def codes_from_indices(indices: ArrayLike, *, dim: int) -> jax.Array:
  r"""The vectors that `binary_spherical_quantize` gives these indices.

  .. math:: q_i = (2 (\lfloor k / 2^i \rfloor \bmod 2) - 1) / \sqrt D

  Args:
    indices: integers in [0, 2^D), shape (...,).
    dim: D, at most 31.

  Returns:
    Codes, shape (..., D), float32; nan where an index is out of range. Nothing to differentiate.

  Raises:
    TypeError: if indices or dim is not an integer.
    ValueError: if dim is not in [1, 31].

  Example:
    >>> codes_from_indices(jnp.array(13), dim=4).tolist()
    [0.5, -0.5, 0.5, 0.5]

  References:
    Zhao et al., Image and Video Tokenization with Binary Spherical Quantization, 2024.
      arXiv:2406.07548
  """
  return dim**-0.5 * _bits.signs_from_indices(indices, dim)


def binary_spherical_entropy_loss(
  z: ArrayLike,
  *,
  temperature: ArrayLike = 0.01,
  gamma: ArrayLike = 1.0,
  group_size: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Entropy of a vector's code minus that of all vectors', on the sphere.

  .. math::

    E_z[H(p(\cdot|z))] - \gamma\,H(E_z[p(\cdot|z)]), \qquad
    p(c|z) \propto \exp(-\|u - c\|^2 / \tau) = \prod_i \sigma\big(4 c_i u_i / \tau\big), \quad
    c \in \{\pm 1 / \sqrt D\}^D

  Everything else is as in `lookup_free_entropy_loss`; the authors take groups of 9 bits. (Their
  program multiplies the loss by tau.)

  Args:
    z: vectors of any norm, shape (..., D), of any width.
    temperature: tau, positive. Can be traced.
    gamma: weight of the entropy of all, not negative. Can be traced.
    group_size: g, bits whose joint distribution is taken, at most 24, divides D; None: all.
    axis_name: mapped device axis over which the vectors are split, inside `pmap` or `shard_map`.

  Returns:
    Loss of the batch in nats, a scalar, float32 or wider. Gradient flows to z.

  Raises:
    TypeError: if z is not floating point or group_size is not an integer.
    ValueError: if z is a scalar, or temperature, gamma or group_size is out of range.

  Example:
    >>> loss = binary_spherical_entropy_loss(jnp.array([[5.0], [-9.0]]))  # - log 2
    >>> round(float(loss), 4)
    -0.6931

  References:
    Zhao et al., Image and Video Tokenization with Binary Spherical Quantization, 2024.
      arXiv:2406.07548
  """
  check_batch(z=z)
  check_range(low=0.0, strict=True, temperature=temperature)
  u = l2_normalize(jnp.asarray(z, wide_dtype(z)))
  logits = 4 * u / (temperature * u.shape[-1] ** 0.5)
  return _bits.entropy_loss(logits, gamma=gamma, group_size=group_size, axis_name=axis_name)
