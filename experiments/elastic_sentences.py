"""Sentence embeddings that can be cut in depth and in width, on pairs from a toy grammar.

Claim (Li et al. 2024, 2DMSE): trained on a random shallow layer and a random width beside the last layer and
the full width, the prefixes of every layer are embeddings, better at shallow layers and short prefixes than
after training on prefixes of the last layer alone (MRL) or on the last layer's full width alone, and the
last layer's full embedding is about as good.
Command: python -m experiments elastic_sentences
Expected: Spearman correlation of cosine and true similarity on held-out pairs, in the mean over layers below
the last (full width; and widths 8, 16, 32): no lower than with MRL and with the full width alone; for the
last layer's short prefixes no lower than with the full width alone; for its full width lower by at most 0.02.
Note: a sentence has six slots with one of eight concepts each, said by one of two words, or by one of its
opposite's and a negation; similarity is the share of slots with the same concept. The network sums word
embeddings and has six residual blocks, each of whose outputs is an embedding. The base loss is the squared
difference of cosine and similarity.
Time: a minute and a half on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data
from latentjax.losses.contrastive import l2_normalize, matryoshka, matryoshka_2d
from latentjax.training import train

PAPERS = {183: "2D Matryoshka Sentence Embeddings"}
FUNCTIONS = ("losses.contrastive.matryoshka_2d", "losses.contrastive.matryoshka")
QUICK = {"steps": 50, "seeds": 2}
SLOTS, CONCEPTS, WORDS = 6, 8, 2
WIDTH, LAYERS = 64, 6
PREFIXES = (8, 16, 32)
DIMS = (*PREFIXES, WIDTH)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2000
  seeds: int = 3
  learning_rate: float = 2e-3
  schedule: Literal["constant", "cosine", "linear"] = "cosine"
  hidden: int = 128
  """Units of a block's hidden layer."""


def say(rng: np.random.Generator, meaning: np.ndarray) -> np.ndarray:
  """Words and negations (N, 2, SLOTS) for concepts (N, SLOTS); a concept's opposite is its neighbour."""
  negated = rng.integers(2, size=meaning.shape)
  words = (meaning ^ negated) * WORDS + rng.integers(WORDS, size=meaning.shape)
  return np.stack([words, negated], axis=1)


def pairs(seed: int, count: int) -> dict[str, np.ndarray]:
  """Sentences that share some of their meaning, and how much of it."""
  rng = np.random.default_rng(seed)
  first = rng.integers(CONCEPTS, size=(count, SLOTS))
  kept = rng.uniform(size=(count, SLOTS)) < rng.uniform(size=(count, 1))
  second = np.where(kept, first, rng.integers(CONCEPTS, size=first.shape))
  similarity = np.mean(first == second, axis=1, dtype=np.float32)
  sentences = {"a": say(rng, first), "b": say(rng, second)}
  return {k: v.astype(np.int32) for k, v in sentences.items()} | {"similarity": similarity}


def init(config: Config, key: jax.Array) -> tuple[Any, Any]:
  """Word embeddings and blocks."""
  keys = jax.random.split(key, 4)
  normal = lambda key, *shape: jax.random.normal(key, shape) / shape[-2] ** 0.5
  return {
    "words": jax.random.normal(keys[0], (SLOTS, CONCEPTS * WORDS, WIDTH)),
    "negations": jax.random.normal(keys[1], (SLOTS, 2, WIDTH)),
    "up": normal(keys[2], LAYERS, WIDTH, config.hidden),
    "down": normal(keys[3], LAYERS, config.hidden, WIDTH),
    "bias": jnp.zeros((LAYERS, config.hidden)),
  }, ()


def embed(params: Any, sentence: jax.Array) -> jax.Array:
  """Embeddings of all layers, (LAYERS, B, WIDTH)."""
  slots = jnp.arange(SLOTS)
  words, negated = jnp.moveaxis(sentence, 1, 0)
  h = jnp.sum(params["words"][slots, words] + params["negations"][slots, negated], axis=1)

  def block(h: jax.Array, layer: tuple) -> tuple[jax.Array, jax.Array]:
    up, bias, down = layer
    scaled = h / jnp.sqrt(jnp.mean(jnp.square(h), axis=1, keepdims=True) + 1e-6)
    h = h + jax.nn.gelu(scaled @ up + bias) @ down
    return h, h

  return jax.lax.scan(block, h, (params["up"], params["bias"], params["down"]))[1]


