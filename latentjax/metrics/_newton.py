"""Newton's method for multinomial logistic regression."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


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
  """Whether the Hessian costs less than the products with it that it saves, and little memory."""
  return len(x) * len(target) <= 256 and max(len(x), len(target)) <= 24


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
