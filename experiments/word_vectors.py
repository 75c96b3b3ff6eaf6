"""Word embeddings on a toy language: SGNS, GloVe, character n-grams, analogies and sentences.

Claim (papers reviewed in the survey): the scalar products of skip-gram vectors with k negative samples (SGNS)
are PMI - log k (Levy & Goldberg 2014), those of GloVe with its biases log counts (Pennington et al. 2014);
differences of vectors solve analogies (Mikolov et al. 2013); words that were never seen are placed by their
character n-grams (Bojanowski et al. 2017); weighting frequent words down and removing the first direction
(SIF) makes means of vectors tell sentences' topics better (Arora et al. 2017).
Command: python -m experiments word_vectors
Expected: correlations of at least 0.8; accuracy of analogies of at least ten times chance (1 of 29); the
nearest seen word of an unseen inflection has its stem in at least 80 % (chance 12.5 %: 3 of 24); a difference
of at least 0 in how often a sentence's nearest neighbour has its topic.
Set-up: 8 stems of 5 random letters with 4 endings, spelt as words; contexts are 100 other words, whose
probability is exp(a_stem + b_ending) times a frequency, that of 5 of them 20 times the others'. 200,000 pairs
of a word and a context. Negatives are from the 3/4th power of the frequencies, as Mikolov et al. draw them,
while PMI is of the frequencies themselves: a correlation of 1 is not expected; nor does it see log k.
Sentences are 8 contexts of a word. Unseen is one ending of every stem.
Time: half a minute on two CPU cores, four seeds.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data
from latentjax.collectives import local_rows
from latentjax.losses.words import glove_loss, ngram_embed, ngram_ids, sgns_loss, sif_pool
from latentjax.training import train

PAPERS = {
  11: "From Word Vectors to Multimodal Embeddings: Techniques, Applications, and Future Directions For "
  "Large Language Models"
}
FUNCTIONS = tuple(
  f"losses.words.{name}"
  for name in ("sgns_loss", "glove_loss", "ngram_embed", "ngram_ids", "sif_pool")
)
QUICK = {"steps": 50, "pairs": 5000, "seeds": 2}
STEMS, ENDINGS, CONTEXTS, FREQUENT, NEGATIVES, DIM, BUCKETS = 8, 4, 100, 5, 5, 16, 4096
WORDS = STEMS * ENDINGS
GRID = np.arange(WORDS).reshape(STEMS, ENDINGS)
UNSEEN = GRID[np.arange(STEMS), np.arange(STEMS) % ENDINGS]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2000
  batch_size: int = 1024
  seeds: int = 4
  learning_rate: float = 0.01
  schedule: str = "cosine"
  pairs: int = 200_000
  """Pairs of a word and a context in the corpus."""


def make_language(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
  """Probabilities of contexts given each word, (WORDS, CONTEXTS), and how words are spelt."""
  frequency = np.where(np.arange(CONTEXTS) < FREQUENT, 20.0, 1.0)
  stems = 0.7 * rng.standard_normal((STEMS, CONTEXTS))
  endings = 0.7 * rng.standard_normal((ENDINGS, CONTEXTS))
  tilt = (stems[:, None] + endings).reshape(WORDS, CONTEXTS) * (frequency == 1)
  weights = frequency * np.exp(tilt)
  spelt = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 5)) for _ in range(STEMS)]
  words = [stem + ending for stem in spelt for ending in ("", "ed", "ing", "er")]
  return weights / weights.sum(1, keepdims=True), words


def draw_contexts(rng: np.random.Generator, probs: np.ndarray, words: np.ndarray) -> np.ndarray:
  """A context for every entry of words."""
  cumulative = probs.cumsum(1)[words]
  return (cumulative[..., :-1] < rng.uniform(size=(*words.shape, 1))).sum(-1)


def init_fn(key: jax.Array) -> tuple[Any, Any]:
  """Tables of words, contexts and n-grams, and biases."""
  rows = {"word": WORDS, "context": CONTEXTS, "ngram": BUCKETS}
  tables = {
    name: 0.1 * jax.random.normal(k, (count, DIM))
    for (name, count), k in zip(rows.items(), jax.random.split(key, 3))
  }
  return tables | {"word_bias": jnp.zeros(WORDS), "context_bias": jnp.zeros(CONTEXTS)}, ()


def skip_gram(
  unigram: np.ndarray, word_fn: Callable[[Any, jax.Array], jax.Array], axis_name: str | None
) -> Any:
  """SGNS with negatives from the 3/4th power of the contexts' frequencies."""
  cumulative = jnp.asarray(np.cumsum(unigram**0.75 / np.sum(unigram**0.75))[:-1], jnp.float32)

  def objective(params: Any, model_state: Any, key: jax.Array, batch: Any) -> Any:
    num_devices = jax.lax.axis_size(axis_name) if axis_name else 1
    uniform = jax.random.uniform(key, (num_devices * len(batch["word"]), NEGATIVES))
    wrong = params["context"][jnp.searchsorted(cumulative, local_rows(uniform, axis_name))]
    losses = sgns_loss(word_fn(params, batch["word"]), params["context"][batch["context"]], wrong)
    return jnp.mean(losses), (model_state, {})

  return objective


