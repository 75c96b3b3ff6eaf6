"""OMES: what a change of one factor does to a code, and whether that is clean."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_alike,
  check_choice,
  check_float,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.metrics.probes import check_finite, nan_unless_finite, standardised

__all__ = ["OMES", "factor_association", "omes"]


class OMES(NamedTuple):
  """Scores of every factor, each of shape (F,), at most 1.

  Attributes:
    score: alpha times overlap plus 1 - alpha times multiple_encoding; its mean is the metric.
    overlap: low if the numbers that encode a factor encode others too.
    multiple_encoding: low if several numbers encode a factor.
  """

  score: jax.Array
  overlap: jax.Array
  multiple_encoding: jax.Array


def factor_association(
  first: ArrayLike, second: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
  r"""How far each number of a code responds to each factor, from pairs that differ in one factor.

  .. math:: S_{jk} = 1 - |\mathrm{corr}(z_j, z'_j)| \quad \text{over the pairs that differ in factor } k

  0 if z_j does not notice that k changes, and so agrees with z'_j; 1 if nothing of it is kept. A
  number that follows k and, as strongly, another factor is in between.

  Args:
    first: codes z of one of each pair, shape (F, P, Z): P pairs for every factor.
    second: codes z' of the other, equal to z in all factors but one, shape (F, P, Z).
    where: pairs that count, boolean, shape (F, P), where factors have unequally many; all by default.

  Returns:
    S in [0, 1], shape (Z, F), float32 or wider. A number that does not vary in either half associates
    with nothing (0): the authors' program has NaN there. All nan if a traced code is not finite. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ or are not of rank 3, or a concrete code is not finite.

  Example:
    >>> z = jax.random.normal(jax.random.key(0), (2, 2, 500, 2))  # the first keeps factor 1, ...
    >>> second = z[1].at[0, :, 1].set(z[0, 0, :, 1]).at[1, :, 0].set(z[0, 1, :, 0])
    >>> factor_association(z[0], second).round(1).tolist()
    [[1.0, 0.0], [0.0, 1.0]]

  References:
    Dapueto, Noceti & Odone, Transferring Disentangled Representations: Bridging the Gap between
      Synthetic and Real Images, 2024. arXiv:2409.18017
  """
  check_alike(3, first=first, second=second)
  check_finite(first=first, second=second)
  dtype = wide_dtype(first, second)
  first, second = (jax.lax.stop_gradient(jnp.asarray(z, dtype)) for z in (first, second))
  keep = jnp.ones(first.shape[:2], bool) if where is None else jnp.asarray(where, bool)
  if keep.shape != first.shape[:2]:
    raise ValueError(f"where must have shape {first.shape[:2]}, got {keep.shape}")

  def of_factor(a: jax.Array, b: jax.Array, keep: jax.Array) -> jax.Array:
    count = jnp.maximum(jnp.sum(keep), 1)

    def normal(z: jax.Array) -> jax.Array:
      # What does not count is moved to the mean of what does, where it has no part in any moment.
      mean = jnp.sum(jnp.where(keep[:, None], z / count, 0), axis=0)
      return standardised(jnp.where(keep[:, None], z, mean))[0] * jnp.sqrt(count / len(z))

    a, b = normal(a), normal(b)
    varies = jnp.any(a != 0, axis=0) & jnp.any(b != 0, axis=0)
    return jnp.where(varies, 1 - jnp.abs(jnp.sum(a * b, axis=0) / count), 0)

  association = jnp.clip(jax.vmap(of_factor)(first, second, keep).T, 0, 1)
  return nan_unless_finite(association, first, second)


def omes(
  association: ArrayLike,
  *,
  alpha: ArrayLike = 0.5,
  pooling: str = "mean",
  where: ArrayLike | None = None,
) -> OMES:
  r"""Overlap and multiple-encoding scores of a matrix of associations.

  .. math::

    o_{jk} = 1 - \frac1F \sum_l \big|1[l = k] - S_{jl}\big|, \qquad
    m_{jk} = 1 - \frac1Z \sum_i \big|1[i = j] - S_{ik}\big|

  .. math::

    \mathrm{OS}_k = \frac{\sum_j S_{jk}^2 \, o_{jk}}{\sum_j S_{jk}}, \qquad
    \mathrm{MES}_k = \frac{\sum_j S_{jk}^2 \, m_{jk}}{\sum_j S_{jk}}, \qquad
    \mathrm{OMES}_k = \alpha \, \mathrm{OS}_k + (1 - \alpha) \, \mathrm{MES}_k

  as the authors' program has them: entry (j, k) is compared with that of a code whose number j encodes
  k, and nothing else does. pooling "max" takes the largest S_jk o_jk and S_jk m_jk instead of the
  means with weights S_jk.

  Args:
    association: S in [0, 1], such as of `factor_association`, shape (Z, F).
    alpha: weight of the overlap, in [0, 1]. Can be traced.
    pooling: "mean" or "max", over the numbers of the code.
    where: numbers that count, boolean, shape (Z,); the authors leave out those with a standard
      deviation below 0.05. All by default.

  Returns:
    OMES, float32 or wider; 0 for a factor that nothing associates with. Gradient flows.

  Raises:
    TypeError: if association is not floating point.
    ValueError: if it is not of rank 2, alpha is out of range, or a choice or shape is wrong.

  Example:
    >>> omes(jnp.eye(2)).score.tolist()
    [1.0, 1.0]
    >>> omes(jnp.array([[1.0, 1.0], [0.0, 0.0]])).overlap.tolist()
    [0.5, 0.5]

  References:
    Dapueto, Noceti & Odone, Transferring Disentangled Representations: Bridging the Gap between
      Synthetic and Real Images, 2024. arXiv:2409.18017
  """
  check_float(association=association)
  check_rank(2, association=association)
  check_range(0.0, 1.0, alpha=alpha)
  check_choice(("mean", "max"), pooling=pooling)
  s = jnp.asarray(association, wide_dtype(association))
  keep = jnp.ones(len(s), bool) if where is None else jnp.asarray(where, bool)
  if keep.shape != s.shape[:1]:
    raise ValueError(f"where must have shape {s.shape[:1]}, got {keep.shape}")
  s = jnp.where(keep[:, None], s, 0)
  # The distance from the ideal row: 1 - S at the entry itself, S everywhere else.
  overlap = 1 - (jnp.sum(s, axis=1, keepdims=True) + 1 - 2 * s) / s.shape[1]
  numbers = jnp.maximum(jnp.sum(keep), 1)
  multiple = 1 - (jnp.sum(s, axis=0) + 1 - 2 * s) / numbers

  def pool(score: jax.Array) -> jax.Array:
    if pooling == "max":
      return jnp.max(s * score, axis=0)  # at least 0, the value of what does not count
    total = jnp.sum(s, axis=0)
    return jnp.sum(jnp.square(s) * score, axis=0) / jnp.where(total > 0, total, 1)

  overlap, multiple = pool(overlap), pool(multiple)
  weight = jnp.asarray(alpha, s.dtype)
  return OMES(weight * overlap + (1 - weight) * multiple, overlap, multiple)
