"""Codes drawn from logits, relaxed by the Gumbel-softmax (the dVAE of DALL-E)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, wide_dtype
from latentjax.densities import categorical, gumbel_softmax
from latentjax.quantizers.quantized import Quantized
from latentjax.quantizers.vector import codes_from_indices

__all__ = ["codes_from_indices", "gumbel_mode", "gumbel_quantize"]


def gumbel_quantize(
  key: jax.Array,
  logits: ArrayLike,
  codebook: ArrayLike,
  *,
  temperature: ArrayLike,
  hard: bool = False,
  axis_name: str | None = None,
) -> Quantized:
  r"""A mixture of codes that tends to one drawn code as the temperature falls.

  .. math::

    z_q = \sum_k y_k c_k, \quad y = \mathrm{softmax}\left(\frac{l + g}{\tau}\right), \quad
    g_k \sim \mathrm{Gumbel}(0, 1), \qquad
    \mathrm{loss} = \mathrm{KL}(\mathrm{softmax}(l) \,\|\, U_N)

  The index, the largest of y, is a draw from softmax(l) at every temperature. With `hard` the value
  is the code of that index, and the gradient that of the mixture. Weights y take memory (..., N).
  The divergence from the uniform prior wants a weight of its own and a schedule: DALL-E's rises to
  6.6 while tau falls from 1 to 1/16.

  Args:
    key: random key, the same on every device.
    logits: l, what the encoder puts out instead of vectors, finite, shape (..., N). NaN gives NaN
      and the index 0.
    codebook: shape (N, D).
    temperature: tau > 0. Can be traced, for annealing.
    hard: whether to use one code only, straight-through.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Quantized: z_q (..., D) in the dtype of the logits, indices (...,), loss (...,) in nats. The
    gradient of z_q reaches the logits and a traced temperature through y, with `hard`
    straight-through, and the codebook: all codes, with `hard` the drawn one. The loss's reaches the
    logits.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit, the codebook is empty or temperature is not positive.

  Example:
    >>> quantized = gumbel_quantize(
    ...   jax.random.key(0), jnp.array([[0.0, 1e4]]), jnp.eye(2), temperature=1.0
    ... )
    >>> quantized.z_q.tolist(), quantized.indices.tolist(), quantized.loss.tolist()  # log 2
    ([[0.0, 1.0]], [1], [0.6931...])

  References:
    Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017. arXiv:1611.01144
    Ramesh et al., Zero-Shot Text-to-Image Generation, 2021. arXiv:2102.12092
  """
  wide, codes = _check(logits, codebook)
  y = gumbel_softmax.sample(key, wide, temperature=temperature, hard=hard, axis_name=axis_name)
  indices = jnp.argmax(y, axis=-1).astype(jnp.int32)
  z_q = jnp.matmul(y, codes, precision="highest").astype(jnp.result_type(logits))
  return Quantized(z_q, indices, categorical.kl_uniform(wide, event_ndim=0))


def gumbel_mode(logits: ArrayLike, codebook: ArrayLike) -> Quantized:
  r"""The most probable code, for evaluation.

  .. math:: z_q = c_k, \quad k = \arg\max_j l_j

  Args:
    logits: shape (..., N).
    codebook: shape (N, D).

  Returns:
    Quantized, as `gumbel_quantize`. The gradient of z_q reaches the codebook, not the logits; the
    loss's the logits.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or the codebook is empty.

  Example:
    >>> gumbel_mode(jnp.array([[0.5, 0.0]]), jnp.eye(2)).z_q.tolist()
    [[1.0, 0.0]]

  References:
    Ramesh et al., Zero-Shot Text-to-Image Generation, 2021. arXiv:2102.12092
  """
  wide, codes = _check(logits, codebook)
  indices = jnp.argmax(wide, axis=-1).astype(jnp.int32)
  z_q = codes[indices].astype(jnp.result_type(logits))
  return Quantized(z_q, indices, categorical.kl_uniform(wide, event_ndim=0))


def _check(logits: ArrayLike, codebook: ArrayLike) -> tuple[jax.Array, jax.Array]:
  check_float(logits=logits, codebook=codebook)
  check_rank(2, codebook=codebook)
  if jnp.ndim(logits) < 1 or jnp.shape(logits)[-1] != jnp.shape(codebook)[0]:
    raise ValueError(
      f"logits must have shape (..., {jnp.shape(codebook)[0]}), one for each code, "
      f"got {jnp.shape(logits)}"
    )
  dtype = wide_dtype(logits, codebook)
  return jnp.asarray(logits, dtype), jnp.asarray(codebook, dtype)
