"""Denoising: the error of a prediction of data or noise, at random times."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_batch, check_choice, wide_dtype
from latentjax.diffusion.processes import PREDICTIONS, Process, noised
from latentjax.diffusion.processes.predictions import (
  draw_noise,
  noise_error_ratio,
  prediction_of,
)
from latentjax.losses.score.times import TimeSampler, antithetic_times
from latentjax.losses.score.weighting import WeightFn

__all__ = ["denoising_loss", "flow_matching_loss", "variational_loss"]

PredictFn = Callable[[jax.Array, jax.Array], jax.Array]


def denoising_loss(
  key: jax.Array,
  predict_fn: PredictFn,
  x: ArrayLike,
  *,
  process: Process,
  prediction: str = "eps",
  weighting: WeightFn | None = None,
  time_sampler: TimeSampler = antithetic_times,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared error of what a network predicts of noisy data, at a random time for every example.

  .. math::

    w(\lambda_t) \|\epsilon - \hat\epsilon(z_t, t)\|^2, \qquad z_t = \alpha_t x + \sigma_t \epsilon, \quad
    \epsilon \sim N(0, I)

  or, without a weighting, the error of the prediction itself, ||p - p_hat||^2: the simple loss of
  DDPM for eps, flow matching for the velocity. With a weighting every prediction has the same loss; the
  error of eps is computed as a multiple of its own. Times of exactly 0 and 1, which samplers draw now and
  then and where such multiples can be 0 times infinity, are moved inside by half a unit in the last place.

  Args:
    key: random key, the same on every device.
    predict_fn: `(z_t, t) -> prediction`, z_t (B, ...), t (B,), an array of the shape of z_t.
    x: data, shape (B, ...).
    process: alpha, sigma and log_snr.
    prediction: what predict_fn predicts: "eps", "x0", "v", "score" or "velocity".
    weighting: w of the log signal-to-noise ratio, on the error of eps, such as `min_snr_weight`; None: the
      error of the prediction, unweighted.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`; times
      and noise do not depend on how.

  Returns:
    Loss per example, summed over its entries, shape (B,), float32 or wider. Gradient flows to what
    predict_fn holds and to x.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if a shape does not fit or prediction is unknown.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> predict = lambda z, t: jnp.zeros_like(z)
    >>> loss = denoising_loss(jax.random.key(0), predict, jnp.ones((4, 8)), process=rectified_flow())
    >>> loss.shape
    (4,)

  References:
    Ho et al., Denoising Diffusion Probabilistic Models, 2020. arXiv:2006.11239
    Kingma and Gao, Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation,
      2023. arXiv:2303.00848
  """
  t, error = _error(key, predict_fn, x, process, prediction, time_sampler, axis_name)
  if weighting is None:
    return error
  ratio = noise_error_ratio(t, process=process, prediction=prediction)
  return weighting(process.log_snr(t)) * jnp.square(ratio) * error


