r"""Averages of parameters over training whose width is chosen after training (EDM2).

Sampling from a diffusion model depends much on the length of the moving average of its parameters. A
power-function average of relative width s covers a fixed share of the training so far; two of them,
saved now and then, are enough to reconstruct that of another width, or at an earlier step, by least squares.

The state travels in `model_state`, or beside a train state. What is solved once, from a handful of numbers,
is numpy in float64: the least-squares problem is too ill-conditioned for float32.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import check_range, check_rank, wide_dtype

__all__ = [
  "PowerAverage",
  "init_power_average",
  "post_hoc_average",
  "post_hoc_weights",
  "power_exponent",
  "power_width",
  "update_power_average",
]

PyTree = Any
WIDEST = 12**-0.5  # of the uniform average


class PowerAverage(NamedTuple):
  """Power-function averages of parameters.

  Attributes:
    step: updates so far, int32, shape ().
    exponents: gamma of each of K profiles, shape (K,).
    averages: tree like the parameters, each array with a leading axis of length K.
  """

  step: jax.Array
  exponents: jax.Array
  averages: PyTree


def power_exponent(width: ArrayLike) -> np.ndarray:
  r"""Exponent gamma of the profile tau^gamma on [0, t] whose standard deviation is width * t.

  .. math:: (\gamma + 2)^2 (\gamma + 3)\, s^2 = \gamma + 1

  Args:
    width: s, in (0, 1 / sqrt(12)], any shape; 0.05 to 0.1 are usual.

  Returns:
    Exponents, at least 0, float64, the shape of width. Not for use under `jit`.

  Raises:
    ValueError: if a width is out of range.

  Example:
    >>> power_exponent(0.1).round(2).item()
    6.94

  References:
    Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2023, eq. 126.
      arXiv:2312.02696
  """
  width = np.asarray(width, np.float64)
  for each in width.ravel():
    check_range(0.0, WIDEST * (1 + 1e-6), width=each)
    check_range(0.0, strict=True, width=each)
  precision = width.ravel() ** -2
  roots = [np.roots([1, 7, 16 - p, 12 - p]).real.max() for p in precision]
  return np.maximum(np.reshape(roots, width.shape), 0.0)


def power_width(exponent: ArrayLike) -> np.ndarray:
  r"""Standard deviation of the profile tau^gamma on [0, 1]; inverts `power_exponent`.

  .. math:: s = \sqrt{\gamma + 1} \,/\, \big((\gamma + 2) \sqrt{\gamma + 3}\big)

  Args:
    exponent: gamma, at least 0, any shape.

  Returns:
    Widths, float64, the shape of exponent. Not for use under `jit`.

  Raises:
    ValueError: if an exponent is negative.

  Example:
    >>> power_width(6.94).round(3).item()
    0.1

  References:
    Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2023, eq. 123.
      arXiv:2312.02696
  """
  exponent = np.asarray(exponent, np.float64)
  for each in exponent.ravel():
    check_range(0.0, exponent=each)
  return np.sqrt(exponent + 1) / ((exponent + 2) * np.sqrt(exponent + 3))


def init_power_average(params: PyTree, *, widths: Sequence[float] = (0.05, 0.1)) -> PowerAverage:
  r"""State before the first update; the first set of parameters then counts like every other.

  .. math:: \hat\theta_0 = 0

  Args:
    params: tree of floating arrays, of which only shapes and dtypes count.
    widths: K relative widths, see `power_exponent`.

  Returns:
    PowerAverage at step 0; averages are float32 or wider.

  Raises:
    ValueError: if a width is out of range.

  Example:
    >>> init_power_average({"w": jnp.ones(3)}).averages["w"].shape
    (2, 3)

  References:
    Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2023.
      arXiv:2312.02696
  """
  exponents = jnp.asarray(power_exponent(np.array(widths)), jnp.float32)
  zeros = jax.tree.map(lambda p: jnp.zeros((len(widths), *p.shape), wide_dtype(p)), params)
  return PowerAverage(jnp.int32(0), exponents, zeros)


def update_power_average(state: PowerAverage, params: PyTree) -> PowerAverage:
  r"""State after one more set of parameters.

  .. math::

    \hat\theta_t = \beta_t \hat\theta_{t-1} + (1 - \beta_t) \theta_t, \qquad
    \beta_t = (1 - 1/t)^{\gamma + 1}

  so that theta_s has weight (s^(gamma+1) - (s-1)^(gamma+1)) / t^(gamma+1).

  Args:
    state: from `init_power_average`.
    params: the parameters after the step, a tree of the shapes that it was made for.

  Returns:
    The new state. Nothing is detached.

  Raises:
    ValueError: if the trees differ.

  Example:
    >>> state = init_power_average(jnp.zeros(1), widths=(12**-0.5,))  # the mean
    >>> for value in (1.0, 2.0, 6.0):
    ...   state = update_power_average(state, jnp.full(1, value))
    >>> state.averages.round(4).tolist()
    [[3.0]]

  References:
    Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2023, eq. 127.
      arXiv:2312.02696
  """
  step = state.step + 1
  share = -jnp.expm1((state.exponents + 1) * jnp.log1p(-1 / step.astype(jnp.float32)))

  def updated(average: jax.Array, p: jax.Array) -> jax.Array:
    s = share.reshape(-1, *(1,) * p.ndim).astype(average.dtype)
    return average + s * (p.astype(average.dtype) - average)

  return PowerAverage(step, state.exponents, jax.tree.map(updated, state.averages, params))


def post_hoc_weights(
  steps: ArrayLike, *, step: float, width: float, widths: Sequence[float] = (0.05, 0.1)
) -> np.ndarray:
  r"""Weights with which saved averages make the average of another width, or at an earlier step.

  .. math::

    \min_w \int \Big(\sum_{i, k} w_{ik}\, p_{t_i, \gamma_k}(\tau) - p_{t, \gamma}(\tau)\Big)^2 d\tau, \qquad
    p_{t, \gamma}(\tau) = (\gamma + 1) \tau^\gamma / t^{\gamma + 1}, \; \tau \le t

  then scaled to sum to 1.

  Args:
    steps: t_i, at which the averages were saved, positive, shape (S,).
    step: t, of the wanted average, not later than the last of steps; accurate where it is one of them.
    width: of the wanted average, see `power_exponent`; from half to twice those of the saved ones.
    widths: of the K saved profiles.

  Returns:
    Weights, float64, shape (S, K); some are negative. Not for use under `jit`.

  Raises:
    ValueError: if steps is not of rank 1, a width is out of range, or step is later than all of steps.

  Example:
    >>> abs(post_hoc_weights([50, 100], step=100, width=0.1)).round(2).tolist()
    [[0.0, 0.0], [0.0, 1.0]]

  References:
    Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2023, eqs. 121
      and 151, algorithm 3. arXiv:2312.02696
  """
  times = np.asarray(steps, np.float64)
  check_rank(1, steps=times)
  if not 0 < step <= times.max():
    raise ValueError(f"step must be in (0, {times.max():g}], the saved steps, got {step}")
  times, gamma = (
    a.ravel() for a in np.meshgrid(times, power_exponent(np.array(widths)), indexing="ij")
  )
  gram = _product(times[:, None], gamma[:, None], times, gamma)
  target = _product(times, gamma, float(step), float(power_exponent(width)))
  weights = np.linalg.lstsq(gram, target, rcond=None)[0]
  return (weights / weights.sum()).reshape(-1, len(widths))


def post_hoc_average(averages: Sequence[PyTree], weights: ArrayLike) -> PyTree:
  r"""The parameters' average of any width, from averages that were saved during training.

  .. math:: \sum_{i, k} w_{ik} \hat\theta_{ik}

  Args:
    averages: those of S saved states, in the order of the weights.
    weights: from `post_hoc_weights`, shape (S, K).

  Returns:
    Tree like the parameters. Nothing is detached.

  Raises:
    ValueError: if averages are none or differ in their shapes, or the shape of weights does not fit.

  Example:
    >>> weights = post_hoc_weights([1, 2], step=2, width=0.07)
    >>> averages = [jnp.full((2, 1), 3.0), jnp.full((2, 1), 3.0)]
    >>> post_hoc_average(averages, weights).round(3).tolist()
    [3.0...]

  References:
    Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2023, algorithm 3.
      arXiv:2312.02696
  """
  shapes = [jax.tree.map(jnp.shape, average) for average in averages]
  if any(other != shapes[0] for other in shapes) or not jax.tree.leaves(averages):
    raise ValueError(f"averages must be trees of arrays of the same shapes, got {shapes}")
  shape = (len(averages), *jnp.shape(jax.tree.leaves(averages)[0])[:1])
  if jnp.shape(weights) != shape:
    raise ValueError(f"weights must have shape (S, K) = {shape}, got {jnp.shape(weights)}")

  def total(*saved: jax.Array) -> jax.Array:
    out = jnp.zeros_like(saved[0][0])
    for w, a in zip(jnp.asarray(weights, out.dtype), saved):
      out += jnp.tensordot(w, a, 1)
    return out

  return jax.tree.map(total, *averages)


def _product(t: ArrayLike, gamma: ArrayLike, t_2: ArrayLike, gamma_2: ArrayLike) -> np.ndarray:
  """Integral of the product of two profiles, float64; the earlier one's end is where it stops."""
  late, early = np.maximum(t, t_2), np.minimum(t, t_2)
  ratio = (early / late) ** np.where(np.less(t, t_2), gamma_2, gamma)
  return (np.add(gamma, 1) * np.add(gamma_2, 1)) * ratio / (np.add(gamma, gamma_2) + 1) / late
