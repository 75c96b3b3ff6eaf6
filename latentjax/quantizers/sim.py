"""SimVQ: a frozen codebook seen through one learned linear map."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.quantizers import vector
from latentjax.quantizers._nearest import nearest_rows
from latentjax.quantizers.gradients import straight_through
from latentjax.quantizers.quantized import Quantized

__all__ = ["codes_from_indices", "init_sim_vq", "sim_vq"]


def init_sim_vq(key: jax.Array, *, num_codes: int, dim: int) -> tuple[jax.Array, jax.Array]:
  r"""A random codebook and a random linear map, as the authors draw them.

  .. math:: C_{kd} \sim N(0, 1 / D), \qquad W_{de} \sim U(-1 / \sqrt{D}, 1 / \sqrt{D})

  Only W is a parameter to be trained; C is kept as it is.

  Args:
    key: random key.
    num_codes: N.
    dim: D.

  Returns:
    Codebook (N, D) and weight (D, D), float32.

  Raises:
    TypeError: if num_codes or dim is not an integer.
    ValueError: if one is not positive.

  Example:
    >>> codebook, weight = init_sim_vq(jax.random.key(0), num_codes=8, dim=3)
    >>> codebook.shape, weight.shape
    ((8, 3), (3, 3))

  References:
    Zhu et al., Addressing Representation Collapse in Vector Quantized Models with One Linear Layer,
      2024 (the authors' code; its map has a bias besides). arXiv:2411.02038
  """
  check_positive_int(num_codes=num_codes, dim=dim)
  key_codes, key_weight = jax.random.split(key)
  scale = dim**-0.5
  codebook = scale * jax.random.normal(key_codes, (num_codes, dim))
  return codebook, jax.random.uniform(key_weight, (dim, dim), minval=-scale, maxval=scale)


def sim_vq(
  z: ArrayLike,
  codebook: ArrayLike,
  weight: ArrayLike,
  *,
  beta: ArrayLike = 0.25,
  gradient_fn: vector.GradientFn = straight_through,
  block_size: int | None = None,
) -> Quantized:
  r"""Nearest code of a codebook C W of which only the linear map W is learned (SimVQ).

  .. math::

    \|\mathrm{sg}(z) - q\|^2 + \beta \|z - \mathrm{sg}(q)\|^2, \qquad q = c_k W, \quad
    k = \arg\min_j \|z - c_j W\|

  The gradient of W moves all codes at every step, where that of a codebook moves the codes that
  were selected; so none is left behind. Here the loss is a sum over D, in the authors' code a mean.
  Besides the search it costs one product (N, C) x (C, D), forward and backward.

  Args:
    z: vectors, shape (..., D).
    codebook: C, shape (N, C); random, see `init_sim_vq`.
    weight: W, shape (C, D).
    beta: weight of the commitment, at least 0. Can be traced.
    gradient_fn: `(z, codes) -> z_q`, how the gradient passes: `straight_through`, `rotation_trick`.
    block_size: see `nearest_code`.

  Returns:
    Quantized; indices (...,), loss (...,) summed over D. The gradient of z_q is that of
    gradient_fn: with the default, that of z unchanged. The loss's reaches z and the weight as
    written. The codebook is detached, and the choice of the code has no gradient.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes do not fit, the codebook is empty, beta is negative or block_size is
      not positive.

  Example:
    >>> quantized = sim_vq(jnp.array([[1.9, 0.0]]), jnp.eye(2), 2 * jnp.eye(2))
    >>> quantized.z_q.tolist(), quantized.indices.tolist()
    ([[2.0, 0.0]], [0])

  References:
    Zhu et al., Addressing Representation Collapse in Vector Quantized Models with One Linear Layer,
      2024 (beta before the commitment, as in the authors' settings). arXiv:2411.02038
  """
  z, mapped = vector.check_codebook(z, _map(codebook, weight))
  check_range(0.0, beta=beta)
  indices = nearest_rows(z, mapped, block_size=block_size)
  codes = mapped[indices]
  return Quantized(gradient_fn(z, codes.astype(z.dtype)), indices, vector.pull_loss(z, codes, beta))


def codes_from_indices(indices: ArrayLike, codebook: ArrayLike, weight: ArrayLike) -> jax.Array:
  r"""The codes that indices stand for.

  .. math:: c_k W

  The whole codebook is mapped; who decodes often maps it once and uses that of `vector`.

  Args:
    indices: integers in [0, N), shape (...,).
    codebook: C, shape (N, C).
    weight: W, shape (C, D).

  Returns:
    Codes, shape (..., D), float32 or wider; NaN where an index is out of range. Gradient flows to
    the weight; the codebook is detached.

  Raises:
    TypeError: if indices are not integers or another array is not floating point.
    ValueError: if the shapes do not fit or the codebook is empty.

  Example:
    >>> codes_from_indices(jnp.array([1, 5]), jnp.eye(2), 2 * jnp.eye(2)).tolist()
    [[0.0, 2.0], [nan, nan]]

  References:
    Zhu et al., Addressing Representation Collapse in Vector Quantized Models with One Linear Layer,
      2024. arXiv:2411.02038
  """
  return vector.codes_from_indices(indices, _map(codebook, weight))


def _map(codebook: ArrayLike, weight: ArrayLike) -> jax.Array:
  check_float(codebook=codebook, weight=weight)
  check_rank(2, codebook=codebook, weight=weight)
  if jnp.shape(codebook)[1] != jnp.shape(weight)[0]:
    raise ValueError(
      f"weight must have shape ({jnp.shape(codebook)[1]}, D), one row for each column of the "
      f"codebook, got {jnp.shape(weight)}"
    )
  dtype = wide_dtype(codebook, weight)
  codebook = jax.lax.stop_gradient(jnp.asarray(codebook, dtype))
  return jnp.matmul(codebook, jnp.asarray(weight, dtype), precision="highest")
