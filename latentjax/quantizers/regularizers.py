"""Losses that keep codes apart and in use."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_float, check_range, check_rank, wide_dtype
from latentjax.collectives import device_mean
from latentjax.losses.contrastive import l2_normalize
from latentjax.quantizers._blocks import count_blocks, cut
from latentjax.quantizers.vector import check_codebook

__all__ = ["diversity_loss", "orthogonal_loss"]


def orthogonal_loss(codebook: ArrayLike) -> jax.Array:
  r"""Mean squared cosine of different codes, which is zero if all are orthogonal.

  .. math::

    \frac{1}{N^2} \left\| \bar C \bar C^\top - I \right\|_F^2 =
    \frac{1}{N^2} \left( \| \bar C^\top \bar C \|_F^2 - N \right)

  with codes of norm 1 as rows. The second form is what is computed if there are more codes than
  entries: its products are (D, D), so neither a block nor a sample of the (N, N) cosines is needed.
  More codes than entries cannot all be orthogonal; the least is then 1 / D - 1 / N.

  Args:
    codebook: codes of any norm, shape (N, D). A code of zeros is orthogonal to all.

  Returns:
    Loss, a scalar, float32 or wider. Gradient flows to the codebook.

  Raises:
    TypeError: if the codebook is not floating point.
    ValueError: if it is not of rank 2 or is empty.

  Example:
    >>> float(orthogonal_loss(jnp.eye(3))), float(orthogonal_loss(jnp.ones((2, 3))).round(4))
    (0.0, 0.5)

  References:
    Shin et al., Exploration into Translation-Equivariant Image Quantization, 2021.
      arXiv:2112.00384
  """
  check_float(codebook=codebook)
  check_rank(2, codebook=codebook)
  unit = l2_normalize(jnp.asarray(codebook, wide_dtype(codebook)))
  num_codes, dim = unit.shape
  norms = jnp.sum(jnp.square(unit), axis=1)  # 1, or 0 for zeros
  if num_codes <= dim:
    cosines = jnp.matmul(unit, unit.T, precision="highest") - jnp.diag(norms)
    return jnp.sum(jnp.square(cosines)) / float(num_codes) ** 2
  products = jnp.matmul(unit.T, unit, precision="highest")
  return (jnp.sum(jnp.square(products)) - jnp.sum(jnp.square(norms))) / float(num_codes) ** 2


def diversity_loss(
  z: ArrayLike,
  codebook: ArrayLike,
  *,
  temperature: ArrayLike = 1.0,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""How far from uniform the codes are used, softly, by a batch.

  .. math:: \log N - H(\bar p) = \sum_k \bar p_k \log (N \bar p_k), \qquad
    \bar p = \frac1B \sum_i \mathrm{softmax}_k \left( -\frac{\|z_i - c_k\|^2}{\tau} \right)

  Zero if all codes have an equal share. The paper's is that of logits, up to log N and a factor.

  Args:
    z: vectors, shape (..., D).
    codebook: codes, shape (N, D).
    temperature: tau, positive: about the squared distance over which a vector is shared. Can be
      traced.
    axis_name: mapped device axis over which the vectors are split, equally many on each, inside
      `pmap` or `shard_map`; the mean is over all of them.
    block_size: vectors at a time, at most, to bound memory to (block_size, N), also in the backward pass;
      None takes all. The result does not depend on it.

  Returns:
    Loss in nats, a scalar between 0 and log N, the same on every device, float32 or wider. Gradient
    flows to z, codebook and a traced temperature.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes do not fit, there are no vectors, the codebook is empty, or temperature
      or block_size is not positive.

  Example:
    >>> codebook = jnp.array([[0.0], [9.0]])
    >>> loss = lambda z: round(float(diversity_loss(z, codebook)), 4)
    >>> loss(jnp.array([[0.0], [0.0]])), loss(jnp.array([[0.0], [9.0]]))  # log 2 and 0
    (0.6931, 0.0)

  References:
    Baevski et al., wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations,
      2020 (diversity loss). arXiv:2006.11477
  """
  z, codebook = check_codebook(z, codebook)
  check_range(0.0, strict=True, temperature=temperature)
  dtype = wide_dtype(z, codebook)
  centre = jax.lax.stop_gradient(jnp.mean(codebook.astype(dtype), axis=0))  # would cost digits
  rows = z.reshape(-1, z.shape[-1]).astype(dtype) - centre
  if not rows.shape[0]:
    raise ValueError(f"z must have at least one vector, got shape {z.shape}")
  codes = codebook.astype(dtype) - centre
  scale = 2 / jnp.asarray(temperature, dtype)
  half_norms = jnp.sum(jnp.square(codes), axis=1) / 2

  @jax.checkpoint
  def add(total: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    rows, weights = block
    nearness = jnp.matmul(rows, codes.T, precision="highest") - half_norms
    return total + weights @ jax.nn.softmax(scale * nearness, axis=1), None

  count = count_blocks(rows.shape[0], block_size, default=rows.shape[0])
  weights = jnp.full(rows.shape[0], 1 / rows.shape[0], dtype)
  blocks = [jnp.swapaxes(cut(x, count), 0, 1) for x in (rows, weights)]
  # Made from the vectors, so that inside `shard_map` it varies over the devices as they do.
  start = jnp.zeros_like(half_norms) + jnp.zeros_like(rows[:1, 0])
  mean, _ = jax.lax.scan(add, start, tuple(blocks))
  mean = device_mean(mean, axis_name)
  log_share = jnp.log(jnp.maximum(mean, jnp.finfo(dtype).tiny) * codes.shape[0])
  return jnp.sum(mean * log_share)
