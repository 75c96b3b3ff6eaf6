"""Linear probes: what can be read off a representation by one linear map, fitted to the end."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype

__all__ = ["LinearProbe", "logistic_probe", "ridge_probe"]


class LinearProbe(NamedTuple):
  """A linear map; what it reads off features (N, F) is `features @ weight + bias`.

  Attributes:
    weight: shape (F, C).
    bias: shape (C,).
  """

  weight: jax.Array
  bias: jax.Array


def logistic_probe(
  features: ArrayLike,
  labels: ArrayLike,
  *,
  num_classes: int,
  l2: ArrayLike = 1.0,
  max_steps: int = 50,
) -> LinearProbe:
  r"""Multinomial logistic regression, the linear probe of a representation.

  .. math::

    \min_{W, b} \; -\sum_n \log \mathrm{softmax}(z_n W + b)_{y_n} + \tfrac{\lambda}{2} \|W\|^2

  l2 is scikit-learn's 1 / C: its default of 1 is the default here, and its solution the one found
  here, to about 1e-4. Two classes count as scikit-learn counts them, by the penalty of the difference
  of their two columns; a class without examples is left out. By Newton's method, its equations solved
  with conjugate gradients: nothing of the size of the Hessian exists, and the scales and offsets of
  the features do not matter for convergence. Separable classes without l2 have no solution; max_steps
  ends the search.

  Args:
    features: z, shape (N, F), floating point; not standardised here, as l2 depends on their scale.
    labels: y, integers in [0, num_classes), shape (N,).
    num_classes: C.
    l2: lambda, at least 0. Can be traced.
    max_steps: largest number of Newton's steps; about ten are taken.

  Returns:
    LinearProbe of logits, weight (F, C) and bias (C,), of mean 0 over the classes; the bias of a class
    without examples is -inf. float32 or wider. Detached.

  Raises:
    TypeError: if features are not floating point or labels are not integers.
    ValueError: if the shapes do not fit or a number is out of range.

  Example:
    >>> features, labels = jnp.array([[-2.0], [-1.0], [1.0], [2.0]]), jnp.array([0, 0, 1, 1])
    >>> probe = logistic_probe(features, labels, num_classes=2)
    >>> jnp.argmax(features @ probe.weight + probe.bias, axis=1).tolist()
    [0, 0, 1, 1]

  References:
    Alain & Bengio, Understanding Intermediate Layers Using Linear Classifier Probes, 2016.
      arXiv:1610.01644
    Boehning, Multinomial Logistic Regression Algorithm, 1992 (the preconditioner).
  """
  check_float(features=features)
  check_rank(2, features=features)
  check_positive_int(num_classes=num_classes, max_steps=max_steps)
  check_range(0.0, l2=l2)
  labels = as_labels(labels, jnp.shape(features)[0])
  x, centre, scale = standardised(features)
  one_hot = jax.nn.one_hot(labels, num_classes, dtype=x.dtype)
  present = jnp.any(one_hot > 0, axis=0)
  # With two columns w and -w the difference 2w carries a penalty of 4 ||w||^2 where there it is 2.
  l2 = jnp.asarray(l2, x.dtype) * jnp.where(jnp.sum(present) == 2, 2, 1)
  x = jnp.concatenate([jnp.ones_like(x[:, :1]), x], axis=1)
  penalty = jnp.concatenate([jnp.zeros_like(scale[:1]), l2 / jnp.square(scale)]) / len(x)
  w = newton(x, one_hot, present, penalty, max_steps)
  weight = w[1:] / scale[:, None]
  bias = w[0] - jnp.matmul(centre, weight, precision="highest")
  mean = jnp.sum(jnp.where(present, bias, 0)) / jnp.maximum(jnp.sum(present), 1)
  return LinearProbe(weight, jnp.where(present, bias - mean, -jnp.inf))


def ridge_probe(features: ArrayLike, targets: ArrayLike, *, l2: ArrayLike = 1.0) -> LinearProbe:
  r"""Ridge regression, the linear probe of continuous targets.

  .. math:: \min_{W, b} \; \sum_n \|y_n - z_n W - b\|^2 + \lambda \|W\|^2

  l2 is scikit-learn's alpha, with its default. In closed form, by the eigenvectors of the features'
  correlations; without l2, or with little, the solution of smallest norm, of features scaled to
  variance 1, among those that fit to rounding.

  Args:
    features: z, shape (N, F), floating point; not standardised here, as l2 depends on their scale.
    targets: y, shape (N, C), floating point.
    l2: lambda, at least 0. Can be traced.

  Returns:
    LinearProbe, weight (F, C) and bias (C,), float32 or wider. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or l2 is negative.

  Example:
    >>> features = jnp.array([[0.0], [1.0], [2.0]])
    >>> probe = ridge_probe(features, 2 * features + 1, l2=0.0)
    >>> round(float(probe.weight[0, 0]), 4), round(float(probe.bias[0]), 4)
    (2.0, 1.0)

  References:
    Hoerl & Kennard, Ridge Regression: Biased Estimation for Nonorthogonal Problems, 1970.
  """
  check_float(features=features, targets=targets)
  check_rank(2, features=features, targets=targets)
  check_same_rows(features=features, targets=targets)
  check_range(0.0, l2=l2)
  x, centre, scale = standardised(features)
  y = jax.lax.stop_gradient(jnp.asarray(targets)).astype(x.dtype)
  mean = jnp.mean(y, axis=0)
  penalty = jnp.diag(jnp.asarray(l2, x.dtype) / jnp.square(scale)) / len(x)
  moment = jnp.matmul(x.T, x, precision="highest") / len(x)
  moment = moment + penalty
  # A diagonal of ones: next to the penalty of a feature of small scale the others would be rounding.
  diagonal = jnp.diag(moment)
  shrink = jax.lax.rsqrt(jnp.where(diagonal == 0, 1, diagonal))[:, None]
  values, vectors = jnp.linalg.eigh(shrink * moment * shrink.T)
  keep = values > jnp.finfo(x.dtype).eps * x.shape[1] * values[-1]
  inverse = jnp.where(keep, 1 / jnp.where(keep, values, 1), 0)
  target = jnp.matmul(x.T, y - mean, precision="highest") / len(x)
  solution = jnp.matmul(vectors.T, shrink * target, precision="highest") * inverse[:, None]
  weight = shrink * jnp.matmul(vectors, solution, precision="highest") / scale[:, None]
  return LinearProbe(weight, mean - jnp.matmul(centre, weight, precision="highest"))


def as_labels(labels: ArrayLike, rows: int) -> jax.Array:
  """Labels as an array, or an error if they are not `rows` integers."""
  labels = jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(f"labels must be integers, got {labels.dtype}")
  if labels.shape != (rows,):
    raise ValueError(f"labels must have shape {(rows,)}, got {labels.shape}")
  return labels


def check_same_rows(**arrays: ArrayLike) -> None:
  """Refuses arrays with different numbers of rows, or none."""
  shapes = {name: jnp.shape(array) for name, array in arrays.items()}
  if len({shape[0] for shape in shapes.values()}) > 1 or 0 in next(iter(shapes.values())):
    got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    raise ValueError(f"{' and '.join(shapes)} must have equally many rows, got {got}")


def check_finite(**arrays: ArrayLike) -> None:
  """Refuses arrays that hold NaN or infinity; one that cannot be read yet passes."""
  for name, array in arrays.items():
    if is_readable(array) and not np.isfinite(np.asarray(array)).all():
      raise ValueError(f"{name} must be finite, got NaN or infinity")


def is_readable(array: ArrayLike) -> bool:
  """Whether its numbers can be read now, on this host: it is not traced, and not on other hosts."""
  return not isinstance(array, jax.core.Tracer) and getattr(array, "is_fully_addressable", True)


def nan_unless_finite(scores: Any, *arrays: ArrayLike) -> Any:
  """Scores, or NaN in place of their numbers: of what was traced, and so not refused, but is not finite."""
  finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(jnp.asarray(array))) for array in arrays]))
  is_float = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
  return jax.tree.map(lambda x: jnp.where(finite, x, jnp.nan) if is_float(x) else x, scores)


def numbers_of_values(factors: ArrayLike, given: int | Sequence[int] | None) -> tuple[int, ...]:
  """Number of values of every factor (N, F), integers: as given, or read off a concrete array."""
  if not jnp.issubdtype(jnp.result_type(factors), jnp.integer):
    raise TypeError(f"factors must be integers, got {jnp.result_type(factors)}")
  if isinstance(given, int):
    given = (given,) * jnp.shape(factors)[1]
  if not is_readable(factors):
    if given is None:
      raise ValueError("num_values must be given where factors are traced, got None")
    return tuple(given)
  low, high = np.min(np.asarray(factors), axis=0), np.max(np.asarray(factors), axis=0)
  num_values = tuple(int(number) + 1 for number in high) if given is None else tuple(given)
  if low.min() < 0 or len(num_values) != len(high) or np.any(high >= np.array(num_values)):
    raise ValueError(
      f"factors must be in [0, num_values), got values from {low} to {high} with {num_values=}"
    )
  return num_values


def standardised(features: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Features of mean 0 and variance 1 (constant ones: 0), their means and scales (1)."""
  x = jax.lax.stop_gradient(jnp.asarray(features)).astype(wide_dtype(features))
  # The largest magnitude first, so that no square leaves the range.
  largest = jnp.maximum(jnp.max(jnp.abs(x), axis=0), jnp.finfo(x.dtype).tiny)
  x = x / largest
  mean = jnp.mean(x, axis=0)
  x = x - mean
  deviation = jnp.sqrt(jnp.mean(jnp.square(x), axis=0))
  varies = deviation > 4 * jnp.finfo(x.dtype).eps
  x = jnp.where(varies, x / jnp.where(varies, deviation, 1), 0)
  return x, mean * largest, jnp.where(varies, deviation * largest, 1)


