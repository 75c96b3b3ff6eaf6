"""RAND-WALK: words said by a topic that walks slowly over the sphere, and vectors fitted to their counts.

Claim (Arora et al. 2016): in a text where topic c says word w with probability exp(v_w . c) / Z_c, pointwise
mutual information (PMI) of near words is v_w . v_w' / d and log p(w) is |v_w|^2 / 2 d up to a constant; this
rests on Z_c being nearly constant, which it is for vectors that point in all directions alike and not for
others; fitting squared norms to log counts (SN) recovers the vectors up to rotation.
Command: python -m experiments random_walk_words
Expected: slopes of PMI and of log p(w) of 1 within 0.1 (the sphere's curvature takes 2 / (d + 2), the
topic's walk 1 %); standard deviation of Z_c over its mean sqrt((e - 1) / V) within a quarter for isotropic
vectors (V independent lognormal terms), and at least three times that of the isotropic ones if a twentieth of
the dimensions has all the variance; correlation of at least 0.9 between recovered and true scalar products of
different words.
Set-up: V = 300 words, d = 40, normal vectors with |v|^2 near d; 2,000 texts of 1,000 words, pairs of words
one or two apart.
Time: half a minute on two CPU cores; three corpora, three fits of the first.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data
from latentjax.losses.words import log_partition, squared_norm_loss
from latentjax.training import train

PAPERS = {109: "A Latent Variable Model Approach to PMI-based Word Embeddings"}
FUNCTIONS = ("losses.words.squared_norm_loss", "losses.words.log_partition")
QUICK = {"steps": 50, "length": 50, "corpora": 1, "seeds": 2}
PAPER = "Arora et al. 2016"
WORDS, DIM = 300, 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2000
  batch_size: int = 4096
  seeds: int = 3
  learning_rate: float = 0.01
  schedule: str = "cosine"
  corpora: int = 3
  """Corpora, with vectors of their own."""
  texts: int = 2000
  """Texts of a corpus, whose topics are independent."""
  length: int = 1000
  """Words of a text."""
  memory: float = 0.995
  """How much of a topic is left at the next word."""


def discourse_walk_corpus(
  key: jax.Array, vectors: jax.Array, texts: int, length: int, memory: float
) -> jax.Array:
  """Words (length, texts) said by topics that walk over the unit sphere, from anywhere on it."""
  unit = lambda c: c / jnp.linalg.norm(c, axis=1, keepdims=True)
  key_start, key_steps = jax.random.split(key)
  start = unit(jax.random.normal(key_start, (texts, DIM)))

  def step(c: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    key_walk, key_word = jax.random.split(key)
    noise = jax.random.normal(key_walk, c.shape) / np.sqrt(DIM)
    c = unit(memory * c + np.sqrt(1 - memory**2) * noise)
    cumulative = jnp.cumsum(jax.nn.softmax(c @ vectors.T), axis=1)
    uniform = jax.random.uniform(key_word, (texts, 1))
    return c, jnp.sum(cumulative[:, :-1] < uniform, axis=1)

  return jax.lax.scan(step, start, jax.random.split(key_steps, length))[1]


def pair_counts(words: np.ndarray) -> np.ndarray:
  """How often words are one or two apart, symmetric, (WORDS, WORDS)."""
  counts = np.zeros(WORDS**2)
  for apart in (1, 2):
    pairs = words[:-apart].astype(np.int64) * WORDS + words[apart:]
    counts += np.bincount(pairs.ravel(), minlength=WORDS**2)
  counts = counts.reshape(WORDS, WORDS)
  return counts + counts.T


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
  """Entries of different words."""
  return matrix[~np.eye(WORDS, dtype=bool)]


def fit(config: Config, counts: np.ndarray) -> np.ndarray:
  """Scalar products of vectors trained by SN, for each seed, (seeds, WORDS, WORDS)."""
  first, second = np.triu_indices(WORDS)
  arrays = {"first": first, "second": second, "count": counts[first, second]}
  dataset = data.load(
    {k: v.astype(np.float32 if k == "count" else np.int32) for k, v in arrays.items()}
  )

  def init_fn(key: jax.Array) -> tuple[Any, Any]:
    vectors = jax.random.normal(key, (WORDS, DIM)) / np.sqrt(2 * DIM)
    offset = np.log(np.mean(arrays["count"])) - 1  # |v + v'|^2 is 1 on average: no growth is needed
    return {"vectors": vectors, "offset": jnp.asarray(offset, jnp.float32)}, ()

  def objective(params: Any, model_state: Any, key: jax.Array, batch: Any) -> Any:
    v = params["vectors"]
    errors = squared_norm_loss(
      v[batch["first"]], v[batch["second"]], params["offset"], batch["count"]
    )
    return jnp.mean(errors), (model_state, {})

  result = train(objective, init_fn, config.optimizer(), dataset, config, config.folder, name="SN")
  gram = config.each_seed(lambda params: params["vectors"] @ params["vectors"].T)
  return np.asarray(gram(result.state.eval_params))


def partition_spread(key: jax.Array, vectors: jax.Array) -> float:
  """Standard deviation of Z_c over its mean, for topics from anywhere on the sphere."""
  c = jax.random.normal(key, (4000, DIM))
  z = jnp.exp(log_partition(vectors, c / jnp.linalg.norm(c, axis=1, keepdims=True)))
  return float(jnp.std(z) / jnp.mean(z))


def statistics(config: Config, index: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
  """Slopes and spreads of a corpus; its counts, PMI and scalar products of the true vectors."""
  key, key_text, key_topics = jax.random.split(jax.random.key(config.seed + index), 3)
  vectors = jax.random.normal(key, (WORDS, DIM))
  draw = jax.jit(discourse_walk_corpus, static_argnums=(2, 3, 4))
  words = np.asarray(draw(key_text, vectors, config.texts, config.length, config.memory))
  counts = pair_counts(words)
  frequencies = np.maximum(np.bincount(words.ravel(), minlength=WORDS), 0.5) / words.size
  joint = np.maximum(counts, 0.5) / counts.sum()  # a pair may be missing in a short run
  pmi = np.log(joint / np.outer(frequencies, frequencies))
  v = np.asarray(vectors, np.float64)
  gram = v @ v.T / DIM
  isotropic = partition_spread(key_topics, vectors)
  skewed = np.sqrt(np.where(np.arange(DIM) < DIM // 20, 20.0, 0.0))
  measured = {
    "pmi": np.polyfit(off_diagonal(gram), off_diagonal(pmi), 1)[0],
    "unigram": np.polyfit(np.diag(gram) / 2, np.log(frequencies), 1)[0],
    "spread": isotropic,
    "ratio": partition_spread(key_topics, vectors * skewed) / isotropic,
  }
  return measured, {"counts": counts, "PMI": pmi, "v . v' / d": gram}


def draw_lines(config: Config, matrices: dict[str, np.ndarray]) -> None:
  """Means of the matrices' entries by the true scalar product."""
  edges = np.linspace(-0.5, 0.5, 12)
  bins = np.digitize(off_diagonal(matrices["v . v' / d"]), edges)
  mean = lambda matrix: np.array([off_diagonal(matrix)[bins == i].mean() for i in range(1, 12)])
  pictures.curves(
    config.folder / "pmi.png",
    {name: ((edges[1:] + edges[:-1]) / 2, mean(matrix)) for name, matrix in matrices.items()},
    title="Pairs of words by the scalar product of their vectors",
    x_label="v . v' / d",
    y_label="mean over the pairs",
  )


