"""Noisy gates on hidden units, whose information cost prunes a network (VIBNet, CVIB)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_float, wide_dtype
from latentjax.densities import gaussian

__all__ = ["gate_kl", "gate_mask", "vib_gate"]


def vib_gate(
  key: jax.Array,
  h: ArrayLike,
  mean: ArrayLike,
  log_scale: ArrayLike,
  *,
  axis_name: str | None = None,
) -> jax.Array:
  r"""Hidden units times random gates, one gate per example and unit.

  .. math:: h'_{bd} = h_{bd} \, (\mu_d + \sigma_d \epsilon_{bd}), \qquad \epsilon_{bd} \sim N(0, 1)

  Axes between the batch and the units, such as the tokens of a sentence, share a gate, as in the CVIB
  authors' program, which starts from mu near 1 and log sigma near -4.5. Without noise, in
  evaluation, gates are `mean * gate_mask(mean, log_scale)`.

  Args:
    key: random key, the same on every device.
    h: hidden units, shape (B, ..., D).
    mean: mu, means of the gates, shape (D,).
    log_scale: log sigma, shape (D,).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.

  Returns:
    Gated units, shape (B, ..., D), float32 or wider. Gradient flows to h, mean and log_scale.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if h has less than 2 axes, or mean and log_scale are not both of shape (D,).

  Example:
    >>> gated = vib_gate(jax.random.key(0), jnp.ones((4, 2)), jnp.array([1.0, 0.5]), jnp.full(2, -40.0))
    >>> gated[0].tolist()
    [1.0, 0.5]

  References:
    Dai, Zhu, Guo & Wipf, Compressing Neural Networks using the Variational Information Bottleneck,
      2018. arXiv:1802.10399
    Chang et al., Contrastive Variational Information Bottleneck for Aspect-based Sentiment Analysis,
      2024. arXiv:2303.02846
  """
  check_float(h=h)
  check_alike(1, mean=mean, log_scale=log_scale)
  dtype = wide_dtype(h, mean, log_scale)
  h, mean, log_scale = (jnp.asarray(array, dtype) for array in (h, mean, log_scale))
  if h.ndim < 2 or h.shape[-1:] != mean.shape:
    raise ValueError(
      f"h must have shape (B, ..., {mean.shape[0]}), one unit for each gate, got {h.shape}"
    )
  rows = (h.shape[0], *mean.shape)
  gates = gaussian.sample(
    key, jnp.broadcast_to(mean, rows), jnp.broadcast_to(log_scale, rows), axis_name=axis_name
  )
  return h * jnp.expand_dims(gates, tuple(range(1, h.ndim - 1)))


def gate_kl(mean: ArrayLike, log_scale: ArrayLike) -> jax.Array:
  r"""Divergence of every gate's distribution from the best prior N(0, s^2), in nats.

  .. math:: \min_s KL(N(\mu, \sigma^2) \,\|\, N(0, s^2)) = \tfrac12 \log(1 + \mu^2 / \sigma^2)

  Its sum over the units bounds what an example's gated units tell of it; zero for gates that are pure
  noise. To be minimised along with the nll, weighted by beta (`vib_loss`).

  Args:
    mean: mu, means of the gates, shape (D,).
    log_scale: log sigma, shape (D,).

  Returns:
    Divergence per unit in nats, shape (D,), float32 or wider. Gradient flows to both arguments.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the arrays are not both of shape (D,).

  Example:
    >>> round(gate_kl(jnp.ones(1), jnp.zeros(1)).item(), 4)  # log(2) / 2
    0.3466

  References:
    Dai, Zhu, Guo & Wipf, Compressing Neural Networks using the Variational Information Bottleneck,
      2018. arXiv:1802.10399
  """
  return 0.5 * jax.nn.softplus(_log_snr(mean, log_scale))


def gate_mask(
  mean: ArrayLike, log_scale: ArrayLike, *, log_threshold: ArrayLike = 0.0
) -> jax.Array:
  r"""Which units to keep: those whose gates have more signal than noise.

  .. math:: \log(\sigma_d^2 / \mu_d^2) < \text{log\_threshold}

  Args:
    mean: mu, means of the gates, shape (D,).
    log_scale: log sigma, shape (D,).
    log_threshold: largest logarithm of noise over signal, exclusive; 0 in the CVIB authors' program.

  Returns:
    True for the units to keep, shape (D,).

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the arrays are not both of shape (D,).

  Example:
    >>> gate_mask(jnp.array([1.0, 0.1]), jnp.log(jnp.array([0.1, 1.0]))).tolist()
    [True, False]

  References:
    Dai, Zhu, Guo & Wipf, Compressing Neural Networks using the Variational Information Bottleneck,
      2018. arXiv:1802.10399
  """
  return -_log_snr(mean, log_scale) < log_threshold


def _log_snr(mean: ArrayLike, log_scale: ArrayLike) -> jax.Array:
  """log(mu^2 / sigma^2), -inf for mu = 0, whose gradient is then 0."""
  check_alike(1, mean=mean, log_scale=log_scale)
  dtype = wide_dtype(mean, log_scale)
  mean, log_scale = jnp.asarray(mean, dtype), jnp.asarray(log_scale, dtype)
  is_zero = mean == 0
  log_mean = jnp.log(jnp.where(is_zero, 1, jnp.abs(mean)))
  return jnp.where(is_zero, -jnp.inf, 2 * (log_mean - log_scale))