def glove(params: Any, model_state: Any, key: jax.Array, batch: Any) -> Any:
  """GloVe on the table of counts."""
  w, c = batch["word"], batch["context"]
  biases = params["word_bias"][w], params["context_bias"][c]
  losses = glove_loss(params["word"][w], params["context"][c], *biases, batch["count"])
  return jnp.mean(losses), (model_state, {})


def nearest(vectors: jax.Array, queries: jax.Array, allowed: jax.Array) -> jax.Array:
  """Index of the vector of largest cosine with each query, among those allowed, (Q,)."""
  unit = lambda v: v / jnp.linalg.norm(v, axis=-1, keepdims=True)
  return jnp.argmax(jnp.where(allowed, unit(queries) @ unit(vectors).T, -2.0), axis=1)


def analogies(vectors: jax.Array) -> jax.Array:
  """Share of a : b = c : d that b - a + c finds, for two stems and two endings in any order."""
  pairs = lambda n: itertools.permutations(range(n), 2)
  grid = [
    (GRID[r, s], GRID[r, t], GRID[q, s], GRID[q, t])
    for (r, q), (s, t) in itertools.product(pairs(STEMS), pairs(ENDINGS))
  ]
  a, b, c, d = np.array(grid).T
  known = np.stack([a, b, c])
  allowed = ~(known[..., None] == np.arange(WORDS)).any(0)
  return jnp.mean(nearest(vectors, vectors[b] - vectors[a] + vectors[c], allowed) == d)


def topics_found(vectors: jax.Array, sentences: np.ndarray, unigram: np.ndarray) -> list[jax.Array]:
  """How often the nearest other sentence is one of the same word: by means, by SIF."""
  topics = jnp.arange(len(sentences)) % WORDS
  probs = jnp.asarray(unigram, jnp.float32)[sentences]
  others = ~np.eye(len(sentences), dtype=bool)
  pooled = jnp.mean(vectors[sentences], axis=1), sif_pool(vectors[sentences], probs, a=1e-2)
  return [jnp.mean(topics[nearest(z, z, others)] == topics) for z in pooled]


def correlation(fitted: jax.Array, truth: np.ndarray) -> jax.Array:
  """Of all entries of two matrices."""
  return jnp.corrcoef(fitted.ravel(), jnp.asarray(truth, jnp.float32).ravel())[0, 1]


