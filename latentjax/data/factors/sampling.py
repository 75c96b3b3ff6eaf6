"""How factors are drawn: independent, correlated, confounded; and pairs that differ in k factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.data.factors.factor import FactorSet, Sampler


def independent(key: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
  """Independent factors, uniform over their values: a `Sampler`.

  Args:
    key: key of one example.
    sizes: the F sizes.

  Returns:
    Indices, int32 (F,).

  Example:
    >>> independent(jax.random.key(0), (1, 1)).tolist()
    [0, 0]
  """
  return jax.random.randint(key, (len(sizes),), 0, np.array(sizes))


def correlated(correlation: ArrayLike) -> Sampler:
  r"""Sampler with uniform marginals that depend on each other through a Gaussian copula.

  .. math:: f_k = \lfloor n_k \Phi(\epsilon_k) \rfloor, \qquad \epsilon \sim N(0, C)

  Two factors of many values have the correlation (6 / pi) asin(C_{kl} / 2); one of few values a smaller
  one.

  Args:
    correlation: C, positive semi-definite with a diagonal of ones, shape (F, F), concrete.

  Returns:
    `sampler(key, sizes) -> int32 (F,)`.

  Raises:
    ValueError: if C is no correlation matrix; when it is called, if C is not (F, F).

  Example:
    >>> sampler = correlated(jnp.ones((2, 2)))
    >>> factors = jax.vmap(lambda key: sampler(key, (5, 5)))(jax.random.split(jax.random.key(0), 9))
    >>> bool(jnp.all(factors[:, 0] == factors[:, 1]))
    True

  References:
    Sklar, Fonctions de repartition a n dimensions et leurs marges, 1959 (copulas).
  """
  matrix = np.asarray(correlation, np.float64)
  square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
  if not (square and np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1.0)):
    raise ValueError(f"correlation must be symmetric with ones on the diagonal, got {matrix}")
  variances, axes = np.linalg.eigh(matrix)
  if variances[0] < -1e-6:
    raise ValueError(
      f"correlation must be positive semi-definite, got the eigenvalue {variances[0]:g}"
    )
  root = (axes * np.sqrt(np.maximum(variances, 0.0)) @ axes.T).astype(np.float32)

  def sampler(key: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    if len(sizes) != len(root):
      raise ValueError(f"correlation is {root.shape}, but there are {len(sizes)} factors")
    # A sum and not a product of matrices: its accelerated precision would break exact dependence.
    normal = jnp.sum(root * jax.random.normal(key, (len(root),)), axis=1)
    return _bin(jax.scipy.stats.norm.cdf(normal), sizes)

  return sampler


def correlated_pair(first: int, second: int, *, scale: float) -> Sampler:
  r"""Sampler in which two factors lie near the diagonal of their grid, all others independent.

  .. math:: p(f_1, f_2) \propto \exp\left(-\frac{(u_1 - u_2)^2}{2 \sigma^2}\right), \qquad
      u_k = \frac{f_k}{n_k - 1}

  The smaller sigma, the stronger the dependence; with sigma to infinity there is none. Marginals are nearly
  uniform, with less at the ends, as long as sigma is not below the steps of u, 1 / (n - 1), of factors of
  different sizes: then what is left are the few values u that both have. A factor of one value has u = 0.

  Args:
    first: column of one factor.
    second: column of the other.
    scale: sigma, positive, in units of a factor's range.

  Returns:
    `sampler(key, sizes) -> int32 (F,)`.

  Raises:
    ValueError: if scale is not positive or the columns are equal; when it is called, if a column is out
      of range.

  Example:
    >>> sampler = correlated_pair(0, 1, scale=1e-3)
    >>> f = sampler(jax.random.key(0), (9, 9, 4))
    >>> bool(f[0] == f[1])
    True

  References:
    Trauble et al., On Disentangled Representations Learned from Correlated Data, 2021.
      arXiv:2006.07886
  """
  check_range(0.0, strict=True, scale=scale)
  if first == second:
    raise ValueError(f"first and second must be two columns, got {first} twice")

  def sampler(key: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    _check_columns((first, second), sizes)
    rest, pair = jax.random.split(key)
    place = [np.arange(sizes[k]) / max(sizes[k] - 1, 1) for k in (first, second)]
    log_prob = -np.square(place[0][:, None] - place[1]) / (2 * scale**2)
    index = jax.random.categorical(pair, jnp.asarray(log_prob.reshape(-1), jnp.float32))
    both = jnp.stack(jnp.divmod(index, sizes[second])).astype(jnp.int32)
    return independent(rest, sizes).at[jnp.array([first, second])].set(both)

  return sampler


def confounded(columns: Sequence[int], *, strength: float) -> Sampler:
  r"""Sampler in which a hidden cause moves several factors.

  .. math:: f_k = \lfloor n_k u_k \rfloor, \qquad u_k = b_k c + (1 - b_k) v_k, \qquad
      c, v_k \sim U(0, 1), \quad b_k \sim \mathrm{Bernoulli}(\rho)

  Marginals stay uniform, and two confounded factors of one size n agree with the probability
  rho^2 + (1 - rho^2) / n. The cause c is not among the factors.

  Args:
    columns: columns of the factors that the cause moves; the others are independent.
    strength: rho in [0, 1]: 0 is independence, 1 makes the factors functions of the cause.

  Returns:
    `sampler(key, sizes) -> int32 (F,)`.

  Raises:
    ValueError: if strength is out of range; when it is called, if a column is.

  Example:
    >>> sampler = confounded((0, 2), strength=1.0)
    >>> f = sampler(jax.random.key(0), (4, 7, 4))
    >>> bool(f[0] == f[2])
    True
  """
  check_range(0.0, 1.0, strength=strength)
  columns = tuple(columns)

  def sampler(key: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    _check_columns(columns, sizes)
    key_cause, key_own, key_which = jax.random.split(key, 3)
    moved = np.isin(np.arange(len(sizes)), columns)
    follows = jax.random.bernoulli(key_which, strength * moved)
    own = jax.random.uniform(key_own, (len(sizes),))
    return _bin(jnp.where(follows, jax.random.uniform(key_cause), own), sizes)

  return sampler


def sample_factors(key: jax.Array, source: FactorSet, num_examples: int) -> jax.Array:
  """Factors of several examples, drawn by the set's sampler.

  Args:
    key: the same key gives the same factors.
    source: the set.
    num_examples: N, a positive integer.

  Returns:
    Indices, int32 (N, F).

  Raises:
    TypeError: if num_examples is not an integer.
    ValueError: if it is not positive.

  Example:
    >>> from latentjax.data.factors import melodies
    >>> sample_factors(jax.random.key(0), melodies(), 3).shape
    (3, 9)
  """
  check_positive_int(num_examples=num_examples)
  keys = jax.random.split(key, num_examples)
  return jax.vmap(lambda key: source.sampler(key, source.sizes))(keys)


class Pairs(NamedTuple):
  """Factors of pairs of examples.

  Attributes:
    first: indices, int32 (N, F).
    second: indices, int32 (N, F).
    changed: where they differ, booleans (N, F).
  """

  first: jax.Array
  second: jax.Array
  changed: jax.Array


def sample_pairs(key: jax.Array, source: FactorSet, num_pairs: int, *, num_changed: int) -> Pairs:
  """Pairs of examples that differ in exactly k factors: weak supervision.

  The first is drawn by the set's sampler. Of the factors with more than one value k are chosen, uniformly,
  and get another value each, uniform over the others.

  Args:
    key: the same key gives the same pairs.
    source: the set.
    num_pairs: N, a positive integer.
    num_changed: k, at least 1 and at most the number of factors with more than one value.

  Returns:
    Both sides, and what changed. In the paper a changed factor is drawn anew and may by chance be equal.

  Raises:
    TypeError: if a number is not an integer.
    ValueError: if it is out of range.

  Example:
    >>> from latentjax.data.factors import melodies
    >>> pairs = sample_pairs(jax.random.key(0), melodies(), 3, num_changed=2)
    >>> jnp.sum(pairs.first != pairs.second, axis=1).tolist()
    [2, 2, 2]

  References:
    Locatello et al., Weakly-Supervised Disentanglement Without Compromises, 2020, section 3.
      arXiv:2002.02886
  """
  check_positive_int(num_pairs=num_pairs, num_changed=num_changed)
  free = np.array(source.sizes) > 1
  if num_changed > free.sum():
    raise ValueError(
      f"num_changed must be at most {free.sum()}, the factors that vary, got {num_changed}"
    )
  key_first, key_which, key_turn = jax.random.split(key, 3)
  first = sample_factors(key_first, source, num_pairs)
  score = jnp.where(free, jax.random.uniform(key_which, first.shape), -1.0)
  order = jnp.argsort(jnp.argsort(-score, axis=1), axis=1)
  changed = order < num_changed
  sizes = np.array(source.sizes)
  turn = jax.random.randint(key_turn, first.shape, 1, np.maximum(sizes, 2))
  return Pairs(first, jnp.where(changed, (first + turn) % sizes, first), changed)


def _bin(uniform: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
  size = np.array(sizes, np.int32)
  return jnp.minimum((uniform * size).astype(jnp.int32), size - 1)


def _check_columns(columns: tuple[int, ...], sizes: tuple[int, ...]) -> None:
  if not all(0 <= column < len(sizes) for column in columns):
    raise ValueError(f"columns must be in [0, {len(sizes)}), got {columns}")
