"""Prediction of another view's bag of visual words, with a vocabulary made on the way (OBoW)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_choice,
  check_float,
  check_not_empty,
  check_positive_int,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.collectives import device_mean, draw_rows, row_offset
from latentjax.distances import squared_distances
from latentjax.losses.contrastive.normalize import l2_normalize

__all__ = ["Vocabulary", "bow_loss", "bow_target", "init_vocabulary", "update_vocabulary"]


class Vocabulary(NamedTuple):
  """Visual words, and how far from the nearest of them features are.

  Attributes:
    words: features that serve as words, shape (N, D).
    oldest: index of the word that is replaced next, int32, shape ().
    distance: running mean of the squared distance of a feature and its nearest word, shape ().
  """

  words: jax.Array
  oldest: jax.Array
  distance: jax.Array


def init_vocabulary(
  key: jax.Array, *, num_words: int, dim: int, distance: float = 0.5
) -> Vocabulary:
  r"""A vocabulary of random words, all of which N features replace.

  .. math:: v_{kd} = \max(0, \epsilon_{kd}), \qquad \epsilon_{kd} \sim N(0, 1)

  Args:
    key: random key, the same on every device.
    num_words: N.
    dim: D.
    distance: what the running mean starts at, positive.

  Returns:
    The vocabulary, of words such as a ReLU puts out, float32.

  Raises:
    TypeError: if num_words or dim is not an integer.
    ValueError: if one of them or distance is not positive.

  Example:
    >>> init_vocabulary(jax.random.key(0), num_words=16, dim=3).words.shape
    (16, 3)

  References:
    Gidaris et al., OBoW: Online Bag-of-Visual-Words Generation for Self-Supervised Learning, 2021.
      arXiv:2012.11552
  """
  check_positive_int(num_words=num_words, dim=dim)
  check_range(0.0, strict=True, distance=distance)
  words = jax.nn.relu(jax.random.normal(key, (num_words, dim)))
  return Vocabulary(words, jnp.int32(0), jnp.float32(distance))


def update_vocabulary(
  key: jax.Array,
  vocabulary: Vocabulary,
  features: ArrayLike,
  *,
  decay: ArrayLike = 0.99,
  axis_name: str | None = None,
) -> Vocabulary:
  r"""Vocabulary after a batch: one feature of every example takes the place of the oldest words.

  .. math:: \bar d \leftarrow m \bar d + (1 - m) \frac{1}{B P} \sum_{b, p} \min_k \|f_{bp} - v_k\|^2

  with the words v from before the batch. The feature of an example is drawn uniformly from its
  positions. The authors average it over a neighbourhood of 3 x 3 first: let `features` be such
  averages for the same. Of a batch of more examples than there are words, the last ones give them.

  Args:
    key: random key, the same on every device.
    vocabulary: that before the batch.
    features: the teacher's local features, shape (B, P, D), or (B, H, W, D).
    decay: m, in [0, 1]. Can be traced.
    axis_name: mapped device axis over which the examples are split, inside `pmap` or `shard_map`.
      The words come from all devices, in their order.

  Returns:
    The next vocabulary, the same on every device. Detached.

  Raises:
    TypeError: if features is not floating point.
    ValueError: if the shapes do not fit or decay is not in [0, 1].

  Example:
    >>> key, features = jax.random.key(0), jnp.ones((1, 4, 2))
    >>> vocabulary = init_vocabulary(key, num_words=2, dim=2)
    >>> update_vocabulary(key, vocabulary, features).words[0].tolist()
    [1.0, 1.0]

  References:
    Gidaris et al., OBoW, 2021. arXiv:2012.11552
  """
  features = _as_features(features, vocabulary.words)
  check_range(0.0, 1.0, decay=decay)
  num_rows, num_positions, _ = features.shape
  place = draw_rows(
    key,
    lambda key, shape: jax.random.randint(key, shape, 0, num_positions),
    (num_rows,),
    axis_name=axis_name,
  )
  drawn = jnp.take_along_axis(features, place[:, None, None], axis=1)[:, 0]
  words, distance = map(jnp.asarray, (vocabulary.words, vocabulary.distance))
  num_words = len(words)
  num_drawn = num_rows * (1 if axis_name is None else jax.lax.axis_size(axis_name))
  # Every device adds its rows to an empty vocabulary: to gather the last of a batch would take memory that
  # grows with the devices. A row that is not among them falls off the end.
  first = max(num_drawn - num_words, 0)
  row = row_offset(num_rows, axis_name) + jnp.arange(num_rows)
  word = jnp.where(row >= first, (vocabulary.oldest + row) % num_words, num_words)
  new = jnp.zeros_like(words).at[word].add(drawn.astype(words.dtype), mode="drop")
  if axis_name is not None:
    new = jax.lax.psum(new, axis_name)
  replaced = (jnp.arange(num_words) - vocabulary.oldest - first) % num_words < num_drawn - first
  nearest = jnp.min(squared_distances(features, words.astype(features.dtype)), axis=-1)
  words = jnp.where(replaced[:, None], new, words)
  decay = jnp.asarray(decay, distance.dtype)
  mean = device_mean(jnp.mean(nearest), axis_name).astype(distance.dtype)
  distance = decay * distance + (1 - decay) * mean
  oldest = (vocabulary.oldest + num_drawn) % num_words
  return jax.lax.stop_gradient(Vocabulary(words, oldest.astype(jnp.int32), distance))


def bow_target(
  features: ArrayLike,
  words: ArrayLike,
  distance: ArrayLike,
  *,
  delta: ArrayLike = 1 / 15,
  pooling: str = "max",
) -> jax.Array:
  r"""Bag of words of every example: which words its features are near, wherever they are.

  .. math::

    q_{pk} = \mathrm{softmax}_k \Big(-\frac{\|f_p - v_k\|^2}{\delta \bar d}\Big), \qquad
    y_k = \frac{\max_p q_{pk}}{\sum_l \max_p q_{pl}}

  With the mean instead of the maximum for pooling="mean".

  Args:
    features: the teacher's local features, shape (B, P, D), or (B, H, W, D).
    words: visual words v, shape (N, D), such as `Vocabulary.words`.
    distance: running mean of the squared distance to the nearest word, shape (), not negative.
    delta: temperature in units of distance, positive; 0 in the limit assigns hard. Can be traced.
    pooling: over the positions, "max" or "mean".

  Returns:
    Probabilities of the words, shape (B, N), float32 or wider. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit, delta is not positive or pooling is unknown.

  Example:
    >>> words = jnp.array([[0.0], [1.0], [5.0]])
    >>> bow_target(jnp.array([[[0.0], [1.0]]]), words, 1e-6).tolist()
    [[0.5, 0.5, 0.0]]

  References:
    Gidaris et al., OBoW, 2021. arXiv:2012.11552
  """
  check_float(words=words, distance=distance)
  check_rank(2, words=words)
  check_rank(0, distance=distance)
  features = _as_features(features, words)
  check_range(0.0, strict=True, delta=delta)
  check_choice(("max", "mean"), pooling=pooling)
  squared = squared_distances(features, jnp.asarray(words, features.dtype))
  scale = jnp.asarray(delta, squared.dtype) * jnp.asarray(distance, squared.dtype)
  scale = jnp.maximum(scale, jnp.finfo(squared.dtype).tiny)
  beyond = squared - jnp.min(squared, axis=-1, keepdims=True)
  codes = jax.nn.softmax(-beyond / scale, axis=-1)
  bag = jnp.max(codes, axis=1) if pooling == "max" else jnp.mean(codes, axis=1)
  return jax.lax.stop_gradient(bag / jnp.sum(bag, axis=-1, keepdims=True))


def bow_loss(
  features: ArrayLike, weights: ArrayLike, target: ArrayLike, *, kappa: ArrayLike = 8.0
) -> jax.Array:
  r"""Cross-entropy of an example's bag of words and its prediction from another view.

  .. math:: -\sum_k y_k \log \mathrm{softmax}_k \big(\kappa \, \bar w_k^\top s\big), \qquad
    \bar w = w / \|w\|

  The classifier's weights are what a generator network makes of the words, so that they follow the
  vocabulary. The features are not normalised, as in the authors' program. Gradients equal those of
  the divergence from y, which the authors minimise.

  Args:
    features: the student's features s, one vector for every example, shape (B, F).
    weights: w, the generator's outputs for all words, of any norm, shape (N, F).
    target: y, bag of words of another view, shape (B, N).
    kappa: inverse temperature, positive; the authors take 5 and 8. Can be traced.

  Returns:
    Loss per example in nats, shape (B,), float32 or wider. Gradient flows to features and weights;
    the target is detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit or kappa is not positive.

  Example:
    >>> bow_loss(jnp.zeros((1, 3)), jnp.ones((4, 3)), jnp.full((1, 4), 0.25)).tolist()  # log 4
    [1.38629...]

  References:
    Gidaris et al., OBoW, 2021. arXiv:2012.11552
  """
  arrays = {"features": features, "weights": weights, "target": target}
  check_float(**arrays)
  check_rank(2, **arrays)
  check_range(0.0, strict=True, kappa=kappa)
  shapes = jnp.shape(features), jnp.shape(weights), jnp.shape(target)
  if shapes[0][1] != shapes[1][1] or shapes[2] != (shapes[0][0], shapes[1][0]):
    raise ValueError(
      "features, weights and target must have shapes (B, F), (N, F) and (B, N), got "
      f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
    )
  dtype = wide_dtype(*arrays.values())
  unit = l2_normalize(jnp.asarray(weights, dtype))
  logits = jnp.matmul(jnp.asarray(features, dtype), unit.T, precision="highest")
  log_probs = jax.nn.log_softmax(jnp.asarray(kappa, dtype) * logits, axis=-1)
  return -jnp.sum(jax.lax.stop_gradient(jnp.asarray(target, dtype)) * log_probs, axis=-1)


def _as_features(features: ArrayLike, words: ArrayLike) -> jax.Array:
  """Features (B, P, D), float32 or wider."""
  check_float(features=features)
  check_not_empty(features=features)
  shape, dim = jnp.shape(features), jnp.shape(words)[1]
  if len(shape) not in (3, 4) or shape[-1] != dim:
    raise ValueError(f"features must have shape (B, P, {dim}) or (B, H, W, {dim}), got {shape}")
  return jnp.asarray(features, wide_dtype(features, words)).reshape(shape[0], -1, dim)
