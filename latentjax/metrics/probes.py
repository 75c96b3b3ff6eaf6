"""Linear probes: what can be read off a representation by one linear map, fitted to the end."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank, wide_dtype
from latentjax.metrics._newton import newton

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
  with conjugate gradients: the Hessian exists only where it is small, and the scales and offsets of
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