def run(config: Config) -> Outcome:
  """Draw corpora, compare their statistics with the theory, recover the vectors of the first."""
  found = [statistics(config, index) for index in range(config.corpora)]
  measured = {name: [float(corpus[name]) for corpus, _ in found] for name in found[0][0]}
  matrices = found[0][1]
  grams = fit(config, matrices.pop("counts"))
  truth = off_diagonal(matrices["v . v' / d"])
  correlations = [np.corrcoef(off_diagonal(gram), truth)[0, 1] for gram in grams]
  draw_lines(config, matrices | {"SN: 2 v . v'": 2 * grams[0]})
  spread = float(np.sqrt((np.e - 1) / WORDS).round(4))
  rows = (
    ("slope of PMI by v . v' / d", 1.0, "pmi", "within", 0.1),
    ("slope of log p(w) by |v|^2 / 2 d", 1.0, "unigram", "within", 0.1),
    ("standard deviation of Z_c over its mean", spread, "spread", "within", spread / 4),
    ("that of anisotropic vectors over that of isotropic ones", 3.0, "ratio", "at least", 0.0),
  )
  claims = [
    Claim(what, expected, measured[name], PAPER, relation, round(tolerance, 4), unit="")
    for what, expected, name, relation, tolerance in rows
  ]
  what = "correlation of SN's scalar products with the true ones"
  claims.append(Claim(what, 0.9, correlations, PAPER, "at least", unit=""))
  return Outcome(claims, {"words": WORDS, "dim": DIM, "tokens": config.texts * config.length})
