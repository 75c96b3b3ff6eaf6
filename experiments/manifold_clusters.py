"""Closed curves that wind through the same space, clustered and made linear by coding rate reduction.

Claim (Ding et al. 2023): maximal coding rate reduction over features and a doubly stochastic membership
together clusters a union of nonlinear manifolds better than k-means and subspace clustering, of the data and
of self-supervised features; manifolds become orthogonal subspaces and do not collapse to points.
Command: python -m experiments manifold_clusters
Expected: accuracy of spectral clustering on the membership no lower than the best of k-means and
subspace clustering on data and on the features after the first stage, for the mean over seeds; mean absolute
cosine of features of two curves at most 0.05; stable rank ||Z||_F^2 / ||Z||_2^2 of each curve's features
at least 2 (1 is collapse); rows of the membership sum to 1 within 1e-3.
Note: three random curves of three harmonics in six dimensions, each of which spans the space, in 120
points; a view is a point of the curve up to 0.3 rad away. Stage one maximises the coding rate of two views'
features less their squared distance, then the cluster head starts as a copy of the feature head. Subspace
clustering is by least squares regression (Lu et al. 2012). Clustering accuracy is of the best matching.
Time: a minute on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import linear_sum_assignment

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax.losses.contrastive import (
  coding_rate,
  coding_rate_reduction,
  doubly_stochastic_membership,
  l2_normalize,
)

PAPERS = {179: "Unsupervised Manifold Linearizing and Clustering"}
FUNCTIONS = tuple(
  f"losses.contrastive.{name}"
  for name in ("coding_rate", "coding_rate_reduction", "doubly_stochastic_membership")
)
QUICK = {"steps": 20, "seeds": 2}
CURVES, POINTS, HARMONICS, DATA_DIM = 3, 120, 3, 6
LABELS = np.repeat(np.arange(CURVES), POINTS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1200
  """Of each stage."""
  seeds: int = 4
  learning_rate: float = 2e-3
  hidden: int = 128
  dim: int = 12
  """Of the features and of the cluster head."""
  eps: float = 0.5
  """Root of the coding error."""
  eta: float = 0.5
  """Temperature of the membership."""


def on_curve(harmonics: jax.Array, labels: jax.Array, angle: jax.Array) -> jax.Array:
  """Points (B, DATA_DIM) of the curves with these coefficients, (CURVES, 2 HARMONICS, DATA_DIM)."""
  phases = angle[:, None] * jnp.arange(1, HARMONICS + 1)
  waves = jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=1)
  return jnp.einsum("bh,bhd->bd", waves, harmonics[labels])


def init(config: Config, key: jax.Array) -> Any:
  """Two hidden layers and the feature head."""
  sizes = (DATA_DIM, config.hidden, config.hidden, config.dim)
  weights = [
    jax.random.normal(k, (m, n)) * (2 / m) ** 0.5
    for k, m, n in zip(jax.random.split(key, 3), sizes, sizes[1:])
  ]
  layers = [{"w": w, "b": jnp.zeros(w.shape[1])} for w in weights]
  return {"hidden": layers[:-1], "features": layers[-1]}


def apply(params: Any, head: str, x: jax.Array) -> jax.Array:
  """Unit-norm output of a head, (B, dim)."""
  for layer in params["hidden"]:
    x = jax.nn.relu(x @ layer["w"] + layer["b"])
  return l2_normalize(x @ params[head]["w"] + params[head]["b"])


def first_loss(config: Config, params: Any, views: jax.Array) -> jax.Array:
  """Spread features, and bring those of two views together."""
  z_1, z_2 = (apply(params, "features", x) for x in views)
  apart = jnp.mean(jnp.sum(jnp.square(z_1 - z_2), axis=1))
  return apart - coding_rate(jnp.concatenate([z_1, z_2]), eps=config.eps)


def second_loss(config: Config, params: Any, views: jax.Array) -> jax.Array:
  """Minus the rate reduction, of the mean direction of two views."""
  mean = lambda head: l2_normalize(sum(apply(params, head, x) for x in views))
  membership = doubly_stochastic_membership(mean("clusters"), eta=config.eta)
  return -coding_rate_reduction(mean("features"), membership, eps=config.eps)


def descend(config: Config, loss_fn: Any, key: jax.Array, params: Any, curves: Any) -> Any:
  """Parameters after one stage."""
  optimizer, (harmonics, angle) = config.optimizer(), curves

  def step(i: jax.Array, carry: Any) -> Any:
    params, state = carry
    key_rows, key_shift = jax.random.split(jax.random.fold_in(key, i))
    rows = jax.random.choice(key_rows, len(LABELS), (config.batch_size,), replace=False)
    shifts = jax.random.uniform(key_shift, (2, config.batch_size), minval=-0.3, maxval=0.3)
    views = [on_curve(harmonics, jnp.asarray(LABELS)[rows], angle[rows] + s) for s in shifts]
    grads = jax.grad(partial(loss_fn, config))(params, views)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  return jax.lax.fori_loop(0, config.steps, step, (params, optimizer.init(params)))[0]


def learn(config: Config, key: jax.Array) -> dict[str, jax.Array]:
  """Data, features after each stage and the membership of all points, of one seed."""
  keys = jax.random.split(key, 5)
  harmonics = jax.random.normal(keys[0], (CURVES, 2 * HARMONICS, DATA_DIM))
  angle = jax.random.uniform(keys[1], LABELS.shape, maxval=2 * np.pi)
  curves, x = (harmonics, angle), on_curve(harmonics, jnp.asarray(LABELS), angle)
  params = descend(config, first_loss, keys[2], init(config, keys[3]), curves)
  first = apply(params, "features", x)
  params = params | {"clusters": params["features"]}
  params = descend(config, second_loss, keys[4], params, curves)
  membership = partial(doubly_stochastic_membership, eta=config.eta)
  return {
    "data": x,
    "first": first,
    "features": apply(params, "features", x),
    "first_membership": membership(first),
    "membership": membership(apply(params, "clusters", x)),
  }


def accuracy(labels: np.ndarray) -> float:
  """Share of points in the right cluster under the best matching of clusters to curves."""
  counts = np.zeros((CURVES, CURVES), int)
  np.add.at(counts, (labels, LABELS), 1)
  return counts[linear_sum_assignment(-counts)].sum() / len(labels)


def by_means(x: np.ndarray) -> float:
  from sklearn.cluster import KMeans

  return accuracy(KMeans(CURVES, n_init=10, random_state=0).fit_predict(x))


def by_graph(affinity: np.ndarray) -> float:
  from sklearn.cluster import SpectralClustering

  spectral = SpectralClustering(CURVES, affinity="precomputed", random_state=0)
  return accuracy(spectral.fit_predict(affinity))


def by_subspaces(x: np.ndarray) -> float:
  """Every point as a combination of the others, by ridge regression."""
  gram = x @ x.T
  weights = np.abs(np.linalg.solve(gram + 0.1 * np.eye(len(x)), gram))
  np.fill_diagonal(weights, 0)
  return by_graph(weights + weights.T)


def run(config: Config) -> Outcome:
  """Learn features and clusters for every seed, and cluster by the alternatives."""
  keys = jax.random.split(jax.random.key(config.seed), config.seeds)
  found = jax.device_get(jax.jit(jax.vmap(partial(learn, config)))(keys))
  other = LABELS[:, None] != LABELS
  cosines = [np.abs(z @ z.T)[other].mean() for z in found["features"]]
  squares = [
    [np.linalg.svd(z[label == LABELS], compute_uv=False) ** 2 for label in range(CURVES)]
    for z in found["features"]
  ]
  ranks = [min(s.sum() / s[0] for s in each) for each in squares]
  table = {
    "k-means, data": [by_means(x) for x in found["data"]],
    "k-means, first stage": [by_means(z) for z in found["first"]],
    "subspaces, data": [by_subspaces(x) for x in found["data"]],
    "subspaces, first stage": [by_subspaces(z) for z in found["first"]],
  }
  ours = np.array([by_graph(gamma) for gamma in found["membership"]])
  config.folder.mkdir(parents=True, exist_ok=True)
  pictures.image_grid(
    config.folder / "membership.png",
    [
      np.abs(found["data"][0] @ found["data"][0].T)[None, ..., None] / 20,
      np.abs(found["features"][0] @ found["features"][0].T)[None, ..., None],
      20 * found["membership"][0][None, ..., None],
    ],
    labels=["data", "features", "membership"],
    title="Products of points, in turn",
  )
  claim = partial(Claim, published="Ding et al. 2023", unit="")
  ahead = [
    claim(f"accuracy less {name}", 0.0, ours - values, relation="at least")
    for name, values in table.items()
  ]
  sums = np.abs(found["membership"].sum(2) - 1).max(axis=1)
  first = [by_graph(gamma) for gamma in found["first_membership"]]
  return Outcome(
    [
      *ahead,
      claim("absolute cosine of two curves' features", 0.05, cosines, relation="at most"),
      claim("least stable rank of a curve's features", 2.0, ranks, relation="at least"),
      claim("largest error of a row's sum", 1e-3, sums, relation="at most"),
    ],
    {"accuracy": ours.tolist(), "first membership": first, **table},
  )
