"""Stochastic samplers as decoders of Gaussian noise: encode, decode, translate, guide (CycleDiffusion)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_batch, check_float, check_positive_int, check_range, wide_dtype
from latentjax.collectives import draw_rows
from latentjax.diffusion.processes import Process
from latentjax.diffusion.processes.predictions import draw_noise
from latentjax.diffusion.samplers._steps import (
  DenoiseFn,
  Step,
  check_times,
  ddim_step,
  levels,
  pairs,
  wide,
)

__all__ = ["LatentCode", "cycle_diffusion", "dpm_decode", "dpm_encode", "latent_langevin"]


class LatentCode(NamedTuple):
  """Everything random of a stochastic sampler's run.

  Attributes:
    start: z at the first time, shape (B, ...).
    noise: standard normal noise of every step, shape (N, B, ...).
  """

  start: jax.Array
  noise: jax.Array


def dpm_encode(
  key: jax.Array,
  denoise_fn: DenoiseFn,
  x: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  eta: ArrayLike = 1.0,
  axis_name: str | None = None,
) -> LatentCode:
  r"""A code from which the model's stochastic sampler makes x: DPM-Encoder.

  .. math::

    z_T, \dots, z_0 \sim q_\eta(\cdot \mid x), \qquad \epsilon_s = \frac{z_s - \mu_\theta(z_t, t)}{d_s}

  with mean mu and deviation d of a step of `ddim`. The steps of q are the same with x in the place of its
  estimate. Where the last step draws no noise, at sigma = 0, the code has z_s - mu itself, so that
  decoding is exact there too (the paper's ends before).

  Args:
    key: random key, the same on every device.
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    x: data, shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    eta: in (0, 1]; 1 is `ddpm`. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    LatentCode, float32 or wider. Gradient flows to x and to what denoise_fn holds.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, or eta is out of range.

  Example:
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> given = {"process": vp_cosine(), "times": jnp.linspace(1.0, 0.0, 9)}
    >>> denoise, x = lambda x, t: jnp.tanh(x), jnp.array([[0.5, -2.0]])
    >>> code = dpm_encode(jax.random.key(0), denoise, x, **given)
    >>> dpm_decode(denoise, code, **given).round(4).tolist()
    [[0.5, -2.0]]

  References:
    Wu and De la Torre, Unifying Diffusion Models' Latent Space, with Applications to
      CycleDiffusion and Guidance, 2022. arXiv:2210.05559
  """
  _check_eta(eta)
  check_float(x=x)
  x, times = jnp.asarray(x), check_times(times, x)
  data, denoise = x.astype(wide_dtype(x)), wide(denoise_fn, x.dtype)
  every = levels(process, times)
  key_start, key_steps = jax.random.split(key)
  start = every.alpha[0] * data + every.sigma[0] * draw_noise(key_start, data, axis_name)

  def advance(z: jax.Array, inputs: tuple[Step, jax.Array]) -> tuple[jax.Array, jax.Array]:
    step, key = inputs
    mean, deviation = ddim_step(z, data, step, eta)
    after = mean + deviation * draw_noise(key, data, axis_name)
    expected, deviation = ddim_step(z, denoise(z, step.now.t), step, eta)
    return after, (after - expected) / _unit(deviation)

  inputs = pairs(every), jax.random.split(key_steps, times.shape[0] - 1)
  return LatentCode(start, jax.lax.scan(advance, start, inputs)[1])


def dpm_decode(
  denoise_fn: DenoiseFn,
  code: LatentCode,
  *,
  process: Process,
  times: ArrayLike,
  eta: ArrayLike = 1.0,
) -> jax.Array:
  r"""What a model's stochastic sampler makes of a code.

  .. math:: z_s = \mu_\theta(z_t, t) + d_s \epsilon_s

  as `dpm_encode` has it. A code of standard normal noise, with zeros for the step to sigma = 0, is a
  sample of the model.

  Args:
    denoise_fn: `(x_t, t) -> x0_hat`, the mean of the data given x_t; t of shape ().
    code: the start (B, ...) and the noise of every step (N, B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    eta: in (0, 1], that of the encoder. Can be traced.

  Returns:
    z at times[-1], the shape and dtype of the start. Gradient flows to the code and to what denoise_fn
    holds.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,), do not fall or do not fit the code, or eta is out of
      range.

  Example:
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> given = {"process": vp_cosine(), "times": jnp.linspace(1.0, 0.0, 3)}
    >>> code = LatentCode(jnp.ones((1, 2)), jnp.zeros((2, 1, 2)))
    >>> dpm_decode(lambda x, t: jnp.full_like(x, 3.0), code, **given).tolist()
    [[3.0, 3.0]]

  References:
    Wu and De la Torre, Unifying Diffusion Models' Latent Space, with Applications to
      CycleDiffusion and Guidance, 2022. arXiv:2210.05559
  """
  _check_eta(eta)
  start, noise = map(jnp.asarray, code)
  times = check_times(times, start)
  if noise.shape != (times.shape[0] - 1, *start.shape):
    raise ValueError(
      f"code must have noise of shape {(times.shape[0] - 1, *start.shape)}, got {noise.shape}"
    )
  denoise = wide(denoise_fn, start.dtype)

  def advance(z: jax.Array, inputs: tuple[Step, jax.Array]) -> tuple[jax.Array, None]:
    step, noise = inputs
    mean, deviation = ddim_step(z, denoise(z, step.now.t), step, eta)
    return mean + _unit(deviation) * noise, None

  inputs = pairs(levels(process, times)), noise
  z, _ = jax.lax.scan(advance, start.astype(wide_dtype(start)), inputs)
  return z.astype(start.dtype)


def cycle_diffusion(
  key: jax.Array,
  source_denoise_fn: DenoiseFn,
  target_denoise_fn: DenoiseFn,
  x: ArrayLike,
  *,
  process: Process,
  times: ArrayLike,
  eta: ArrayLike = 1.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Translation from one model's domain to another's: encoded by the first, decoded by the second.

  .. math:: \hat x = \mathrm{Dec}_{target}(\mathrm{Enc}_{source}(x))

  The models never saw each other, nor pairs; they have to be of the same process. It starts at times[0]: the
  later that is in the chain, the more of x stays.

  Args:
    key: random key, the same on every device.
    source_denoise_fn: `(x_t, t) -> x0_hat` of the domain of x; t of shape ().
    target_denoise_fn: the same of the other domain, or of the same model with another condition.
    x: data, shape (B, ...).
    process: alpha, sigma and log_snr.
    times: falling, shape (N + 1,).
    eta: in (0, 1]. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    Translations, the shape and dtype of x. Gradient flows to x and to what the models hold.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if times are not of shape (N + 1,) or do not fall, or eta is out of range.

  Example:
    >>> from latentjax.diffusion.processes import vp_cosine
    >>> given = {"process": vp_cosine(), "times": jnp.linspace(1.0, 0.0, 9)}
    >>> zero, three = lambda x, t: 0 * x, lambda x, t: jnp.full_like(x, 3.0)  # models of one point each
    >>> cycle_diffusion(jax.random.key(0), zero, three, jnp.ones((1, 2)), **given).tolist()
    [[4.0, 4.0]]

  References:
    Wu and De la Torre, Unifying Diffusion Models' Latent Space, with Applications to
      CycleDiffusion and Guidance, 2022. arXiv:2210.05559
  """
  given: dict[str, Any] = {"process": process, "times": times, "eta": eta}
  code, dtype = (
    dpm_encode(key, source_denoise_fn, x, axis_name=axis_name, **given),
    jnp.result_type(x),
  )
  return dpm_decode(wide(target_denoise_fn, dtype), code, **given).astype(dtype)


def latent_langevin(
  key: jax.Array,
  energy_fn: Callable[[Any], jax.Array],
  z: Any,
  *,
  num_steps: int,
  step_size: ArrayLike,
  batch_axes: Any = 0,
  axis_name: str | None = None,
) -> Any:
  r"""Gaussian latents drawn to low energy: Langevin dynamics of p(z) exp(-E(G(z))).

  .. math::

    z \leftarrow z - \frac{\gamma}{2} \nabla_z \Big(\tfrac12 \|z\|^2 + E(G(z))\Big) + \sqrt{\gamma} \,
    \epsilon

  for any generator of standard normal latents: `dpm_decode` of a LatentCode, a GAN, a decoder. Each step has
  the bias of its size.

  Args:
    key: random key, the same on every device.
    energy_fn: `(z) -> energy`, (B,), the generator included; lower is better.
    z: latents to start at, an array (B, ...) or a tree of arrays.
    num_steps: steps.
    step_size: gamma, positive. Can be traced.
    batch_axes: the axis of the rows, of all arrays or a tree of them, such as LatentCode(0, 1) for a code.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; a row's
      noise does not depend on how.

  Returns:
    Latents, as z; steps are computed in float32 or wider. Gradient flows through all steps.

  Raises:
    TypeError: if z is not floating point or num_steps is not an integer.
    ValueError: if a number is out of range.

  Example:
    >>> z = jnp.zeros((4, 2))
    >>> energy = lambda z: 50.0 * jnp.sum((z - 1.0) ** 2, axis=1)  # near 1, close to
    >>> z = latent_langevin(jax.random.key(0), energy, z, num_steps=200, step_size=0.01)
    >>> bool((abs(z - 1) < 0.5).all())
    True

  References:
    Wu and De la Torre, Unifying Diffusion Models' Latent Space, with Applications to
      CycleDiffusion and Guidance, 2022. arXiv:2210.05559
  """
  check_positive_int(num_steps=num_steps)
  check_range(0.0, strict=True, step_size=step_size)
  leaves, tree = jax.tree.flatten(z)
  check_batch(**{f"z[{i}]": leaf for i, leaf in enumerate(leaves)})

  dtypes = [jnp.result_type(leaf) for leaf in leaves]
  axes = jax.tree.leaves(
    jax.tree.map(lambda axis, part: jax.tree.map(lambda _: axis, part), batch_axes, z)
  )
  as_given = lambda z: jax.tree.unflatten(tree, [a.astype(d) for a, d in zip(z, dtypes)])

  def energy(z: list[jax.Array]) -> jax.Array:
    return jnp.sum(energy_fn(as_given(z)))

  def advance(z: list[jax.Array], key: jax.Array) -> tuple[list[jax.Array], None]:
    def move(leaf: jax.Array, slope: jax.Array, key: jax.Array, axis: int) -> jax.Array:
      draw = lambda key, shape: jax.random.normal(key, shape, leaf.dtype)
      noise = draw_rows(key, draw, leaf.shape, axis=axis, axis_name=axis_name)
      size = jnp.asarray(step_size, leaf.dtype)
      return leaf - 0.5 * size * (leaf + slope) + jnp.sqrt(size) * noise

    return list(map(move, z, jax.grad(energy)(z), jax.random.split(key, len(z)), axes)), None

  start = [jnp.asarray(leaf, wide_dtype(leaf)) for leaf in leaves]
  return as_given(jax.lax.scan(advance, start, jax.random.split(key, num_steps))[0])


def _unit(deviation: jax.Array) -> jax.Array:
  """The unit of a step's noise: its deviation; where it draws none, 1."""
  return jnp.where(deviation > 0, deviation, 1)


def _check_eta(eta: ArrayLike) -> None:
  check_range(0.0, strict=True, eta=eta)  # without noise there is nothing to encode
  check_range(high=1.0, eta=eta)
