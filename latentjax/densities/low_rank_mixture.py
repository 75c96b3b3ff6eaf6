r"""Mixture of low-rank Gaussians and its exact denoiser, parameters `logits`, `mean` and `loadings`.

.. math:: x = m_k + F_k h, \quad k \sim \pi = \mathrm{softmax}(l), \; h \sim N(0, I_R), \qquad
  z = \alpha x + \sigma \epsilon

Logits have shape (K,), means (K, D), loadings (K, D, R) with any R <= D: points near K subspaces, planes
or, with R = D, full Gaussians. The data itself has no density in D dimensions, but what a diffusion
process makes of it has, and its posterior mean, the denoiser that every diffusion model of this data aims
at, has a closed form. So samplers, guidance and solvers of inverse problems can be tested against exact
answers: `lambda x_t, t: denoise(x_t, *params, alpha=process.alpha(t), sigma=process.sigma(t))`. Nothing of
size D x D is inverted. Results are float32 (float64 for float64 inputs) whatever lower precision the
inputs have; samples and denoised points keep the dtype of what they are made of.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank
from latentjax.densities._shapes import Shape, draw_samples, widen

__all__ = ["denoise", "log_prob", "responsibilities", "sample"]


class _Parts(NamedTuple):
  """For every component log p(z, k) (..., K), E[x | z, k] - m_k (..., K, D)."""

  log_joint: jax.Array
  inside: jax.Array


def log_prob(
  x_t: ArrayLike,
  logits: ArrayLike,
  mean: ArrayLike,
  loadings: ArrayLike,
  *,
  alpha: ArrayLike = 1.0,
  sigma: ArrayLike,
) -> jax.Array:
  r"""Log-density of noisy points in nats.

  .. math:: \log \sum_k \pi_k \, N(z; \alpha m_k, \alpha^2 F_k F_k^\top + \sigma^2 I)

  Args:
    x_t: z, shape (B, D).
    logits: unnormalised log-weights, shape (K,).
    mean: m, shape (K, D).
    loadings: F, shape (K, D, R).
    alpha: share of the data, shape () or (B,).
    sigma: standard deviation of the noise, positive, shape () or (B,).

  Returns:
    Log-density in nats, shape (B,), float32 or wider. Gradient flows to all arguments; that with respect
    to x_t is the score.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit or sigma is not positive.

  Example:
    >>> params = jnp.zeros(1), jnp.zeros((1, 2)), jnp.array([[[1.0], [0.0]]])
    >>> float(log_prob(jnp.zeros((1, 2)), *params, sigma=1.0)[0])  # -log(2 pi) - log(2) / 2
    -2.18445...

  References:
    Wang et al., Diffusion Models Learn Low-Dimensional Distributions via Subspace Clustering, 2024.
      arXiv:2409.02426
  """
  parts, _ = _components(x_t, logits, mean, loadings, alpha, sigma)
  return jax.nn.logsumexp(parts.log_joint, axis=-1)


def responsibilities(
  x_t: ArrayLike,
  logits: ArrayLike,
  mean: ArrayLike,
  loadings: ArrayLike,
  *,
  alpha: ArrayLike = 1.0,
  sigma: ArrayLike,
) -> jax.Array:
  r"""Posterior probability of every component given a noisy point.

  .. math:: p(k | z) \propto \pi_k \, N(z; \alpha m_k, \alpha^2 F_k F_k^\top + \sigma^2 I)

  which for zero means and orthonormal loadings is proportional to

  .. math:: \pi_k \exp \frac{\alpha^2 \|F_k^\top z\|^2}{2 \sigma^2 (\alpha^2 + \sigma^2)}

  Args:
    x_t: z, shape (B, D).
    logits: unnormalised log-weights, shape (K,).
    mean: m, shape (K, D).
    loadings: F, shape (K, D, R).
    alpha: share of the data, shape () or (B,).
    sigma: standard deviation of the noise, positive, shape () or (B,).

  Returns:
    Probabilities that add up to one, shape (B, K), float32 or wider. Gradient flows to all arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit or sigma is not positive.

  Example:
    >>> axes = jnp.eye(2)[:, :, None]  # two lines
    >>> responsibilities(jnp.array([[9.0, 0.0]]), jnp.zeros(2), jnp.zeros((2, 2)), axes, sigma=0.1).tolist()
    [[1.0, 0.0]]

  References:
    Wang et al., Diffusion Models Learn Low-Dimensional Distributions via Subspace Clustering, 2024.
      arXiv:2409.02426
  """
  parts, _ = _components(x_t, logits, mean, loadings, alpha, sigma)
  return jax.nn.softmax(parts.log_joint, axis=-1)


def denoise(
  x_t: ArrayLike,
  logits: ArrayLike,
  mean: ArrayLike,
  loadings: ArrayLike,
  *,
  alpha: ArrayLike = 1.0,
  sigma: ArrayLike,
) -> jax.Array:
  r"""Posterior mean of the data given a noisy point, the best denoiser there is.

  .. math::

    E[x | z] = \sum_k p(k | z) \Big( m_k + \alpha F_k (\alpha^2 F_k^\top F_k + \sigma^2 I)^{-1} F_k^\top
    (z - \alpha m_k) \Big)

  which for zero means and orthonormal loadings is a shrunk sum of projections,

  .. math:: \frac{\alpha}{\alpha^2 + \sigma^2} \sum_k p(k | z) \, F_k F_k^\top z

  the network that Wang et al. train. The score is (alpha E[x | z] - z) / sigma^2.

  Args:
    x_t: z, shape (B, D).
    logits: unnormalised log-weights, shape (K,).
    mean: m, shape (K, D).
    loadings: F, shape (K, D, R).
    alpha: share of the data, shape () or (B,).
    sigma: standard deviation of the noise, positive, shape () or (B,).

  Returns:
    Denoised points, the shape and dtype of x_t. Gradient flows to all arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit or sigma is not positive.

  Example:
    >>> line, x_t = jnp.array([[[1.0], [0.0]]]), jnp.array([[2.0, 3.0]])
    >>> denoise(x_t, jnp.zeros(1), jnp.zeros((1, 2)), line, sigma=1.0).round(4).tolist()
    [[1.0, 0.0]]

  References:
    Wang et al., Diffusion Models Learn Low-Dimensional Distributions via Subspace Clustering, 2024.
      arXiv:2409.02426
  """
  parts, mean = _components(x_t, logits, mean, loadings, alpha, sigma)
  weights = jax.nn.softmax(parts.log_joint, axis=-1)
  denoised = jnp.einsum("bk,bkd->bd", weights, mean + parts.inside, precision="highest")
  return denoised.astype(jnp.result_type(x_t))


def sample(
  key: jax.Array,
  logits: ArrayLike,
  mean: ArrayLike,
  loadings: ArrayLike,
  *,
  num_samples: int,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Points without noise: a component, then a point of its subspace.

  .. math:: x = m_k + F_k h, \quad k \sim \pi, \; h \sim N(0, I)

  Args:
    key: random key, the same on every device.
    logits: unnormalised log-weights, shape (K,).
    mean: m, shape (K, D).
    loadings: F, shape (K, D, R).
    num_samples: points on this device; a point depends on `key` and its index among all devices' alone.
    axis_name: mapped device axis over which the points are split, inside `pmap` or `shard_map`.

  Returns:
    Points in the parameters' dtype, shape (num_samples, D). Gradient flows to the mean and loadings of the
    drawn components; none reaches the logits.

  Raises:
    TypeError: if a parameter is not floating point or `num_samples` is not an integer.
    ValueError: if the shapes do not fit or `num_samples` is below 1.

  Example:
    >>> line = jnp.array([[[1.0], [0.0]]])
    >>> x = sample(jax.random.key(0), jnp.zeros(1), jnp.zeros((1, 2)), line, num_samples=5)
    >>> x.shape, float(jnp.abs(x[:, 1]).max())
    ((5, 2), 0.0)

  References:
    Wang et al., Diffusion Models Learn Low-Dimensional Distributions via Subspace Clustering, 2024.
      arXiv:2409.02426
  """
  dtype = jnp.result_type(logits, mean, loadings)
  logits, mean, loadings = _check_params(logits, mean, loadings)
  components, _, rank = loadings.shape

  def draw(row_key: jax.Array, row_shape: Shape) -> jax.Array:
    key_component, key_point = jax.random.split(row_key)
    gumbel = jax.random.gumbel(key_component, (*row_shape, components), mean.dtype)
    h = jax.random.normal(key_point, (*row_shape, rank), mean.dtype)
    return jnp.concatenate([gumbel, h], axis=-1)

  # Points are the rows here: each is an example of its own.
  noise = draw_samples(key, draw, (), num_samples, axis_name)
  chosen = jnp.argmax(logits + noise[:, :components], axis=-1)
  h = noise[:, components:]
  inside = jnp.einsum("bdr,br->bd", loadings[chosen], h, precision="highest")
  return (mean[chosen] + inside).astype(dtype)


