"""Two views of every example, told from all views of all others: NT-Xent and its decoupled form."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_range
from latentjax.collectives import all_gather_rows
from latentjax.losses.contrastive._pairs import check_two_rows, log_sums, pair_scores

__all__ = ["dcl_loss", "nt_xent"]


def nt_xent(
  z_1: ArrayLike,
  z_2: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""NT-Xent, the normalised temperature-scaled cross entropy of SimCLR.

  .. math:: \ell_{i \to j} = -\log \frac{\exp(z_i^\top z_j / \tau)}
    {\sum_{k \ne i} \exp(z_i^\top z_k / \tau)}

  over the 2 B embeddings, where j is the other view of i: every anchor has one positive and 2 B - 2
  negatives. The mean of an example's two anchors is returned, so that the mean over examples is the
  paper's loss. Every pair of examples is scored once and serves the sums of both.

  Args:
    z_1: embeddings of the first view, of norm 1 (see `l2_normalize`), shape (B, D). The paper
      normalises inside its similarity; here that is the caller's.
    z_2: those of the second view, shape (B, D).
    temperature: tau, positive. Can be traced and receives a gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Loss per example in nats, shape (B,), float32 or wider. Gradient flows to both views, to the rows
    of every device, in reverse mode.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes differ or are not of rank 2, or temperature or block_size is not
      positive.

  Example:
    >>> loss = nt_xent(jnp.eye(2), jnp.eye(2), temperature=1.0)
    >>> round(float(loss[0]), 4)  # log(1 + 2 / e)
    0.5514

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020 (NT-Xent).
      arXiv:2002.05709
  """
  positive, negatives = _scores(z_1, z_2, temperature, axis_name, block_size)
  return jnp.mean(jax.nn.softplus(negatives - positive), axis=0)


def dcl_loss(
  z_1: ArrayLike,
  z_2: ArrayLike,
  *,
  temperature: ArrayLike = 0.1,
  weight_temperature: float | None = None,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Decoupled contrastive loss: NT-Xent without the positive in the denominator.

  .. math:: \ell_i = -w_i \frac{z_i^\top z_j}{\tau} + \log \sum_{k \ne i, j}
    \exp\left(\frac{z_i^\top z_k}{\tau}\right), \qquad
    w_i = 2 - \frac{\exp(z_i^\top z_j / \sigma)}{E_i \exp(z_i^\top z_j / \sigma)}

  over the 2 B embeddings, where j is the other view of i. The gradient then does not vanish with the
  batch, as NT-Xent's does once positives are easy. DCL has w = 1; DCLW the weights above, of mean 1,
  larger where the views are far apart. They are detached. The mean of an example's two anchors is
  returned.

  Args:
    z_1: embeddings of the first view, of norm 1 (see `l2_normalize`), shape (B, D).
    z_2: those of the second view, shape (B, D).
    temperature: tau, positive. Can be traced and receives a gradient.
    weight_temperature: sigma of DCLW, positive, 0.5 in the paper; None for DCL.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Loss per example in nats, shape (B,), float32 or wider; it can be negative. Gradient flows to
    both views, to the rows of every device, in reverse mode, not through the weights.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes differ or are not of rank 2, a temperature or block_size is not
      positive, or the batch has one example, hence no negative.

  Example:
    >>> loss = dcl_loss(jnp.eye(2), jnp.eye(2), temperature=1.0)
    >>> round(float(loss[0]), 4)  # log 2 - 1
    -0.3069

  References:
    Yeh et al., Decoupled Contrastive Learning, 2022, eq. 6 (DCL). arXiv:2110.06848
  """
  if weight_temperature is not None:
    check_range(0.0, strict=True, weight_temperature=weight_temperature)
  positive, negatives = _scores(z_1, z_2, temperature, axis_name, block_size)
  check_two_rows(axis_name, z_1=z_1)
  if weight_temperature is not None:
    cosines = pair_scores(z_1, z_2, 1 / weight_temperature)
    log_sums = all_gather_rows(jax.nn.logsumexp(cosines)[None], axis_name)
    log_mean = jax.nn.logsumexp(log_sums) - math.log(len(log_sums) * len(cosines))
    positive *= jax.lax.stop_gradient(2 - jnp.exp(cosines - log_mean))
  return jnp.mean(negatives, axis=0) - positive


def _scores(
  z_1: ArrayLike,
  z_2: ArrayLike,
  temperature: ArrayLike,
  axis_name: str | None,
  block_size: int | None,
) -> tuple[jax.Array, jax.Array]:
  """Scores of the positives (B,), and log sums over the negatives of every anchor, (2, B)."""
  check_alike(2, z_1=z_1, z_2=z_2)
  check_range(0.0, strict=True, temperature=temperature)
  views, scale = [z_1, z_2], 1 / jnp.asarray(temperature)
  after, before = log_sums(
    views, views, scale, axis_name=axis_name, block_size=block_size, half=True, both=True
  )
  return pair_scores(z_1, z_2, scale), jnp.logaddexp(after, before)
