"""Nested embeddings of MNIST at every length, against networks trained for each length alone.

Claim (Kusupati et al. 2022): one embedding trained on all its prefixes is at every length as accurate as one
trained for that length alone, far above truncating an ordinary embedding or its principal components, and
retrieval by a short prefix, ranked again by the whole, equals the full search at a fraction of its cost.
Command: python -m experiments matryoshka_mnist --data_dir=DIRECTORY_OF_TFDS_MNIST
Expected: at every length test accuracy of the prefix's linear head within 1 % of that of the network of this
length or better; at length 4 nearest-neighbour accuracy at least 5 % above a truncated ordinary embedding
and above its first four principal components; the share of the ten nearest with the query's class within
0.2 % of the full search's or better, for a shortlist of 200 by 8 numbers and for a funnel, at no more than
a fifth of its multiplications.
Note: images are averaged to 14 x 14 pixels; networks have two hidden layers. All are trained side by side, on
the same batches. Neighbours are by cosine, of 2,000 test among 10,000 training images.
Time: a minute and a half on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data
from latentjax.losses.contrastive import matryoshka
from latentjax.metrics import adaptive_retrieval, knn_predict, retrieval_cost
from latentjax.models import MLP
from latentjax.training import train

PAPERS = {194: "Matryoshka Representation Learning"}
FUNCTIONS = (
  "losses.contrastive.matryoshka",
  "metrics.adaptive_retrieval",
  "metrics.retrieval_cost",
)
QUICK = {"steps": 50, "seeds": 2}
DIMS = (4, 8, 16, 32, 64)
WHOLE, PIXELS = DIMS[-1], 14 * 14
SEARCHES = {"shortlist": (8, 200), "funnel": ((8, 16, 32), (400, 200, 100))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2500
  seeds: int = 3
  learning_rate: float = 2e-3
  schedule: Literal["constant", "cosine", "linear"] = "cosine"
  hidden: int = 128


def small(config: Config, split: str) -> dict[str, np.ndarray]:
  """Means of 2 x 2 pixels in [0, 1], and labels."""
  arrays = data.load("mnist", split=split, data_dir=config.data_dir).arrays
  assert arrays is not None
  blocks = arrays["image"].reshape(-1, 14, 2, 14, 2).mean((2, 4), dtype=np.float32)
  return {"x": blocks.reshape(-1, PIXELS) / 255, "label": arrays["label"].astype(np.int32)}


def network(config: Config, dim: int) -> MLP:
  """Image to embedding."""
  return MLP(dim, (config.hidden, config.hidden))


def init(config: Config, key: jax.Array) -> tuple[Any, Any]:
  """The nested network with a head for every prefix, and a network with one head for every length."""
  heads = lambda dims: {str(dim): jnp.zeros((dim + 1, 10)) for dim in dims}
  params = {}
  for i, (name, dims) in enumerate({"nested": DIMS, **{str(d): (d,) for d in DIMS}}.items()):
    weights = network(config, dims[-1]).init(jax.random.fold_in(key, i), jnp.zeros((1, PIXELS)))
    params[name] = {"net": weights, "heads": heads(dims)}
  return params, ()


def logits(z: jax.Array, heads: Any) -> jax.Array:
  """By the head for embeddings of this length."""
  head = heads[str(z.shape[-1])]
  return z @ head[:-1] + head[-1]


def embed(config: Config, params: Any, name: str, x: jax.Array) -> jax.Array:
  """Embedding by the nested network or by that of one length."""
  return network(config, WHOLE if name == "nested" else int(name)).apply(params[name]["net"], x)


def cross_entropy(z: jax.Array, heads: Any, labels: jax.Array) -> jax.Array:
  """Per example."""
  return -jnp.take_along_axis(jax.nn.log_softmax(logits(z, heads)), labels[:, None], axis=1)[:, 0]


def objective(
  config: Config, params: Any, model_state: Any, key: jax.Array, batch: Any
) -> tuple[jax.Array, Any]:
  """Sum of the losses of all networks, which share no parameter."""
  losses = {}
  for name in params:
    loss_fn = matryoshka(cross_entropy, DIMS if name == "nested" else [int(name)], normalize=False)
    z = embed(config, params, name, batch["x"])
    losses[name] = jnp.mean(loss_fn(z, heads=params[name]["heads"], labels=batch["label"]))
  return sum(losses.values()), (model_state, losses)


def measure(config: Config, known: Any, test: Any, params: Any) -> dict[str, jax.Array]:
  """Accuracy of every head; of neighbours by prefixes of every kind, at all lengths; searches."""
  right = lambda predicted: jnp.mean(predicted == test["label"][: len(predicted)])
  queries = test["x"][:2000]
  z, rows = ({n: embed(config, params, n, x) for n in params} for x in (queries, known["x"]))
  head = lambda name, dim: right(
    jnp.argmax(logits(embed(config, params, name, test["x"])[:, :dim], params[name]["heads"]), 1)
  )
  whole, centre = str(WHOLE), jnp.mean(rows[str(WHOLE)], axis=0)
  basis = jnp.linalg.svd(rows[whole] - centre, full_matrices=False)[2].T
  embeddings = {
    "nested": (z["nested"], rows["nested"]),
    "truncated": (z[whole], rows[whole]),
    "principal": ((z[whole] - centre) @ basis, (rows[whole] - centre) @ basis),
  }
  vote = partial(knn_predict, labels=known["label"], num_classes=10, num_neighbours=1)
  found = {
    name: jnp.stack([right(vote(q[:, :dim], x[:, :dim])) for dim in DIMS])
    for name, (q, x) in embeddings.items()
  }
  found["heads"] = jnp.stack([head("nested", dim) for dim in DIMS])
  found["alone"] = jnp.stack([head(str(dim), dim) for dim in DIMS])
  for name, (dims, sizes) in {"full": (WHOLE, 10), **SEARCHES}.items():
    nearest = adaptive_retrieval(*embeddings["nested"], short_dim=dims, num_candidates=sizes)
    found[name] = jnp.mean(known["label"][nearest] == test["label"][:2000, None])
    found[f"{name}, rows"] = jnp.sort(nearest, axis=1)
  return found


def run(config: Config) -> Outcome:
  """Train all networks at once, compare them at every length, search."""
  arrays, test = small(config, "train"), small(config, "test")
  params = train(
    partial(objective, config),
    partial(init, config),
    config.optimizer(),
    data.load(arrays),
    config,
    config.folder,
    name="matryoshka_mnist",
  ).state.eval_params
  known = {name: jnp.asarray(array[:10_000]) for name, array in arrays.items()}
  test = {name: jnp.asarray(array) for name, array in test.items()}
  found = jax.device_get(config.each_seed(partial(measure, config, known, test))(params))
  lines = {
    "nested, its heads": "heads",
    "trained for each length alone": "alone",
    "nested, neighbours": "nested",
    "ordinary, truncated, neighbours": "truncated",
    "ordinary, principal components, neighbours": "principal",
  }
  pictures.curves(
    config.folder / "lengths.png",
    {line: (np.log2(DIMS), found[name].T) for line, name in lines.items()},
    title="MNIST, test accuracy",
    x_label="log2 of the embedding's length",
    y_label="accuracy",
  )
  claim = partial(Claim, published="Kusupati et al. 2022", unit="", relation="at least")
  lead = found["heads"] - found["alone"]
  claims = [claim(f"nested less alone, length {d}", -0.01, lead[:, i]) for i, d in enumerate(DIMS)]
  claims += [
    claim(f"nested less {name}, length 4", 0.05, (found["nested"] - found[name])[:, 0])
    for name in ("truncated", "principal")
  ]
  ratios = {}
  for name, (dims, sizes) in SEARCHES.items():
    cost = retrieval_cost(num_rows=10_000, dim=WHOLE, short_dim=dims, num_candidates=sizes)
    ratios[name] = cost / (10_000 * WHOLE)
    claims += [
      claim(f"share of the class, {name} less full search", -0.002, found[name] - found["full"]),
      Claim(f"cost, {name} over full search", 0.2, [ratios[name]], "theory", "at most", unit=""),
    ]
  same = {
    name: np.mean(
      [
        [len(np.intersect1d(*p)) / 10 for p in zip(*each)]
        for each in zip(found[f"{name}, rows"], found["full, rows"])
      ]
    )
    for name in SEARCHES
  }
  details = {name: found[name].mean(0).tolist() for name in lines.values()}
  return Outcome(
    claims, details | {"share of the full search's rows": same, "full": found["full"].tolist()}
  )
