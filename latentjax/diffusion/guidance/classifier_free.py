"""Classifier-free guidance and autoguidance: away from a worse estimate, towards a better one."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_choice, check_range, wide_dtype
from latentjax.diffusion.guidance._branches import (
  ConditionalFn,
  DenoiseFn,
  both,
  check_interval,
  one,
  rows,
  within,
)
from latentjax.diffusion.processes import PREDICTIONS, Process, convert

__all__ = ["autoguidance", "classifier_free"]


def classifier_free(
  denoise_fn: ConditionalFn,
  condition: Any,
  null: Any,
  *,
  scale: ArrayLike,
  interval: tuple[float, float] | None = None,
  rescale: float = 0.0,
  prediction: str = "x0",
  process: Process | None = None,
  together: bool = True,
) -> DenoiseFn:
  r"""Classifier-free guidance: the conditional estimate, extrapolated from the unconditional one.

  .. math:: \hat x_w = \hat x_\emptyset + w (\hat x_c - \hat x_\emptyset)

  the score of p(z_t) p(c | z_t)^w, if the estimates are exact. (Ho and Salimans' own w is one less.)
  It is the same on eps, v, score or velocity. Rescaling, by phi, brings back the conditional
  prediction's deviation, over all entries of an example:

  .. math::

    p = \Big(\phi \frac{\mathrm{std}(p_c)}{\mathrm{std}(p_w)} + 1 - \phi\Big) p_w

  which is another thing for every kind of prediction p (Lin et al. take what the network predicts).
  With an interval, times outside it have the conditional estimate alone, and cost as much.

  Args:
    denoise_fn: `(x_t, t, condition) -> x0_hat`, x_t (B, ...), t ().
    condition: array, or tree of arrays, of shape (B, ...), such as labels.
    null: what stands for no condition, arrays that broadcast to those of condition.
    scale: w; 1 is the conditional estimate. Can be traced.
    interval: (low, high), guides where low < t <= high; None: everywhere. `time_at_log_snr` gives
      the times of noise levels.
    rescale: phi, in [0, 1].
    prediction: p, only used for rescale: "x0", "eps", "v", "score" or "velocity".
    process: alpha and sigma, needed if prediction is not "x0".
    together: one call for both estimates, for 2 B rows; otherwise two calls.

  Returns:
    `(x_t, t) -> x0_hat`, float32 or wider. Gradient flows through both estimates.

  Raises:
    TypeError: if x_t is not floating point (when called).
    ValueError: if a hyper-parameter is out of range, the process is needed and missing, or x_t is no
      batch (when called).

  Example:
    >>> denoise = lambda x, t, label: jnp.ones_like(x) * label[:, None]
    >>> guided = classifier_free(denoise, jnp.array([2.0, 3.0]), 0.0, scale=4.0)
    >>> guided(jnp.zeros((2, 1)), 0.5).tolist()
    [[8.0], [12.0]]

  References:
    Ho and Salimans, Classifier-Free Diffusion Guidance, 2022. arXiv:2207.12598
    Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, 2023 (rescaling).
      arXiv:2305.08891
    Kynkaanniemi et al., Applying Guidance in a Limited Interval Improves Sample and Distribution
      Quality in Diffusion Models, 2024. arXiv:2404.07724
  """
  check_interval(interval)
  check_range(0.0, 1.0, rescale=rescale)
  check_choice(PREDICTIONS, prediction=prediction)
  if rescale and prediction != "x0" and process is None:
    raise ValueError(f"process must be given to rescale prediction {prediction!r}, got None")

  def guided(x: jax.Array, t: jax.Array) -> jax.Array:
    conditional, unconditional = both(denoise_fn, x, t, condition, null, together)
    x0 = unconditional + scale * (conditional - unconditional)
    if not rescale:
      return x0
    if prediction == "x0" or process is None:
      return _share(conditional, x0, rescale) * x0
    turn = partial(convert, x_t=x.astype(x0.dtype), t=t, process=process)
    p, wanted = (turn(x0, source="x0", target=prediction) for x0 in (x0, conditional))
    return turn(_share(wanted, p, rescale) * p, source=prediction, target="x0")

  return within(interval, guided, lambda x, t: one(denoise_fn, x, t, condition))


def autoguidance(
  denoise_fn: DenoiseFn,
  weak_fn: DenoiseFn,
  *,
  scale: ArrayLike,
  interval: tuple[float, float] | None = None,
) -> DenoiseFn:
  r"""Autoguidance: a model guided by a bad version of itself.

  .. math:: \hat x_w = \hat x_{weak} + w (\hat x - \hat x_{weak})

  The bad one is smaller, or less trained, on the same task and condition; with an unconditional model
  in its place this is classifier-free guidance with two networks. The same on eps, v, score or
  velocity.

  Args:
    denoise_fn: `(x_t, t) -> x0_hat`, x_t (B, ...), t ().
    weak_fn: the bad version.
    scale: w; 1 is denoise_fn alone. Can be traced.
    interval: (low, high), guides where low < t <= high; None: everywhere. Outside, weak_fn is not
      evaluated.

  Returns:
    `(x_t, t) -> x0_hat`, float32 or wider. Gradient flows through both estimates.

  Raises:
    TypeError: if x_t is not floating point (when called).
    ValueError: if the interval is not one of times, or x_t is no batch (when called).

  Example:
    >>> guided = autoguidance(lambda x, t: x + 1, lambda x, t: x, scale=3.0)
    >>> guided(jnp.zeros((1, 2)), 0.5).tolist()
    [[3.0, 3.0]]

  References:
    Karras et al., Guiding a Diffusion Model with a Bad Version of Itself, 2024. arXiv:2406.02507
  """
  check_interval(interval)

  def alone(x: jax.Array, t: jax.Array) -> jax.Array:
    x0 = denoise_fn(x, t)
    return x0.astype(wide_dtype(x0))

  def guided(x: jax.Array, t: jax.Array) -> jax.Array:
    weak = weak_fn(x, t)
    return weak + scale * (alone(x, t) - weak)

  return within(interval, guided, alone)


def _share(wanted: jax.Array, given: jax.Array, rescale: float) -> jax.Array:
  """What `given` is multiplied by, to have by a part `rescale` the deviation of `wanted`."""
  axes = tuple(range(1, given.ndim))
  numerator, denominator = (jnp.var(p, axis=axes) for p in (wanted, given))
  both_vary = (numerator > 0) & (denominator > 0)  # the root has no slope at 0
  square = jnp.where(both_vary, numerator, 1) / jnp.where(both_vary, denominator, 1)
  ratio = jnp.where(both_vary, jnp.sqrt(square), jnp.where(denominator > 0, 0, 1))
  return rows(rescale * ratio + 1 - rescale, given)
