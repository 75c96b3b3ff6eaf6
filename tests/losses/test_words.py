"""Losses of word vectors and pooled sentences against loops; n-grams and hashes against known ones."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel

from latentjax.losses.words import (
  glove_loss,
  log_partition,
  ngram_embed,
  ngram_ids,
  sgns_loss,
  sif_pool,
  squared_norm_loss,
)

B, D, K, T, N = 8, 3, 2, 4, 5
RNG = np.random.default_rng(0)
V, U, NEGATIVES = (RNG.standard_normal(shape) for shape in ((B, D), (B, D), (B, K, D)))
BIASES, COUNTS = RNG.standard_normal((2, B)), 10.0 * RNG.integers(0, 4, B) ** 2
COUNTS[0] = 0
IDS = RNG.integers(-1, N, (B, K))


def losses(v, u, negatives, biases, counts, table):
  settings = {"x_max": 30.0, "alpha": 0.5}
  return (
    sgns_loss(v, u, negatives),
    glove_loss(v, u, *biases, counts, **settings),
    squared_norm_loss(v, u, jnp.sum(biases), counts, **settings),
    log_partition(table, v, block_size=3),
    ngram_embed(IDS, table) if len(v) == B else jnp.zeros((len(v), D)),
  )


def oracle(v, u, negatives, biases, counts, table):
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  sgns, glove, norms = [], [], []
  for i, x in enumerate(counts):
    wrong = [np.log(1 - sigmoid(v[i] @ n)) for n in negatives[i]]
    sgns.append(-np.log(sigmoid(v[i] @ u[i])) - sum(wrong))
    weight, target = min(1, x / 30) ** 0.5, np.log(x) if x else 0
    glove.append(weight * (v[i] @ u[i] + biases[0, i] + biases[1, i] - target) ** 2)
    norms.append(weight * (np.linalg.norm(v[i] + u[i]) ** 2 + biases.sum() - target) ** 2)
  partition = np.log([sum(np.exp(w @ c) for w in table) for c in v])
  embedded = [sum((table[i] for i in row if i >= 0), np.zeros(D)) for row in IDS]
  return tuple(map(np.array, (sgns, glove, norms, partition, embedded)))


def test_losses():
  table = RNG.standard_normal((N, D))
  args = (V, U, NEGATIVES, BIASES, COUNTS, table)
  big = tuple(1e4 * array for array in args)
  check_kernel(
    losses,
    args,
    oracle=oracle,
    batch_axes=(0, 0, 0, 1, 0, None),
    detached=[4],
    extreme=[tuple(0 * array for array in args), (*big[:3], *args[3:])],
    bad_inputs=[
      ((V.astype(int), *args[1:]), {}, TypeError, "words must be a floating point"),
      ((V, U[:4], *args[2:]), {}, ValueError, "words and contexts must have the same shape"),
      ((V, U, NEGATIVES[..., :2], *args[3:]), {}, ValueError, "negatives must have shape"),
      ((*args[:4], COUNTS.astype(int), table), {}, TypeError, "counts must be a floating point"),
      ((*args[:4], COUNTS[:4], table), {}, ValueError, "must have the same shape"),
      ((*args[:5], table[:, :2]), {}, ValueError, "words and contexts must have the same last"),
    ],
  )


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(glove_loss, V, U, *BIASES, COUNTS, x_max=0.0), "x_max must be in"),
    (partial(glove_loss, V, U, *BIASES, COUNTS, alpha=-1.0), "alpha must be in"),
    (partial(squared_norm_loss, V, U, BIASES, COUNTS), "offset must have 0 axes"),
    (partial(squared_norm_loss, V, U, 0.5, COUNTS[:4]), "counts must have shape \\(8,\\)"),
    (partial(log_partition, V, U, block_size=0), "block_size must be a positive"),
    (partial(ngram_ids, ["a"], min_length=4, max_length=3), "max_length must be at least"),
    (partial(ngram_ids, []), "words must have at least one"),
    (partial(ngram_embed, IDS[0], V), "ids must have 2 axes"),
    (partial(sif_pool, NEGATIVES, V[:, :K], a=0.0), "a must be in"),
    (partial(sif_pool, NEGATIVES, V[:, :K], direction=V[0, :2]), "direction must have shape"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_ngrams_of_words():
  """The hashes are the published ones of FNV-1a; words that share letters share rows."""
  buckets = 2**20
  (ids,) = ngram_ids(["where"], num_buckets=buckets, min_length=3, max_length=3)
  assert len(ids) == 6  # <wh whe her ere re> <where>
  (foobar,) = ngram_ids(["oba"], num_buckets=2**31 - 1, min_length=1, max_length=1)
  assert foobar[2] == 0xE70C2DE5 % (2**31 - 1)  # "b"
  walk, walked, run = ngram_ids(["walk", "walked", "run"], num_buckets=buckets)
  assert len(set(walk) & set(walked)) >= 6 and not set(walk) & set(run) - {-1}
  assert ngram_ids(["où"], num_buckets=9).shape == (1, 3)  # <où où> <où>: characters, not bytes


MASK = np.arange(T) < 1 + np.arange(B)[:, None] % T


def means(vectors, probs):
  weighted = (0.1 / (0.1 + probs) * MASK)[..., None] * vectors
  return weighted.sum(1) / MASK.sum(1)[:, None]


def without_first_direction(vectors, probs, mask):
  pooled = means(vectors, probs)
  u = np.linalg.svd(pooled)[2][0]
  return pooled - np.outer(pooled @ u, u)


def test_sif_pool():
  vectors = RNG.standard_normal((B, T, D)) + np.array([2, 0, 0])
  probs = RNG.uniform(size=(B, T))
  u = np.linalg.svd(means(vectors, probs))[2][0]

  def pool(vectors, probs, mask, axis_name=None):
    return sif_pool(vectors, probs, where=mask, a=0.1, axis_name=axis_name)

  check_kernel(
    pool,
    (vectors, probs, MASK),
    oracle=without_first_direction,
    surrogate=lambda vectors, probs, mask, axis_name=None: sif_pool(
      vectors, probs, where=mask, a=0.1, direction=u
    ),
    batch_coupled=True,
    extreme=[(0 * vectors, probs, MASK), (1e30 * vectors, 0 * probs, MASK)],
    bfloat16=False,
    bad_inputs=[
      ((vectors.astype(int), probs, MASK), {}, TypeError, "vectors must be a floating point"),
      ((vectors[0], probs, MASK), {}, ValueError, "vectors must have 3 axes"),
      ((vectors, probs[:4], MASK), {}, ValueError, "probs must have shape \\(8, 4\\)"),
    ],
  )


def test_minimum_of_sgns_is_shifted_information():
  """One word among two contexts, exact gradient over the distributions: v . u = PMI - log K."""
  joint, negative = np.array([0.7, 0.3]), np.array([0.4, 0.6])
  scores = np.log(joint / negative / K)[:, None].astype(np.float32)

  def total(scores):
    one = jnp.ones((2, 1))
    pairs = lambda u: sgns_loss(one, u, jnp.zeros((2, 1, 1)))
    wrong = sgns_loss(one, jnp.zeros((2, 1)), scores[:, None])
    return joint @ pairs(scores) + K * negative @ wrong

  np.testing.assert_allclose(jax.jit(jax.grad(total))(scores), 0, atol=1e-6)