def _components(
  x_t: ArrayLike,
  logits: ArrayLike,
  mean: ArrayLike,
  loadings: ArrayLike,
  alpha: ArrayLike,
  sigma: ArrayLike,
) -> tuple[_Parts, jax.Array]:
  """What all functions of noisy points need; and the means."""
  check_float(x_t=x_t, alpha=alpha, sigma=sigma)
  check_rank(2, x_t=x_t)
  check_range(0.0, strict=True, sigma=sigma)
  logits, mean, loadings = _check_params(logits, mean, loadings)
  dim, rank = loadings.shape[1:]
  if jnp.shape(x_t)[1] != dim:
    raise ValueError(f"x_t must have D = {dim} numbers in a row, got shape {jnp.shape(x_t)}")
  for name, level in {"alpha": alpha, "sigma": sigma}.items():
    if jnp.shape(level) not in ((), jnp.shape(x_t)[:1]):
      raise ValueError(f"{name} must have shape () or {jnp.shape(x_t)[:1]}, got {jnp.shape(level)}")
  x_t, logits, mean, loadings, alpha, sigma = widen(x_t, logits, mean, loadings, alpha, sigma)
  alpha, sigma = alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)  # rows, components, dimensions
  gram = jnp.einsum("kdr,kds->krs", loadings, loadings, precision="highest")
  eye = jnp.eye(rank, dtype=gram.dtype)
  root = jnp.linalg.cholesky(_square(alpha) * gram + _square(sigma) * eye)  # (B or 1, K, R, R)
  centred = x_t[:, None] - alpha * mean
  seen = alpha * jnp.einsum("kdr,bkd->bkr", loadings, centred, precision="highest")
  inverse = cho_solve((root, True), jnp.broadcast_to(eye, root.shape))
  h = jnp.matmul(inverse, seen[..., None], precision="highest")[..., 0]  # E[h | z, k]
  inside = jnp.einsum("kdr,bkr->bkd", loadings, h, precision="highest")
  # |z - alpha m|^2 less what the subspace explains, without the difference of two large numbers.
  rest = jnp.sum(jnp.square((centred - alpha * inside) / sigma), axis=-1)
  log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1)
  log_det += 2 * (dim - rank) * jnp.log(sigma[..., 0])
  square = rest + jnp.sum(jnp.square(h), axis=-1) + log_det + dim * math.log(2 * math.pi)
  return _Parts(jax.nn.log_softmax(logits) - 0.5 * square, inside), mean


def _square(level: jax.Array) -> jax.Array:
  return jnp.square(level)[..., None]


def _check_params(logits: ArrayLike, mean: ArrayLike, loadings: ArrayLike) -> tuple[jax.Array, ...]:
  """Refuses parameters that do not fit; returns them float32 or wider."""
  check_float(logits=logits, mean=mean, loadings=loadings)
  check_rank(3, loadings=loadings)
  components, dim, rank = jnp.shape(loadings)
  if rank > dim:
    raise ValueError(
      f"loadings must have shape (K, D, R) with R <= D, got {(components, dim, rank)}"
    )
  if jnp.shape(mean) != (components, dim) or jnp.shape(logits) != (components,):
    raise ValueError(
      f"logits and mean must have shapes {(components,)} and {(components, dim)} as loadings has, got "
      f"{jnp.shape(logits)} and {jnp.shape(mean)}"
    )
  return widen(logits, mean, loadings)
