"""Pairs of two modalities, such as images and their texts: softmax and sigmoid losses."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_range
from latentjax.collectives import device_mean
from latentjax.losses.contrastive._pairs import log_sums, pair_scores, softplus_sums

__all__ = ["clip_loss", "siglip_loss"]


def clip_loss(
  image: ArrayLike,
  text: ArrayLike,
  *,
  logit_scale: ArrayLike,
  label_smoothing: ArrayLike = 0.0,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Cross entropy of finding the text of an image and the image of a text, averaged.

  .. math:: \ell_i = -\tfrac12 \log \frac{\exp(s\, u_i^\top v_i)}{\sum_j \exp(s\, u_i^\top v_j)}
    - \tfrac12 \log \frac{\exp(s\, u_i^\top v_i)}{\sum_j \exp(s\, u_j^\top v_i)}

  With label smoothing e, the target is 1 - e for the own partner plus e / B for each of the batch,
  as in ALIGN with e = 0.1. Every pair is scored once and serves both sums.

  Args:
    image: embeddings u, of norm 1 (see `l2_normalize`), shape (B, D).
    text: embeddings v of their partners, shape (B, D).
    logit_scale: s = 1 / temperature, positive. A learned one is exp of the parameter, which CLIP
      starts at log(1 / 0.07) and keeps below log 100. Can be traced and receives a gradient.
    label_smoothing: e, in [0, 1]. Can be traced.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Loss per pair in nats, shape (B,), float32 or wider. Gradient flows to both embeddings, to the
    rows of every device, and to the scale, in reverse mode.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes differ or are not of rank 2, logit_scale or block_size is not positive,
      or label_smoothing is outside [0, 1].

  Example:
    >>> loss = clip_loss(jnp.eye(2), jnp.eye(2), logit_scale=1.0)
    >>> round(float(loss[0]), 4)  # log(1 + 1 / e)
    0.3133

  References:
    Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
      arXiv:2103.00020
    Jia et al., Scaling Up Visual and Vision-Language Representation Learning With Noisy Text
      Supervision (ALIGN), 2021. arXiv:2102.05918
  """
  _check_pairs(image, text, logit_scale)
  check_range(0.0, 1.0, label_smoothing=label_smoothing)
  (texts,), (images,) = log_sums(
    [image], [text], logit_scale, axis_name=axis_name, block_size=block_size, both=True
  )
  positive = pair_scores(image, text, logit_scale)
  loss = (jax.nn.softplus(texts - positive) + jax.nn.softplus(images - positive)) / 2
  # The mean score of an image with all texts is that with their mean.
  mean_image, mean_text = (_mean(array, axis_name, loss.dtype) for array in (image, text))
  mean_scores = pair_scores(image, mean_text, logit_scale) + pair_scores(
    mean_image, text, logit_scale
  )
  return loss + jnp.asarray(label_smoothing, loss.dtype) * (positive - mean_scores / 2)


def siglip_loss(
  image: ArrayLike,
  text: ArrayLike,
  *,
  logit_scale: ArrayLike,
  logit_bias: ArrayLike,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> jax.Array:
  r"""Sigmoid loss: every image and text is a pair or not, each a binary question of its own.

  .. math:: \ell_i = -\sum_{j=1}^B \log \sigma\bigl(y_{ij} (s\, u_i^\top v_j + b)\bigr),
    \qquad y_{ii} = 1, \quad y_{ij} = -1

  A sum over j, so that the mean over i is the paper's loss. Deviation: the bias has the sign of the
  paper's pseudo-code; the equation in its text prints the opposite one.

  Args:
    image: embeddings u, of norm 1 (see `l2_normalize`), shape (B, D).
    text: embeddings v of their partners, shape (B, D).
    logit_scale: s, positive. A learned one is exp of the parameter, which starts at log 10. Can be
      traced and receives a gradient.
    logit_bias: b; a learned one starts at -10, for pairs are rare. Can be traced and receives a
      gradient.
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`.
    block_size: rows at a time: scores take memory (block_size, block_size), forward and backward,
      instead of (B, B). The result does not depend on it.

  Returns:
    Loss per image in nats, shape (B,), float32 or wider. Gradient flows to both embeddings, to the
    rows of every device, to the scale and to the bias, in reverse mode.

  Raises:
    TypeError: if an array is not floating point or block_size is not an integer.
    ValueError: if the shapes differ or are not of rank 2, logit_scale or block_size is not positive,
      or logit_bias is not finite.

  Example:
    >>> loss = siglip_loss(jnp.eye(2), jnp.eye(2), logit_scale=1.0, logit_bias=0.0)
    >>> round(float(loss[0]), 4)  # log(1 + 1 / e) + log 2
    1.0064

  References:
    Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, algorithm 1. arXiv:2303.15343
  """
  _check_pairs(image, text, logit_scale)
  check_range(strict=True, logit_bias=logit_bias)
  (negatives,) = softplus_sums(
    [image], [text], logit_scale, logit_bias, axis_name=axis_name, block_size=block_size
  )
  positive = pair_scores(image, text, logit_scale) + jnp.asarray(logit_bias, negatives.dtype)
  return negatives + jax.nn.softplus(-positive)


def _check_pairs(image: ArrayLike, text: ArrayLike, logit_scale: ArrayLike) -> None:
  check_alike(2, image=image, text=text)
  check_range(0.0, strict=True, logit_scale=logit_scale)


def _mean(array: ArrayLike, axis_name: str | None, dtype: jnp.dtype) -> jax.Array:
  """Mean of the rows of all devices."""
  return device_mean(jnp.mean(jnp.asarray(array, dtype), axis=0), axis_name)
