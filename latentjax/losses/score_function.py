r"""Unbiased gradients of expectations over discrete variables, where no sample can be differentiated.

.. math:: \nabla_\phi E_{q_\phi(z)}[f(z)] = E_q\left[(f(z) - b) \nabla_\phi \log q_\phi(z)\right]
  + E_q[\nabla_\phi f(z)]

Every function returns the cost (or bound) itself, so that it can be logged, and its derivative is
the estimator; what differs is the baseline b or the coupling of two samples that cuts the variance.
Samples come from `densities.categorical.sample` or `densities.bernoulli.sample`, log q from their
`log_prob`. The biased alternative with less variance still is `densities.gumbel_softmax`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_not_empty, check_same_shape, wide_dtype
from latentjax.collectives import draw_rows

__all__ = ["arm_loss", "disarm_loss", "leave_one_out_loss", "reinforce_loss", "vimco_bound"]

CostFn = Callable[[jax.Array], jax.Array]


def reinforce_loss(cost: ArrayLike, log_q: ArrayLike, *, baseline: ArrayLike = 0.0) -> jax.Array:
  r"""Score-function (REINFORCE) estimator with a baseline; the value is the cost.

  .. math:: \nabla_\phi = (f(z) - b) \nabla_\phi \log q(z) + \nabla_\phi f(z)

  Unbiased for any baseline that does not depend on z, such as a running mean of earlier costs or a
  prediction from x.

  Args:
    cost: f(z) at samples of q, any shape, such as -log p(x|z) in nats of shape (K, B).
    log_q: log q(z) of the same samples in nats, the shape of cost.
    baseline: b, a number or an array that broadcasts to the shape of cost.

  Returns:
    The cost, its shape, float32 or wider. Gradient flows to cost unchanged and to log_q times
    cost - baseline, held fixed; baseline is detached.

  Raises:
    TypeError: if cost or log_q is not floating point.
    ValueError: if their shapes differ or baseline does not broadcast to them.

  Example:
    >>> cost, log_q = jnp.array([3.0, 5.0]), jnp.log(jnp.array([0.5, 0.5]))
    >>> jax.grad(lambda log_q: reinforce_loss(cost, log_q, baseline=4.0).sum())(log_q).tolist()
    [-1.0, 1.0]

  References:
    Williams, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
      Learning, Machine Learning 8, 1992.
    Mnih & Gregor, Neural Variational Inference and Learning in Belief Networks, 2014.
      arXiv:1402.0030
  """
  cost, log_q = _same_shape(cost=cost, log_q=log_q)
  baseline = jnp.asarray(baseline, cost.dtype)
  if not _broadcasts(baseline.shape, cost.shape):
    raise ValueError(
      f"baseline must broadcast to the shape {cost.shape} of cost, got shape {baseline.shape}"
    )
  return cost + _score(cost - baseline, log_q)


def leave_one_out_loss(cost: ArrayLike, log_q: ArrayLike) -> jax.Array:
  r"""Score-function estimator in which the other samples' mean cost is the baseline.

  .. math:: \nabla_\phi = \frac1K \sum_k \Big(f(z_k) - \frac{1}{K - 1} \sum_{j \ne k} f(z_j)\Big)
    \nabla_\phi \log q(z_k) + \nabla_\phi f(z_k)

  The estimator is the mean over the samples, which the caller takes. Unbiased for independent
  samples, with nothing to tune and nothing carried from step to step.

  Args:
    cost: f(z) at K independent samples of q for every example, shape (K, ...), K >= 2.
    log_q: log q(z) of the same samples in nats, the shape of cost.

  Returns:
    The cost, its shape, float32 or wider. Gradient flows to cost unchanged and to log_q times the
    difference from the other samples' mean, held fixed.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or there are fewer than two samples.

  Example:
    >>> cost, log_q = jnp.array([[3.0], [5.0]]), jnp.log(jnp.array([[0.5], [0.5]]))
    >>> jax.grad(lambda log_q: leave_one_out_loss(cost, log_q).mean())(log_q).ravel().tolist()
    [-1.0, 1.0]

  References:
    Kool, van Hoof & Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free!, 2019.
      https://openreview.net/forum?id=r1lgTGL5DE
  """
  cost, log_q = _same_shape(cost=cost, log_q=log_q)
  num_samples = _check_samples(cost=cost)
  others = (jnp.sum(cost, axis=0) - cost) / (num_samples - 1)
  return cost + _score(cost - others, log_q)


def vimco_bound(log_w: ArrayLike, log_q: ArrayLike) -> jax.Array:
  r"""Importance-weighted bound whose gradient credits every sample with what it adds to the bound.

  .. math::

    \mathcal{L} = \log \frac1K \sum_j w_j, \qquad
    \nabla_\phi = \sum_k (\mathcal{L} - \mathcal{L}_{-k}) \nabla_\phi \log q(z_k)
      + \nabla_\phi \mathcal{L}, \qquad
    \mathcal{L}_{-k} = \log \frac1K \Big(\sum_{j \ne k} w_j
      + \exp \frac{1}{K - 1} \sum_{j \ne k} \log w_j\Big)

  The multi-sample counterpart of `leave_one_out_loss`: unbiased for the gradient of the expected
  `iwae_bound` over discrete z.

  Args:
    log_w: log p(x, z_k) - log q(z_k|x) in nats for independent z_k from q, shape (K, ...), K >= 2.
    log_q: log q(z_k|x) of the same samples in nats, the shape of log_w.

  Returns:
    Lower bound on log p(x) in nats, the shape of log_w without its first axis, float32 or wider; to
    be maximised. Gradient flows to log_w, times the normalised weights, and to log_q, times the
    learning signals, held fixed.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or there are fewer than two samples.

  Example:
    >>> vimco_bound(jnp.zeros((3, 2)), jnp.full((3, 2), -0.7)).tolist()
    [0.0, 0.0]

  References:
    Mnih & Rezende, Variational Inference for Monte Carlo Objectives, 2016. arXiv:1602.06725
  """
  log_w, log_q = _same_shape(log_w=log_w, log_q=log_q)
  num_samples = _check_samples(log_w=log_w)
  log_num = jnp.log(jnp.asarray(num_samples, log_w.dtype))
  bound = jax.nn.logsumexp(log_w, axis=0) - log_num
  fixed = jax.lax.stop_gradient(log_w)
  geometric = (jnp.sum(fixed, axis=0) - fixed) / (num_samples - 1)
  without = jnp.logaddexp(_logsumexp_of_others(fixed), geometric) - log_num
  return bound + jnp.sum(_score(bound - without, log_q), axis=0)


def arm_loss(
  key: jax.Array, logits: ArrayLike, cost_fn: CostFn, *, axis_name: str | None = None
) -> jax.Array:
  r"""Augment-REINFORCE-merge: two coupled samples of Bernoulli variables, one unbiased gradient.

  .. math::

    \nabla_l = (f(b) - f(\tilde b)) (u - \tfrac12), \qquad
    b = 1[u > \sigma(-l)], \; \tilde b = 1[u < \sigma(l)], \; u \sim U(0, 1)

  The costs differ only where the samples do, so the estimator is small where the logits are large.

  Args:
    key: random key, the same on every device.
    logits: of the independent Bernoulli variables, shape (B, ...).
    cost_fn: `(b) -> f(b)` for b in {0, 1}, shape (B, ...) to shape (B,); called twice. For a negative
      ELBO it includes log q(b) - log p(b).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Mean of the costs of the two samples, an unbiased estimate of E[f(b)], shape (B,), float32 or
    wider. Gradient flows to logits and to whatever cost_fn depends on; the samples are detached.

  Raises:
    TypeError: if logits or the cost is not floating point.
    ValueError: if logits has no axis of rows or the cost is not of shape (B,).

  Example:
    >>> arm_loss(jax.random.key(0), jnp.array([[9e3], [-9e3]]), lambda b: b[:, 0]).tolist()
    [1.0, 0.0]

  References:
    Yin & Zhou, ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks, 2019.
      arXiv:1807.11143
  """
  logits, u, pair = _antithetic(key, logits, axis_name)
  return _antithetic_loss(logits, u - 0.5, pair, cost_fn)


def disarm_loss(
  key: jax.Array, logits: ArrayLike, cost_fn: CostFn, *, axis_name: str | None = None
) -> jax.Array:
  r"""`arm_loss` with the uniform noise integrated out given the two samples.

  .. math::

    \nabla_l = \tfrac12 (f(b) - f(\tilde b)) (b - \tilde b) \, \sigma(|l|)

  Unbiased, with the cost of ARM and never more variance.

  Args:
    key: random key, the same on every device.
    logits: of the independent Bernoulli variables, shape (B, ...).
    cost_fn: `(b) -> f(b)` for b in {0, 1}, shape (B, ...) to shape (B,); called twice.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Mean of the costs of the two samples, an unbiased estimate of E[f(b)], shape (B,), float32 or
    wider. Gradient flows to logits and to whatever cost_fn depends on; the samples are detached.

  Raises:
    TypeError: if logits or the cost is not floating point.
    ValueError: if logits has no axis of rows or the cost is not of shape (B,).

  Example:
    >>> disarm_loss(jax.random.key(0), jnp.array([[9e3], [-9e3]]), lambda b: b[:, 0]).tolist()
    [1.0, 0.0]

  References:
    Dong, Mnih & Tucker, DisARM: An Antithetic Gradient Estimator for Binary Latent Variables, 2020.
      arXiv:2006.10680
  """
  logits, _, pair = _antithetic(key, logits, axis_name)
  weights = 0.5 * (pair[0] - pair[1]) * jax.nn.sigmoid(jnp.abs(logits))
  return _antithetic_loss(logits, weights, pair, cost_fn)


def _antithetic(
  key: jax.Array, logits: ArrayLike, axis_name: str | None
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
  """Logits, the noise u, and the samples that u and 1 - u give."""
  check_float(logits=logits)
  if not jnp.ndim(logits):
    raise ValueError("logits must have an axis of rows, got shape ()")
  check_not_empty(logits=logits)
  logits = jnp.asarray(logits, wide_dtype(logits))

  def draw(row_key: jax.Array, row_shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(row_key, row_shape, logits.dtype)

  u = draw_rows(key, draw, logits.shape, axis_name=axis_name)
  first, second = u > jax.nn.sigmoid(-logits), u < jax.nn.sigmoid(logits)
  return logits, u, (first.astype(logits.dtype), second.astype(logits.dtype))


def _antithetic_loss(
  logits: jax.Array, weights: jax.Array, pair: tuple[jax.Array, jax.Array], cost_fn: CostFn
) -> jax.Array:
  costs = [cost_fn(sample) for sample in pair]
  check_float(cost=costs[0])
  if jnp.shape(costs[0]) != logits.shape[:1]:
    raise ValueError(
      f"cost_fn must return shape {logits.shape[:1]}, got shape {jnp.shape(costs[0])}"
    )
  first, second = (jnp.asarray(cost, wide_dtype(cost, logits)) for cost in costs)
  rows = logits.reshape(logits.shape[0], -1)
  signal = (first - second)[:, None] * weights.reshape(rows.shape)
  return 0.5 * (first + second) + jnp.sum(_score(signal, rows), axis=1)


def _score(signal: jax.Array, log_q: jax.Array) -> jax.Array:
  """Zero, with the derivative signal * d log_q."""
  return jax.lax.stop_gradient(signal) * (log_q - jax.lax.stop_gradient(log_q))


def _logsumexp_of_others(log_w: jax.Array) -> jax.Array:
  """For every k the log of the sum over j != k, from sums before and after k: no cancellation."""
  before = jax.lax.cumlogsumexp(log_w, axis=0)[:-1]
  after = jax.lax.cumlogsumexp(log_w, axis=0, reverse=True)[1:]
  inner = jnp.logaddexp(before[:-1], after[1:])
  return jnp.concatenate([after[:1], inner, before[-1:]])


def _same_shape(**arrays: ArrayLike) -> tuple[jax.Array, ...]:
  check_float(**arrays)
  check_same_shape(**arrays)
  dtype = wide_dtype(*arrays.values())
  return tuple(jnp.asarray(array, dtype) for array in arrays.values())


def _check_samples(**arrays: jax.Array) -> int:
  ((name, array),) = arrays.items()
  if not array.ndim or array.shape[0] < 2:
    raise ValueError(f"{name} must have at least 2 samples on its first axis, got {array.shape}")
  return array.shape[0]


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
  try:
    return jnp.broadcast_shapes(shape, target) == target
  except ValueError:
    return False
