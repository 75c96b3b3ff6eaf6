"""Probabilistic vector quantisation with cascaded multi-codebooks (McQuic)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_rank, wide_dtype
from latentjax.densities import gumbel_softmax
from latentjax.quantizers import product
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.quantized import Quantized
from latentjax.quantizers.vector import GradientFn, check_indices

__all__ = [
  "codes_from_indices",
  "multi_codebook_logits",
  "multi_codebook_mode",
  "multi_codebook_quantize",
]


def multi_codebook_logits(
  z: ArrayLike, codebooks: ArrayLike, *, scale: ArrayLike = 1.0
) -> jax.Array:
  r"""Log-probabilities of the codes of every part, the components of a Gaussian mixture each.

  .. math:: l^m_k = -s_m \left(\|z^m - c^m_k\|^2 - \min_j \|z^m - c^m_j\|^2\right)

  Their softmax is the posterior over equally likely components N(c_k, 1 / (2 s)); the minimum, a
  constant that it does not see, keeps the digits.

  Args:
    z: vectors, shape (..., D).
    codebooks: one for every part, shape (M, K, D / M).
    scale: s, positive, a number or one for every part, shape (M,). Can be traced or learned; the
      authors learn it, from 1 / sqrt(K).

  Returns:
    Logits in nats, not normalised, shape (..., M, K), float32 or wider. Gradient flows to z, the
    codebooks and a traced scale; the minimum is detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or the codebooks are empty.

  Example:
    >>> multi_codebook_logits(jnp.array([1.0, 0.0, 0.0, 2.0]), jnp.stack([jnp.eye(2)] * 2)).tolist()
    [[0.0, -2.0], [-4.0, 0.0]]

  References:
    Zhu et al., Unified Multivariate Gaussian Mixture for Efficient Neural Image Compression, 2022.
      arXiv:2203.10897
  """
  check_float(z=z, codebooks=codebooks, scale=scale)
  check_rank(3, codebooks=codebooks)
  if jnp.shape(scale) not in ((), jnp.shape(codebooks)[:1]):
    raise ValueError(
      f"scale must be a number or of shape {jnp.shape(codebooks)[:1]}, got {jnp.shape(scale)}"
    )
  parts, codes = _parts(z, codebooks)
  # About the middle of the codes, for the digits of the products.
  centre = jax.lax.stop_gradient(jnp.mean(codes, axis=1))
  parts, codes = parts - centre, codes - centre[:, None]
  products = jnp.einsum("...md,mkd->...mk", parts, codes, precision="highest")
  nearness = 2 * products - jnp.sum(jnp.square(codes), axis=-1)
  nearness -= jnp.sum(jnp.square(parts), axis=-1, keepdims=True)
  nearness -= jax.lax.stop_gradient(jnp.max(nearness, axis=-1, keepdims=True))
  return nearness * jnp.asarray(scale, nearness.dtype)[..., None]


def multi_codebook_quantize(
  key: jax.Array,
  z: ArrayLike,
  codebooks: ArrayLike,
  *,
  scale: ArrayLike = 1.0,
  temperature: ArrayLike = 1.0,
  axis_name: str | None = None,
) -> Quantized:
  r"""Codes drawn level by level, each for what the levels before have left over.

  .. math::

    b^m_l \sim \mathrm{Categorical}(\mathrm{softmax}\, l^m(r_l)), \quad r_1 = z, \quad
    r_{l + 1} = r_l - (c^{l,1}_{b^1_l}, \dots, c^{l,M}_{b^M_l}), \quad z_q = z - r_{L + 1}

  Drawn by the Gumbel-softmax, with the code itself as the value. For training; `multi_codebook_mode`
  takes the nearest codes. Weights of the codes take memory (..., M, K). (The authors put networks
  that halve the resolution between the levels; then call this once for each, with L = 1. Their
  program also bars frequent codes at random, which this does not.)

  Args:
    key: random key, the same on every device.
    z: vectors, shape (B, ..., D).
    codebooks: of every level and part, shape (L, M, K, D / M).
    scale: s of `multi_codebook_logits`, a number or of shape (L, M).
    temperature: tau > 0 of the relaxation. Can be traced, for annealing.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Quantized: z_q in the dtype of z; indices (..., L * M), first all parts of the first level, 0
    where a part of z is not finite; loss 0, as nothing but the distortion trains them. Gradient
    flows to z, codebooks and traced scale as for the relaxed sample (straight-through), and to the
    drawn codes; it passes the residuals.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit, the codebooks are empty or temperature is not positive.

  Example:
    >>> codebooks = 10.0 ** jnp.arange(2.0)[:, None, None, None] * jnp.eye(2)[None, None]
    >>> out = multi_codebook_quantize(
    ...   jax.random.key(0), jnp.array([[0.0, 11.0]]), codebooks[::-1], scale=9.0
    ... )
    >>> out.z_q.tolist(), out.indices.tolist()
    ([[0.0, 11.0]], [[1, 1]])

  References:
    Zhu et al., Unified Multivariate Gaussian Mixture for Efficient Neural Image Compression, 2022.
      arXiv:2203.10897
  """
  codebooks = _as_codebooks(codebooks)
  check_float(z=z, scale=scale)
  z = jnp.asarray(z)
  if jnp.shape(scale) not in ((), codebooks.shape[:2]):
    raise ValueError(
      f"scale must be a number or of shape {codebooks.shape[:2]}, got {jnp.shape(scale)}"
    )
  scale = jnp.broadcast_to(scale, codebooks.shape[:2])
  wide = wide_dtype(z, codebooks)
  residual, z_q, indices = z.astype(wide), jnp.zeros(z.shape, wide), []
  for level, codes in enumerate(codebooks.astype(wide)):
    logits = multi_codebook_logits(residual, codes, scale=scale[level])
    y = gumbel_softmax.sample(
      jax.random.fold_in(key, level),
      logits,
      temperature=temperature,
      hard=True,
      axis_name=axis_name,
    )
    indices.append(jnp.argmax(y, axis=-1).astype(jnp.int32))
    drawn = jnp.einsum("...mk,mkd->...md", y, codes, precision="highest").reshape(z.shape)
    residual, z_q = residual - drawn, z_q + drawn
  return Quantized(
    z_q.astype(z.dtype), jnp.concatenate(indices, axis=-1), jnp.zeros(z.shape[:-1], wide)
  )


def multi_codebook_mode(
  z: ArrayLike, codebooks: ArrayLike, *, gradient_fn: GradientFn = straight_through
) -> Quantized:
  r"""The most probable, which are the nearest, codes, level by level: for evaluation.

  .. math:: b^m_l = \arg\min_k \|r^m_l - c^{l,m}_k\|^2, \qquad r_1 = z, \quad
    r_{l + 1} = r_l - (c^{l,1}_{b^1_l}, \dots, c^{l,M}_{b^M_l})

  Args:
    z: vectors, shape (..., D).
    codebooks: of every level and part, shape (L, M, K, D / M).
    gradient_fn: how the gradient passes, such as `straight_through`.

  Returns:
    Quantized, as `multi_codebook_quantize`. The gradient of z_q is that of gradient_fn, by default
    that of z unchanged, and none for the codebooks.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or the codebooks are empty.

  Example:
    >>> out = multi_codebook_mode(jnp.array([[0.9, 0.2]]), jnp.eye(2)[None, None])
    >>> out.z_q.tolist(), out.indices.tolist()
    ([[1.0, 0.0]], [[0]])

  References:
    Zhu et al., Unified Multivariate Gaussian Mixture for Efficient Neural Image Compression, 2022.
      arXiv:2203.10897
  """
  codebooks = _as_codebooks(codebooks)
  check_float(z=z)
  z = jnp.asarray(z)
  wide = wide_dtype(z, codebooks)
  residual, levels = jax.lax.stop_gradient(z.astype(wide)), []
  for codes in jax.lax.stop_gradient(codebooks.astype(wide)):
    out = product.product_quantize(residual, codes)
    levels.append(out.indices)
    residual -= out.z_q
  indices = jnp.concatenate(levels, axis=-1)
  z_q = jax.lax.stop_gradient(codes_from_indices(indices, codebooks)).astype(z.dtype)
  return Quantized(gradient_fn(z, z_q), indices, jnp.zeros(z.shape[:-1], wide))


def codes_from_indices(indices: ArrayLike, codebooks: ArrayLike) -> jax.Array:
  r"""The vectors that indices stand for.

  .. math:: \sum_l (c^{l,1}_{b^1_l}, \dots, c^{l,M}_{b^M_l})

  Args:
    indices: integers in [0, K), shape (..., L * M).
    codebooks: of every level and part, shape (L, M, K, D / M).

  Returns:
    Vectors, shape (..., D), float32 or wider; a part is NaN where an index of it is out of range.
    Gradient flows to the codebooks.

  Raises:
    TypeError: if indices are not integers or the codebooks are not floating point.
    ValueError: if the shapes do not fit or the codebooks are empty.

  Example:
    >>> codes_from_indices(jnp.array([0, 1]), jnp.stack([jnp.eye(2), 3 * jnp.eye(2)])[:, None]).tolist()
    [1.0, 3.0]

  References:
    Zhu et al., Unified Multivariate Gaussian Mixture for Efficient Neural Image Compression, 2022.
      arXiv:2203.10897
  """
  codebooks, indices = _as_codebooks(codebooks), check_indices(indices)
  num_levels, num_parts = codebooks.shape[:2]
  if indices.shape[-1:] != (num_levels * num_parts,):
    raise ValueError(
      f"indices must have {num_levels} x {num_parts} along the last axis, got {indices.shape}"
    )
  levels = jnp.split(indices, num_levels, axis=-1)
  codebooks = codebooks.astype(wide_dtype(codebooks))
  return sum(map(product.codes_from_indices, levels, codebooks), jnp.zeros((), codebooks.dtype))


def _as_codebooks(codebooks: ArrayLike) -> jax.Array:
  check_float(codebooks=codebooks)
  check_rank(4, codebooks=codebooks)
  return jnp.asarray(codebooks)


def _parts(z: ArrayLike, codebooks: ArrayLike) -> tuple[jax.Array, jax.Array]:
  """Vectors as (..., M, D / M), and the codes in the same dtype."""
  num_parts, _, width = jnp.shape(codebooks)
  shape = jnp.shape(z)
  if shape[-1:] != (num_parts * width,):
    raise ValueError(f"z must have {num_parts} x {width} along its last axis, got shape {shape}")
  dtype = wide_dtype(z, codebooks)
  parts = jnp.asarray(z, dtype).reshape(*shape[:-1], num_parts, width)
  return parts, jnp.asarray(codebooks, dtype)
