r"""Normal-inverse-Wishart density of a mean and a covariance: a Gaussian's conjugate prior.

.. math:: \Sigma \sim \mathrm{IW}(\Psi, \nu), \quad \mu | \Sigma \sim N(m, \Sigma / \kappa)

Parameters `loc` (m), shape (..., D); `concentration` (kappa > 0), shape (...); `scale_matrix` (Psi,
positive definite), shape (..., D, D); `dof` (nu > D - 1), shape (...). They are the natural ones of
the conjugate update and not unconstrained; values out of range give NaN. All four have the same
leading axes, or none (scalars and one matrix for every row). Results are float32 (float64 for
float64 inputs); samples keep the dtype of loc and scale_matrix.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float
from latentjax.densities import gaussian_full
from latentjax.densities._gamma import draw_log_gamma
from latentjax.densities._shapes import Shape, check_shapes, draw_by_row, widen

__all__ = ["log_prob", "mean", "posterior", "sample"]


def log_prob(
  mean: ArrayLike,
  covariance: ArrayLike,
  loc: ArrayLike,
  concentration: ArrayLike,
  scale_matrix: ArrayLike,
  dof: ArrayLike,
) -> jax.Array:
  r"""Log-density of (mu, Sigma) in nats.

  .. math:: \log N(\mu; m, \Sigma / \kappa) + \tfrac{\nu}{2} \log |\Psi|
    - \tfrac{\nu + D + 1}{2} \log |\Sigma| - \tfrac12 \mathrm{tr}(\Psi \Sigma^{-1})
    - \tfrac{\nu D}{2} \log 2 - \log \Gamma_D(\tfrac{\nu}{2})

  Args:
    mean: mu, shape (..., D).
    covariance: Sigma, positive definite, shape (..., D, D).
    loc: m, shape (..., D).
    concentration: kappa, shape (...).
    scale_matrix: Psi, shape (..., D, D).
    dof: nu, shape (...).

  Returns:
    Log-density in nats, with respect to the elements of mu and those of Sigma on and below the
    diagonal; shape (...). Gradient flows to all six arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> one = jnp.ones((1, 1))
    >>> float(log_prob(one[0], one, one[0], jnp.array(1.0), one, jnp.array(2.0)))
    -2.112086...

  References:
    Murphy, Machine Learning: A Probabilistic Perspective, 2012.
  """
  params = _promote(loc, concentration, scale_matrix, dof, {"mean": mean}, covariance)
  mean, loc, concentration, dof, scale_matrix, covariance = params
  dim = loc.shape[-1]
  factor = jnp.linalg.cholesky(covariance)
  scale_factor = jnp.linalg.cholesky(scale_matrix)
  spread = factor / jnp.sqrt(concentration)[..., None, None]
  log_det, log_det_scale = (_log_det(f) for f in (factor, scale_factor))
  # tr(Psi Sigma^-1): the columns of Psi's factor, solved for one by one.
  columns = jnp.swapaxes(jnp.tril(scale_factor), -1, -2)
  solved = gaussian_full.solve(factor[..., None, :, :], columns)
  trace = jnp.sum(jnp.square(solved), axis=(-1, -2))
  log_norm = 0.5 * dof * dim * math.log(2) + jax.scipy.special.multigammaln(0.5 * dof, dim)
  log_wishart = 0.5 * (dof * log_det_scale - (dof + dim + 1) * log_det - trace) - log_norm
  return gaussian_full.log_prob(mean, loc, spread) + log_wishart


def sample(
  key: jax.Array,
  loc: ArrayLike,
  concentration: ArrayLike,
  scale_matrix: ArrayLike,
  dof: ArrayLike,
  *,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Reparameterised samples of a mean and a covariance, by Bartlett's decomposition.

  .. math:: \Sigma = C (A A^\top)^{-1} C^\top, \quad \mu = m + C A^{-\top} \epsilon / \sqrt\kappa,
    \quad C C^\top = \Psi

  A is lower triangular with the roots of chi-squared variables of nu, nu - 1, ... degrees of
  freedom on its diagonal and standard Gaussians below. The noise of a row depends on `key` and on
  the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    loc: m, shape (B, ..., D), or (D,) for a single one.
    concentration: kappa, shape (B, ...).
    scale_matrix: Psi, shape (B, ..., D, D).
    dof: nu, shape (B, ...).
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    (mu, Sigma) of shapes (B, ..., D) and (B, ..., D, D), or with an axis K in front. Gradient flows
    to all parameters through the samples, to dof by implicit differentiation of the Gamma
    distribution function.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not fit or `num_samples` is below 1.

  Example:
    >>> three = jnp.array(3.0)
    >>> mean, covariance = sample(jax.random.key(0), jnp.zeros(2), three, jnp.eye(2), three)
    >>> mean.shape, covariance.shape
    ((2,), (2, 2))

  References:
    Murphy, Machine Learning: A Probabilistic Perspective, 2012.
    Smith & Hocking, Algorithm AS 53: Wishart Variate Generator, 1972.
  """
  dtype = jnp.result_type(loc, scale_matrix)
  loc, concentration, dof, scale_matrix = _promote(loc, concentration, scale_matrix, dof, {})
  dim = loc.shape[-1]
  leading = jnp.broadcast_shapes(
    loc.shape[:-1], concentration.shape, dof.shape, scale_matrix.shape[:-2]
  )

  def draw(row_key: jax.Array, shape: Shape, dof: jax.Array) -> jax.Array:
    key_gamma, key_normal = jax.random.split(row_key)
    half = 0.5 * (dof[..., None] - jnp.arange(dim))
    gamma = draw_log_gamma(key_gamma, half, (*shape, dim))
    normal = jax.random.normal(key_normal, (*shape, dim, dim + 1), dof.dtype)
    bartlett = jnp.tril(normal[..., :-1], -1)
    bartlett += jnp.sqrt(2 * jnp.exp(gamma))[..., None] * jnp.eye(dim)
    return jnp.concatenate([bartlett, normal[..., -1:]], axis=-1)

  noise = draw_by_row(key, draw, [jnp.broadcast_to(dof, leading)], num_samples, axis_name)
  factor = jnp.linalg.cholesky(scale_matrix)
  # Column j of A^-1 C^T belongs to row j of C: the rows of the root C A^-T.
  root = gaussian_full.solve(noise[..., None, :, :-1], factor)
  dot = partial(jnp.einsum, precision="highest")
  shift = dot("...ij,...j->...i", root, noise[..., -1]) / jnp.sqrt(concentration)[..., None]
  covariance = dot("...ij,...kj->...ik", root, root)
  return (loc + shift).astype(dtype), covariance.astype(dtype)


