r"""Mixture of discretised logistics over the channels of a pixel, the likelihood of PixelCNN++.

.. math:: P(x) = \sum_{i=1}^M \pi_i \prod_{c=1}^C P(x_c | \mu_{ic}(x_{<c}), s_{ic}), \quad
  \mu_{ic}(x_{<c}) = m_{ic} + \sum_{c' < c} \alpha_{icc'} x_{c'}

Every P on the right is a `discretized_logistic` in the units of x in [0, 1]; the component is drawn
once per pixel and a channel's mean is linear in the channels before it. Parameters, for pixels x of
shape (..., C): `logits` (..., M), `mean` (..., M, C), `log_scale` (..., M, C) and `coeffs` (..., M,
C (C - 1) / 2), in the order (2, 1), (3, 1), (3, 2), ... of (c, c'). For one channel coeffs has no
elements and this is the mixture for grey images. In all functions leading axes may be missing from
any array, and among arrays of equal rank batch axes may have size 1; everything else is refused.
`event_ndim` counts axes of x, the channels included.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float
from latentjax.densities._shapes import Shape, check_shapes, draw_samples, sum_event, widen
from latentjax.densities.discretized_logistic import bin_log_prob, check_num_values, round_to_bin

__all__ = ["log_prob", "sample"]


def log_prob(
  x: ArrayLike,
  logits: ArrayLike,
  mean: ArrayLike,
  log_scale: ArrayLike,
  coeffs: ArrayLike,
  *,
  num_values: int = 256,
  event_ndim: int = 1,
) -> jax.Array:
  r"""Log-probability of pixels in nats, summed over the event axes.

  .. math:: \log \sum_i \pi_i \prod_c P(x_c | \mu_{ic}(x_{<c}), s_{ic})

  The paper bounds alpha by a tanh and log s from below by -7; here the network does that, if at
  all. Memory is M times that of the data.

  Args:
    x: pixels in [0, 1], shape (..., C) for `event_ndim=1`; rounded to the nearest of the values.
    logits: unnormalised log-weights of the components, shape (..., M).
    mean: m, shape (..., M, C).
    log_scale: log s, shape (..., M, C).
    coeffs: alpha, shape (..., M, C (C - 1) / 2).
    num_values: number of values of a channel, at least 2.
    event_ndim: number of trailing axes of x that make up one event, at least 1 (the channels): 3
      for images.

  Returns:
    Log-probability in nats, the broadcast shape of x without the event axes, float32 or wider.
    Gradient flows to all four parameters; none reaches x. Finite for |log_scale| <= 40.

  Raises:
    TypeError: if an argument is not floating point or `num_values` is not an integer.
    ValueError: if the shapes do not fit, `num_values` is below 2 or `event_ndim` is not between 1
      and the rank of x.

  Example:
    >>> half = jnp.full((1, 1), 0.5)
    >>> log_p = log_prob(jnp.ones(1), jnp.zeros(1), half, 0 * half, jnp.zeros((1, 0)), num_values=2)
    >>> float(log_p)  # log 1/2
    -0.693147...

  References:
    Salimans et al., PixelCNN++, 2017. arXiv:1701.05517
  """
  top = check_num_values(num_values)
  leading = _check_params(logits, mean, log_scale, coeffs)
  check_float(x=x)
  channels = jnp.shape(mean)[-1]
  if jnp.shape(x)[-1:] != (channels,):
    raise ValueError(f"x must have {channels} channels on its last axis, got shape {jnp.shape(x)}")
  if event_ndim < 1:
    raise ValueError(f"event_ndim must be at least 1, the channels, got {event_ndim}")
  check_shapes(event_ndim - 1, {"x without channels": jnp.shape(x)[:-1]} | leading)
  x, logits, mean, log_scale, coeffs = widen(x, logits, mean, log_scale, coeffs)
  x = round_to_bin(x, top)[..., None, :]
  log_p = jax.nn.log_softmax(logits, axis=-1)
  for c in range(channels):
    shifted = mean[..., c] + _pull(x, coeffs, c)
    log_p += bin_log_prob(x[..., c], shifted, log_scale[..., c], top)
  return sum_event(jax.nn.logsumexp(log_p, axis=-1), event_ndim - 1)


def sample(
  key: jax.Array,
  logits: ArrayLike,
  mean: ArrayLike,
  log_scale: ArrayLike,
  coeffs: ArrayLike,
  *,
  num_values: int = 256,
  num_samples: int | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Samples: a component per pixel, then its channels one after the other, rounded and clipped.

  .. math:: x_c = \mathrm{clip}\left(
    \tfrac1n \mathrm{round}(n (\mu_{ic}(x_{<c}) + s_{ic} \epsilon_c)), 0, 1\right),
    \quad i \sim \pi

  The noise of a row depends on `key` and on the row's index in the batch alone.

  Args:
    key: random key, the same on every device.
    logits: unnormalised log-weights of the components, shape (B, ..., M).
    mean: m, shape (B, ..., M, C).
    log_scale: log s, shape (B, ..., M, C) or with leading axes missing.
    coeffs: alpha, shape (B, ..., M, C (C - 1) / 2) or with leading axes missing.
    num_values: number of values of a channel, at least 2.
    num_samples: K draws for every row; None draws one and adds no axis.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Values in [0, 1] in the parameters' dtype, shape (B, ..., C), or (K, B, ..., C) if
    `num_samples=K`. Detached: no gradient reaches the parameters.

  Raises:
    TypeError: if a parameter is not floating point or a size is not an integer.
    ValueError: if the shapes do not fit, `num_values` is below 2 or `num_samples` below 1.

  Example:
    >>> grey = jnp.full((2, 1, 1), 0.2)
    >>> x = sample(jax.random.key(0), jnp.zeros((2, 1)), grey, 0 * grey - 40, jnp.zeros((2, 1, 0)))
    >>> x.tolist()
    [[0.200000...], [0.200000...]]

  References:
    Salimans et al., PixelCNN++, 2017. arXiv:1701.05517
  """
  top = check_num_values(num_values)
  check_shapes(None, _check_params(logits, mean, log_scale, coeffs))
  dtype = jnp.result_type(logits, mean, log_scale, coeffs)
  logits, mean, log_scale, coeffs = map(
    jax.lax.stop_gradient, widen(logits, mean, log_scale, coeffs)
  )
  leading = jnp.broadcast_shapes(
    logits.shape[:-1], *(p.shape[:-2] for p in (mean, log_scale, coeffs))
  )
  num_components, channels = mean.shape[-2:]

  def draw(row_key: jax.Array, row_shape: Shape) -> jax.Array:
    key_component, key_pixel = jax.random.split(row_key)
    gumbel = jax.random.gumbel(key_component, (*row_shape, num_components), logits.dtype)
    eps = jax.random.logistic(key_pixel, (*row_shape, channels), logits.dtype)
    return jnp.concatenate([gumbel, eps], axis=-1)

  noise = draw_samples(key, draw, leading, num_samples, axis_name)
  gumbel, eps = noise[..., :num_components], noise[..., num_components:]
  component = jnp.argmax(logits + gumbel, axis=-1)[..., None, None]

  def pick(params: jax.Array) -> jax.Array:
    params = jnp.broadcast_to(params, (*component.shape[:-2], *params.shape[-2:]))
    return jnp.take_along_axis(params, component, axis=-2)[..., 0, :]

  mean, log_scale, coeffs = map(pick, (mean, log_scale, coeffs))
  x = jnp.zeros_like(mean)
  for c in range(channels):
    value = mean[..., c] + _pull(x, coeffs, c) + jnp.exp(log_scale[..., c]) * eps[..., c]
    x = x.at[..., c].set(round_to_bin(value, top))
  return x.astype(dtype)


