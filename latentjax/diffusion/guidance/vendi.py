"""Contextualised Vendi guidance (c-VSG): unlike what was made before, like given examples."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.diffusion.guidance._branches import (
  DenoiseFn,
  check_interval,
  estimate_of_score,
  within,
)
from latentjax.diffusion.processes import Process
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["log_vendi_with", "vendi_guidance"]


def vendi_guidance(
  denoise_fn: DenoiseFn,
  feature_fn: Callable[[jax.Array], jax.Array],
  memory: ArrayLike,
  *,
  process: Process,
  scale: ArrayLike,
  exemplars: ArrayLike | None = None,
  exemplar_scale: ArrayLike = 0.0,
  interval: tuple[float, float] | None = None,
) -> DenoiseFn:
  r"""Contextualised Vendi score guidance: estimates under a density that diversity tilts.

  .. math::

    \hat x_w = \hat x + \frac{\sigma_t^2}{\alpha_t} \nabla_{z_t} \big[ \gamma \log \mathrm{VS}(M \cup
    \{\phi(\hat x)\}) - \lambda \log \mathrm{VS}(E \cup \{\phi(\hat x)\}) \big]

  with the Vendi score of a memory bank M of samples that exist already, and of real examples E: a sample
  is to add to the diversity of the former, and not to that of the latter. The bracket is a
  log-potential of z_t, through the estimate, as in `classifier_guidance`. Every row is guided by itself: rows
  of one batch do not know of each other. Once it is finished, a sample's features go into the memory, such as
  by `losses.contrastive.update_queue`.

  Args:
    denoise_fn: `(x_t, t) -> x0_hat`, x_t (B, ...), t (); it is differentiated.
    feature_fn: phi, `(x0_hat) -> features` of any norm, (B, D).
    memory: features of samples, shape (M, D), or (B, M, D), for every row its own; zero rows are
      empty places.
    process: alpha and sigma.
    scale: gamma, not negative. Can be traced.
    exemplars: features of real examples, shape (E, D) or (B, E, D); None: without the second term.
    exemplar_scale: lambda, not negative. Can be traced.
    interval: (low, high), guides where low < t <= high; None: everywhere.

  Returns:
    `(x_t, t) -> x0_hat`, float32 or wider. Gradient flows through the estimate; what guides is detached.

  Raises:
    TypeError: if memory or exemplars, or x_t when called, are not floating point.
    ValueError: if they have not two or three axes, a hyper-parameter is out of range, or x_t is no batch.

  Example:
    >>> from latentjax.diffusion.processes import rectified_flow
    >>> guided = vendi_guidance(
    ...   lambda x, t: x, lambda x: x, jnp.array([[1.0, 0.0]]), process=rectified_flow(), scale=1.0
    ... )
    >>> bool((guided(jnp.array([[1.0, 1.0]]), 0.5) - 1.0)[0, 1] > 0)  # away from the memory
    True

  References:
    Askari Hemmat et al., Improving Geo-diversity of Generated Images with Contextualized Vendi Score
      Guidance, 2024. arXiv:2406.04551
  """
  check_interval(interval)
  check_range(0.0, scale=scale, exemplar_scale=exemplar_scale)
  terms: list[tuple[Any, ArrayLike, str]] = [(jnp.asarray(scale), memory, "memory")]
  if exemplars is not None:
    terms.append((-jnp.asarray(exemplar_scale), exemplars, "exemplars"))
  for _, bank, name in terms:
    check_float(**{name: bank})
    if jnp.ndim(bank) not in (2, 3):
      raise ValueError(f"{name} must have shape (M, D) or (B, M, D), got {jnp.shape(bank)}")

  def plain(x: jax.Array, t: jax.Array) -> jax.Array:
    x0 = denoise_fn(x, t)
    return x0.astype(wide_dtype(x0))

  def guided(x: jax.Array, t: jax.Array) -> jax.Array:
    def potential(x: jax.Array) -> tuple[jax.Array, jax.Array]:
      x0 = plain(x, t)
      features = feature_fn(x0)
      for _, bank, name in terms:
        if features.ndim != 2 or features.shape[1] != jnp.shape(bank)[-1]:
          raise ValueError(
            f"feature_fn must return features (B, D) as wide as {name}, {jnp.shape(bank)}, "
            f"got {features.shape}"
          )
      scores = [weight * jnp.sum(log_vendi_with(features, bank)) for weight, bank, _ in terms]
      return jnp.sum(jnp.stack(scores)), x0

    slope, x0 = jax.grad(potential, has_aux=True)(x)
    # Second derivatives of eigenvalues do not exist where two are the same, as in a small memory.
    slope = jax.lax.stop_gradient(slope.astype(x0.dtype))
    return x0 + estimate_of_score(slope, t, process)

  return within(interval, guided, plain)


def log_vendi_with(z: ArrayLike, bank: ArrayLike) -> jax.Array:
  r"""Log Vendi score of a bank of features with one more, for every one.

  .. math::

    -\sum_i \lambda_{bi} \log \lambda_{bi}, \qquad \lambda_b = \mathrm{eig}\Big(\frac1{M + 1} \big(\bar z_b
    \bar z_b^\top + \sum_m \bar y_m \bar y_m^\top\big)\Big), \qquad \bar z = z / \|z\|

  Args:
    z: features of any norm, shape (B, D).
    bank: y, features of any norm, shape (M, D), or (B, M, D), for every row its own; zero rows are empty
      places, and not counted.

  Returns:
    Nats, shape (B,), float32 or wider; 0 for an empty bank. Gradient flows to z and to the bank, except along
    zero eigenvalues.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit.

  Example:
    >>> bank = jnp.array([[1.0, 0.0], [0.0, 0.0]])
    >>> jnp.exp(log_vendi_with(jnp.array([[3.0, 0.0], [0.0, 3.0]]), bank)).round(4).tolist()
    [1.0, 2.0]

  References:
    Friedman and Dieng, The Vendi Score: A Diversity Evaluation Metric for Machine Learning, 2022.
      arXiv:2210.02410
  """
  check_float(z=z, bank=bank)
  check_rank(2, z=z)
  shape = jnp.shape(z)
  if (
    jnp.ndim(bank) not in (2, 3)
    or jnp.shape(bank)[-1] != shape[1]
    or (jnp.ndim(bank) == 3 and jnp.shape(bank)[0] != shape[0])
  ):
    raise ValueError(
      f"bank must be of shape (M, D) or (B, M, D) beside z {shape}, got {jnp.shape(bank)}"
    )
  dtype = wide_dtype(z, bank)
  z, bank = (l2_normalize(jnp.asarray(a, dtype)) for a in (z, bank))
  count = 1 + jnp.sum(jnp.any(bank != 0, axis=-1), axis=-1)
  product = lambda a, b: jnp.matmul(a, b, precision="highest")
  if bank.shape[-2] < shape[1]:  # the same eigenvalues, but for zeros
    bank = jnp.broadcast_to(bank, (shape[0], *bank.shape[-2:]))
    all_rows = jnp.concatenate([z[:, None], bank], axis=1)
    matrix = product(all_rows, jnp.swapaxes(all_rows, 1, 2))
  else:
    matrix = product(jnp.swapaxes(bank, -1, -2), bank) + z[:, :, None] * z[:, None]
  eigenvalues = jnp.linalg.eigvalsh(matrix / count[..., None, None])
  counts = eigenvalues > 10 * jnp.finfo(dtype).eps
  eigenvalues = jnp.where(counts, eigenvalues, 1)  # log 1 = 0
  return -jnp.sum(eigenvalues * jnp.log(eigenvalues), axis=-1)
