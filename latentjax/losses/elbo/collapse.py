r"""Which latents of a linear VAE survive: the optimal singular values of its decoder in closed form.

All three models have Gaussian data of a known covariance, linear maps, and fixed noise; their
objectives are minimised exactly. A latent whose singular value is zero has collapsed: its posterior
is the prior.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype

__all__ = ["conditional_covariance", "linear_hvae_spectrum", "linear_vae_spectrum"]


def linear_vae_spectrum(
  eigenvalues: ArrayLike,
  *,
  beta: ArrayLike = 1.0,
  noise_scale: ArrayLike = 1.0,
  encoder_scale: ArrayLike | None = None,
) -> jax.Array:
  r"""Singular values of the optimal decoder of a linear (conditional) VAE.

  .. math::

    \min_{U, V, s} \; \frac{1}{2 \eta^2} E\|x - U z\|^2 + \beta \, E[KL(q(z|x) \,\|\, N(0, I))],
    \qquad q(z|x) = N(V x, \mathrm{diag}\, s^2)

  .. math::

    u_i^2 = \max(0, \lambda_i - \beta \eta^2) \quad \text{with learned } s, \qquad
    u_i^2 = \max(0, \sqrt{\beta \lambda_i} \, \eta / s - \beta \eta^2) \quad \text{with fixed } s

  Latent i survives if its eigenvalue exceeds beta eta^2, or beta eta^2 s^2 with a fixed s. In a
  conditional VAE, which predicts y by U z + T x, the eigenvalues are those of the covariance of y
  given x (`conditional_covariance`): what x explains of y is lost to z. With Z latents the Z largest
  eigenvalues count.

  Args:
    eigenvalues: lambda of the covariance of the centred data, at least 0, any shape.
    beta: weight of the divergence, positive.
    noise_scale: eta, standard deviation of p(x|z), positive.
    encoder_scale: s, fixed standard deviation of q(z|x), positive; None if it is learned.

  Returns:
    Singular value for each eigenvalue, the same shape, float32 or wider; exactly 0 for a collapsed
    latent. Gradient flows to eigenvalues; zero for collapsed latents.

  Raises:
    TypeError: if eigenvalues is not floating point.
    ValueError: if a hyper-parameter is not positive.

  Example:
    >>> linear_vae_spectrum(jnp.array([5.0, 1.5, 0.5]), beta=1.0).tolist()
    [2.0, 0.707..., 0.0]

  References:
    Dang et al., Beyond Vanilla Variational Autoencoders: Detecting Posterior Collapse in Conditional
      and Hierarchical Variational Autoencoders, 2024. arXiv:2306.05023
    Lucas et al., Don't Blame the ELBO!, 2019. arXiv:1911.02469
  """
  check_float(eigenvalues=eigenvalues)
  check_range(0.0, strict=True, beta=beta, noise_scale=noise_scale)
  dtype = wide_dtype(eigenvalues)
  lam = jnp.asarray(eigenvalues, dtype)
  threshold = jnp.asarray(beta, dtype) * jnp.square(jnp.asarray(noise_scale, dtype))
  if encoder_scale is None:
    return _sqrt_positive(lam - threshold)
  check_range(0.0, strict=True, encoder_scale=encoder_scale)
  return _sqrt_positive(_sqrt_positive(threshold * lam) / encoder_scale - threshold)


def linear_hvae_spectrum(
  eigenvalues: ArrayLike,
  *,
  encoder_scale: ArrayLike,
  beta: ArrayLike = 1.0,
  beta_top: ArrayLike = 1.0,
  noise_scale: ArrayLike = 1.0,
  prior_scale: ArrayLike = 1.0,
) -> tuple[jax.Array, jax.Array]:
  r"""Singular values of the two optimal decoders of a linear VAE with two levels of latents.

  .. math::

    \min \; \frac{1}{2 \eta^2} E\|x - U_1 z_1\|^2
    + \beta_1 E[KL(q(z_1|x) \,\|\, N(U_2 z_2, \tau^2 I))]
    + \beta_2 E[KL(q(z_2|z_1) \,\|\, N(0, I))]

  with q(z_1|x) = N(V_1 x, s^2 I) of fixed s and q(z_2|z_1) a diagonal Gaussian with all parameters
  learned. Let c_i be the variance of z_1 along its i-th direction and t = (beta_2 / beta_1) tau^2:

  .. math::

    c_i = \max\!\left(s^2, \; \min\!\left(\sqrt{\tfrac{\lambda_i}{\beta_1}} \tfrac{s \tau}{\eta}, t\right)
      \text{ or } \tfrac{\lambda_i s^2}{\beta_2 \eta^2} \text{ if that exceeds } t\right), \qquad
    u_{1i}^2 = \frac{\lambda_i (c_i - s^2)}{c_i^2}, \quad u_{2i}^2 = \max(0, c_i - t)

  The top latent survives if lambda_i > beta_2^2 eta^2 tau^2 / (beta_1 s^2). If s is learned too,
  scale can be traded between the levels, and for beta_2 > beta_1 every top latent collapses: c_i =
  tau^2 < t is then optimal whatever the data. The formulas were derived from the objective above,
  not taken over from the paper.

  Args:
    eigenvalues: lambda of the covariance of the centred data, at least 0, any shape; both levels have
      at least as many latents as there are positive ones.
    encoder_scale: s, fixed standard deviation of q(z_1|x), positive.
    beta: beta_1, weight of the lower divergence, positive.
    beta_top: beta_2, weight of the upper divergence, positive.
    noise_scale: eta, standard deviation of p(x|z_1), positive.
    prior_scale: tau, standard deviation of p(z_1|z_2), positive.

  Returns:
    Singular values of U_1 and of U_2 for each eigenvalue, each of its shape, float32 or wider;
    exactly 0 for a collapsed latent. Gradient flows to eigenvalues; zero for collapsed latents.

  Raises:
    TypeError: if eigenvalues is not floating point.
    ValueError: if a hyper-parameter is not positive.

  Example:
    >>> bottom, top = linear_hvae_spectrum(jnp.array([16.0, 2.25, 0.25]), encoder_scale=0.5)
    >>> top.tolist()
    [1.732..., 0.0, 0.0]
    >>> bottom.tolist()
    [1.936..., 1.414..., 0.0]

  References:
    Dang et al., Beyond Vanilla Variational Autoencoders: Detecting Posterior Collapse in Conditional
      and Hierarchical Variational Autoencoders, 2024. arXiv:2306.05023
  """
  check_float(eigenvalues=eigenvalues)
  check_range(0.0, strict=True, beta=beta, beta_top=beta_top, noise_scale=noise_scale)
  check_range(0.0, strict=True, prior_scale=prior_scale, encoder_scale=encoder_scale)
  dtype = wide_dtype(eigenvalues)
  lam = jnp.asarray(eigenvalues, dtype)
  beta, beta_top, eta, tau, s = (
    jnp.asarray(a, dtype) for a in (beta, beta_top, noise_scale, prior_scale, encoder_scale)
  )
  threshold = beta_top / beta * tau**2
  # The objective along one direction is lambda s^2 / (2 eta^2 c) plus the optimal cost of the top
  # level, c / (2 tau^2) below the threshold and (beta_2 / beta_1) log(c) / 2 above it, times beta_1.
  below = _sqrt_positive(lam / beta) * s * tau / eta
  above = lam * s**2 / (beta_top * eta**2)
  variance = jnp.maximum(jnp.where(above > threshold, above, below), s**2)
  bottom = _sqrt_positive(lam * (variance - s**2)) / variance
  return bottom, _sqrt_positive(variance - threshold)


def conditional_covariance(
  cov_yy: ArrayLike, cov_yx: ArrayLike, cov_xx: ArrayLike, *, ridge: float = 0.0
) -> jax.Array:
  r"""Covariance of y that a linear prediction from x leaves over.

  .. math:: S_{yy} - S_{yx} S_{xx}^{-1} S_{yx}^\top

  Its eigenvalues are those that `linear_vae_spectrum` wants for a conditional VAE.

  Args:
    cov_yy: covariance of y, shape (D, D).
    cov_yx: covariance of y with x, shape (D, C).
    cov_xx: covariance of x, positive definite, shape (C, C).
    ridge: added to the diagonal of cov_xx, at least 0.

  Returns:
    Symmetric matrix, shape (D, D), float32 or wider. Gradient flows to all three arguments.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes do not fit or ridge is negative.

  Example:
    >>> cov = conditional_covariance(jnp.eye(1), 0.6 * jnp.eye(1), jnp.eye(1))
    >>> round(float(cov[0, 0]), 2)
    0.64

  References:
    Bishop, Pattern Recognition and Machine Learning, 2006, eq. 2.82.
    Dang et al., Beyond Vanilla Variational Autoencoders, 2024. arXiv:2306.05023
  """
  check_float(cov_yy=cov_yy, cov_yx=cov_yx, cov_xx=cov_xx)
  check_rank(2, cov_yy=cov_yy, cov_yx=cov_yx, cov_xx=cov_xx)
  check_range(low=0.0, ridge=ridge)
  rows, columns = jnp.shape(cov_yx)
  if jnp.shape(cov_yy) != (rows, rows) or jnp.shape(cov_xx) != (columns, columns):
    raise ValueError(
      "cov_yy, cov_yx and cov_xx must have shapes (D, D), (D, C) and (C, C), got "
      f"{jnp.shape(cov_yy)}, {jnp.shape(cov_yx)} and {jnp.shape(cov_xx)}"
    )
  dtype = wide_dtype(cov_yy, cov_yx, cov_xx)
  yy, yx, xx = (jnp.asarray(a, dtype) for a in (cov_yy, cov_yx, cov_xx))
  factor = jnp.linalg.cholesky(xx + ridge * jnp.eye(columns, dtype=dtype))
  half = jax.scipy.linalg.solve_triangular(factor, yx.T, lower=True)
  return yy - jnp.matmul(half.T, half, precision="highest")


def _sqrt_positive(x: jax.Array) -> jax.Array:
  """Root of the positive part, with gradient zero where it is zero."""
  positive = x > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
