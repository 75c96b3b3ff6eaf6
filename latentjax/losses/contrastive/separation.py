"""Common and salient embeddings of a background set and a target set (SepCLR)."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_float,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import device_mean
from latentjax.losses.contrastive._pairs import check_two_rows, log_potentials
from latentjax.losses.contrastive.alignment import alignment, uniformity

__all__ = ["SepCLRTerms", "joint_entropy_loss", "sepclr_terms"]


class SepCLRTerms(NamedTuple):
  """Terms of the SepCLR loss, scalars, to be weighted and added.

  Attributes:
    common: alignment plus twice the uniformity of the common embeddings.
    salient: the same of the salient embeddings, of target examples and the point 0.
    background: squared distance of the salient embeddings of the background from 0.
    joint: negative joint entropy of common and salient embeddings.
  """

  common: jax.Array
  salient: jax.Array
  background: jax.Array
  joint: jax.Array


def joint_entropy_loss(
  common: ArrayLike,
  salient: ArrayLike,
  *,
  temperature: ArrayLike = 0.5,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Log density of an example under a kernel estimate of the joint density of two embeddings (k-JEM).

  .. math:: \ell_i = \log \frac1B \sum_{j=1}^B
    \exp\Bigl(-\frac{\|c_i - c_j\|^2 + \|s_i - s_j\|^2}{2 \tau}\Bigr)

  The negative mean estimates H(c, s) up to a constant. Where H(c) and H(s) are kept high by others,
  minimising it makes c and s independent: I(c; s) = H(c) + H(s) - H(c, s). The sum includes j = i.

  Args:
    common: embeddings c, of norm 1 in the paper, shape (B, D).
    salient: embeddings s of the same examples, shape (B, E).
    temperature: tau, the squared width of the kernel, positive. Can be traced and receives a
      gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Loss per example, shape (B,), float32 or wider, in [-log B, 0]. Gradient flows to both arrays, to
    the rows of every device, in reverse mode.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if an array is not of rank 2, their rows are not as many, or temperature or block_size
      is not positive.

  Example:
    >>> joint_entropy_loss(jnp.zeros((4, 2)), jnp.zeros((4, 1))).tolist()  # all are equal
    [0.0, 0.0, 0.0, 0.0]

  References:
    Louiset, Duchesnay, Grigis & Gori, Separating common from salient patterns with Contrastive
      Representation Learning, 2024. arXiv:2402.11928
  """
  check_float(common=common, salient=salient)
  check_rank(2, common=common, salient=salient)
  _check_rows(common=common, salient=salient)
  check_range(0.0, strict=True, temperature=temperature)
  dtype = wide_dtype(common, salient)
  z = jnp.hstack([jnp.asarray(common, dtype), jnp.asarray(salient, dtype)])
  t = 0.5 / jnp.asarray(temperature)
  others = log_potentials(z, z, t, axis_name=axis_name, block_size=block_size)
  num_devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
  return jnp.logaddexp(others, 0.0) - math.log(num_devices * len(z))