def mean(
  loc: ArrayLike, concentration: ArrayLike, scale_matrix: ArrayLike, dof: ArrayLike
) -> tuple[jax.Array, jax.Array]:
  r"""Expectations of the mean and of the covariance, the latter for nu > D + 1.

  .. math:: E[\mu] = m, \quad E[\Sigma] = \frac{\Psi}{\nu - D - 1}

  Args:
    loc: m, shape (..., D).
    concentration: not used; present because every family's `mean` takes all parameters.
    scale_matrix: Psi, shape (..., D, D).
    dof: nu, shape (...).

  Returns:
    (E[mu], E[Sigma]) of shapes (..., D) and (..., D, D), float32 or wider. Gradient flows to loc,
    scale_matrix and dof.

  Raises:
    TypeError: if a parameter is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> mean(jnp.zeros(1), jnp.array(1.0), jnp.ones((1, 1)), jnp.array(4.0))[1].tolist()
    [[0.5]]

  References:
    Murphy, Machine Learning: A Probabilistic Perspective, 2012 (inverse Wishart).
  """
  loc, _, dof, scale_matrix = _promote(loc, concentration, scale_matrix, dof, {})
  return loc, scale_matrix / (dof - loc.shape[-1] - 1)[..., None, None]


def posterior(
  x: ArrayLike,
  weights: ArrayLike,
  loc: ArrayLike,
  concentration: ArrayLike,
  scale_matrix: ArrayLike,
  dof: ArrayLike,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  r"""Parameters of p(mu, Sigma | x) after N Gaussian points, each counted `weights` times.

  .. math:: \kappa_N = \kappa + n, \quad \nu_N = \nu + n, \quad
    m_N = \frac{\kappa m + n \bar x}{\kappa_N}, \quad
    \Psi_N = \Psi + S + \frac{\kappa n}{\kappa_N} (\bar x - m)(\bar x - m)^\top

  with n the sum of the weights, x-bar the weighted mean and S the weighted scatter around it.

  Args:
    x: points, shape (N, D).
    weights: at least 0, shape (N,): ones, a mask (1 = keep), or responsibilities in a mixture.
    loc: m of the prior, shape (D,).
    concentration: kappa of the prior, scalar.
    scale_matrix: Psi of the prior, shape (D, D).
    dof: nu of the prior, scalar.

  Returns:
    (loc, concentration, scale_matrix, dof) of the posterior, of the prior's shapes, float32 or
    wider. Gradient flows to all arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> one = jnp.array(1.0)
    >>> loc, kappa, psi, nu = posterior(jnp.full((1, 1), 2.0), one[None], one[None] * 0, one,
    ...   one[None, None], one)
    >>> loc.tolist(), float(kappa), psi.tolist(), float(nu)
    ([1.0], 2.0, [[3.0]], 2.0)

  References:
    Murphy, Machine Learning: A Probabilistic Perspective, 2012.
  """
  check_float(x=x, weights=weights)
  prior = _promote(loc, concentration, scale_matrix, dof, {})
  loc, concentration, dof, scale_matrix = prior
  dim = loc.shape[-1]
  if loc.ndim != 1 or concentration.ndim or dof.ndim or scale_matrix.ndim != 2:
    got = loc.shape, concentration.shape, scale_matrix.shape, dof.shape
    raise ValueError(
      "loc must be of a single prior, shape (D,), as concentration (), scale_matrix (D, D) and "
      f"dof (), got {got}"
    )
  if jnp.shape(x) != (*jnp.shape(weights), dim) or jnp.ndim(weights) != 1:
    raise ValueError(
      f"x and weights must have shapes (N, {dim}) and (N,), got {jnp.shape(x)} and "
      f"{jnp.shape(weights)}"
    )
  x, weights, loc, concentration, dof, scale_matrix = widen(x, weights, *prior)
  count = jnp.sum(weights)
  total = concentration + count
  dot = partial(jnp.matmul, precision="highest")
  loc_new = (concentration * loc + dot(weights, x)) / total
  # Scatter around the new loc, with the prior as points at the old one: equal to the formula, and
  # defined for n = 0.
  around, shift = x - loc_new, loc - loc_new
  scatter = dot((weights[:, None] * around).T, around) + concentration * jnp.outer(shift, shift)
  return loc_new, total, scale_matrix + scatter, dof + count


def _promote(
  loc: ArrayLike,
  concentration: ArrayLike,
  scale_matrix: ArrayLike,
  dof: ArrayLike,
  points: dict[str, ArrayLike],
  covariance: ArrayLike | None = None,
) -> tuple[jax.Array, ...]:
  """(*points, loc, concentration, dof, scale_matrix[, covariance]), checked."""
  vectors = points | {"loc": loc}
  scalars = {"concentration": concentration, "dof": dof}
  matrices = {"scale_matrix": scale_matrix}
  if covariance is not None:
    matrices["covariance"] = covariance
  check_float(**vectors, **scalars, **matrices)
  dims = {jnp.shape(vector)[-1:] for vector in vectors.values()}
  tails = {jnp.shape(matrix)[-2:] for matrix in matrices.values()}
  if len(dims) > 1 or dims == {()} or tails != {(*dims.copy().pop(),) * 2}:
    listed = ", ".join(f"{n} {jnp.shape(a)}" for n, a in (vectors | matrices).items())
    raise ValueError(f"loc must have shape (..., D), scale_matrix (..., D, D); got {listed}")
  leading = {f"{name} without its last axis": jnp.shape(a)[:-1] for name, a in vectors.items()}
  leading |= {name: jnp.shape(a) for name, a in scalars.items()}
  leading |= {f"{name} without its last axes": jnp.shape(a)[:-2] for name, a in matrices.items()}
  check_shapes(None, leading)
  return widen(*vectors.values(), *scalars.values(), *matrices.values())


def _log_det(factor: jax.Array) -> jax.Array:
  return 2 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