def newton(
  x: jax.Array, one_hot: jax.Array, present: jax.Array, penalty: jax.Array, max_steps: int
) -> jax.Array:
  """Weights (F, C) that minimise the mean loss plus half the penalty (F,) of their squares."""
  # Examples last: what is elementwise and what runs over the few classes is then fast on a CPU.
  x, target, present, eps = x.T, one_hot.T > 0, present[:, None], jnp.finfo(x.dtype).eps
  hessian_of = _small_hessian(x, penalty) if _is_small(x, target) else _hessian(x, penalty)

  def balanced(v: jax.Array) -> jax.Array:
    # What all classes share changes no probability: rounding must not make it grow.
    mean = jnp.sum(jnp.where(present, v, 0), axis=0, keepdims=True) / jnp.sum(present)
    return jnp.where(present, v - mean, 0)

  def loss(logits: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    log_probs = jax.nn.log_softmax(jnp.where(present, logits, -jnp.inf), axis=0)
    chosen = jnp.sum(jnp.where(target, log_probs, 0), axis=0)
    return 0.5 * jnp.sum(penalty * jnp.square(w)) - jnp.mean(chosen), log_probs

  def direction(w: jax.Array, log_probs: jax.Array) -> tuple[jax.Array, jax.Array]:
    probs = jnp.exp(log_probs)
    gradient = balanced(_product(probs - target, x.T) / x.shape[1] + penalty * w)
    hessian, solve = hessian_of(probs)
    precondition = lambda v: balanced(solve(balanced(v)))
    step = jax.scipy.sparse.linalg.cg(hessian, gradient, tol=1e-3, maxiter=100, M=precondition)[0]
    step = balanced(step)
    return -step, -jnp.vdot(gradient, step)

  def step(state: tuple) -> tuple:
    w, logits, log_probs, value, _, count = state
    move, slope = direction(w, log_probs)
    ahead = _product(move, x)
    rounding = 10 * eps * jnp.abs(value)

    def tried(t: jax.Array) -> tuple:
      new_w, new_logits = w + t * move, logits + t * ahead
      new, new_log_probs = loss(new_logits, new_w)
      return t, (new_w, new_logits, new_log_probs, new, -slope)

    def too_long(trial: tuple) -> jax.Array:
      t, (_, _, _, new, _) = trial
      return ~(new <= value + 1e-4 * t * slope + rounding) & (t > 1e-4)

    halve = lambda trial: tried(trial[0] / 2)
    _, new = jax.lax.while_loop(too_long, halve, tried(jnp.ones_like(value)))
    # Of separable classes without a penalty the Hessian comes to nothing, and the step to nan.
    holds = (new[3] <= value + rounding) & jnp.isfinite(slope)
    old = (w, logits, log_probs, value, jnp.zeros_like(value))
    kept = (jnp.where(holds, a, b) for a, b in zip(new, old, strict=True))
    return *kept, count + 1

  def unfinished(state: tuple) -> jax.Array:
    _, _, _, value, gain, count = state
    # A gain is of second order in what is wrong with w, so that it can be far below rounding.
    return (gain > eps**1.5 * jnp.abs(value)) & (jnp.abs(value) > eps) & (count < max_steps)

  w = 0 * _product(one_hot.T, x.T)  # made of the data: shard_map's loops want to know
  logits = _product(w, x)
  value, log_probs = loss(logits, w)
  state = (w, logits, log_probs, value, jnp.inf + 0 * value, 0)
  return jax.lax.while_loop(unfinished, step, state)[0].T


Hessian = tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]


