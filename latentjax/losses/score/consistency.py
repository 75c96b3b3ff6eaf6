"""Consistency models: training on pairs of neighbouring noise levels, distillation, their schedules."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_batch, check_choice, check_positive_int, check_range
from latentjax.collectives import draw_rows
from latentjax.diffusion.processes import Process, noised, time_at_log_snr
from latentjax.diffusion.processes.predictions import draw_noise, expand_time
from latentjax.losses.score.denoising import PredictFn
from latentjax.losses.score.robust import pseudo_huber_loss
from latentjax.losses.score.times import TimeSampler, uniform_times

__all__ = [
  "consistency_distillation_loss",
  "consistency_steps",
  "consistency_times",
  "consistency_training_loss",
]

Metric = Callable[[jax.Array, jax.Array], jax.Array]
PairWeight = Callable[[jax.Array, jax.Array], jax.Array]


def consistency_training_loss(
  key: jax.Array,
  consistency_fn: PredictFn,
  x: ArrayLike,
  *,
  process: Process,
  num_steps: ArrayLike,
  noise: ArrayLike | None = None,
  teacher_fn: PredictFn | None = None,
  metric: Metric = pseudo_huber_loss,
  weighting: PairWeight | None = None,
  time_sampler: TimeSampler | None = None,
  denoising_weight: ArrayLike | PairWeight = 0.0,
  denoising_until: ArrayLike = 0.25,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Difference of a consistency function at two neighbouring noise levels of one line from data to noise.

  .. math::

    w(t, s) \, d\big(f(z_t, t), \; \mathrm{sg}[f(z_s, s)]\big), \qquad
    z_t = \alpha_t x + \sigma_t \epsilon, \quad z_s = \alpha_s x + \sigma_s \epsilon, \quad s = t - 1 / N

  by default as iCT: the pseudo-Huber distance, w = 1 / (level_t - level_s) with level = sigma / alpha,
  log-normal noise levels, and the function itself, detached, as teacher, without an average of its
  parameters. With the process `edm()`, equal steps of t are the noise levels of the paper, and N + 1 its
  N(k). The function must be the identity at t = 0, see `precondition(..., t_min=0.0)`. If it has dropout,
  both evaluations should drop the same.

  A denoising weight adds weight * ||f(z_t, t) - x||^2 for s < denoising_until: at small noise levels data
  itself is a good target (sLCT).

  Args:
    key: random key, the same on every device.
    consistency_fn: f, `(z_t, t) -> x_hat`, z_t (B, ...), t (B,).
    x: data, shape (B, ...).
    process: alpha, sigma and log_snr.
    num_steps: N, steps between t = 0 and t = 1. Can be traced, see `consistency_steps`.
    noise: standard normal, the shape of x, such as one matched to the data by
      `transport.optimal_partners`; None: independent.
    teacher_fn: f at s; None: consistency_fn.
    metric: d, `(x, y) -> (B,)`.
    weighting: w, `(t, s) -> (B,)`; None: the inverse step of the level, which is 0, and the function at t = 1
      not trained, where alpha(1) is 0.
    time_sampler: `(key, *, batch_size, axis_name) -> t` in [0, 1), rounded to the interval [s, t]; None:
      `consistency_times`.
    denoising_weight: of the squared error to the data, a number, which can be traced, or `(t, s) -> (B,)`,
      such as one over the square of c_out of `preconditioning` (the authors' program).
    denoising_until: time s before which it counts. Can be traced.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`; times
      and noise do not depend on how.

  Returns:
    Loss per example, shape (B,), float32 or wider. Gradient flows through f(z_t, t) alone: the value at s is
    detached, whoever gives it.

  Raises:
    TypeError: if an array is not floating point or num_steps is a number but not an integer.
    ValueError: if a shape does not fit or num_steps is below 1.

  Example:
    >>> from latentjax.diffusion.processes import edm
    >>> constant = lambda z, t: jnp.zeros_like(z)  # consistent, but for the boundary
    >>> consistency_training_loss(
    ...   jax.random.key(0), constant, jnp.ones((2, 3)), process=edm(), num_steps=10
    ... ).tolist()
    [0.0, 0.0]

  References:
    Song et al., Consistency Models, 2023. arXiv:2303.01469
    Song and Dhariwal, Improved Techniques for Training Consistency Models, 2023. arXiv:2310.14189
    Dao et al., Improved Training Technique for Latent Consistency Models, 2025. arXiv:2502.01441
  """
  check_batch(x=x)
  x = jnp.asarray(x)
  key_time, key_noise = jax.random.split(key)
  time_sampler = time_sampler or partial(consistency_times, process=process)
  t, s = _interval(time_sampler(key_time, batch_size=x.shape[0], axis_name=axis_name), num_steps)
  if noise is None:
    noise = draw_noise(key_noise, x, axis_name)
  check_alike(x.ndim, x=x, noise=noise)
  student = consistency_fn(noised(x, noise, t, process=process), t)
  teacher = teacher_fn or consistency_fn
  target = jax.lax.stop_gradient(teacher(noised(x, noise, s, process=process), s))
  loss = _weight(weighting, process, t, s) * metric(student, target)
  if isinstance(denoising_weight, int | float) and denoising_weight == 0:
    return loss
  error = jnp.square(student.astype(loss.dtype) - x)
  squared = jnp.sum(error, axis=tuple(range(1, x.ndim)))
  weight = denoising_weight(t, s) if callable(denoising_weight) else denoising_weight
  return loss + jnp.where(s < denoising_until, weight, 0) * squared


