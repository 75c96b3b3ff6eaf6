"""What pairs of towers are for: classes named by texts, and the texts of a class that fit an image."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["match_texts", "zero_shot_logits"]


def zero_shot_logits(
  image: ArrayLike, class_text: ArrayLike, *, logit_scale: ArrayLike = 1.0
) -> jax.Array:
  r"""Logits of classes that were never trained on, but are described by texts.

  .. math:: s\, \frac{u_b}{\|u_b\|}^\top \frac{m_c}{\|m_c\|}, \qquad
    m_c = \frac1P \sum_p \frac{v_{cp}}{\|v_{cp}\|}

  Several texts of a class, such as one for each template, are averaged as embeddings.

  Args:
    image: embeddings u of images, of any norm, shape (B, D).
    class_text: embeddings v of the texts of each class, of any norm, shape (C, D), or (C, P, D) for
      P texts of each.
    logit_scale: s, positive; the trained one if the softmax is to be a probability. Can be traced.

  Returns:
    Logits, shape (B, C), float32 or wider, in [-s, s]. Gradient flows to all arguments.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if image is not of rank 2, class_text is not of rank 2 or 3, their dimensions differ,
      or logit_scale is not positive.

  Example:
    >>> zero_shot_logits(3 * jnp.eye(2), jnp.eye(2), logit_scale=10.0).tolist()
    [[10.0, 0.0], [0.0, 10.0]]

  References:
    Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
      arXiv:2103.00020
    Jia et al., Scaling Up Visual and Vision-Language Representation Learning With Noisy Text
      Supervision (ALIGN), 2021. arXiv:2102.05918
  """
  check_float(image=image, class_text=class_text)
  check_rank(2, image=image)
  check_rank(3 if jnp.ndim(class_text) == 3 else 2, class_text=class_text)
  _check_same_dim(image=image, class_text=class_text)
  check_range(0.0, strict=True, logit_scale=logit_scale)
  dtype = wide_dtype(image, class_text)
  classes = l2_normalize(jnp.asarray(class_text, dtype))
  if classes.ndim == 3:
    classes = l2_normalize(jnp.mean(classes, axis=1))
  images = jnp.asarray(logit_scale, dtype) * l2_normalize(jnp.asarray(image, dtype))
  return jnp.matmul(images, classes.T, precision="highest")


def match_texts(
  image: ArrayLike,
  text: ArrayLike,
  image_class: ArrayLike,
  text_class: ArrayLike,
  *,
  num_texts: int = 5,
  block_size: int | None = None,
) -> jax.Array:
  r"""The texts of an image's own class that fit it best.

  .. math:: \operatorname{top}_T \{ \cos(u_b, v_n) : n \text{ with } c_n = c_b \}

  Texts of other classes never match, so the pairs keep the labels.

  Args:
    image: embeddings u of images, of any norm, shape (B, D).
    text: embeddings v of candidate texts, of any norm, shape (N, D).
    image_class: class of every image, integers, shape (B,).
    text_class: class of every text, integers, shape (N,).
    num_texts: T, at most N.
    block_size: images at a time: scores take memory (block_size, N) instead of (B, N).

  Returns:
    Indices of texts, best first, int32, shape (B, T); -1 where the class has no further text.

  Raises:
    TypeError: if an embedding is not floating point, a class is not an integer, or num_texts or
      block_size is not an integer.
    ValueError: if an embedding is not of rank 2, the dimensions differ, the classes are not as many
      as the embeddings, or num_texts is not in 1..N.

  Example:
    >>> text = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    >>> match_texts(jnp.eye(2), text, jnp.array([1, 1]), jnp.array([0, 1, 1]), num_texts=2).tolist()
    [[2, 1], [1, 2]]

  References:
    Lewis et al., GIST: Generating Image-Specific Text for Fine-grained Object Classification, 2023.
      arXiv:2307.11315
  """
  check_float(image=image, text=text)
  check_rank(2, image=image, text=text)
  _check_same_dim(image=image, text=text)
  for name, classes, rows in (
    ("image_class", image_class, image),
    ("text_class", text_class, text),
  ):
    if not jnp.issubdtype(jnp.result_type(classes), jnp.integer):
      raise TypeError(f"{name} must be integers, got {jnp.result_type(classes)}")
    if jnp.shape(classes) != jnp.shape(rows)[:1]:
      raise ValueError(f"{name} must have shape {jnp.shape(rows)[:1]}, got {jnp.shape(classes)}")
  check_positive_int(num_texts=num_texts)
  check_range(1, jnp.shape(text)[0], num_texts=num_texts)
  if block_size is not None:
    check_positive_int(block_size=block_size)
  dtype = wide_dtype(image, text)
  images, texts = (l2_normalize(jnp.asarray(array, dtype)) for array in (image, text))
  text_class = jnp.asarray(text_class)

  def match(row: tuple[jax.Array, jax.Array]) -> jax.Array:
    scores = jnp.matmul(texts, row[0], precision="highest")
    scores = jnp.where(text_class == row[1], scores, -jnp.inf)
    best, indices = jax.lax.top_k(scores, num_texts)
    return jnp.where(best > -jnp.inf, indices, -1)

  queries = images, jnp.asarray(image_class)
  if block_size is None:
    return jax.vmap(match)(queries)
  return jax.lax.map(match, queries, batch_size=block_size)


def _check_same_dim(**arrays: ArrayLike) -> None:
  if len({jnp.shape(array)[-1] for array in arrays.values()}) > 1:
    got = ", ".join(f"{name} {jnp.shape(array)}" for name, array in arrays.items())
    raise ValueError(f"{' and '.join(arrays)} must share their last axis, got {got}")
