"""Sparse linear probes: which few features a target can be read off."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank
from latentjax.metrics.probes import LinearProbe, as_labels, check_same_rows, standardised

__all__ = ["lasso_probe", "sparse_logistic_probe"]


def lasso_probe(
  features: ArrayLike, targets: ArrayLike, *, l1: ArrayLike = 1.0, max_sweeps: int = 1000
) -> LinearProbe:
  r"""Lasso regression of every target on the features.

  .. math:: \min_{W, b} \; \frac{1}{2N} \sum_n \|y_n - z_n W - b\|^2 + \lambda \sum_{jk} |W_{jk}|

  l1 is scikit-learn's alpha, with its default. By coordinate descent on the features' covariances, for
  all targets at once. Of two equal features the first in order carries the weight.

  Args:
    features: z, shape (N, F), floating point; not standardised here, as l1 depends on their scale.
    targets: y, shape (N, C), floating point.
    l1: lambda, at least 0. Can be traced.
    max_sweeps: largest number of passes over the features; ends before when nothing moves any more.

  Returns:
    LinearProbe, weight (F, C) and bias (C,), float32 or wider. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or a number is out of range.

  Example:
    >>> features = jnp.array([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    >>> lasso_probe(features, 2 * features[:, :1], l1=0.5).weight.tolist()
    [[1.5], [0.0]]

  References:
    Friedman, Hastie & Tibshirani, Regularization Paths for Generalized Linear Models via Coordinate
      Descent, 2010.
  """
  check_float(features=features, targets=targets)
  check_rank(2, features=features, targets=targets)
  check_same_rows(features=features, targets=targets)
  check_positive_int(max_sweeps=max_sweeps)
  check_range(0.0, l1=l1)
  x, centre, scale = standardised(features)
  y, mean, spread = standardised(targets)
  x, y = x.astype(jnp.result_type(x, y)), y.astype(jnp.result_type(x, y))
  gram = jnp.matmul(x.T, x, precision="highest") / len(x)
  target = jnp.matmul(x.T, y, precision="highest") / len(x)
  # Weights of standardised features on standardised targets; the penalty is of the weights as given.
  threshold = jnp.asarray(l1, x.dtype) / scale[:, None] / spread
  weight = coordinate_descent(gram, target, threshold, max_sweeps=max_sweeps)
  weight = weight * spread / scale[:, None]
  return LinearProbe(weight, mean - jnp.matmul(centre, weight, precision="highest"))


def sparse_logistic_probe(
  features: ArrayLike,
  labels: ArrayLike,
  *,
  num_classes: int,
  l1: ArrayLike = 1.0,
  max_steps: int = 2000,
) -> LinearProbe:
  r"""Multinomial logistic regression with a penalty of the weights' magnitudes.

  .. math::

    \min_{W, b} \; -\sum_n \log \mathrm{softmax}(z_n W + b)_{y_n} + \lambda \sum_{jc} |W_{jc}|

  l1 is scikit-learn's 1 / C at an l1_ratio of 1; two classes have two columns here and one there,
  which comes to the same. A class without examples is left out. By proximal gradient steps with
  momentum that starts anew when it goes uphill, of a size that is safe (Boehning).

  Args:
    features: z, shape (N, F), floating point; not standardised here, as l1 depends on their scale.
    labels: y, integers in [0, num_classes), shape (N,).
    num_classes: C.
    l1: lambda, at least 0. Can be traced.
    max_steps: largest number of steps; ends before when nothing moves any more.

  Returns:
    LinearProbe of logits, weight (F, C) and bias (C,), of mean 0 over the classes; the bias of a class
    without examples is -inf. float32 or wider. Detached.

  Raises:
    TypeError: if features are not floating point or labels are not integers.
    ValueError: if the shapes do not fit or a number is out of range.

  Example:
    >>> features = jnp.array([[-2.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [2.0, 1.0]])
    >>> probe = sparse_logistic_probe(features, jnp.array([0, 0, 1, 1]), num_classes=2)
    >>> (jnp.abs(probe.weight) > 1e-3).any(axis=1).tolist()
    [True, False]

  References:
    Beck & Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm, 2009.
    O'Donoghue & Candes, Adaptive Restart for Accelerated Gradient Schemes, 2012. arXiv:1204.3982
  """
  check_float(features=features)
  check_rank(2, features=features)
  check_positive_int(num_classes=num_classes, max_steps=max_steps)
  check_range(0.0, l1=l1)
  labels = as_labels(labels, jnp.shape(features)[0])
  x, centre, scale = standardised(features)
  one_hot = jax.nn.one_hot(labels, num_classes, dtype=x.dtype)
  present = jnp.any(one_hot > 0, axis=0)
  x = jnp.concatenate([jnp.ones_like(x[:, :1]), x], axis=1)
  threshold = jnp.concatenate([jnp.zeros_like(scale[:1]), jnp.asarray(l1, x.dtype) / scale])
  w = _proximal(x, one_hot, present, threshold[:, None] / len(x), max_steps)
  weight = w[1:] / scale[:, None]
  bias = w[0] - jnp.matmul(centre, weight, precision="highest")
  mean = jnp.sum(jnp.where(present, bias, 0)) / jnp.maximum(jnp.sum(present), 1)
  return LinearProbe(weight, jnp.where(present, bias - mean, -jnp.inf))


def coordinate_descent(
  gram: jax.Array, target: jax.Array, threshold: jax.Array, *, max_sweeps: int = 1000
) -> jax.Array:
  """Minimiser W (F, C) of tr(W' G W) / 2 - tr(W' T) + sum of threshold |W|, C columns at once."""
  diagonal = jnp.diag(gram)
  inverse = jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 0)

  def coordinate(j: jax.Array, w: jax.Array) -> jax.Array:
    rest = target[j] - jnp.matmul(gram[j], w, precision="highest") + diagonal[j] * w[j]
    return w.at[j].set(soft(rest, jnp.broadcast_to(threshold, w.shape)[j]) * inverse[j])

  def sweep(state: tuple) -> tuple:
    w, _, count = state
    new = jax.lax.fori_loop(0, len(gram), coordinate, w)
    return new, jnp.max(jnp.abs(new - w)), count + 1

  def moves(state: tuple) -> jax.Array:
    w, change, count = state
    return (change > 4 * jnp.finfo(w.dtype).eps * jnp.max(jnp.abs(w))) & (count < max_sweeps)

  start = jnp.zeros_like(target)
  state = (start, jnp.asarray(jnp.inf, target.dtype), 0)
  return jax.lax.while_loop(moves, sweep, state)[0]


def soft(x: jax.Array, threshold: jax.Array) -> jax.Array:
  """x moved towards 0 by the threshold, not beyond."""
  return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


def _proximal(
  x: jax.Array, one_hot: jax.Array, present: jax.Array, threshold: jax.Array, max_steps: int
) -> jax.Array:
  """Weights (F, C) of the smallest mean loss plus thresholds (F, 1) times magnitudes."""
  product = lambda a, b: jnp.matmul(a, b, precision="highest")
  # Examples last: what runs over the few classes is then fast on a CPU.
  x, target, present, threshold = x.T, one_hot.T, present[:, None], threshold.T
  moment = product(x, x.T) / x.shape[1]
  size = 2 / jnp.linalg.eigvalsh(moment)[-1]  # half the moments bound the Hessian

  def step(state: tuple) -> tuple:
    w, ahead, age, _, count = state
    probs = jax.nn.softmax(jnp.where(present, product(ahead, x), -jnp.inf), axis=0)
    gradient = product(probs - target, x.T) / x.shape[1]
    new = soft(ahead - size * gradient, size * threshold)
    age = jnp.where(jnp.vdot(ahead - new, new - w) > 0, 0.0, age + 1)
    change = jnp.max(jnp.abs(new - w))
    return new, new + age / (age + 3) * (new - w), age, change, count + 1

  def moves(state: tuple) -> jax.Array:
    w, _, _, change, count = state
    return (change > 4 * jnp.finfo(w.dtype).eps * jnp.max(jnp.abs(w))) & (count < max_steps)

  start = jnp.zeros((len(target), len(x)), x.dtype)
  infinity = jnp.asarray(jnp.inf, x.dtype)
  return jax.lax.while_loop(moves, step, (start, start, 0 * size, infinity, 0))[0].T
