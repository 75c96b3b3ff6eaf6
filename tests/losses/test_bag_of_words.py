"""Bags of visual words against loops over features and words, over devices, and the queue of words."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, check_kernel
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as Spec
from scipy.spatial import distance as scipy_distance
from scipy.special import log_softmax, softmax

from latentjax.losses.contrastive import (
  Vocabulary,
  bow_loss,
  bow_target,
  init_vocabulary,
  update_vocabulary,
)

B, P, D, F, N = 8, 4, 3, 5, 11
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
FEATURES, WORDS = RNG.standard_normal((B, P, D)), RNG.standard_normal((N, D))
STUDENT, WEIGHTS = RNG.standard_normal((B, F)), RNG.standard_normal((N, F))
MARKS = RNG.standard_normal((N, D)).astype(np.float32)  # of what stands where in the vocabulary
DISTANCE, DELTA, KAPPA, DECAY, OLDEST = np.float64(0.7), 0.3, 2.0, 0.9, N - 3


def step(features, student, weights, words, distance, axis_name=None):
  """What a training step does with a batch."""
  target = bow_target(features, words, distance, delta=DELTA)
  vocabulary = Vocabulary(words, jnp.int32(OLDEST), distance)
  vocabulary = update_vocabulary(KEY, vocabulary, features, decay=DECAY, axis_name=axis_name)
  return {
    "loss": bow_loss(student, weights, target, kappa=KAPPA),
    "next": vocabulary.distance,
    "target": target,
    "words": jnp.sum(vocabulary.words * MARKS),
  }


def oracle(features, student, weights, words, distance):
  squared = np.array([scipy_distance.cdist(f, words) ** 2 for f in features])
  codes = softmax(-squared / (DELTA * distance), axis=2)
  bags = np.array([[code[:, k].max() for k in range(N)] for code in codes])
  target = np.array([bag / bag.sum() for bag in bags])
  cosine = np.array([[s @ w / np.linalg.norm(w) for w in weights] for s in student])
  words = words.copy()
  for b in range(B):  # a row's draw depends on the key and the row alone
    place = int(jax.random.randint(jax.random.fold_in(KEY, b), (), 0, P))
    words[(OLDEST + b) % N] = features[b, place]
  return {
    "loss": np.array([-t @ log_softmax(KAPPA * c) for t, c in zip(target, cosine)]),
    "next": DECAY * distance + (1 - DECAY) * squared.min(axis=2).mean(),
    "target": target,
    "words": np.sum(words * MARKS),
  }


def test_a_step():
  rest = (STUDENT, WEIGHTS, WORDS, DISTANCE)
  check_kernel(
    step,
    (FEATURES, *rest),
    oracle=oracle,
    detached=(0, 3, 4),
    batch_axes=(0, 0, None, None, None),
    batch_coupled=True,
    extreme=[(1e4 * FEATURES, -1e3 * STUDENT, *rest[1:]), (0 * FEATURES, *rest[:3], 0 * DISTANCE)],
    bad_inputs=[
      ((FEATURES.astype(int), *rest), {}, TypeError, "features must be a floating point"),
      ((FEATURES[0], *rest), {}, ValueError, "features must have shape \\(B, P, 3\\)"),
      ((FEATURES, STUDENT, WEIGHTS, WORDS[0], DISTANCE), {}, ValueError, "words must have 2 axes"),
      ((FEATURES, STUDENT, WEIGHTS, WORDS, WORDS), {}, ValueError, "distance must have 0 axes"),
      ((FEATURES, STUDENT[:5], *rest[1:]), {}, ValueError, "must have shapes \\(B, F\\)"),
    ],
  )


def test_settings():
  squared = np.array([scipy_distance.cdist(f, WORDS) ** 2 for f in FEATURES])
  codes = softmax(-squared / (DELTA * DISTANCE), axis=2)
  pooled = jax.jit(lambda f: bow_target(f, WORDS, DISTANCE, delta=DELTA, pooling="mean"))(FEATURES)
  np.testing.assert_allclose(pooled, codes.mean(axis=1), rtol=1e-5)
  vocabulary = Vocabulary(WORDS, 0, DISTANCE)
  for call, match in {
    lambda: bow_target(FEATURES, WORDS, DISTANCE, delta=0.0): "delta must be in",
    lambda: bow_target(FEATURES, WORDS, DISTANCE, pooling="sum"): "pooling must be one of",
    lambda: bow_loss(STUDENT, WEIGHTS, np.ones((B, N)), kappa=0.0): "kappa must be in",
    lambda: update_vocabulary(KEY, vocabulary, FEATURES, decay=2.0): "decay must be in",
    lambda: init_vocabulary(KEY, num_words=2, dim=3, distance=0.0): "distance must be in",
  }.items():
    with pytest.raises(ValueError, match=match):
      call()


def test_a_batch_of_more_examples_than_words():
  """As if its examples came one after the other: the last ones stay, on four devices too."""
  features = np.float32(FEATURES[:, :1])  # of one position: nothing is left to chance
  vocabulary = Vocabulary(np.float32(WORDS[:5]), jnp.int32(2), np.float32(DISTANCE))
  push = partial(update_vocabulary, KEY)
  one_by_one = vocabulary
  for row in features:
    one_by_one = push(one_by_one, row[None])
  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(push, axis_name=AXIS), mesh=mesh, in_specs=(Spec(), Spec(AXIS)), out_specs=Spec(),
    check_vma=False,
  )  # fmt: skip
  for found in (push(vocabulary, features), jax.jit(mapped)(vocabulary, features)):
    np.testing.assert_array_equal(found.words, one_by_one.words)
    assert found.oldest == one_by_one.oldest


def test_features_pass_through_the_vocabulary_in_order():
  """Words live for N features; what is drawn is uniform over positions; a grid is a list."""
  count = 40
  features = np.arange(count * B * P, dtype=np.float32).reshape(count, B, 2, P // 2, 1)
  keys = jax.random.split(KEY, count)
  start = init_vocabulary(KEY, num_words=N, dim=1)

  def push(vocabulary, x):
    vocabulary = update_vocabulary(x[0], vocabulary, x[1])
    return vocabulary, (vocabulary.words[:, 0], vocabulary.oldest)

  _, (words, oldest) = jax.jit(lambda start: jax.lax.scan(push, start, (keys, features)))(start)
  words, oldest = np.asarray(words).astype(int), np.asarray(oldest)
  np.testing.assert_array_equal(oldest, B * np.arange(1, count + 1) % N)
  for step in range(1, count):  # oldest first, the examples are the N newest
    in_order = np.roll(words[step], -oldest[step])
    np.testing.assert_array_equal(in_order // P, np.arange((step + 1) * B)[-N:])
  drawn = np.concatenate([np.roll(w, -o)[-B:] for w, o in zip(words, oldest)]) % P
  assert np.abs(np.bincount(drawn, minlength=P) - count * B / P).max() < 4 * np.sqrt(count * B / P)
