"""Disentanglement by mutual information of codes and factors: MIG, DMIG, DCIMIG and modularity."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.metrics.discrete_information import (
  check_bins,
  check_codes,
  check_labels,
  check_rows,
  column_entropies,
  discretize,
  mutual_information_matrix,
)

__all__ = ["dcimig", "dmig", "mig", "modularity"]


def mig(
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  num_bins: int = 20,
  num_values: int | Sequence[int] | None = None,
  discretizer: str = "histogram",
  axis_name: str | None = None,
) -> jax.Array:
  r"""Mutual information gap: how much more the best latent tells of a factor than the next one.

  .. math::

    \frac1F \sum_f \frac{I(z_{j}; v_f) - \max_{k \ne j} I(z_k; v_f)}{H(v_f)}, \qquad
    j = \arg\max_j I(z_j; v_f)

  1 if every factor determines one latent's bin and is determined by it, no other latent knows of it;
  0 for a duplicated code, whose halves know the same. Information is that of the frequencies, codes
  in bins, as in disentanglement_lib (where the paper integrates over q(z|x)); positive for noise, about
  the largest less the second of Z biases of (B - 1) (V - 1) / (2 N). The order, sign and, in bins that
  follow the range, scale of latents do not matter. A factor that is constant is left out, where
  disentanglement_lib gives nan.

  Args:
    codes: such as the means of q(z|x), shape (N, Z) with Z >= 2.
    factors: integers in [0, num_values), shape (N, F); continuous ones go through `discretize` first.
    num_bins: bins of a latent, at most N.
    num_values: number of values of every factor, or of all the largest; None: what the factors show,
      which traced ones cannot.
    discretizer: method of `discretize`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar in [0, 1], float32 or wider; 0 if no factor varies, nan if traced codes are not finite.
    Detached.

  Raises:
    TypeError: if the factors are not integers.
    ValueError: if an array is not of rank 2, their rows differ, there are fewer rows than bins or fewer
      than two latents, or, unless traced, codes are not finite or factors out of range.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> codes = 3.0 - 2.0 * factors[:, ::-1]
    >>> round(float(mig(codes, factors, num_bins=4, num_values=2)), 4)
    1.0

  References:
    Chen et al., Isolating Sources of Disentanglement in Variational Autoencoders, 2018.
      arXiv:1802.04942
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019, appendix C. arXiv:1811.12359
  """
  checked = _check(codes, factors, num_bins, num_values, axis_name, min_codes=2)
  return _score(_mig, *checked, num_bins, discretizer)


def dmig(
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  latent_of_factor: Sequence[int] | None = None,
  num_bins: int = 20,
  num_values: int | Sequence[int] | None = None,
  discretizer: str = "histogram",
  axis_name: str | None = None,
) -> jax.Array:
  r"""Mutual information gap of every factor, made fair to factors that depend on each other.

  .. math::

    \frac{I(z_j; v_f) - \max_{k \ne j} I(z_k; v_f)}{H(v_f | v_l)}

  where the runner-up k is the latent of the factor l; the divisor is H(v_f) if it is that of none. What
  factors share, the latent of l cannot help knowing of v_f: a perfect code of dependent factors scores 1,
  where MIG has H(v_f | v_l) / H(v_f). The same as MIG's for independent factors.

  The latent of a factor is the one that knows most of it, since what is learnt without supervision has no
  order; the authors' library assumes latent f, which is latent_of_factor=range(F). If it is that of several
  factors l, the one that it knows most of counts. Of factors that determine each other both latents may
  know the same: then they should be told. The library estimates information by nearest neighbours.

  Args:
    codes: such as the means of q(z|x), shape (N, Z) with Z >= 2.
    factors: integers in [0, num_values), shape (N, F).
    latent_of_factor: index of every factor's latent, F different ones; None: the most informative.
    num_bins: bins of a latent, at most N.
    num_values: number of values of every factor, or of all the largest; None: what the factors show,
      which traced ones cannot.
    discretizer: method of `discretize`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Shape (F,), float32 or wider: 1 if every latent is its factor; more if the latent of l tells less of
    v_f than v_l does; negative where a given latent knows less than another; 0 for a factor that is
    constant or determined by v_l; nan if traced codes are not finite. Detached.

  Raises:
    TypeError: if the factors are not integers.
    ValueError: as for `mig`, or if latent_of_factor does not hold F different latents.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 0], [0, 1], [1, 1]])
    >>> dmig(1.0 * factors, factors, num_bins=2, num_values=2).round(3).tolist()
    [1.0, 1.0]

  References:
    Watcharasupat & Lerch, Evaluation of Latent Space Disentanglement in the Presence of Interdependent
      Attributes, 2021. arXiv:2110.05587
  """
  z, v, num_values = _check(codes, factors, num_bins, num_values, axis_name, min_codes=2)
  given = latent_of_factor if latent_of_factor is None else tuple(map(int, latent_of_factor))
  if given is not None:
    distinct = set(given) & set(range(z.shape[1]))
    if not len(given) == len(distinct) == v.shape[1]:
      raise ValueError(
        f"latent_of_factor must hold {v.shape[1]} different latents below {z.shape[1]}, got {given}"
      )
  return _score(_dmig, z, v, num_values, num_bins, discretizer, given)


def dcimig(
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  num_bins: int = 10,
  num_values: int | Sequence[int] | None = None,
  discretizer: str = "histogram",
  axis_name: str | None = None,
) -> jax.Array:
  r"""Share of the factors' entropy that latents know of one factor alone (DCIMIG, or 3CharM).

  .. math::

    \frac{\sum_f \max_{j : f_j = f} R_j}{\sum_f H(v_f)}, \qquad
    R_j = I(z_j; v_{f_j}) - \max_{f \ne f_j} I(z_j; v_f), \quad f_j = \arg\max_f I(z_j; v_f)

  1 for a perfect code, also if it is duplicated; 0 for latents that know of all factors alike. Ten bins as
  in the survey's program, which also puts continuous factors in bins: here that is for the caller to do, by
  `discretize`.

  Args:
    codes: such as the means of q(z|x), shape (N, Z).
    factors: integers in [0, num_values), shape (N, F) with F >= 2.
    num_bins: bins of a latent, at most N.
    num_values: number of values of every factor, or of all the largest; None: what the factors show,
      which traced ones cannot.
    discretizer: method of `discretize`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar in [0, 1], float32 or wider; 0 if no factor varies, nan if traced codes are not finite.
    Detached.

  Raises:
    TypeError: if the factors are not integers.
    ValueError: as for `mig`, but for a single factor, not a single latent.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> round(float(dcimig(1.0 * factors, factors, num_bins=4, num_values=2)), 4)
    1.0

  References:
    Sepliarskaia et al., How to Not Measure Disentanglement, 2019. arXiv:1910.05587
    Carbonneau et al., Measuring Disentanglement: A Review of Metrics, 2020. arXiv:2012.09276
  """
  checked = _check(codes, factors, num_bins, num_values, axis_name, min_factors=2)
  return _score(_dcimig, *checked, num_bins, discretizer)


def modularity(
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  num_bins: int = 20,
  num_values: int | Sequence[int] | None = None,
  discretizer: str = "histogram",
  axis_name: str | None = None,
) -> jax.Array:
  r"""Whether each latent tells of one factor only (Ridgeway and Mozer).

  .. math::

    \frac1Z \sum_j \Big(1 - \frac{\sum_{f \ne f_j} I(z_j; v_f)^2}{(F - 1) I(z_j; v_{f_j})^2}\Big), \qquad
    f_j = \arg\max_f I(z_j; v_f)

  1 for a perfect code, also if it is duplicated; 0 for latents that know of all factors alike. A dead
  latent, which knows of none, counts as 0, as in disentanglement_lib (`infomec` leaves it out).

  Args:
    codes: such as the means of q(z|x), shape (N, Z).
    factors: integers in [0, num_values), shape (N, F) with F >= 2.
    num_bins: bins of a latent, at most N.
    num_values: number of values of every factor, or of all the largest; None: what the factors show,
      which traced ones cannot.
    discretizer: method of `discretize`.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    A scalar in [0, 1], float32 or wider; nan if traced codes are not finite. Detached.

  Raises:
    TypeError: if the factors are not integers.
    ValueError: as for `mig`, but for a single factor, not a single latent.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> codes = jnp.concatenate([factors, 0 * factors], axis=1)
    >>> round(float(modularity(codes, factors, num_bins=4, num_values=2)), 4)
    0.5

  References:
    Ridgeway & Mozer, Learning Deep Disentangled Embeddings With the F-Statistic Loss, 2018.
      arXiv:1802.05312
  """
  checked = _check(codes, factors, num_bins, num_values, axis_name, min_factors=2)
  return _score(_modularity, *checked, num_bins, discretizer)


def _check(
  codes: ArrayLike,
  factors: ArrayLike,
  num_bins: int,
  num_values: int | Sequence[int] | None,
  axis_name: str | None,
  *,
  min_codes: int = 1,
  min_factors: int = 1,
) -> tuple[jax.Array, jax.Array, int]:
  z = check_codes("codes", codes, axis_name)
  v, num_values = check_labels("factors", factors, num_values, axis_name)
  check_rows(codes=z, factors=v)
  check_bins(z, num_bins)
  for name, array, least in (("codes", z, min_codes), ("factors", v, min_factors)):
    if array.shape[1] < least:
      raise ValueError(f"{name} must have at least {least} columns, got shape {array.shape}")
  return z, v, num_values


@partial(jax.jit, static_argnums=(0, 3, 4, 5, 6))
def _score(
  score: Callable,
  z: jax.Array,
  v: jax.Array,
  num_values: int,
  num_bins: int,
  discretizer: str,
  latent_of_factor: tuple[int, ...] | None = None,
) -> jax.Array:
  """A score of information, as one program: what several of them share is computed once under `jit`."""
  bins = discretize(z, num_bins=num_bins, method=discretizer)
  matrix = mutual_information_matrix(bins, v, num_values=num_bins, num_other_values=num_values)
  matrix = jnp.where(jnp.all(jnp.isfinite(z), axis=0)[:, None], matrix, jnp.nan)
  entropy = column_entropies(v, num_values=num_values)
  if score is not _dmig:
    return score(matrix, entropy)
  between = mutual_information_matrix(v, v, num_values=num_values, num_other_values=num_values)
  return _dmig(matrix, entropy, between, latent_of_factor)


def _mig(matrix: jax.Array, entropy: jax.Array) -> jax.Array:
  top = jax.lax.top_k(matrix.T, 2)[0]
  gap = top[:, 0] - top[:, 1]
  return jnp.sum(_ratio(gap, entropy)) / jnp.maximum(jnp.sum(entropy > 0), 1) + 0 * jnp.sum(gap)


def _dmig(
  matrix: jax.Array,
  entropy: jax.Array,
  between: jax.Array,
  latent_of_factor: tuple[int, ...] | None,
) -> jax.Array:
  each = jnp.arange(len(entropy))
  own = jnp.argmax(matrix, axis=0) if latent_of_factor is None else jnp.array(latent_of_factor)
  rest = matrix.at[own, each].set(-jnp.inf)
  runner_up = jnp.argmax(rest, axis=0)
  shares = (own == runner_up[:, None]) & (each != each[:, None])
  other = jnp.argmax(jnp.where(shares, matrix[runner_up], -1), axis=1)
  divisor = entropy - jnp.where(jnp.any(shares, axis=1), between[each, other], 0)
  gap = matrix[own, each] - jnp.max(rest, axis=0)
  # Rounding leaves something of an entropy that is 0.
  return _ratio(gap, jnp.where(divisor > 1e-5 * entropy, divisor, 0)) + 0 * gap


def _dcimig(matrix: jax.Array, entropy: jax.Array) -> jax.Array:
  top, best = jax.lax.top_k(matrix, 2)
  mine = best[:, :1] == jnp.arange(len(entropy))
  alone = jnp.max(jnp.where(mine, top[:, :1] - top[:, 1:], 0), axis=0)
  return _ratio(jnp.sum(alone), jnp.sum(entropy)) + 0 * jnp.sum(alone)


def _modularity(matrix: jax.Array, entropy: jax.Array) -> jax.Array:
  largest = jnp.max(matrix, axis=1)
  share = jnp.square(_ratio(matrix, largest[:, None]))
  others = (jnp.sum(share, axis=1) - 1) / (len(entropy) - 1)
  return jnp.mean(jnp.where(largest == 0, 0, 1 - others))


def _ratio(a: jax.Array, b: jax.Array) -> jax.Array:
  """a / b, or 0 where b is 0."""
  return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))