def _is_small(x: jax.Array, target: jax.Array) -> bool:
  """Whether the Hessian costs less than the products with it that it saves."""
  return len(x) * len(target) <= 256


def _hessian(x: jax.Array, penalty: jax.Array) -> Callable[[jax.Array], Hessian]:
  """Of probabilities (C, N): products of (C, F) with the Hessian, and with about its inverse."""
  # Half the second moments bound the Hessian of every pair of classes from above (Boehning).
  moment = _product(x, x.T) / x.shape[1]
  bound = jnp.diag(penalty + jnp.finfo(x.dtype).eps * len(moment)) + 0.5 * moment
  factor = jax.scipy.linalg.cho_factor(bound)

  def of(probs: jax.Array) -> Hessian:
    def hessian(v: jax.Array) -> jax.Array:
      along = probs * _product(v, x)
      along = along - probs * jnp.sum(along, axis=0)
      return _product(along, x.T) / x.shape[1] + penalty * v

    return hessian, lambda v: jax.scipy.linalg.cho_solve(factor, v.T).T

  return of


def _small_hessian(x: jax.Array, penalty: jax.Array) -> Callable[[jax.Array], Hessian]:
  """The same with the Hessian itself, C F x C F: one product of pairs of classes and of features."""
  num_features, num_rows = x.shape
  upper = np.triu_indices(num_features)
  squares = (x[upper[0]] * x[upper[1]]).T / num_rows

  def of(probs: jax.Array) -> Hessian:
    num_classes, size = len(probs), len(probs) * num_features
    a, b = np.triu_indices(num_classes, 1)
    mixed = jnp.pad(_product(probs[a] * probs[b], squares), ((0, 1), (0, 0)))
    mixed = mixed[_pair_of(num_classes, 1)][:, :, _pair_of(num_features, 0)]
    # p (1 - p) is what the other classes have in common with a class, also where 1 - p would round.
    own = jnp.sum(mixed, axis=1) + jnp.diag(penalty)
    whole = jnp.eye(num_classes, dtype=x.dtype)[:, :, None, None] * own[:, None] - mixed
    whole = whole.transpose(0, 2, 1, 3).reshape(size, size)
    diagonal = jnp.diag(whole)
    # Rounding must leave it definite, and a class or feature without examples needs a number.
    ridge = jnp.where(diagonal > 0, 4 * size * jnp.finfo(x.dtype).eps * diagonal, 1)
    factor = jax.scipy.linalg.cho_factor(whole + jnp.diag(ridge))
    shaped = lambda v: v.reshape(num_classes, num_features)
    hessian = lambda v: shaped(_product(whole, v.ravel()))
    return hessian, lambda v: shaped(jax.scipy.linalg.cho_solve(factor, v.ravel()))

  return of


def _pair_of(count: int, offset: int) -> np.ndarray:
  """Place of every pair among those at least offset apart, in order; for others the place after all."""
  upper = np.triu_indices(count, offset)
  place = np.full((count, count), len(upper[0]))
  place[upper] = np.arange(len(upper[0]))
  return np.minimum(place, place.T)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.matmul(a, b, precision="highest")
