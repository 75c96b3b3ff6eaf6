"""Times to train at: samplers `(key, *, batch_size, axis_name) -> t`, shape (B,), in [0, 1]."""

from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_positive_int, check_range
from latentjax.collectives import draw_rows, row_offset
from latentjax.diffusion.processes import Process, time_at_log_snr
from latentjax.diffusion.processes.coefficients import check_interval, check_log_snr

__all__ = [
  "TimeSampler",
  "antithetic_times",
  "likelihood_times",
  "log_normal_times",
  "logit_normal_times",
  "uniform_times",
]


class TimeSampler(Protocol):
  """`(key, *, batch_size, axis_name) -> t`, shape (B,); a row's time depends on its global index alone."""

  def __call__(
    self, key: jax.Array, *, batch_size: int, axis_name: str | None = None
  ) -> jax.Array: ...


def uniform_times(key: jax.Array, *, batch_size: int, axis_name: str | None = None) -> jax.Array:
  r"""Independent times.

  .. math:: t_b \sim U[0, 1)

  Args:
    key: random key, the same on every device.
    batch_size: B, examples on this device.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Times, float32, shape (B,).

  Raises:
    TypeError: if batch_size is not an integer.
    ValueError: if it is not positive.

  Example:
    >>> uniform_times(jax.random.key(0), batch_size=4).shape
    (4,)

  References:
    Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021.
      arXiv:2011.13456
  """
  check_positive_int(batch_size=batch_size)
  return draw_rows(key, jax.random.uniform, (batch_size,), axis_name=axis_name)


def antithetic_times(key: jax.Array, *, batch_size: int, axis_name: str | None = None) -> jax.Array:
  r"""Times in equal steps with one random start, each uniform by itself.

  .. math:: t_b = \Big(u + \frac bB\Big) \bmod 1, \qquad u \sim U[0, 1)

  The batch covers all of time, so the loss varies less from batch to batch.

  Args:
    key: random key, the same on every device.
    batch_size: B, examples on this device; all devices' examples are one batch.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Times, float32, shape (B,).

  Raises:
    TypeError: if batch_size is not an integer.
    ValueError: if it is not positive.

  Example:
    >>> t = jnp.sort(antithetic_times(jax.random.key(0), batch_size=4))
    >>> jnp.diff(t).round(4).tolist()
    [0.25, 0.25, 0.25]

  References:
    Kingma et al., Variational Diffusion Models, 2021 (appendix). arXiv:2107.00630
  """
  check_positive_int(batch_size=batch_size)
  total = batch_size * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  rows = row_offset(batch_size, axis_name) + jnp.arange(batch_size)
  return (jax.random.uniform(key) + rows / total) % 1.0


def logit_normal_times(
  key: jax.Array,
  *,
  batch_size: int,
  mean: ArrayLike = 0.0,
  scale: ArrayLike = 1.0,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Times with a normal logit, more of them in the middle, for rectified flows.

  .. math:: t = \mathrm{sigmoid}(m + s \epsilon), \qquad \epsilon \sim N(0, 1)

  Args:
    key: random key, the same on every device.
    batch_size: B, examples on this device.
    mean: m; below 0, nearer to the data. Can be traced.
    scale: s, positive. Can be traced.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Times, float32, shape (B,).

  Raises:
    TypeError: if batch_size is not an integer.
    ValueError: if it or scale is not positive.

  Example:
    >>> bool((logit_normal_times(jax.random.key(0), batch_size=99, mean=-9.0) < 0.1).all())
    True

  References:
    Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024.
      arXiv:2403.03206
  """
  check_positive_int(batch_size=batch_size)
  check_range(0.0, strict=True, scale=scale)
  noise = draw_rows(key, jax.random.normal, (batch_size,), axis_name=axis_name)
  return jax.nn.sigmoid(mean + scale * noise)


def log_normal_times(
  key: jax.Array,
  *,
  batch_size: int,
  process: Process,
  mean: ArrayLike = -1.2,
  scale: ArrayLike = 1.2,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Times at which the noise level is log-normal, as EDM trains.

  .. math:: \log \frac{\sigma_t}{\alpha_t} = m + s \epsilon, \qquad \epsilon \sim N(0, 1)

  Levels that the process does not have become its nearest.

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
    >>> t = log_normal_times(jax.random.key(0), batch_size=9, process=edm(), mean=0.0, scale=1e-3)
    >>> bool(jnp.allclose(edm().sigma(t), 1.0, atol=0.01))
    True

  References:
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022.
      arXiv:2206.00364
  """
  check_positive_int(batch_size=batch_size)
  check_range(0.0, strict=True, scale=scale)
  noise = draw_rows(key, jax.random.normal, (batch_size,), axis_name=axis_name)
  return time_at_log_snr(-2 * (mean + scale * noise), process=process)


def likelihood_times(
  key: jax.Array,
  *,
  batch_size: int,
  process: Process,
  start: float = 1.0,
  end: float = 1e-3,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Times with a uniform log signal-to-noise ratio, antithetic: importance sampling of the likelihood.

  .. math:: p(t) = \frac{-d\lambda_t / dt}{\lambda_{end} - \lambda_{start}} \propto \frac{g_t^2}{\sigma_t^2}

  Then the unweighted error of eps, times half the range of lambda, is an estimate of the part of the
  variational bound between the two times, the one that `variational_loss` has with uniform times, with
  less variance.

  Args:
    key: random key, the same on every device.
    batch_size: B, examples on this device; all devices' examples are one batch.
    process: its log_snr is inverted.
    start: latest time, at most 1, where the process must have alpha > 0.
    end: earliest time, below start, where it must have sigma > 0.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.

  Returns:
    Times, float32, shape (B,). Detached.

  Raises:
    TypeError: if batch_size is not an integer.
    ValueError: if it is not positive, or a time is out of range or has no finite ratio.

  Example:
    >>> from latentjax.diffusion.processes import from_log_snr
    >>> given = {"process": from_log_snr(lambda t: 8 - 16 * t), "end": 0.5}
    >>> bool((likelihood_times(jax.random.key(0), batch_size=9, **given) >= 0.5).all())
    True

  References:
    Song et al., Maximum Likelihood Training of Score-Based Diffusion Models, 2021. arXiv:2101.09258
    Kingma et al., Variational Diffusion Models, 2021. arXiv:2107.00630
  """
  check_interval(start, end)
  check_log_snr(process, start=start, end=end)
  share = antithetic_times(key, batch_size=batch_size, axis_name=axis_name)
  first, last = process.log_snr(start), process.log_snr(end)
  return time_at_log_snr(first + share * (last - first), process=process)
