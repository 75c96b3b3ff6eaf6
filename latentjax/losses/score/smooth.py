"""Smooth Diffusion: how far the estimate of the data moves with the noise is to be the same everywhere."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_choice, check_range, check_rank, wide_dtype
from latentjax.collectives import device_mean
from latentjax.diffusion.processes import PREDICTIONS, Process, convert
from latentjax.diffusion.processes.predictions import expand_time

__all__ = ["StepVariation", "VariationPenalty", "step_variation", "variation_penalty"]


class StepVariation(NamedTuple):
  """A prediction, and how its estimate of the data varies.

  Attributes:
    prediction: shape (B, ...), to train with as usual.
    variation: norm of the gradient by the noise, shape (B,).
  """

  prediction: jax.Array
  variation: jax.Array


class VariationPenalty(NamedTuple):
  """Spread of variations.

  Attributes:
    penalty: squared distance from the mean, shape (B,).
    mean: the next moving average, shape (), detached.
  """

  penalty: jax.Array
  mean: jax.Array


def step_variation(
  predict_fn: Callable[[jax.Array, jax.Array], jax.Array],
  z_t: ArrayLike,
  t: ArrayLike,
  direction: ArrayLike,
  *,
  process: Process,
  prediction: str = "eps",
) -> StepVariation:
  r"""How far the estimate of the data moves along a random direction, per movement of the noise.

  .. math::

    \|\nabla_\epsilon \langle \hat x(z_t, t), y \rangle\| = \sigma_t \|J^\top y\|, \qquad
    y = \frac{\sigma_t}{\sqrt D} n, \quad J = \frac{\partial \hat x}{\partial z_t}

  with n ~ N(0, I) of D entries; y is scaled as in the authors' program. One evaluation of the network and
  one of its transposed derivative; training takes the second derivative.

  Args:
    predict_fn: `(z_t, t) -> prediction`, z_t (B, ...), t (B,).
    z_t: noised data, shape (B, ...).
    t: times in [0, 1], shape (B,) or ().
    direction: n, the same shape as z_t.
    process: alpha and sigma.
    prediction: what predict_fn predicts: "eps", "x0", "v", "score" or "velocity".

  Returns:
    StepVariation. Gradient flows to what predict_fn holds, and to z_t.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if a shape does not fit or prediction is unknown.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> z_t, t, n = jnp.ones((1, 4)), jnp.array([0.5]), jnp.ones((1, 4))
    >>> predict = lambda z, t: 3 * z
    >>> run = {"process": rectified_flow(), "prediction": "x0"}
    >>> step_variation(predict, z_t, t, n, **run).variation.tolist()
    [0.75]

  References:
    Guo et al., Smooth Diffusion: Crafting Smooth Latent Spaces in Diffusion Models, 2023.
      arXiv:2312.04410
  """
  check_choice(PREDICTIONS, prediction=prediction)
  check_alike(jnp.ndim(z_t), z_t=z_t, direction=direction)
  z_t, t = jnp.asarray(z_t), jnp.asarray(t)
  wide = wide_dtype(z_t)
  axes = tuple(range(1, z_t.ndim))
  sigma = process.sigma(expand_time(t, z_t))

  def estimate(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    given = predict_fn(z, t)
    x0 = convert(given, z, t, process=process, source=prediction, target="x0")
    return x0, given

  x0, transposed, given = jax.vjp(estimate, z_t, has_aux=True)
  y = sigma * jnp.asarray(direction, wide) / jnp.sqrt(z_t[0].size)
  (slope,) = transposed(y.astype(x0.dtype))
  squared = jnp.sum(jnp.square(sigma * slope.astype(wide)), axis=axes)
  # A network that ignores z_t has no direction in which its variation grows.
  moves = squared > 0
  return StepVariation(given, jnp.where(moves, jnp.sqrt(jnp.where(moves, squared, 1)), 0))


def variation_penalty(
  variation: ArrayLike, mean: ArrayLike, *, rate: float = 0.01, axis_name: str | None = None
) -> VariationPenalty:
  r"""Squared distance of variations from their moving average.

  .. math:: (v_b - a)^2, \qquad a \leftarrow a + r \Big(\frac1B \sum_b v_b - a\Big)

  with the average after the batch, from which no gradient comes. (In the authors' program a share r of it
  does.)

  Args:
    variation: v, such as that of `step_variation`, shape (B,).
    mean: a before the batch, shape (); 0 at first.
    rate: r, in [0, 1].
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    VariationPenalty. Gradient flows to the variations in the penalty alone.

  Raises:
    TypeError: if variations are not floating point.
    ValueError: if they are not of shape (B,), or rate is out of range.

  Example:
    >>> penalty, mean = variation_penalty(jnp.array([1.0, 3.0]), 0.0, rate=0.5)
    >>> penalty.tolist(), mean.item()
    ([0.0, 4.0], 1.0)

  References:
    Guo et al., Smooth Diffusion: Crafting Smooth Latent Spaces in Diffusion Models, 2023.
      arXiv:2312.04410
  """
  check_alike(1, variation=variation)
  check_rank(0, mean=mean)
  check_range(0.0, 1.0, rate=rate)
  wide = jnp.asarray(variation, wide_dtype(variation))
  mean = jnp.asarray(mean, wide.dtype)
  batch_mean = device_mean(jnp.mean(wide), axis_name)
  mean = jax.lax.stop_gradient(mean + rate * (batch_mean - mean))
  return VariationPenalty(jnp.square(wide - mean), mean)
