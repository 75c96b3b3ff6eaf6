r"""Where Brownian motion on a compact manifold is after a time: the posterior of the Diffusion VAE.

.. math:: q(z) = p_t(z | m), \quad \partial_t p = \tfrac12 \Delta p, \quad p_0 = \delta_m

Parameters `mean` (the starting point, on the manifold, shape (..., A) in its ambient space) and
`log_time` (log t, shape (...)); for small t it is a Gaussian of standard deviation sqrt(t) in every
tangent direction. The density has no closed form on most manifolds, but samples and, for small t,
the divergence from the uniform density have. Results are float32 (float64 for float64 inputs)
whatever lower precision the inputs have; samples keep the parameters' dtype.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_positive_int
from latentjax.densities import manifolds
from latentjax.densities._shapes import Shape, check_shapes, draw_samples, widen

__all__ = ["kl_uniform", "sample", "sample_uniform"]


def sample(
  key: jax.Array,
  mean: ArrayLike,
  log_time: ArrayLike,
  *,
  manifold: manifolds.Manifold,
  num_steps: int = 10,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Reparameterised samples by a random walk that is projected back at every step.

  .. math:: z_{i+1} = P\left(z_i + \sqrt{t / N} \, c \, \epsilon_i\right), \quad z_0 = m

  with Gaussian noise in the ambient space and c the manifold's `noise_scale`. The law tends to the
  heat kernel with an error of order t / N. The noise of a row depends on `key` and on the row's index
  in the batch alone.

  Args:
    key: random key, the same on every device.
    mean: starting points on the manifold, shape (B, ..., A).
    log_time: log t, shape (B, ...) or with leading axes missing.
    manifold: such as `manifolds.sphere(dim=2)`.
    num_steps: N, steps of the walk.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Points on the manifold in the parameters' dtype, shape (B, ..., A), or (K, B, ..., A) if
    `num_samples=K`. Gradient flows to both parameters through the samples. Finite for |log_time| <=
    40.

  Raises:
    TypeError: if a parameter is not floating point or a size is not an integer.
    ValueError: if the shapes do not fit or a size is below 1.

  Example:
    >>> north = jnp.array([[0.0, 0.0, 1.0]])
    >>> sample(jax.random.key(0), north, jnp.zeros(1), manifold=manifolds.sphere(dim=2)).shape
    (1, 3)

  References:
    Perez Rey, Menkovski & Portegies, Diffusion Variational Autoencoders, 2020 (reparameterisation by
      random walks). arXiv:1901.08991
  """
  check_positive_int(num_steps=num_steps)
  dtype = jnp.result_type(mean, log_time)
  mean, log_time = _promote(mean, log_time, manifold)
  shape = jnp.broadcast_shapes(mean.shape[:-1], log_time.shape)

  def draw(row_key: jax.Array, row_shape: Shape) -> jax.Array:
    walk_shape = (*row_shape, num_steps, manifold.ambient_dim)
    return jax.random.normal(row_key, walk_shape, mean.dtype)

  eps = draw_samples(key, draw, shape, num_samples, axis_name)
  length = manifold.noise_scale * jnp.exp(0.5 * log_time) / math.sqrt(num_steps)

  def step(z: jax.Array, eps: jax.Array) -> tuple[jax.Array, None]:
    return manifold.project(z + length[..., None] * eps), None

  steps = jnp.moveaxis(eps, -2, 0)
  z, _ = jax.lax.scan(step, jnp.broadcast_to(mean, steps.shape[1:]) + 0 * steps[0], steps)
  return z.astype(dtype)


def sample_uniform(key: jax.Array, *, manifold: manifolds.Manifold, num_samples: int) -> jax.Array:
  r"""Uniform points: projected Gaussian noise.

  .. math:: z = P(\epsilon), \quad \epsilon \sim N(0, I)

  Uniform because the noise and the manifolds of `manifolds` have the same rotations as symmetries.

  Args:
    key: random key.
    manifold: such as `manifolds.torus(dim=2)`.
    num_samples: K.

  Returns:
    Points, float32, shape (K, A).

  Raises:
    TypeError: if num_samples is not an integer.
    ValueError: if num_samples is below 1.

  Example:
    >>> sample_uniform(jax.random.key(0), manifold=manifolds.sphere(dim=2), num_samples=5).shape
    (5, 3)

  References:
    Perez Rey, Menkovski & Portegies, Diffusion Variational Autoencoders, 2020 (the prior).
      arXiv:1901.08991
  """
  check_positive_int(num_samples=num_samples)
  return manifold.project(jax.random.normal(key, (num_samples, manifold.ambient_dim)))


def kl_uniform(log_time: ArrayLike, *, manifold: manifolds.Manifold) -> jax.Array:
  r"""Kullback-Leibler divergence from the uniform density, for small times, in nats.

  .. math:: \log \mathrm{Vol} - \frac{d}{2} \log 2 \pi t - \frac{d}{2} + \frac{\mathrm{Scal}}{4} t

  The error is of order t^2 (on flat manifolds exponentially small). It is good to a few hundredths
  of a nat up to t = 1 on the unit sphere and the torus, and useless beyond: on flat manifolds it goes
  on falling below zero.

  Args:
    log_time: log t, shape (...).
    manifold: such as `manifolds.sphere(dim=2)`.

  Returns:
    Divergence in nats, shape (...), float32 or wider. Gradient flows to log_time.

  Raises:
    TypeError: if log_time is not floating point.

  Example:
    >>> float(kl_uniform(jnp.array(0.0), manifold=manifolds.sphere(dim=2)))  # log 2 - 1/2
    0.193147...

  References:
    Perez Rey, Menkovski & Portegies, Diffusion Variational Autoencoders, 2020 (asymptotic expansion of
      the divergence). arXiv:1901.08991
  """
  check_float(log_time=log_time)
  (log_time,) = widen(log_time)
  spread = 0.5 * manifold.dim * (math.log(2 * math.pi) + log_time + 1)
  return manifold.log_volume - spread + 0.25 * manifold.scalar_curvature * jnp.exp(log_time)


def _promote(
  mean: ArrayLike, log_time: ArrayLike, manifold: manifolds.Manifold
) -> tuple[jax.Array, jax.Array]:
  check_float(mean=mean, log_time=log_time)
  if jnp.shape(mean)[-1:] != (manifold.ambient_dim,):
    raise ValueError(
      f"mean must have {manifold.ambient_dim} numbers on its last axis, got shape {jnp.shape(mean)}"
    )
  check_shapes(
    None, {"mean without its last axis": jnp.shape(mean)[:-1], "log_time": jnp.shape(log_time)}
  )
  mean, log_time = widen(mean, log_time)
  return mean, log_time
