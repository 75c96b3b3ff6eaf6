"""Denoising with one subspace for every point, which is subspace clustering."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype

__all__ = ["subspace_denoising_loss"]


def subspace_denoising_loss(
  x: ArrayLike, frames: ArrayLike, *, alpha: ArrayLike, sigma: ArrayLike
) -> jax.Array:
  r"""Expected denoising loss of a point whose denoiser projects it onto the nearest of K subspaces.

  .. math::

    E_\epsilon \Big\| \frac{\alpha}{\alpha^2 + \sigma^2} U_k U_k^\top (\alpha x + \sigma \epsilon) - x
    \Big\|^2 = \|x\|^2 - \rho (2 - \rho) \|U_k^\top x\|^2 + \rho (1 - \rho) R, \qquad
    k = \arg\max_j \|U_j^\top x\|, \quad \rho = \frac{\alpha^2}{\alpha^2 + \sigma^2}

  that is `low_rank_mixture.denoise` with all weight on one component. At any time its minimum over frames
  is that of the distance to the nearest of K subspaces: training this diffusion model is K-subspaces
  clustering, and for K = 1 principal component analysis. The expectation over the noise is exact.

  Args:
    x: points, shape (B, D), centred.
    frames: U, orthonormal columns, shape (K, D, R); not checked.
    alpha: share of the data, shape () or (B,).
    sigma: standard deviation of the noise, not negative, shape () or (B,); not 0 where alpha is.

  Returns:
    Loss per point, shape (B,), float32 or wider. Gradient flows to all arguments, and to the frame of the
    nearest subspace alone.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit or sigma is negative.

  Example:
    >>> axes = jnp.eye(2)[:, :, None]  # two lines
    >>> x = jnp.array([[3.0, 0.0], [3.0, 1.0]])
    >>> subspace_denoising_loss(x, axes, alpha=1.0, sigma=0.0).tolist()  # squared distances
    [0.0, 1.0]

  References:
    Wang et al., Diffusion Models Learn Low-Dimensional Distributions via Subspace Clustering, 2024.
      arXiv:2409.02426
  """
  check_float(x=x, frames=frames, alpha=alpha, sigma=sigma)
  check_rank(2, x=x)
  check_rank(3, frames=frames)
  check_range(0.0, sigma=sigma)
  if jnp.shape(x)[1] != jnp.shape(frames)[1]:
    raise ValueError(
      f"x must have D = {jnp.shape(frames)[1]} numbers in a row as frames has, got {jnp.shape(x)}"
    )
  for name, level in {"alpha": alpha, "sigma": sigma}.items():
    if jnp.shape(level) not in ((), jnp.shape(x)[:1]):
      raise ValueError(f"{name} must have shape () or {jnp.shape(x)[:1]}, got {jnp.shape(level)}")
  dtype = wide_dtype(x, frames, alpha, sigma)
  x, frames, alpha, sigma = (jnp.asarray(a, dtype) for a in (x, frames, alpha, sigma))
  inside = jnp.einsum("kdr,bd->bkr", frames, x, precision="highest")
  nearest = jnp.argmax(jnp.sum(jnp.square(inside), axis=-1), axis=-1)
  inside = jnp.take_along_axis(inside, nearest[:, None, None], axis=1)[:, 0]
  away = x - jnp.einsum("bdr,br->bd", frames[nearest], inside, precision="highest")
  total = jnp.square(alpha) + jnp.square(sigma)
  share, rest = (
    jnp.square(alpha) / total,
    jnp.square(sigma) / total,
  )  # 1 - share has no digits at sigma << 1
  kept = jnp.square(rest) * jnp.sum(jnp.square(inside), axis=-1)
  return jnp.sum(jnp.square(away), axis=-1) + kept + share * rest * frames.shape[-1]
