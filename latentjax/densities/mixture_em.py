r"""Maximum likelihood of a mixture of diagonal Gaussians (`mixture`) by expectation maximisation."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank
from latentjax.densities import mixture
from latentjax.densities._shapes import widen

__all__ = ["GaussianMixture", "gmm_em", "update_gmm"]


class GaussianMixture(NamedTuple):
  """Parameters of `densities.mixture`: logits (M,), mean (M, D), log_scale (M, D)."""

  logits: jax.Array
  mean: jax.Array
  log_scale: jax.Array


def update_gmm(
  x: ArrayLike,
  logits: ArrayLike,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  min_scale: ArrayLike = 1e-3,
) -> GaussianMixture:
  r"""One update: responsibilities of the components, then their weighted moments.

  .. math:: n_i = \sum_b r_{bi}, \quad \pi_i = \frac{n_i}{N}, \quad
    m_i = \frac{1}{n_i} \sum_b r_{bi} x_b, \quad
    s_i^2 = \frac{1}{n_i} \sum_b r_{bi} (x_b - m_i)^2

  A component without points stays where it is. Its log-weight is that of a millionth of a point.

  Args:
    x: points, shape (N, D).
    logits: unnormalised log-weights, shape (M,).
    mean: m, shape (M, D).
    log_scale: log s, shape (M, D).
    min_scale: smallest s, a number or shape (D,).

  Returns:
    The parameters after the update, float32 or wider, with normalised logits. Gradient flows to all
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> x = jnp.array([[0.0], [2.0]])
    >>> update_gmm(x, jnp.zeros(1), jnp.zeros((1, 1)), jnp.zeros((1, 1))).mean.tolist()
    [[1.0]]

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, section 9.2.2.
  """
  check_float(x=x)
  check_rank(2, x=x, mean=mean)
  x, logits, mean, log_scale = widen(x, logits, mean, log_scale)
  joint = mixture.log_joint(x, logits, mean, log_scale)
  return _maximise(x, joint, GaussianMixture(logits, mean, log_scale), min_scale)


def _maximise(
  x: jax.Array, joint: jax.Array, params: GaussianMixture, min_scale: ArrayLike
) -> GaussianMixture:
  """Weighted moments of the points for log p(x, i) of shape (N, M)."""
  share = jax.nn.softmax(joint, axis=1)
  count = jnp.sum(share, axis=0)
  average = partial(jnp.matmul, (share / jnp.maximum(count, 1e-6)).T, precision="highest")
  centre = jnp.mean(x, axis=0)
  around = x - centre  # the difference of squares below then keeps its digits
  shift = average(around)
  variance = average(jnp.square(around)) - jnp.square(shift)
  floor = jnp.square(jnp.asarray(min_scale, x.dtype))
  new_scale = 0.5 * jnp.log(jnp.maximum(variance, floor))
  some = (count > 1e-6)[:, None]
  log_count = jnp.log(jnp.maximum(count, 1e-6))
  return GaussianMixture(
    log_count - jax.nn.logsumexp(log_count),
    jnp.where(some, centre + shift, params.mean),
    jnp.where(some, new_scale, params.log_scale),
  )


def gmm_em(
  key: jax.Array,
  x: ArrayLike,
  *,
  num_components: int,
  num_steps: int = 100,
  num_starts: int = 1,
  min_scale: float = 1e-3,
) -> tuple[GaussianMixture, jax.Array]:
  r"""The best of several runs of expectation maximisation, each started at points chosen far apart.

  .. math:: \max_{\pi, m, s} \frac1N \sum_b \log \sum_i \pi_i N(x_b; m_i, s_i^2)

  The first mean is a random point, every further one a point drawn in proportion to its squared
  distance from those before (k-means++). Memory is that of N x M numbers for every start.

  Args:
    key: random key.
    x: points, shape (N, D).
    num_components: M.
    num_steps: updates.
    num_starts: runs, of which the one with the highest likelihood is kept.
    min_scale: smallest s, as a fraction of the variable's standard deviation; at least 1e-6.

  Returns:
    (parameters, log_likelihoods): the latter is the mean of log p(x) in nats before every update and
    after the last, shape (num_steps + 1,); up to the floor of s it never falls. Detached from x.

  Raises:
    TypeError: if x is not floating point or a size is not an integer.
    ValueError: if x is not of rank 2, a size is below 1, or min_scale is negative.

  Example:
    >>> x = jnp.array([[0.0], [0.1], [5.0], [5.2]])
    >>> params, _ = gmm_em(jax.random.key(0), x, num_components=2, num_steps=10)
    >>> jnp.sort(params.mean[:, 0]).astype(int).tolist()
    [0, 5]

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, section 9.2.2.
    Arthur & Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
    Ge et al., On the Provable Advantage of Unsupervised Pretraining, 2023 (as the pretraining of
      mixture models). arXiv:2303.01566
  """
  check_float(x=x)
  check_rank(2, x=x)
  check_positive_int(num_components=num_components, num_steps=num_steps, num_starts=num_starts)
  check_range(low=0.0, min_scale=min_scale)
  (x,) = widen(jax.lax.stop_gradient(jnp.asarray(x)))
  centre, spread = jnp.mean(x, axis=0), jnp.std(x, axis=0)
  spread = jnp.where(spread > 0, spread, 1)
  # In units of the variables' standard deviations, to which the model is indifferent.
  x = (x - centre) / spread
  floor = jnp.maximum(min_scale, 1e-6)

  def run(key: jax.Array) -> tuple[GaussianMixture, jax.Array]:
    mean = far_apart(key, x, num_components)
    # Narrower than all points together, so that components do not start as one.
    log_scale = jnp.full_like(mean, -math.log(num_components) / x.shape[1])

    def step(params: GaussianMixture, _: None) -> tuple[GaussianMixture, jax.Array]:
      joint = mixture.log_joint(x, *params)
      return _maximise(x, joint, params, floor), jnp.mean(jax.nn.logsumexp(joint, axis=1))

    start = GaussianMixture(jnp.zeros(num_components, x.dtype), mean, log_scale)
    params, log_likelihoods = jax.lax.scan(step, start, None, length=num_steps)
    return params, jnp.append(log_likelihoods, jnp.mean(mixture.log_prob(x, *params)))

  runs = jax.vmap(run)(jax.random.split(key, num_starts))
  best = jnp.argmax(runs[1][:, -1])
  params, log_likelihoods = jax.tree.map(lambda leaf: leaf[best], runs)
  scaled_back = GaussianMixture(
    params.logits, centre + spread * params.mean, params.log_scale + jnp.log(spread)
  )
  return scaled_back, log_likelihoods - jnp.sum(jnp.log(spread))


def far_apart(key: jax.Array, x: jax.Array, count: int) -> jax.Array:
  """`count` of the points, drawn one by one in proportion to the squared distance from the others."""
  key_first, key_rest = jax.random.split(key)
  first = x[jax.random.randint(key_first, (), 0, len(x))]

  def pick(nearest: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    chosen = x[jax.random.categorical(key, jnp.log(jnp.maximum(nearest, 1e-30)))]
    return jnp.minimum(nearest, _square_distance(x, chosen)), chosen

  keys = jax.random.split(key_rest, count - 1)
  _, others = jax.lax.scan(pick, _square_distance(x, first), keys)
  return jnp.concatenate([first[None], others])


def _square_distance(x: jax.Array, point: jax.Array) -> jax.Array:
  return jnp.sum(jnp.square(x - point), axis=-1)