def _pull(x: jax.Array, coeffs: jax.Array, channel: int) -> jax.Array:
  """What the channels before `channel` add to its mean."""
  first = channel * (channel - 1) // 2
  return jnp.sum(coeffs[..., first : first + channel] * x[..., :channel], axis=-1)


def _check_params(
  logits: ArrayLike, mean: ArrayLike, log_scale: ArrayLike, coeffs: ArrayLike
) -> dict[str, Shape]:
  """Refuses parameters that do not fit; returns their shapes without components and channels."""
  check_float(logits=logits, mean=mean, log_scale=log_scale, coeffs=coeffs)
  shapes = {
    name: jnp.shape(p)
    for name, p in {"mean": mean, "log_scale": log_scale, "coeffs": coeffs}.items()
  }
  if len(shapes["mean"]) < 2 or 0 in shapes["mean"][-2:]:
    raise ValueError(f"mean must have axes of components and channels, got {shapes['mean']}")
  num_components, channels = shapes["mean"][-2:]
  wanted = {
    "log_scale": (num_components, channels),
    "coeffs": (num_components, channels * (channels - 1) // 2),
  }
  for name, tail in wanted.items():
    if shapes[name][-2:] != tail:
      raise ValueError(f"{name} must have trailing axes {tail}, got shape {shapes[name]}")
  if jnp.shape(logits)[-1:] != (num_components,):
    raise ValueError(
      f"logits must have {num_components} components on its last axis, got {jnp.shape(logits)}"
    )
  leading = {f"{name} without components": shape[:-2] for name, shape in shapes.items()}
  return {"logits without components": jnp.shape(logits)[:-1]} | leading
