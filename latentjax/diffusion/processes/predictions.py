"""What networks predict of z_t = alpha x + sigma eps, and one prediction as another."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_float, check_same_shape, wide_dtype
from latentjax.collectives import draw_rows
from latentjax.diffusion.processes.coefficients import with_slope
from latentjax.diffusion.processes.schedules import Process

__all__ = ["PREDICTIONS", "convert", "noised"]

PREDICTIONS = ("eps", "x0", "v", "score", "velocity")


def noised(x: ArrayLike, eps: ArrayLike, t: ArrayLike, *, process: Process) -> jax.Array:
  r"""The process at time t.

  .. math:: z_t = \alpha_t x + \sigma_t \epsilon

  Args:
    x: data, shape (B, ...).
    eps: standard normal noise, the same shape.
    t: times in [0, 1], shape (B,) or ().
    process: alpha and sigma.

  Returns:
    z_t, the shape and dtype of x. Gradient flows to all arguments.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> noised(jnp.ones((2, 3)), jnp.zeros((2, 3)), 0.25, process=rectified_flow()).tolist()[0]
    [0.75, 0.75, 0.75]

  References:
    Ho et al., Denoising Diffusion Probabilistic Models, 2020. arXiv:2006.11239
  """
  check_float(x=x, eps=eps)
  check_same_shape(x=x, eps=eps)
  x = jnp.asarray(x)
  t = expand_time(t, x)
  return (process.alpha(t) * x + process.sigma(t) * jnp.asarray(eps, x.dtype)).astype(x.dtype)


def convert(
  prediction: ArrayLike,
  x_t: ArrayLike,
  t: ArrayLike,
  *,
  process: Process,
  source: str,
  target: str,
) -> jax.Array:
  r"""One kind of prediction as another.

  Each is a combination of data and noise, given z_t = alpha x + sigma eps:

  .. math::

    \epsilon, \quad x, \quad v = \alpha \epsilon - \sigma x, \quad
    \mathrm{score} = -\epsilon / \sigma, \quad \mathrm{velocity} = \dot\alpha x + \dot\sigma \epsilon

  With p = a x + b eps given and q = c x + d eps wanted,

  .. math:: q = \frac{(c b - d a) \, z_t + (\alpha d - \sigma c) \, p}{\alpha b - \sigma a}

  Where the source does not determine the target (x from eps at alpha = 0, eps from x at sigma = 0)
  the result is not finite. The velocity is that of the probability-flow ODE if x and eps are
  conditional means.

  Args:
    prediction: p, shape (B, ...).
    x_t: z_t, the same shape.
    t: times in [0, 1], shape (B,) or ().
    process: alpha and sigma.
    source: what prediction is: "eps", "x0", "v", "score" or "velocity".
    target: what is wanted, one of the same.

  Returns:
    q, the shape and dtype of x_t. Gradient flows to all arrays.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or a name is unknown.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> x_t, eps = jnp.array([[0.75]]), jnp.array([[0.0]])
    >>> convert(eps, x_t, 0.25, process=rectified_flow(), source="eps", target="x0").tolist()
    [[1.0]]

  References:
    Salimans and Ho, Progressive Distillation for Fast Sampling of Diffusion Models, 2022 (v).
      arXiv:2202.00512
    Kingma and Gao, Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation,
      2023. arXiv:2303.00848
  """
  check_choice(PREDICTIONS, source=source, target=target)
  check_float(prediction=prediction, x_t=x_t)
  check_same_shape(prediction=prediction, x_t=x_t)
  x_t = jnp.asarray(x_t)
  if source == target:
    return jnp.asarray(prediction, x_t.dtype)
  time = expand_time(t, x_t)
  alpha, sigma = process.alpha(time), process.sigma(time)
  p = jnp.asarray(prediction, wide_dtype(x_t))
  # The score is the noise in other units; as such it has no coefficients that grow without bound.
  if source == "score":
    source, p = "eps", -sigma * p
  wanted = "eps" if target == "score" else target
  q = p
  if wanted != source:
    a, b = _parts(source, time, alpha, sigma, process)
    c, d = _parts(wanted, time, alpha, sigma, process)
    q = ((c * b - d * a) * x_t + (alpha * d - sigma * c) * p) / (alpha * b - sigma * a)
  return (-q / sigma if target == "score" else q).astype(x_t.dtype)


def prediction_of(
  x: jax.Array, eps: jax.Array, t: jax.Array, *, process: Process, prediction: str
) -> jax.Array:
  """What a perfect prediction of this kind would be, of data and noise (B, ...) at times (B,)."""
  time = expand_time(t, x)
  alpha, sigma = process.alpha(time), process.sigma(time)
  if prediction == "score":
    return (-eps / sigma).astype(x.dtype)
  a, b = _parts(prediction, time, alpha, sigma, process)
  return (a * x + b * eps).astype(x.dtype)


def noise_error_ratio(t: jax.Array, *, process: Process, prediction: str) -> jax.Array:
  """The error of eps, but for its sign, that comes of an error 1 of a prediction of this kind, shape of t."""
  alpha, sigma = process.alpha(t), process.sigma(t)
  if prediction == "eps":
    return jnp.ones_like(alpha)  # at alpha = 0 too
  if prediction == "score":
    return sigma
  a, b = _parts(prediction, t, alpha, sigma, process)
  return alpha / (alpha * b - sigma * a)


def expand_time(t: ArrayLike, x: jax.Array, name: str = "t") -> jax.Array:
  """Times () or (B,) for arrays (B, ...), float32 or wider, so that they broadcast."""
  t = jnp.asarray(t, wide_dtype(t, x))
  if t.ndim and t.shape != x.shape[:1]:
    raise ValueError(
      f"{name} must have shape () or {x.shape[:1]}, one for each example, got {t.shape}"
    )
  return t.reshape(t.shape + (1,) * (x.ndim - t.ndim)) if t.ndim else t


def _parts(
  name: str, t: jax.Array, alpha: jax.Array, sigma: jax.Array, process: Process
) -> tuple[jax.Array, jax.Array]:
  """Shares of data and noise in a prediction."""
  if name == "velocity":
    return with_slope(process.alpha, t)[1], with_slope(process.sigma, t)[1]
  zero, one = jnp.zeros_like(alpha), jnp.ones_like(alpha)
  return {"eps": (zero, one), "x0": (one, zero), "v": (-sigma, alpha)}[name]


def draw_noise(key: jax.Array, x: jax.Array, axis_name: str | None) -> jax.Array:
  """Standard normal noise for rows x (B, ...), in their dtype."""
  draw = lambda key, shape: jax.random.normal(key, shape, wide_dtype(x))
  return draw_rows(key, draw, x.shape, axis_name=axis_name).astype(x.dtype)
