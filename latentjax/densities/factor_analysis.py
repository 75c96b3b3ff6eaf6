r"""Factor analysis: a linear-Gaussian latent variable model with a noise of its own for every variable.

.. math:: z \sim N(0, I_Z), \quad x = m + \Lambda z + \epsilon, \quad \epsilon \sim N(0, \Psi), \quad
  \Psi = \mathrm{diag}(s_1^2, ..., s_D^2)

Parameters `mean` (D,), `loadings` (Lambda, D x Z) and `log_scale` (log s, (D,)) of one model for all
points. Nothing of size D x D is inverted. The loadings are determined up to a rotation of z.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int, check_range, check_rank
from latentjax.densities._shapes import widen

__all__ = ["FactorAnalysis", "factor_analysis_em", "log_prob", "posterior"]


_dot = partial(jnp.matmul, precision="highest")


class FactorAnalysis(NamedTuple):
  """Parameters: mean (D,), loadings (D, Z), log_scale (D,), float32 or wider."""

  mean: jax.Array
  loadings: jax.Array
  log_scale: jax.Array


def log_prob(x: ArrayLike, mean: ArrayLike, loadings: ArrayLike, log_scale: ArrayLike) -> jax.Array:
  r"""Log-evidence of points in nats.

  .. math:: \log N(x; m, \Lambda \Lambda^\top + \Psi)

  Args:
    x: points, shape (..., D).
    mean: m, shape (D,).
    loadings: Lambda, shape (D, Z).
    log_scale: log s, shape (D,).

  Returns:
    Log-density in nats, shape (...), float32 or wider. Gradient flows to all arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> zero = jnp.zeros(1)
    >>> float(log_prob(zero, zero, jnp.ones((1, 1)), zero))  # -log(4 pi) / 2
    -1.265512...

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006 (factor analysis).
  """
  x, params = _promote(x, mean, loadings, log_scale)
  y = (x - params.mean) * jnp.exp(-params.log_scale)
  weighted = _weighted(params)
  root, log_det = _root(params)
  z = _dot(y, cho_solve((root, True), weighted).T)
  # |y|^2 less what the factors explain, without the difference of two large numbers.
  square = jnp.sum(jnp.square(y - _dot(z, weighted)), axis=-1) + jnp.sum(jnp.square(z), axis=-1)
  return -0.5 * (square + log_det + y.shape[-1] * math.log(2 * math.pi))


def posterior(
  x: ArrayLike, mean: ArrayLike, loadings: ArrayLike, log_scale: ArrayLike
) -> tuple[jax.Array, jax.Array]:
  r"""Mean and covariance of p(z | x), of which the covariance is the same for all points.

  .. math:: p(z | x) = N\left(V \Lambda^\top \Psi^{-1} (x - m), V\right), \quad
    V = (I + \Lambda^\top \Psi^{-1} \Lambda)^{-1}

  Args:
    x: points, shape (..., D).
    mean: m, shape (D,).
    loadings: Lambda, shape (D, Z).
    log_scale: log s, shape (D,).

  Returns:
    (mean, covariance) of shapes (..., Z) and (Z, Z), float32 or wider. Gradient flows to all
    arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> zero = jnp.zeros(1)
    >>> mean, covariance = posterior(zero + 3, zero, jnp.ones((1, 1)), zero)
    >>> round(float(mean[0]), 3), round(float(covariance[0, 0]), 3)
    (1.5, 0.5)

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006 (factor analysis).
  """
  x, params = _promote(x, mean, loadings, log_scale)
  y = (x - params.mean) * jnp.exp(-params.log_scale)
  covariance = _posterior_covariance(params)
  return _dot(y, _dot(covariance, _weighted(params)).T), covariance


def factor_analysis_em(
  x: ArrayLike, *, latent_dim: int, num_steps: int = 100, min_scale: float = 1e-3
) -> tuple[FactorAnalysis, jax.Array]:
  r"""Maximum likelihood by expectation maximisation, started at the principal components.

  .. math:: \Lambda \leftarrow S \beta^\top (V + \beta S \beta^\top)^{-1}, \quad
    \Psi \leftarrow \mathrm{diag}(S - \Lambda \beta S), \quad \beta = V \Lambda^\top \Psi^{-1}

  with S the covariance of the points, all that is kept of them: a step costs O(D^2 Z) whatever their
  number.

  Args:
    x: points, shape (N, D).
    latent_dim: Z.
    num_steps: updates.
    min_scale: smallest s, as a fraction of the variable's standard deviation: keeps a variable that
      the factors explain altogether from a density without bound (Heywood case).

  Returns:
    (parameters, log_likelihoods): the latter is the mean of log p(x) in nats before every update and
    after the last, shape (num_steps + 1,); up to the floor of s it never falls. Detached from x.

  Raises:
    TypeError: if x is not floating point or a size is not an integer.
    ValueError: if x is not of rank 2, a size is below 1, latent_dim is above D or min_scale is not
      between 0 and 1.

  Example:
    >>> x = jnp.array([[1.0, 2.0], [2.0, 4.1], [3.0, 5.9], [4.0, 8.0]])
    >>> params, log_likelihood = factor_analysis_em(x, latent_dim=1, num_steps=5)
    >>> params.loadings.shape, log_likelihood.shape
    ((2, 1), (6,))

  References:
    Rubin & Thayer, EM Algorithms for ML Factor Analysis, 1982.
    Ge et al., On the Provable Advantage of Unsupervised Pretraining, 2023 (as the pretraining of factor
      models). arXiv:2303.01566
  """
  check_float(x=x)
  check_rank(2, x=x)
  check_positive_int(latent_dim=latent_dim, num_steps=num_steps)
  check_range(low=0.0, high=1.0, min_scale=min_scale)
  check_range(high=jnp.shape(x)[1], latent_dim=latent_dim)
  (x,) = widen(jax.lax.stop_gradient(jnp.asarray(x)))
  mean = jnp.mean(x, axis=0)
  centred = x - mean
  spread = jnp.sqrt(jnp.mean(jnp.square(centred), axis=0))
  spread = jnp.where(spread > 0, spread, 1)
  # In units of the variables' standard deviations, to which the model is indifferent.
  scaled = centred / spread
  covariance = _dot(scaled.T, scaled) / x.shape[0]
  floor = max(min_scale, 1e-6)

  def step(params: FactorAnalysis, _: None) -> tuple[FactorAnalysis, jax.Array]:
    return _update(params, covariance, floor), _mean_log_prob(params, covariance)

  start = _principal_components(covariance, latent_dim, floor)
  params, log_likelihoods = jax.lax.scan(step, start, None, length=num_steps)
  log_likelihoods = jnp.append(log_likelihoods, _mean_log_prob(params, covariance))
  scaled_back = FactorAnalysis(
    mean, params.loadings * spread[:, None], params.log_scale + jnp.log(spread)
  )
  return scaled_back, log_likelihoods - jnp.sum(jnp.log(spread))


def _update(params: FactorAnalysis, covariance: jax.Array, floor: float) -> FactorAnalysis:
  inverse = jnp.exp(-params.log_scale)
  posterior_covariance = _posterior_covariance(params)
  beta = _dot(posterior_covariance, _weighted(params)) * inverse
  cross = _dot(covariance, beta.T)  # E[x z^T], shape (D, Z)
  second = posterior_covariance + _dot(beta, cross)
  loadings = jnp.linalg.solve(second, cross.T).T
  noise = jnp.diagonal(covariance) - jnp.sum(loadings * cross, axis=1)
  return FactorAnalysis(params.mean, loadings, 0.5 * jnp.log(jnp.maximum(noise, floor**2)))


def _principal_components(covariance: jax.Array, latent_dim: int, floor: float) -> FactorAnalysis:
  values, vectors = jnp.linalg.eigh(covariance)
  rest = jnp.sum(values[:-latent_dim]) / max(len(values) - latent_dim, 1)
  loadings = vectors[:, -latent_dim:] * jnp.sqrt(jnp.maximum(values[-latent_dim:] - rest, floor**2))
  noise = jnp.diagonal(covariance) - jnp.sum(jnp.square(loadings), axis=1)
  log_scale = 0.5 * jnp.log(jnp.maximum(noise, 1e-2))  # a start at the floor would hardly move
  return FactorAnalysis(jnp.zeros_like(log_scale), loadings, log_scale)


def _mean_log_prob(params: FactorAnalysis, covariance: jax.Array) -> jax.Array:
  """Mean log-evidence of points with this covariance around the mean."""
  inverse = jnp.exp(-params.log_scale)
  root, log_det = _root(params)
  scaled = covariance * inverse[:, None] * inverse
  inner = solve_triangular(root, _weighted(params), lower=True)
  square = jnp.trace(scaled) - jnp.sum(_dot(inner, scaled) * inner)
  return -0.5 * (square + log_det + covariance.shape[0] * math.log(2 * math.pi))


def _weighted(params: FactorAnalysis) -> jax.Array:
  """Lambda^T Psi^-1/2, shape (Z, D)."""
  return params.loadings.T * jnp.exp(-params.log_scale)


def _posterior_covariance(params: FactorAnalysis) -> jax.Array:
  root, _ = _root(params)
  inverse = solve_triangular(root, jnp.eye(root.shape[0], dtype=root.dtype), lower=True)
  return _dot(inverse.T, inverse)


def _root(params: FactorAnalysis) -> tuple[jax.Array, jax.Array]:
  """Triangular root of the posterior precision I + A^T A, A = Psi^-1/2 Lambda, and log det of x's covariance.

  That of [A; I] by QR: in float32 the precision of like loadings over little noise would lose its I.
  """
  weighted = _weighted(params)
  identity = jnp.eye(weighted.shape[0], dtype=weighted.dtype)
  root = jnp.linalg.qr(jnp.concatenate([weighted.T, identity]), mode="r").T
  log_det = 2 * jnp.sum(jnp.log(jnp.abs(jnp.diagonal(root)))) + 2 * jnp.sum(params.log_scale)
  return root, log_det


def _promote(
  x: ArrayLike, mean: ArrayLike, loadings: ArrayLike, log_scale: ArrayLike
) -> tuple[jax.Array, FactorAnalysis]:
  check_float(x=x, mean=mean, loadings=loadings, log_scale=log_scale)
  check_rank(2, loadings=loadings)
  wanted = jnp.shape(loadings)[:1]
  for name, array in {"x": x, "mean": mean, "log_scale": log_scale}.items():
    if jnp.shape(array)[-1:] != wanted or (name != "x" and jnp.ndim(array) != 1):
      raise ValueError(
        f"{name} must have D = {wanted[0]} numbers on its last axis as loadings has rows, got shape "
        f"{jnp.shape(array)}"
      )
  x, mean, loadings, log_scale = widen(x, mean, loadings, log_scale)
  return x, FactorAnalysis(mean, loadings, log_scale)