def run(config: Config) -> Outcome:
  """Make a corpus, train three kinds of vectors, ask them."""
  rng = np.random.default_rng(config.seed)
  probs, spelt = make_language(rng)
  unigram = probs.mean(0)
  words = rng.integers(WORDS, size=config.pairs).astype(np.int32)
  contexts = draw_contexts(rng, probs, words).astype(np.int32)
  counts = np.bincount(words * CONTEXTS + contexts, minlength=WORDS * CONTEXTS)
  cells = np.flatnonzero(counts)
  seen = ~np.isin(words, UNSEEN)
  ids = jnp.asarray(ngram_ids(spelt, num_buckets=BUCKETS))
  from_table = lambda params, word: params["word"][word]
  from_ngrams = lambda params, word: ngram_embed(ids[word], params["ngram"])
  plain = {"word": words, "context": contexts}
  table = dict(zip(("word", "context"), (v.astype(np.int32) for v in np.divmod(cells, CONTEXTS))))
  jobs = {
    "SGNS": (skip_gram(unigram, from_table, config.axis_name), plain),
    "GloVe": (glove, table | {"count": counts[cells].astype(np.float32)}),
    "n-grams": (
      skip_gram(unigram, from_ngrams, config.axis_name),
      {k: v[seen] for k, v in plain.items()},
    ),
  }
  trained = {}
  for name, (objective, arrays) in jobs.items():
    common = (config.optimizer(), data.load(arrays), config, config.folder / name)
    trained[name] = train(objective, init_fn, *common, name=name).state.eval_params
  pmi = np.log(probs / unigram)
  sentences = draw_contexts(rng, probs, np.tile(np.arange(WORDS), 8)[:, None].repeat(8, 1))

  def ask_sgns(params: Any) -> dict[str, jax.Array]:
    mean, sif = topics_found(params["context"], sentences, unigram)
    products = params["word"] @ params["context"].T
    r = correlation(products, pmi - np.log(NEGATIVES))
    return {"r": r, "analogies": analogies(params["word"]), "mean": mean, "sif": sif}

  def ask_glove(params: Any) -> dict[str, jax.Array]:
    biases = params["word_bias"][:, None] + params["context_bias"]
    r = correlation(params["word"] @ params["context"].T + biases, np.log(probs))
    return {"r": r, "analogies": analogies(params["word"])}

  def ask_ngrams(params: Any) -> dict[str, jax.Array]:
    vectors = from_ngrams(params, jnp.arange(WORDS))
    found = nearest(vectors, vectors[UNSEEN], ~np.isin(np.arange(WORDS), UNSEEN))
    return {"stems": jnp.mean(found // ENDINGS == UNSEEN // ENDINGS)}

  asked = {"SGNS": ask_sgns, "GloVe": ask_glove, "n-grams": ask_ngrams}
  found = {
    name: jax.tree.map(np.asarray, config.each_seed(ask)(trained[name]))
    for name, ask in asked.items()
  }
  claims = [
    Claim(f"{name}: {what}", expected, found[name][key], published, "at least", unit="")
    for name, what, expected, key, published in (
      ("SGNS", "correlation of products with PMI - log k", 0.8, "r", "Levy & Goldberg 2014"),
      ("GloVe", "correlation of products and biases with log counts", 0.8, "r", "Pennington et al. 2014"),
      ("SGNS", "accuracy of analogies", 10 / 29, "analogies", "Mikolov et al. 2013"),
      ("GloVe", "accuracy of analogies", 10 / 29, "analogies", "Pennington et al. 2014"),
      ("n-grams", "unseen inflections nearest to their stem", 0.8, "stems", "Bojanowski et al. 2017"),
    )
  ]  # fmt: skip
  gain = found["SGNS"]["sif"] - found["SGNS"]["mean"]
  what = "sentences' topics found, SIF minus mean"
  claims.append(Claim(what, 0.0, gain, "Arora et al. 2017", "at least", unit=""))
  vectors = np.asarray(config.first_seed(trained["SGNS"])["word"], np.float64)
  axes = np.linalg.svd(vectors - vectors.mean(0))[2][:2]
  grid = (vectors @ axes.T)[GRID]
  pictures.curves(
    config.folder / "grid.png",
    {spelt[GRID[r, 0]]: (grid[r, :, 0], grid[r, :, 1]) for r in range(STEMS)},
    title="SGNS vectors of four endings of every stem, two first directions",
    x_label="first direction",
    y_label="second direction",
  )
  return Outcome(claims, jax.tree.map(lambda v: v.tolist(), found) | {"words": spelt})
