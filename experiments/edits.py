"""Representations of edits on sentence pairs of a toy grammar.

Claim (Marrese-Taylor et al. 2020): a variational latent of the edit, kept in use by a
bag-of-words loss, represents the kind of an edit better than a deterministic autoencoder's and than one
without that loss; its divergence stays above zero, and an edit can be transferred to other sentences.
Command: python -m experiments edits
Expected: accuracy of a logistic regression of the edit's type on z, from 40 labelled pairs, no lower
than of either other model; divergence at least 1 nat; exact matches of edits transferred to another
sentence no rarer than without the bag of words.
Note: the paper's data are Wikipedia and code edits. Here sentences "adjective noun verb adjective noun"
of six words each, with four edits: exchange the nouns, insert "not", past tense, plural object.
Time: two minutes of training on two CPU cores, two seeds of three models.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LogisticRegression

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data
from latentjax.models import GRUDecoder, MLPEncoder
from latentjax.objectives import EditModel, edit_vae
from latentjax.training import train

PAPERS = {
  139: "Variational Inference for Learning Representations of Natural Language Edits (PEER)"
}
FUNCTIONS = (
  "objectives.edit_vae",
  "losses.elbo.bag_of_words_loss",
  "losses.elbo.sequence_log_prob",
)
QUICK = {"steps": 50, "seeds": 2}
PAPER = "Marrese-Taylor et al. 2020"
# Token 0 ends a sentence; then six adjectives, nouns, verbs, past verbs, plural nouns, and "not".
WORDS = 6
ADJECTIVE, NOUN, VERB, PAST, PLURAL = (1 + WORDS * i for i in range(5))
NOT = 1 + 5 * WORDS
VOCABULARY, LENGTH, TYPES = NOT + 1, 7, 4
LABELLED = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2000
  batch_size: int = 64
  seeds: int = 2
  learning_rate: float = 2e-3
  schedule: Literal["constant", "cosine", "linear"] = "cosine"
  latent_dim: int = 16
  """Dimensions of the edit's representation."""
  hidden: int = 64
  """Units of every layer."""


def run(config: Config) -> Outcome:
  """Train the three models, probe their latents, transfer edits."""
  rows, _ = pairs(0, 5000)
  dataset = data.load(rows)
  test, kinds = pairs(1, 1000)
  found: dict[str, Any] = {}
  for name in ("full", "no_bag_of_words", "deterministic"):
    model = make_model(config, name)
    params = train(
      model.objective,
      lambda key, model=model: (init(config, key), model.init_state),
      config.optimizer(),
      dataset,
      config,
      config.folder / name,
      name=name,
    ).state.eval_params
    measure = config.each_seed(lambda p, name=name: evaluate(config, name, test, kinds, p))
    mean, kl, match = (np.asarray(a) for a in measure(params))
    probe = [LogisticRegression(max_iter=1000).fit(z[:LABELLED], kinds[:LABELLED]) for z in mean]
    accuracy = [p.score(z[LABELLED:], kinds[LABELLED:]) for p, z in zip(probe, mean)]
    found[name] = {"probe": np.array(accuracy), "divergence": kl, "exact_match": match}
    draw(config, name, mean[0], kinds)
  gain = lambda what, name: (found["full"][what] - found[name][what]).tolist()
  claim = lambda what, expected, measured, unit="": Claim(
    what, expected, measured, PAPER, "at least", unit=unit
  )
  return Outcome(
    claims=[
      claim("type probe, less the deterministic model's", 0.0, gain("probe", "deterministic")),
      claim("type probe, less that without a bag", 0.0, gain("probe", "no_bag_of_words")),
      claim("divergence", 1.0, found["full"]["divergence"].tolist(), "nats"),
      claim("transfer exact match, less that without", 0.0, gain("exact_match", "no_bag_of_words")),
    ],
    details={
      name: {what: value.tolist() for what, value in values.items()}
      for name, values in found.items()
    },
  )


def edit(tokens: np.ndarray, kind: int) -> list[int]:
  """A sentence after an edit, without its end."""
  adjective, noun, verb, other, thing = tokens
  return [
    [adjective, thing, verb, other, noun],
    [adjective, noun, NOT, verb, other, thing],
    [adjective, noun, verb + PAST - VERB, other, thing],
    [adjective, noun, verb, other, thing + PLURAL - NOUN],
  ][kind]


