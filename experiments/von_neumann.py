"""Von Neumann entropy against collapse: alignment of views plus or minus the entropy of embeddings.

Claim (Kim et al. 2023, abstract and section 4): the entropy manipulates the eigenvalues of a representation,
up with a positive weight (VNE+) and down with a negative one (VNE-); added to alignment alone, which
collapses, it makes a self-supervised method (I-VNE+). Its exponential is at most the rank.
Command: python -m experiments von_neumann --data_dir=DIR
Expected, with weights -1, 0, 0.1, 1 on MNIST: entropy and effective rank of embeddings rise with every step
in the weight; effective rank at weight 1 at least twice that at 0; probe accuracy at 1 at least 2 points
above that at 0; exp(entropy) minus the number of singular values above 1e-3 of the largest at most 0, within
0.01 for those that are below.
Time: about a minute on two CPU cores, three seeds of four runs.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures, ssl
from latentjax import data
from latentjax.losses.contrastive import alignment, l2_normalize, von_neumann_entropy
from latentjax.metrics import effective_rank
from latentjax.objectives import two_view
from latentjax.training import train

PAPERS = {150: "VNE: An Effective Method for Improving Deep Representation"}
FUNCTIONS = ("losses.contrastive.von_neumann_entropy", "metrics.effective_rank")
QUICK = {"steps": 3, "seeds": 2, "probe_examples": 400}
PAPER, DIM = "Kim et al. 2023", 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 300
  batch_size: int = 128
  seeds: int = 3
  learning_rate: float = 2e-3
  schedule: str = "cosine"
  weights: tuple[float, ...] = (-1.0, 0.0, 0.1, 1.0)
  """Weights of the entropy, rising; 0 among them."""
  probe_examples: int = 5_000
  """Labelled images that the probe learns from; half as many judge it."""


def measure(
  networks: ssl.Networks, parts: tuple[ssl.Images, ssl.Images], params: Any
) -> dict[str, jax.Array]:
  """Probe on features, and normalised embeddings of test images."""
  found = ssl.measure(networks.features_fn, params, *parts)
  z = l2_normalize(networks.embed_fn(params, parts[1].x))
  return {"linear": found["linear"], "knn": found["knn"], "z": z}


def spectrum(z: np.ndarray) -> dict[str, np.ndarray]:
  """Entropy, ranks and eigenvalues of every seed's embeddings.

  One after the other: in one program for all seeds, an SVD and the eigendecompositions waited for each
  other for ever, twice, on a CPU with two cores.
  """
  values = np.linalg.svd(z, compute_uv=False)
  each = lambda fn: np.array([float(fn(jnp.asarray(x))) for x in z])
  return {
    "entropy": each(von_neumann_entropy),
    "effective_rank": each(effective_rank),
    "rank": np.sum(values > 1e-3 * values[:, :1], axis=1),
    "spectrum": np.square(values) / np.sum(np.square(values), axis=1, keepdims=True),
  }


def run(config: Config) -> Outcome:
  """Train with every weight, measure, draw the spectra."""
  load = lambda split: data.load("mnist", split=split, data_dir=config.data_dir)
  images, test = load("train"), load("test")
  parts = ssl.images(images, config.probe_examples), ssl.images(test, config.probe_examples // 2)
  small = tuple(part._replace(x=ssl.halve(part.x)) for part in parts)
  make = partial(ssl.networks, (28, 28, 1), layers=(), channels=32, dim=DIM)
  networks, plain = make(axis_name=config.axis_name), make()
  evaluate = config.each_seed(partial(measure, plain, small))
  entropy = partial(von_neumann_entropy, axis_name=config.axis_name)

  def objective(params: Any, weight: jax.Array, key: jax.Array, batch: Any) -> Any:
    """The weight travels in the model state: one program serves all."""
    both = lambda *z: (entropy(z[0]) + entropy(z[1])) / 2
    loss = lambda *z: jnp.mean(alignment(*map(l2_normalize, z))) - weight * both(*z)
    return two_view(networks.embed_fn, loss).objective(params, weight, key, batch)

  found = {}
  for weight in config.weights:
    result = train(
      objective,
      lambda key, weight=weight: (plain.init_fn(key), jnp.float32(weight)),
      config.optimizer(),
      images,
      config,
      config.folder / f"weight_{weight:g}",
      transform=partial(ssl.two_views, augment=ssl.small_view),
      name=f"weight {weight:g}",
    )
    measured = jax.tree.map(np.asarray, evaluate(result.state.params))
    found[weight] = measured | spectrum(measured.pop("z"))
    shown = {k: np.round(v.mean(0), 3).tolist() for k, v in found[weight].items()}
    print(weight, {k: v for k, v in shown.items() if k != "spectrum"})
  pictures.curves(
    config.folder / "spectra.png",
    {
      f"weight {weight:g}": (
        np.arange(1, DIM + 1),
        np.log10(np.maximum(values["spectrum"].T, 1e-10)),
      )
      for weight, values in found.items()
    },
    title="Eigenvalues of the embeddings' autocorrelation",
    x_label="index",
    y_label="log10 of the share",
  )
  details = {str(w): {k: v.tolist() for k, v in values.items()} for w, values in found.items()}
  return Outcome(claims(config, found), details)


def claims(config: Config, found: dict[float, dict[str, np.ndarray]]) -> list[Claim]:
  """The paper's against what was found, seed by seed."""
  by = lambda what: np.stack([found[weight][what] for weight in config.weights])
  rise = lambda what: np.diff(by(what), axis=0).min(axis=0)
  none, most = found[0.0], found[config.weights[-1]]
  here = f"{PAPER}; the number is set here"
  least = lambda what, expected, value, where, unit="": Claim(
    what, expected, value, where, "at least", unit=unit
  )
  ratio = most["effective_rank"] / none["effective_rank"]
  gain = 100 * (most["linear"] - none["linear"])
  excess = (np.exp(by("entropy")) - by("rank")).max(axis=0)
  return [
    least("smallest rise of entropy with its weight", 0.0, rise("entropy"), PAPER, "nats"),
    least("smallest rise of effective rank with the weight", 0.0, rise("effective_rank"), PAPER),
    least("effective rank, weight 1 over 0", 2.0, ratio, here),
    least("linear probe, weight 1 minus 0", 2.0, gain, here, "points"),
    Claim("largest exp(entropy) - rank", 0.0, excess, f"{PAPER}, theory", "at most", 0.01, ""),
  ]