def flow_matching_loss(
  key: jax.Array,
  velocity_fn: PredictFn,
  x_0: ArrayLike,
  x_1: ArrayLike,
  *,
  sigma: ArrayLike = 0.0,
  time_sampler: TimeSampler = antithetic_times,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Squared error of the velocity of straight lines between pairs of points.

  .. math:: \|\hat v(z_t, t) - (x_1 - x_0)\|^2, \qquad z_t = (1 - t) x_0 + t x_1 + s \epsilon

  With x_1 ~ N(0, I), independent of the data x_0, it is rectified flow; with pairs that are matched by
  optimal transport in the batch, OT flow matching; any two distributions will do. Time runs from x_0,
  data, to x_1 (papers that run it from noise to data have the other sign).

  Args:
    key: random key, the same on every device.
    velocity_fn: `(z_t, t) -> velocity`, z_t (B, ...), t (B,).
    x_0: points at t = 0, shape (B, ...).
    x_1: their partners at t = 1, the same shape.
    sigma: s, width of the lines, not negative. Can be traced.
    time_sampler: `(key, *, batch_size, axis_name) -> t`.
    axis_name: mapped device axis over which the pairs are split, inside `pmap` or `shard_map`; times and
      noise do not depend on how.

  Returns:
    Loss per pair, summed over its entries, shape (B,), float32 or wider. Gradient flows to what
    velocity_fn holds and to both points.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes differ.

  Example:
    >>> x_0, x_1 = jnp.zeros((4, 2)), jnp.ones((4, 2))
    >>> flow_matching_loss(jax.random.key(0), lambda z, t: jnp.zeros_like(z), x_0, x_1).tolist()
    [2.0, 2.0, 2.0, 2.0]

  References:
    Lipman et al., Flow Matching for Generative Modeling, 2022. arXiv:2210.02747
    Tong et al., Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal
      Transport, 2023. arXiv:2302.00482
  """
  check_alike(jnp.ndim(x_0), x_0=x_0, x_1=x_1)
  x_0, x_1 = jnp.asarray(x_0), jnp.asarray(x_1)
  key_time, key_noise = jax.random.split(key)
  t = time_sampler(key_time, batch_size=x_0.shape[0], axis_name=axis_name)
  share = t.reshape(t.shape + (1,) * (x_0.ndim - 1)).astype(wide_dtype(x_0))
  noise = jnp.asarray(sigma) * draw_noise(key_noise, x_0, axis_name)
  z = ((1 - share) * x_0 + share * x_1 + noise).astype(x_0.dtype)
  velocity = velocity_fn(z, t)
  check_alike(x_0.ndim, x_0=x_0, velocity=velocity)
  return _squared(velocity, x_1 - x_0)


def variational_loss(
  key: jax.Array,
  predict_fn: PredictFn,
  x: ArrayLike,
  *,
  process: Process,
  prediction: str = "eps",
  time_sampler: TimeSampler = antithetic_times,
  axis_name: str | None = None,
) -> jax.Array:
  r"""The diffusion term of the continuous-time variational bound, an unbiased estimate in nats (VDM).

  .. math::

    -\tfrac12 \frac{d \lambda_t}{dt} \|\epsilon - \hat\epsilon(z_t, t)\|^2, \qquad t \sim U[0, 1]

  whose expectation, plus KL(q(z_1 | x) || p(z_1)) and -E log p(x | z_0), bounds -log p(x) from above. It
  depends on the noise schedule through the signal-to-noise ratio at both ends of time alone, so a learned
  schedule only changes the variance. Times must be uniform, each by itself.

  Args:
    key: random key, the same on every device.
    predict_fn: `(z_t, t) -> prediction`, z_t (B, ...), t (B,).
    x: data, shape (B, ...).
    process: alpha, sigma and log_snr; a learned one gets gradients.
    prediction: what predict_fn predicts, see `denoising_loss`.
    time_sampler: `(key, *, batch_size, axis_name) -> t`, uniform.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Loss per example in nats, shape (B,), float32 or wider. Gradient flows to what predict_fn and the
    process hold, and to x.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if a shape does not fit or prediction is unknown.

  Example:
    >>> from latentjax.diffusion.processes import from_log_snr
    >>> process = from_log_snr(lambda t: 6.0 - 12.0 * t)
    >>> predict = lambda z, t: jnp.zeros_like(z)
    >>> variational_loss(jax.random.key(0), predict, jnp.ones((4, 8)), process=process).shape
    (4,)

  References:
    Kingma et al., Variational Diffusion Models, 2021. arXiv:2107.00630
  """
  t, error = _error(key, predict_fn, x, process, prediction, time_sampler, axis_name)
  ratio = noise_error_ratio(t, process=process, prediction=prediction)
  _, slope = jax.jvp(process.log_snr, (t,), (jnp.ones_like(t),))
  return -0.5 * slope * jnp.square(ratio) * error


def _error(
  key: jax.Array,
  predict_fn: PredictFn,
  x: ArrayLike,
  process: Process,
  prediction: str,
  time_sampler: TimeSampler,
  axis_name: str | None,
) -> tuple[jax.Array, jax.Array]:
  """Times (B,) and squared errors (B,) of predictions at them."""
  check_choice(PREDICTIONS, prediction=prediction)
  check_batch(x=x)
  x = jnp.asarray(x)
  key_time, key_noise = jax.random.split(key)
  t = _inside(time_sampler(key_time, batch_size=x.shape[0], axis_name=axis_name))
  eps = draw_noise(key_noise, x, axis_name)
  given = predict_fn(noised(x, eps, t, process=process), t)
  check_alike(x.ndim, x=x, prediction=given)
  wanted = prediction_of(x, eps, t, process=process, prediction=prediction)
  return t, _squared(given, wanted)


def _inside(t: jax.Array) -> jax.Array:
  """Times in (0, 1): uniform numbers of 23 bits are 0 once in eight million, and 0 times infinity is NaN."""
  margin = 0.5 * jnp.finfo(t.dtype).eps
  return jnp.clip(t, margin, 1 - margin)


def _squared(a: jax.Array, b: jax.Array) -> jax.Array:
  wide = wide_dtype(a, b)
  error = jnp.square(a.astype(wide) - b.astype(wide))
  return jnp.sum(error, axis=tuple(range(1, error.ndim)))