def pairs(seed: int, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Sentences before and after an edit, the words that it inserted and deleted, and its type."""
  random = np.random.default_rng(seed)
  kinds = random.integers(TYPES, size=count)
  first = np.array([ADJECTIVE, NOUN, VERB, ADJECTIVE, NOUN])
  sources = first + random.integers(WORDS, size=(count, 5))
  source, target = np.zeros((2, count, LENGTH), np.int32)
  delta = np.zeros((count, 2, VOCABULARY), np.float32)
  for i, (sentence, kind) in enumerate(zip(sources, kinds)):
    after = edit(sentence, kind)
    source[i, :5], target[i, : len(after)] = sentence, after
    inserted = [NOT] if kind == 1 else [b for a, b in zip(sentence, after) if a != b]
    deleted = [] if kind == 1 else [a for a, b in zip(sentence, after) if a != b]
    np.add.at(delta[i, 0], inserted, 1)
    np.add.at(delta[i, 1], deleted, 1)
  return {"source": source, "target": target, "delta": delta.reshape(count, -1)}, kinds


def networks(config: Config) -> dict[str, Any]:
  """Modules with shapes of their inputs."""
  words, hidden = LENGTH * VOCABULARY, config.hidden
  steps = (1, LENGTH, VOCABULARY)
  return {
    "encoder": (MLPEncoder(config.latent_dim, (2 * hidden, hidden)), [(1, 2 * words)]),
    "reader": (nn.Dense(hidden), [(1, words)]),
    "writer": (GRUDecoder(VOCABULARY, 2 * hidden), [(1, config.latent_dim + hidden), steps]),
    "bow": (nn.Dense(2 * VOCABULARY), [(1, config.latent_dim)]),
  }


def init(config: Config, key: jax.Array) -> Any:
  """Parameters of all networks."""
  parts = networks(config).items()
  return {
    name: module.init(key, *map(jnp.zeros, shapes))["params"]
    for key, (name, (module, shapes)) in zip(jax.random.split(key, len(parts)), parts)
  }


def encode(config: Config, name: str, params: Any, *pair: jax.Array) -> Any:
  """q(z|source, target)."""
  words = jnp.concatenate([jax.nn.one_hot(t, VOCABULARY).reshape(len(t), -1) for t in pair], 1)
  mean, log_scale = networks(config)["encoder"][0].apply({"params": params["encoder"]}, words)
  return mean, jnp.full_like(log_scale, -20.0) if name == "deterministic" else log_scale


def decode(config: Config, params: Any, z: jax.Array, source: jax.Array, target: jax.Array) -> Any:
  """Logits of every token of the target given those before it."""
  nets = networks(config)
  words = jax.nn.one_hot(source, VOCABULARY).reshape(len(source), -1)
  read = jnp.tanh(nets["reader"][0].apply({"params": params["reader"]}, words))
  state = jnp.concatenate([z, read], axis=1)
  target = jax.nn.one_hot(target, VOCABULARY)
  return nets["writer"][0].apply({"params": params["writer"]}, state, target)


def make_model(config: Config, name: str) -> EditModel:
  """The full model, or one of the two others."""
  bow = networks(config)["bow"][0]
  return edit_vae(
    lambda params, source, target: encode(config, name, params, source, target),
    lambda params, z, source, target: decode(config, params, z, source, target),
    (lambda params, z: bow.apply({"params": params["bow"]}, z)) if name == "full" else None,
    beta=0.0 if name == "deterministic" else 1.0,
    annealing_steps=config.steps // 2,
    axis_name=config.axis_name,
  )


def evaluate(
  config: Config, name: str, rows: dict[str, np.ndarray], kinds: np.ndarray, params: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Means of q(z|.), the mean divergence, and how often a transferred edit is right."""
  source, target = jnp.asarray(rows["source"]), jnp.asarray(rows["target"])
  mean, log_scale = encode(config, name, params, source, target)
  kl = jnp.mean(jnp.sum(0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1) - log_scale, axis=1))
  # Every edit goes to the sentence of the next pair.
  other = np.roll(rows["source"], -1, axis=0)
  wanted = np.zeros_like(other)
  for i, (sentence, kind) in enumerate(zip(other[:, :5], kinds)):
    after = edit(sentence, kind)
    wanted[i, : len(after)] = after
  written = jnp.zeros_like(target)
  for t in range(LENGTH):
    logits = decode(config, params, mean, jnp.asarray(other), written)
    written = written.at[:, t].set(jnp.argmax(logits[:, t], axis=1))
  return mean, kl, jnp.mean(jnp.all(written == wanted, axis=1))


def draw(config: Config, name: str, mean: np.ndarray, kinds: np.ndarray) -> None:
  """Save histograms of the first principal component of z, one for every type."""
  centred = mean - mean.mean(0)
  component = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
  bins = np.linspace(component.min(), component.max(), 41)
  lines = {
    label: (bins[1:], np.histogram(component[kinds == k], bins)[0])
    for k, label in enumerate(("exchange", "negation", "past", "plural"))
  }
  pictures.curves(
    config.folder / f"{name}.png",
    lines,
    title=f"First principal component of z, {name.replace('_', ' ')}",
    x_label="component",
    y_label="test pairs",
  )
