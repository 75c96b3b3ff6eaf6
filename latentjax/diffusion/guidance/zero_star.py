"""CFG-Zero*: classifier-free guidance for flows whose velocity is not learned well yet."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.diffusion.guidance._branches import ConditionalFn, DenoiseFn, both, rows, within
from latentjax.diffusion.processes import Process, convert

__all__ = ["cfg_zero_star"]


def cfg_zero_star(
  denoise_fn: ConditionalFn,
  condition: Any,
  null: Any,
  *,
  process: Process,
  scale: ArrayLike,
  zero_from: float | None = 1.0,
  together: bool = True,
) -> DenoiseFn:
  r"""Classifier-free guidance of velocities, from the best multiple of the unconditional one (CFG-Zero*).

  .. math::

    v = s v_\emptyset + w (v_c - s v_\emptyset), \qquad
    s = \frac{\langle v_c, v_\emptyset \rangle}{\|v_\emptyset\|^2}

  so that only what is orthogonal to the unconditional velocity grows. Where t >= zero_from the velocity
  is zero: a step of `euler` on `rectified_flow` stays where it is. Since s is not 1, predictions other
  than the velocity would give another result: this one depends on the process's own time.

  Args:
    denoise_fn: `(x_t, t, condition) -> x0_hat`, x_t (B, ...), t ().
    condition: array, or tree of arrays, of shape (B, ...), such as labels.
    null: what stands for no condition, arrays that broadcast to those of condition.
    process: alpha and sigma, with their slopes.
    scale: w; 1 is the conditional estimate. Can be traced.
    zero_from: times at and above it have no velocity; 1 is the first step, if it begins there, the time
      of the K-th step is the first K. None: all have one.
    together: one call for both estimates, for 2 B rows; otherwise two calls.

  Returns:
    `(x_t, t) -> x0_hat`, float32 or wider. Gradient flows through both estimates, also through s.

  Raises:
    TypeError: if x_t is not floating point (when called).
    ValueError: if zero_from is out of range, or x_t is no batch (when called).

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> denoise = lambda x, t, label: jnp.ones_like(x) * label[:, None]
    >>> guide = {"process": rectified_flow(), "scale": 9.0}
    >>> guided = cfg_zero_star(denoise, jnp.array([2.0]), 1.0, **guide)
    >>> guided(jnp.zeros((1, 2)), 0.5).tolist()  # parallel velocities: nothing grows
    [[2.0, 2.0]]

  References:
    Fan et al., CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching Models, 2025.
      arXiv:2503.18886
  """
  if zero_from is not None:
    check_range(0.0, 1.0, zero_from=zero_from)

  def guided(x: jax.Array, t: jax.Array) -> jax.Array:
    pair = both(denoise_fn, x, t, condition, null, together)
    x = x.astype(pair[0].dtype)
    conditional, unconditional = (
      convert(x0, x, t, process=process, source="x0", target="velocity") for x0 in pair
    )
    axes = tuple(range(1, x.ndim))
    product = jnp.sum(conditional * unconditional, axis=axes)
    square = jnp.sum(jnp.square(unconditional), axis=axes)
    s = rows(jnp.where(square > 0, product / jnp.where(square > 0, square, 1), 0), x)
    velocity = s * unconditional + scale * (conditional - s * unconditional)
    if zero_from is not None:
      velocity = jnp.where(t >= zero_from, 0, velocity)
    return convert(velocity, x, t, process=process, source="velocity", target="x0")

  return within(None, guided, guided)
