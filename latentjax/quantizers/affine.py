"""A codebook that is stretched and shifted as a whole to where the vectors are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, wide_dtype
from latentjax.collectives import device_mean
from latentjax.quantizers.vector import check_codebook

__all__ = ["AffineCodebook", "affine_codebook", "init_affine_codebook", "update_affine_codebook"]


class AffineCodebook(NamedTuple):
  """Running moments of vectors and codes, one of every entry.

  Attributes:
    mean_z: shape (D,).
    variance_z: shape (D,).
    mean_codes: shape (D,).
    variance_codes: shape (D,).
    num_updates: batches seen, int32, shape (); the first sets the moments.
  """

  mean_z: jax.Array
  variance_z: jax.Array
  mean_codes: jax.Array
  variance_codes: jax.Array
  num_updates: jax.Array


def init_affine_codebook(*, dim: int) -> AffineCodebook:
  r"""The state that leaves a codebook as it is.

  .. math:: \mu_z = \mu_c = 0, \qquad \sigma_z^2 = \sigma_c^2 = 1

  Args:
    dim: D.

  Returns:
    The state, float32.

  Raises:
    TypeError: if dim is not an integer.
    ValueError: if it is not positive.

  Example:
    >>> affine_codebook(jnp.eye(2), init_affine_codebook(dim=2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]

  References:
    Huh et al., Straightening Out the Straight-Through Estimator: Overcoming Optimization Challenges
      in Vector Quantized Networks, 2023. arXiv:2305.08842
  """
  check_positive_int(dim=dim)
  zeros, ones = jnp.zeros(dim), jnp.ones(dim)
  return AffineCodebook(zeros, ones, jnp.copy(zeros), jnp.copy(ones), jnp.int32(0))


def update_affine_codebook(
  state: AffineCodebook,
  z: ArrayLike,
  codebook: ArrayLike,
  *,
  decay: ArrayLike = 0.9,
  axis_name: str | None = None,
) -> AffineCodebook:
  r"""Moments after a batch.

  .. math:: \mu \leftarrow \gamma \mu + (1 - \gamma) \hat \mu, \qquad
    \sigma^2 \leftarrow \gamma \sigma^2 + (1 - \gamma) \hat \sigma^2

  with mean and variance of the batch's vectors, and of the codes as they are before the affine map.
  The first batch sets them.

  Args:
    state: before the batch.
    z: vectors, shape (..., D). One with an entry that is not finite is left out.
    codebook: codes before the map, shape (N, D).
    decay: gamma, in [0, 1]. Can be traced.
    axis_name: mapped device axis over which the vectors are split, inside `pmap` or `shard_map`. The
      vectors of all devices count, and every device has the same state.

  Returns:
    The next state. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit, the codebook is empty or decay is out of range.

  Example:
    >>> state, z = init_affine_codebook(dim=1), jnp.array([[1.0], [5.0]])
    >>> state = update_affine_codebook(state, z, jnp.array([[0.0], [1.0]]))
    >>> state.mean_z.tolist(), state.variance_z.tolist()
    ([3.0], [4.0])

  References:
    Huh et al., Straightening Out the Straight-Through Estimator: Overcoming Optimization Challenges
      in Vector Quantized Networks, 2023. arXiv:2305.08842
  """
  z, codebook = check_codebook(z, codebook)
  _check_width(codebook, state)
  check_range(0.0, 1.0, decay=decay)
  dtype = state.mean_z.dtype
  rows, codes = z.reshape(-1, z.shape[-1]).astype(dtype), codebook.astype(dtype)
  valid = jnp.all(jnp.isfinite(rows), axis=1)
  count = device_mean(jnp.sum(valid, dtype=dtype), axis_name)

  def average(values: jax.Array) -> jax.Array:
    total = jnp.sum(jnp.where(valid[:, None], values, 0), axis=0)
    return device_mean(total, axis_name) / jnp.where(count > 0, count, 1)

  mean_z = average(rows)
  variance_z = average(jnp.square(rows - mean_z))
  decay = jnp.where(state.num_updates > 0, jnp.asarray(decay, dtype), 0)
  decay = jnp.where(count > 0, decay, 1)
  blend = lambda old, new: jax.lax.stop_gradient(decay * old + (1 - decay) * new)
  return AffineCodebook(
    blend(state.mean_z, mean_z),
    blend(state.variance_z, variance_z),
    blend(state.mean_codes, jnp.mean(codes, axis=0)),
    blend(state.variance_codes, jnp.var(codes, axis=0)),
    state.num_updates + (count > 0),
  )


def affine_codebook(codebook: ArrayLike, state: AffineCodebook, *, eps: float = 1e-8) -> jax.Array:
  r"""Codes moved to the mean and variance of the vectors; quantise with these.

  .. math:: \sqrt{\frac{\sigma_z^2}{\sigma_c^2 + \epsilon}} \, (c - \mu_c) + \mu_z

  Where the encoder's vectors go, all codes go along, used or not; so none is left behind. (The
  other form of the paper, shared scale and bias as parameters, is `scale * codebook + bias`.) The
  codes that indices stand for are those of the returned codebook.

  Args:
    codebook: codes before the map, shape (N, D).
    state: moments.
    eps: added to the codes' variance, positive.

  Returns:
    Codes, shape (N, D), float32 or wider. Gradient flows to the codebook; the state is detached.

  Raises:
    TypeError: if the codebook is not floating point.
    ValueError: if it is empty or of another width than the state, or eps is not positive.

  Example:
    >>> state = update_affine_codebook(
    ...   init_affine_codebook(dim=1), jnp.array([[1.0], [5.0]]), jnp.array([[0.0], [1.0]])
    ... )
    >>> affine_codebook(jnp.array([[0.0], [1.0]]), state).round(3).tolist()
    [[1.0], [5.0]]

  References:
    Huh et al., Straightening Out the Straight-Through Estimator: Overcoming Optimization Challenges
      in Vector Quantized Networks, 2023. arXiv:2305.08842
  """
  check_range(0.0, strict=True, eps=eps)
  check_float(codebook=codebook)
  _, codebook = check_codebook(codebook, codebook)
  _check_width(codebook, state)
  codes = codebook.astype(wide_dtype(codebook, state.mean_z))
  mean_z, variance_z, mean_codes, variance_codes, _ = jax.lax.stop_gradient(state)
  return jnp.sqrt(variance_z / (variance_codes + eps)) * (codes - mean_codes) + mean_z


def _check_width(codebook: jax.Array, state: AffineCodebook) -> None:
  if state.mean_z.shape != codebook.shape[1:]:
    raise ValueError(
      f"state must have moments of shape {codebook.shape[1:]}, the codebook's width, "
      f"got {state.mean_z.shape}"
    )
