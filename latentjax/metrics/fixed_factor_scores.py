"""BetaVAE and FactorVAE scores: which factor was held fixed, told from what its codes do."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.metrics.discrete_information import check_codes, check_labels, check_rows
from latentjax.metrics.probes import logistic_probe

__all__ = ["beta_vae_score", "factor_vae_score"]


def beta_vae_score(
  key: jax.Array,
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  num_train: int = 10_000,
  num_eval: int = 5_000,
  batch_size: int = 64,
  penalty: float = 1.0,
  num_values: int | Sequence[int] | None = None,
) -> jax.Array:
  r"""Accuracy of a linear classifier that tells which factor a batch of pairs has in common.

  .. math::

    x = \frac1B \sum_{b=1}^B |z(i_b) - z(j_b)|, \qquad v_f(i_b) = v_f(j_b), \quad f \sim \mathrm{Uniform}

  is an example of class f; i is any of the examples given, j any of those with its value of the factor.
  The classifier is `logistic_probe`, at the minimum of C times the sum of losses plus half the squared
  weights: scikit-learn's default, where disentanglement_lib leaves it.

  1 for a code in which some linear rule finds a factor, such as a perfect one, and also many that are
  rotated: a weak test; 1 / F for noise. Where factors depend on each other, those of j are drawn given
  the fixed one, while a sampler of factors, as disentanglement_lib uses one, would draw them without
  regard to it. A value that occurs once pairs an example with itself: there should be several of each.

  Args:
    key: random key.
    codes: such as the means of q(z|x), shape (N, Z).
    factors: integers in [0, num_values), shape (N, F), of examples drawn from the data.
    num_train: examples that the classifier is fitted to.
    num_eval: examples that it is judged on.
    batch_size: B, pairs of an example.
    penalty: C, the inverse of the regularisation.
    num_values: number of values of every factor, or of all the largest; None: what the factors show,
      which traced ones cannot.

  Returns:
    Accuracy on the num_eval examples, a scalar in [0, 1], float32 or wider; nan if traced codes are not
    finite. Detached.

  Raises:
    TypeError: if the factors are not integers.
    ValueError: if an array is not of rank 2, their rows differ, a number is out of range or, unless
      traced, codes are not finite or factors out of range.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 4)
    >>> settings = dict(num_train=64, num_eval=32, num_values=2)
    >>> float(beta_vae_score(jax.random.key(0), 9.0 * factors, factors, **settings))
    1.0

  References:
    Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework,
      2017, section 3.
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019, appendix C. arXiv:1811.12359
  """
  check_range(0.0, strict=True, penalty=penalty)
  checked = _check(codes, factors, num_values)
  check_positive_int(num_train=num_train, num_eval=num_eval, batch_size=batch_size)
  return _beta_vae_score(key, *checked, num_train, num_eval, batch_size, penalty)


def factor_vae_score(
  key: jax.Array,
  codes: ArrayLike,
  factors: ArrayLike,
  *,
  num_train: int = 10_000,
  num_eval: int = 5_000,
  batch_size: int = 64,
  threshold: float = 0.05,
  num_values: int | Sequence[int] | None = None,
) -> jax.Array:
  r"""Accuracy of a majority vote that tells which factor is fixed from the latent that varies least.

  .. math::

    d = \arg\min_j \frac{\mathrm{Var}_b\, z_j(i_b)}{\mathrm{Var}\, z_j}, \qquad
    v_f(i_1) = \dots = v_f(i_B), \quad f \sim \mathrm{Uniform}

  is a vote of latent d for factor f. The value is that of any of the examples given, the batch any of
  those with it. Every latent stands for the factor that has most of its votes in training. Latents
  whose standard deviation is below a threshold do not take part.

  1 for a perfect code, also if it is duplicated, scaled or has dead latents; 1 / F for noise (somewhat
  above by the choice of the majority). As in disentanglement_lib and its study's settings, except that
  variances are those of the examples given, and that batches are drawn from them, with replacement:
  there should be many of each value, and dependent factors vary as they do given the fixed one.

  Args:
    key: random key.
    codes: such as the means of q(z|x), shape (N, Z).
    factors: integers in [0, num_values), shape (N, F), of examples drawn from the data.
    num_train: votes that decide which factor a latent stands for.
    num_eval: votes that are judged.
    batch_size: B, examples of a vote, at least 2.
    threshold: smallest standard deviation of a latent that takes part; one that is 0 never does.
    num_values: number of values of every factor, or of all the largest; None: what the factors show,
      which traced ones cannot.

  Returns:
    Accuracy of the num_eval votes, a scalar in [0, 1], float32 or wider; 0 if no latent takes part, nan if
    traced codes are not finite. Detached.

  Raises:
    TypeError: if the factors are not integers.
    ValueError: if an array is not of rank 2, their rows differ, a number is out of range or, unless
      traced, codes are not finite or factors out of range.

  Example:
    >>> factors = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 4)
    >>> settings = dict(num_train=64, num_eval=32, num_values=2)
    >>> float(factor_vae_score(jax.random.key(0), 9.0 * factors, factors, **settings))
    1.0

  References:
    Kim & Mnih, Disentangling by Factorising, 2018, section 4. arXiv:1802.05983
    Locatello et al., Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations, 2019, appendix C. arXiv:1811.12359
  """
  check_range(0.0, threshold=threshold)
  checked = _check(codes, factors, num_values)
  check_positive_int(num_train=num_train, num_eval=num_eval, batch_size=batch_size)
  if min(batch_size, checked[0].shape[0]) < 2:
    raise ValueError(
      f"batch_size and the rows of codes must be at least 2, got {batch_size} and {len(checked[0])}"
    )
  return _factor_vae_score(key, *checked, num_train, num_eval, batch_size, threshold)


class _Groups(NamedTuple):
  """Rows in the order of a factor's values, (F, N), where each value begins and how many rows it has."""

  rows: jax.Array
  start: jax.Array
  size: jax.Array