def sepclr_terms(
  common_1: ArrayLike,
  common_2: ArrayLike,
  salient_1: ArrayLike,
  salient_2: ArrayLike,
  is_target: ArrayLike,
  *,
  temperature: float = 0.5,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> SepCLRTerms:
  r"""Terms that separate what two data sets share from what only the target set has.

  .. math::

    L_c = A(c_1, c_2) + U(c_1) + U(c_2), \qquad L_s = A_y(s_1, s_2) + U(\hat s_1) + U(\hat s_2), \\
    L_0 = \tfrac12 \bigl(A_x(s_1, 0) + A_x(s_2, 0)\bigr), \qquad
    L_j = \tfrac12 \bigl(J(c_1, \hat s_1) + J(c_2, \hat s_2)\bigr)

  of two views. A is the mean of `alignment` over 2 tau (subscripts x, y: over background, over
  target), U is `uniformity` with t = 1 / (2 tau), J the mean of `joint_entropy_loss`, and s-hat is s for
  targets and the constant 0 for the background: a point that carries no information, to which L_0
  pulls the background. As in the authors' code, which trains on a weighted sum.

  Args:
    common_1: common embeddings of the first view, of norm 1 (see `l2_normalize`), shape (B, D).
    common_2: those of the second view, shape (B, D).
    salient_1: salient embeddings of the first view, of any norm, shape (B, E).
    salient_2: those of the second view, shape (B, E).
    is_target: whether an example is of the target set, boolean, shape (B,). A mean over no example
      is 0.
    temperature: tau, positive.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    SepCLRTerms, scalars, float32 or wider, the same on every device. Gradient flows to the common
    embeddings; to the salient ones of targets through all terms but `background`, to those of the
    background through `background` alone.

  Raises:
    TypeError: if an embedding is not floating point or is_target not boolean.
    ValueError: if the shapes do not agree, temperature or block_size is not positive, or there is one
      row.

  Example:
    >>> c, s = jnp.eye(2), jnp.array([[3.0], [4.0]])
    >>> terms = sepclr_terms(c, c, s, s, jnp.array([True, False]))
    >>> float(terms.background), float(terms.salient)  # of the second, and of the pair 3, 0
    (16.0, -18.0)

  References:
    Louiset, Duchesnay, Grigis & Gori, Separating common from salient patterns with Contrastive
      Representation Learning, 2024. arXiv:2402.11928
  """
  common = {"common_1": common_1, "common_2": common_2}
  salient = {"salient_1": salient_1, "salient_2": salient_2}
  for pair in (common, salient):
    check_alike(2, **pair)
  _check_rows(common_1=common_1, salient_1=salient_1)
  check_two_rows(axis_name, common_1=common_1)
  if jnp.result_type(is_target) != jnp.bool_:
    raise TypeError(f"is_target must be boolean, got {jnp.result_type(is_target)}")
  expected = jnp.shape(common_1)[:1]
  if jnp.shape(is_target) != expected:
    raise ValueError(f"is_target must have shape {expected}, got {jnp.shape(is_target)}")
  check_range(0.0, strict=True, temperature=temperature)
  dtype = wide_dtype(common_1, common_2, salient_1, salient_2)
  c_1, c_2 = (jnp.asarray(array, dtype) for array in (common_1, common_2))
  s_1, s_2 = (jnp.asarray(array, dtype) for array in (salient_1, salient_2))
  is_target = jnp.asarray(is_target)
  num_devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
  s_hat_1, s_hat_2 = (jnp.where(is_target[:, None], array, 0.0) for array in (s_1, s_2))

  def mean(values: jax.Array, where: jax.Array) -> jax.Array:
    sums = jnp.stack([jnp.sum(jnp.where(where, values, 0.0)), jnp.sum(where, dtype=dtype)])
    total, count = num_devices * device_mean(sums, axis_name)
    return total / jnp.maximum(count, 1.0)

  def apart(x: jax.Array, y: jax.Array, where: jax.Array) -> jax.Array:
    return mean(alignment(x, y), where) / (2 * temperature)

  def spread(z_1: jax.Array, z_2: jax.Array) -> jax.Array:
    of = partial(uniformity, t=1 / (2 * temperature), axis_name=axis_name, block_size=block_size)
    return of(z_1) + of(z_2)

  def joint(c: jax.Array, s: jax.Array) -> jax.Array:
    losses = joint_entropy_loss(
      c, s, temperature=temperature, axis_name=axis_name, block_size=block_size
    )
    return mean(losses, everyone)

  everyone = jnp.ones_like(is_target)
  null = jnp.zeros_like(s_1)
  return SepCLRTerms(
    apart(c_1, c_2, everyone) + spread(c_1, c_2),
    apart(s_1, s_2, is_target) + spread(s_hat_1, s_hat_2),
    (apart(s_1, null, ~is_target) + apart(s_2, null, ~is_target)) / 2,
    (joint(c_1, s_hat_1) + joint(c_2, s_hat_2)) / 2,
  )


def _check_rows(**arrays: ArrayLike) -> None:
  if len({jnp.shape(array)[0] for array in arrays.values()}) > 1:
    got = ", ".join(f"{name} {jnp.shape(array)}" for name, array in arrays.items())
    raise ValueError(f"{' and '.join(arrays)} must have as many rows, got {got}")
