"""Contrastive learning as a covariance operator, and latent variables of a tree that hidden neurons find.

Claim (Tian et al. 2020): gradient descent on the simple contrastive loss changes each layer of a ReLU network
by OP vec(W), OP the covariance over examples of the layer's connection averaged over augmentations; and
if data come from a hierarchical latent tree, hidden neurons come to correlate with the latent variables
that nobody shows them, the more of them the better.
Command: python -m experiments covariance_operator
Expected: with all views enumerated the cosine of autodiff gradient and OP vec(W) is 1 for both layers of
a two-layer network (float64), and the gradient is 2 B / (B - 1) times it. With one pair of views for each of
B random examples 1 - cosine falls as 1 / B; at B = 4,096 the cosine is at least 0.99. On the tree (depth
5, two children, polarity U[0.7, 1] of random sign; a view is all but the root drawn again): the best neuron's
absolute correlation with its latent, in the mean over the latents two or more levels above the leaves,
rises with training at each width, and with the width from 2 to 5 to 20 neurons per latent.
Time: a minute and a half on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data
from latentjax.losses.contrastive import (
  covariance_operator,
  l2_normalize,
  predicted_update,
  simple_contrastive_loss,
)
from latentjax.training import train

PAPERS = {122: "Understanding Self-supervised Learning with Dual Deep Networks"}
FUNCTIONS = tuple(
  f"losses.contrastive.{name}"
  for name in ("covariance_operator", "predicted_update", "simple_contrastive_loss")
)
QUICK = {"steps": 100, "seeds": 2, "trials": 2}
EXAMPLES, VIEWS, DIM, HIDDEN, OUT = 64, 8, 8, 16, 4
SIZES = (256, 4096)
DEPTH = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1000
  seeds: int = 6
  learning_rate: float = 1e-3
  trials: int = 32
  """Random batches of each size, per seed."""


def network(w_1: jax.Array, w_2: jax.Array, x: jax.Array) -> jax.Array:
  """Two layers without biases."""
  return w_2 @ jax.nn.relu(w_1 @ x)


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
  """Of two arrays as vectors."""
  return jnp.sum(a * b) / jnp.sqrt(jnp.sum(a * a) * jnp.sum(b * b))


def theorem(config: Config, key: jax.Array) -> dict[str, jax.Array]:
  """Autodiff against the operator, on Gaussian data of which a view erases one coordinate."""
  keys = jax.random.split(key, 4)
  x = jax.random.normal(keys[0], (EXAMPLES, DIM))
  views = x[:, None] * (1 - jnp.eye(VIEWS, DIM))
  w = [
    jax.random.normal(k, s) / s[1] ** 0.5 for k, s in zip(keys[1:], [(HIDDEN, DIM), (OUT, HIDDEN)])
  ]
  embed = jax.vmap(lambda w, x: network(*w, x), in_axes=(None, 0))
  updates = [
    predicted_update(covariance_operator(w[0], views, lambda v, x: network(v, w[1], x)), w[0]),
    predicted_update(covariance_operator(w[1], views, lambda v, x: network(w[0], v, x)), w[1]),
  ]

  def enumerated(w: Any) -> jax.Array:
    z = jax.vmap(partial(embed, w), in_axes=1)(views)
    pairs = jax.vmap(jax.vmap(simple_contrastive_loss, (None, 0)), (0, None))
    return jnp.mean(pairs(z, z))

  def sampled(w: Any, key: jax.Array, size: int) -> jax.Array:
    rows, *which = jax.random.randint(key, (3, size), 0, EXAMPLES)
    z = [embed(w, views[rows, one % VIEWS]) for one in which]
    return jnp.mean(simple_contrastive_loss(*z))

  def trial(key: jax.Array, size: int) -> jax.Array:
    grads = jax.grad(sampled)(w, key, size)
    return jnp.stack([-cosine(*pair) for pair in zip(grads, updates)])

  exact = jax.grad(enumerated)(w)
  factor = 2 * EXAMPLES / (EXAMPLES - 1)
  gap = [jnp.max(jnp.abs(g + factor * u)) / jnp.max(jnp.abs(g)) for g, u in zip(exact, updates)]
  cosines = [-cosine(*pair) for pair in zip(exact, updates)]
  found = {"cosine": jnp.min(jnp.stack(cosines)), "gap": jnp.max(jnp.stack(gap))}
  for size in SIZES:
    trials = jax.random.split(jax.random.fold_in(keys[3], size), config.trials)
    found[str(size)] = jnp.mean(jax.lax.map(partial(trial, size=size), trials))
  return found


def draw_tree(key: jax.Array, polarity: list[jax.Array], root: jax.Array) -> list[jax.Array]:
  """Latents -1 and 1 from the root, (B, 1), down to the leaves, (B, 2^DEPTH)."""
  levels = [root[:, None]]
  for level_key, rho in zip(jax.random.split(key, DEPTH), polarity):
    parents = jnp.repeat(levels[-1], 2, axis=1)
    keeps = jax.random.bernoulli(level_key, (1 + rho) / 2, parents.shape)
    levels.append(jnp.where(keeps, parents, -parents))
  return levels


def neurons(weights: list[jax.Array], leaves: jax.Array) -> list[jax.Array]:
  """Preactivations (B, latents of a level, neurons), from above the leaves up to the root."""
  levels, h = [], leaves[..., None]
  for w in weights:
    h = h.reshape(len(h), w.shape[0], -1)
    levels.append(jnp.einsum("bni,nhi->bnh", h, w))
    h = jax.nn.relu(levels[-1])
  return levels


def init(width: int, key: jax.Array) -> tuple[Any, Any]:
  """Weights; a tree of its own and the first weights travel in the state."""
  key_tree, key_weights = jax.random.split(key)
  polarity, weights = [], []
  for level in range(1, DEPTH + 1):
    key_tree, key_size, key_sign = jax.random.split(key_tree, 3)
    shape = (2**level,)
    size = jax.random.uniform(key_size, shape, minval=0.7)
    polarity.append(size * jax.random.rademacher(key_sign, shape))
    fan_in = 2 * (1 if level == 1 else width)
    w = jax.random.normal(
      jax.random.fold_in(key_weights, level), (2 ** (DEPTH - level), width, fan_in)
    )
    weights.append(w / fan_in**0.5)
  return weights, {"polarity": polarity, "first": weights}


def objective(params: Any, model_state: Any, key: jax.Array, batch: Any) -> tuple[jax.Array, Any]:
  """Simple contrastive loss of two views that share the root, on unit-norm outputs."""
  views = [draw_tree(k, model_state["polarity"], batch["root"])[-1] for k in jax.random.split(key)]
  z = [l2_normalize(neurons(params, leaves)[-1][:, 0]) for leaves in views]
  loss = jnp.mean(simple_contrastive_loss(*z))
  return loss, (model_state, {})


def correlations(state: Any) -> jax.Array:
  """Best absolute correlation, mean over the latents of each level, before and after, (2, DEPTH)."""
  params, model_state = state
  key_root, key = jax.random.split(jax.random.key(3))
  root = jax.random.rademacher(key_root, (4000,), jnp.float32)
  levels = draw_tree(key, model_state["polarity"], root)

  def best(weights: Any) -> jax.Array:
    def one(h: jax.Array, z: jax.Array) -> jax.Array:
      h, z = h - jnp.mean(h, axis=0), (z - jnp.mean(z, axis=0))[..., None]
      norm = jnp.sqrt(jnp.sum(h * h, axis=0) * jnp.sum(z * z, axis=0)) + 1e-9
      return jnp.mean(jnp.max(jnp.abs(jnp.sum(h * z, axis=0)) / norm, axis=1))

    return jnp.stack([one(*pair) for pair in zip(neurons(weights, levels[-1]), levels[-2::-1])])

  return jnp.stack([best(model_state["first"]), best(params)])


def run(config: Config) -> Outcome:
  """Check the theorem in float64, train on trees with three widths."""
  with jax.enable_x64(True):
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    found = jax.device_get(jax.jit(jax.vmap(partial(theorem, config)))(keys))
  misses = np.stack([1 - found[str(size)] for size in SIZES])
  slopes = np.polyfit(np.log(SIZES), np.log(misses), 1)[0]
  dataset = data.load({"root": np.tile(np.float32([-1, 1]), 512)})
  trees = {}
  for width in (2, 5, 20):
    state = train(
      objective,
      partial(init, width),
      config.optimizer(),
      dataset,
      config,
      config.folder / f"width_{width}",
      name=f"{width} neurons per latent",
    ).state
    trees[width] = np.asarray(config.each_seed(correlations)((state.params, state.model_state)))
  levels = 1 + np.arange(DEPTH)
  pictures.curves(
    config.folder / "tree.png",
    {
      f"{width} neurons, {when}": (levels, values[:, i].T)
      for width, values in trees.items()
      for i, when in enumerate(("at first", "trained"))
    },
    title="Best neuron's correlation with a latent of the tree",
    x_label="level",
    y_label="absolute correlation",
  )
  hidden = {width: values[..., 1:].mean(-1) for width, values in trees.items()}
  claim = partial(Claim, published="Tian et al. 2020", unit="")
  least = partial(claim, expected=0.0, relation="at least")
  details = {str(width): values.mean(0).tolist() for width, values in trees.items()}
  return Outcome(
    [
      claim("cosine, all views, lesser of two layers", 1.0, found["cosine"], tolerance=1e-9),
      claim("largest relative gap to 2 B / (B - 1) OP vec(W)", 0.0, found["gap"], tolerance=1e-9),
      claim("cosine, one pair of views, B = 4,096", 0.99, found["4096"], relation="at least"),
      claim("slope of log (1 - cosine) by log B", -1.0, slopes, published="theory", tolerance=0.1),
      *(
        least(
          f"correlation, trained less at first, {width} neurons",
          measured=values[:, 1] - values[:, 0],
        )
        for width, values in hidden.items()
      ),
      least("trained correlation, 5 less 2 neurons", measured=(hidden[5] - hidden[2])[:, 1]),
      least("trained correlation, 20 less 5 neurons", measured=(hidden[20] - hidden[5])[:, 1]),
    ],
    {"misses": misses.mean(1).tolist(), "levels_before_after": details},
  )