def _check(
  codes: ArrayLike, factors: ArrayLike, num_values: int | Sequence[int] | None
) -> tuple[jax.Array, jax.Array, int]:
  z = check_codes("codes", codes, None)
  v, num_values = check_labels("factors", factors, num_values, None)
  check_rows(codes=z, factors=v)
  return z, v, num_values


@partial(jax.jit, static_argnums=(3, 4, 5, 6, 7))
def _beta_vae_score(
  key: jax.Array,
  z: jax.Array,
  v: jax.Array,
  num_values: int,
  num_train: int,
  num_eval: int,
  batch_size: int,
  penalty: float,
) -> jax.Array:
  groups = _group(v, num_values)

  def example(factor: jax.Array, rows: jax.Array, shares: jax.Array) -> jax.Array:
    others = _others(groups, factor, v[rows, factor], shares)
    return jnp.mean(jnp.abs(z[rows] - z[others]), axis=0)

  shape = (num_train + num_eval, batch_size)
  labels, points = _examples(example, key, v, shape, num_rows=batch_size)
  probe = logistic_probe(
    points[:num_train], labels[:num_train], num_classes=v.shape[1], l2=1 / penalty
  )
  logits = jnp.matmul(points[num_train:], probe.weight, precision="highest") + probe.bias
  guess = jnp.argmax(logits, axis=1)
  return jnp.where(jnp.all(jnp.isfinite(z)), jnp.mean(guess == labels[num_train:]), jnp.nan)


@partial(jax.jit, static_argnums=(3, 4, 5, 6, 7))
def _factor_vae_score(
  key: jax.Array,
  z: jax.Array,
  v: jax.Array,
  num_values: int,
  num_train: int,
  num_eval: int,
  batch_size: int,
  threshold: float,
) -> jax.Array:
  groups = _group(v, num_values)
  scale = jnp.std(z, axis=0, ddof=1)
  active = (scale >= threshold) & (scale > 0)
  z = (z - jnp.mean(z, axis=0)) / jnp.where(active, scale, 1)

  def vote(factor: jax.Array, rows: jax.Array, shares: jax.Array) -> jax.Array:
    others = _others(groups, factor, v[rows, factor], shares)
    return jnp.argmin(jnp.where(active, jnp.var(z[others], axis=0), jnp.inf))

  factor, latent = _examples(vote, key, v, (num_train + num_eval, batch_size), num_rows=1)
  votes = jnp.zeros((z.shape[1], v.shape[1]), jnp.int32)
  votes = votes.at[latent[:num_train], factor[:num_train]].add(1)
  right = jnp.argmax(votes, axis=1)[latent[num_train:]] == factor[num_train:]
  score = jnp.where(jnp.any(active), jnp.mean(right), 0)
  return jnp.where(jnp.all(jnp.isfinite(z)), score, jnp.nan)


def _group(v: jax.Array, num_values: int) -> _Groups:
  def one(values: jax.Array) -> _Groups:
    size = jnp.zeros(num_values, jnp.int32).at[values].add(1)
    return _Groups(jnp.argsort(values), jnp.cumsum(size) - size, size)

  return jax.vmap(one, 1)(v)


def _others(groups: _Groups, factor: jax.Array, values: jax.Array, shares: jax.Array) -> jax.Array:
  """For each share in [0, 1), the row at that place among those with the value of a factor."""
  return groups.rows[
    factor, groups.start[factor, values] + _place(shares, groups.size[factor, values])
  ]


def _place(shares: jax.Array, size: jax.Array | int) -> jax.Array:
  return jnp.minimum(jnp.floor(shares * size).astype(jnp.int32), size - 1)


def _examples(
  make: Callable, key: jax.Array, v: jax.Array, shape: tuple[int, int], *, num_rows: int
) -> tuple[jax.Array, jax.Array]:
  """Factors (P,), and what is made of each, of random rows, and of shares that choose more rows (P, B)."""
  key_factor, key_rows, key_shares = jax.random.split(key, 3)
  factor = _place(jax.random.uniform(key_factor, shape[:1]), v.shape[1])
  rows = _place(jax.random.uniform(key_rows, (shape[0], num_rows)), v.shape[0])
  drawn = (factor, rows, jax.random.uniform(key_shares, shape))
  # Some hundreds at a time, to bound the memory.
  return factor, jax.lax.map(lambda each: make(*each), drawn, batch_size=500)