def base_loss(a: jax.Array, b: jax.Array, similarity: jax.Array) -> jax.Array:
  """Of unit-norm embeddings, per pair."""
  return jnp.square(jnp.sum(a * b, axis=-1) - similarity)


def objective(loss_fn: Callable[..., jax.Array]) -> Callable[..., Any]:
  """Training objective for a loss `(key, a, b, similarity)` of all layers' embeddings."""

  def run(params: Any, model_state: Any, key: jax.Array, batch: Any) -> tuple[jax.Array, Any]:
    a, b = embed(params, batch["a"]), embed(params, batch["b"])
    return jnp.mean(loss_fn(key, a, b, similarity=batch["similarity"])), (model_state, {})

  return run


def methods(config: Config) -> dict[str, Callable[..., jax.Array]]:
  """Losses of the embeddings of all layers."""

  def last(dims: tuple[int, ...]) -> Callable[..., jax.Array]:
    nested = matryoshka(base_loss, dims)
    return lambda key, a, b, similarity: nested(a[-1], b[-1], similarity=similarity)

  both = matryoshka_2d(base_loss, PREFIXES, axis_name=config.axis_name)
  return {"full width": last((WIDTH,)), "MRL": last(DIMS), "2DMSE": both}


def cosines(test: dict[str, np.ndarray], params: Any) -> jax.Array:
  """Of the test pairs at every layer and width, (LAYERS, widths, N)."""
  a, b = (embed(params, jnp.asarray(test[name])) for name in "ab")
  cut = lambda dim: jnp.sum(l2_normalize(a[..., :dim]) * l2_normalize(b[..., :dim]), axis=-1)
  return jnp.stack([cut(dim) for dim in DIMS], axis=1)


def run(config: Config) -> Outcome:
  """Train by each loss, correlate at all depths and widths."""
  dataset, test = data.load(pairs(0, 20_000)), pairs(1, 2000)
  found = {}
  for name, loss_fn in methods(config).items():
    params = train(
      objective(loss_fn),
      partial(init, config),
      config.optimizer(),
      dataset,
      config,
      config.folder / name.replace(" ", "_"),
      name=name,
    ).state.eval_params
    values = np.asarray(config.each_seed(partial(cosines, test))(params))
    rank = lambda x: stats.spearmanr(x, test["similarity"]).statistic
    found[name] = np.apply_along_axis(rank, -1, values)  # (seeds, LAYERS, widths)
  pictures.curves(
    config.folder / "layers.png",
    {
      f"{name}, {dim} numbers": (np.arange(1, LAYERS + 1), found[name][:, :, i].T)
      for name in found
      for i, dim in ((0, DIMS[0]), (-1, WIDTH))
    },
    title="Embeddings cut in depth and width",
    x_label="layer",
    y_label="Spearman correlation",
  )
  parts = {
    "shallow layers, full width": lambda x: x[:, :-1, -1].mean(1),
    "shallow layers, short prefixes": lambda x: x[:, :-1, :-1].mean((1, 2)),
    "last layer, short prefixes": lambda x: x[:, -1, :-1].mean(1),
  }
  claim = partial(Claim, published="Li et al. 2024", unit="")
  more = [
    claim(
      f"{part}: 2DMSE less {other}", 0.0, mean(found["2DMSE"] - found[other]), relation="at least"
    )
    for part, mean in parts.items()
    for other in ("MRL", "full width")
    if (part, other) != ("last layer, short prefixes", "MRL")
  ]
  drop = (found["full width"] - found["2DMSE"])[:, -1, -1]
  return Outcome(
    [*more, claim("last layer, full width: drop of 2DMSE", 0.02, drop, relation="at most")],
    {name: values.mean(0).round(4).tolist() for name, values in found.items()},
  )