def consistency_distillation_loss(
  key: jax.Array,
  consistency_fn: PredictFn,
  denoise_fn: PredictFn,
  x: ArrayLike,
  *,
  process: Process,
  num_steps: ArrayLike,
  solver: str = "heun",
  teacher_fn: PredictFn | None = None,
  metric: Metric = pseudo_huber_loss,
  weighting: PairWeight | None = None,
  time_sampler: TimeSampler = uniform_times,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Difference of a consistency function at both ends of one step of a trained model's ODE.

  .. math::

    w(t, s) \, d\big(f(z_t, t), \; \mathrm{sg}[f(\hat z_s, s)]\big), \qquad
    \hat z_s = \mathrm{solver}(z_t, t \to s), \quad s = t - 1 / N

  One step of the probability-flow ODE by `samplers.euler` or `samplers.heun`, with its time for every row.

  Args:
    key: random key, the same on every device.
    consistency_fn: f, `(z_t, t) -> x_hat`, z_t (B, ...), t (B,).
    denoise_fn: the trained model, `(z_t, t) -> x0_hat`.
    x: data, shape (B, ...).
    process: alpha, sigma and log_snr.
    num_steps: N, steps between t = 0 and t = 1. Can be traced.
    solver: "heun" or "euler".
    teacher_fn: f at s, such as the function with averaged parameters; None: consistency_fn.
    metric: d, `(x, y) -> (B,)`.
    weighting: w, `(t, s) -> (B,)`; None: the inverse step of sigma / alpha, which is 0, and the function at
      t = 1 not trained, where alpha(1) is 0.
    time_sampler: `(key, *, batch_size, axis_name) -> t` in [0, 1), rounded to the interval [s, t].
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Loss per example, shape (B,), float32 or wider. Gradient flows through f(z_t, t) alone; the step and the
    value at s are detached.

  Raises:
    TypeError: if an array is not floating point or num_steps is a number but not an integer.
    ValueError: if a shape does not fit, num_steps is below 1 or solver is unknown.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> point = lambda z, t: jnp.full_like(z, 3.0)  # data that is one point: its denoiser is consistent
    >>> consistency_distillation_loss(
    ...   jax.random.key(0), point, point, jnp.full((2, 1), 3.0), process=rectified_flow(), num_steps=4
    ... ).tolist()
    [0.0, 0.0]

  References:
    Song et al., Consistency Models, 2023. arXiv:2303.01469
  """
  check_batch(x=x)
  check_choice(("heun", "euler"), solver=solver)
  x = jnp.asarray(x)
  key_time, key_noise = jax.random.split(key)
  t, s = _interval(time_sampler(key_time, batch_size=x.shape[0], axis_name=axis_name), num_steps)
  z_t = noised(x, draw_noise(key_noise, x, axis_name), t, process=process)
  z_s = jax.lax.stop_gradient(_ode_step(denoise_fn, z_t, t, s, process, solver))
  target = jax.lax.stop_gradient((teacher_fn or consistency_fn)(z_s, s))
  return _weight(weighting, process, t, s) * metric(consistency_fn(z_t, t), target)


def consistency_times(
  key: jax.Array,
  *,
  batch_size: int,
  process: Process,
  mean: ArrayLike = -1.1,
  scale: ArrayLike = 2.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Times at which the noise level is log-normal, within the levels that the process has (iCT).

  .. math:: \log \frac{\sigma_t}{\alpha_t} \sim N(m, s^2) \text{ truncated}

  Rounded down to a grid of times they have the discrete distribution of iCT, for any number of steps: the
  mass of the log-normal between two levels. (`log_normal_times` moves what lies outside to the ends.)

  Args:
    key: random key, the same on every device.
    batch_size: B, examples on this device.
    process: its log_snr is inverted.
    mean: m. Can be traced.
    scale: s, positive. Can be traced.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Times, float32, shape (B,).

  Raises:
    TypeError: if batch_size is not an integer.
    ValueError: if it or scale is not positive.

  Example:
    >>> from latentjax.diffusion.processes import edm
    >>> consistency_times(jax.random.key(0), batch_size=4, process=edm()).shape
    (4,)

  References:
    Song and Dhariwal, Improved Techniques for Training Consistency Models, 2023. arXiv:2310.14189
  """
  check_positive_int(batch_size=batch_size)
  check_range(0.0, strict=True, scale=scale)
  ends = -process.log_snr(jnp.array([0.0, 1.0])) / 2
  low, high = jax.scipy.special.ndtr((ends - mean) / scale)
  uniform = draw_rows(key, jax.random.uniform, (batch_size,), axis_name=axis_name)
  level = mean + scale * jax.scipy.special.ndtri(low + (high - low) * uniform)
  return time_at_log_snr(-2 * level, process=process)


def consistency_steps(
  step: ArrayLike, *, total_steps: int, initial: int = 10, final: int = 1280
) -> jax.Array:
  r"""Number of discretisation steps in the course of training, doubled in equal intervals (iCT).

  .. math::

    \min(s_0 2^{\lfloor k / K' \rfloor}, s_1), \qquad
    K' = \Big\lfloor \frac{K}{\lfloor \log_2 (s_1 / s_0) \rfloor + 1} \Big\rfloor

  The paper's N(k), which counts noise levels, is one more.

  Args:
    step: k, training steps done, any shape. Can be traced.
    total_steps: K.
    initial: s_0, positive.
    final: s_1, at least initial.

  Returns:
    Numbers of steps, int32, the shape of step.

  Raises:
    TypeError: if a number of steps is not an integer.
    ValueError: if one is not positive, final is below initial, or total_steps below the doublings.

  Example:
    >>> consistency_steps(jnp.array([0, 50, 99]), total_steps=100, initial=4, final=8).tolist()
    [4, 8, 8]

  References:
    Song and Dhariwal, Improved Techniques for Training Consistency Models, 2023. arXiv:2310.14189
  """
  check_positive_int(total_steps=total_steps, initial=initial, final=final)
  check_range(initial, final=final)
  doublings = (final // initial).bit_length()  # floor(log2(s_1 / s_0)) + 1
  check_range(doublings, total_steps=total_steps)
  stage = jnp.minimum(jnp.asarray(step) // (total_steps // doublings), doublings)
  return jnp.minimum(initial * 2**stage, final).astype(jnp.int32)


def _interval(t: jax.Array, num_steps: ArrayLike) -> tuple[jax.Array, jax.Array]:
  """Ends (t, s), t > s, of the step of the grid in which a time lies."""
  if isinstance(num_steps, int | float):
    check_positive_int(num_steps=num_steps)  # type: ignore[arg-type]
  place = jnp.clip(jnp.floor(t * num_steps), 0, num_steps - 1)
  return (place + 1) / num_steps, place / num_steps


def _weight(
  weighting: PairWeight | None, process: Process, t: jax.Array, s: jax.Array
) -> jax.Array:
  if weighting is not None:
    return weighting(t, s)
  level = lambda t: process.sigma(t) / process.alpha(t)
  return 1 / (level(t) - level(s))


def _ode_step(
  denoise_fn: PredictFn, z: jax.Array, t: jax.Array, s: jax.Array, process: Process, solver: str
) -> jax.Array:
  """From times t to times s, each (B,); Heun's in the coordinates "flow" of `samplers.heun`."""
  (a_t, b_t), (a_s, b_s) = (
    (process.alpha(time), process.sigma(time)) for time in (expand_time(t, z), expand_time(s, z))
  )

  def estimate(z: jax.Array, t: jax.Array, a: jax.Array, b: jax.Array) -> tuple:
    x0 = denoise_fn(z, t)
    return x0, jnp.where(b > 0, (z - a * x0) / jnp.where(b > 0, b, 1), 0)

  x0, eps = estimate(z, t, a_t, b_t)
  there = a_s * x0 + b_s * eps
  if solver == "euler":
    return there.astype(z.dtype)
  x0_next, eps_next = estimate(there.astype(z.dtype), s, a_s, b_s)
  stride = b_s / (a_s + b_s) - b_t / (a_t + b_t)
  correction = (a_s + b_s) * stride / 2 * ((eps_next - eps) - (x0_next - x0))
  return jnp.where(b_s > 0, there + correction, there).astype(z.dtype)  # Euler's, to data itself
