"""What the temperature of a contrastive loss does: uniformity against tolerance, and hard negatives.

Claim (Wang & Liu 2021, abstract and sections 3 to 5): a low temperature spreads embeddings more evenly
(uniformity) and tears apart examples of one class (less tolerance); so a linear classifier does best at a
temperature in between. A loss on the hardest negatives alone is uniform at a high temperature too, and its
features do not suffer there.
Command: python -m experiments contrastive_temperature --data_dir=DIR
Expected, on MNIST with the paper's temperatures 0.07, 0.3, 0.7 and 1: uniformity (lower is more even) rises
and tolerance rises with every step in temperature; probe accuracy at the better of the middle ones at least
that of either end; at temperature 1 the loss on the 8 hardest of 127 negatives is more uniform than the one
on all, and its probe accuracy at least the latter's. Uniformity and tolerance are those of normalised
embeddings of test images, the loss being on these; the probe is on the encoder's features.
Set-up: a first run, on embeddings that were not standardised over the batch, with temperatures 0.05, 0.2, 1
and 5, had the middle best (95.6 %) but no monotone uniformity or tolerance: at 0.05 the cloud kept the offset
of its initialisation (mean of norm 0.63, against below 0.06), which far negatives have no gradient against,
and the hardest negatives, at first nearer than the positives, collapsed it. SimCLR's projector ends with a
batch normalisation, and so does this one now; the paper trains for far longer, from a memory bank.
Time: about a minute and a half on two CPU cores, three seeds of five runs.
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
from latentjax.collectives import device_mean
from latentjax.losses.contrastive import (
  hard_contrastive_loss,
  info_nce,
  l2_normalize,
  negative_shares,
  uniformity,
)
from latentjax.metrics import tolerance
from latentjax.objectives import two_view
from latentjax.training import train

PAPERS = {261: "Understanding the Behaviour of Contrastive Loss"}
FUNCTIONS = (
  "losses.contrastive.info_nce",
  "losses.contrastive.hard_contrastive_loss",
  "losses.contrastive.negative_shares",
  "losses.contrastive.uniformity",
  "metrics.tolerance",
)
QUICK = {"steps": 3, "seeds": 2, "probe_examples": 400, "temperatures": (0.07, 1.0)}
PAPER = "Wang & Liu 2021"
HARD = 1.0  # temperature of the loss on hard negatives


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 400
  batch_size: int = 128
  seeds: int = 3
  learning_rate: float = 2e-3
  schedule: str = "cosine"
  temperatures: tuple[float, ...] = (0.07, 0.3, 0.7, 1.0)
  """Temperatures of InfoNCE, rising, 1 among them."""
  num_negatives: int = 8
  """Hard negatives that are kept."""
  probe_examples: int = 5_000
  """Labelled images that the probe learns from; half as many judge it."""
  block_size: int | None = harness.free(None)
  """Rows of a block of pairwise scores; with --parallel=pmap the blocks go round the devices."""


def to_sphere(z: jax.Array, axis_name: str | None = None) -> jax.Array:
  """Unit vectors of embeddings that are first standardised over the batch."""
  centred = z - device_mean(jnp.mean(z, axis=0), axis_name)
  variance = device_mean(jnp.mean(jnp.square(centred), axis=0), axis_name)
  return l2_normalize(centred * jax.lax.rsqrt(variance + 1e-5))


def measure(
  networks: ssl.Networks, parts: tuple[ssl.Images, ssl.Images], params: Any
) -> dict[str, jax.Array]:
  """Probe on features; uniformity, tolerance and the negatives' entropy on embeddings."""
  found = ssl.measure(networks.features_fn, params, *parts)
  z = to_sphere(networks.embed_fn(params, parts[1].x))
  views = jax.vmap(ssl.small_view)(jax.random.split(jax.random.key(3), 128), parts[1].x[:128])
  pair = z[:128], to_sphere(networks.embed_fn(params, views))
  entropy = lambda t: jnp.mean(
    jnp.sum(jax.scipy.special.entr(negative_shares(*pair, temperature=t)), axis=1)
  )
  return {
    "linear": found["linear"],
    "knn": found["knn"],
    "uniformity": uniformity(z, block_size=500),
    "tolerance": tolerance(z, parts[1].labels, num_classes=10),
    "entropy of the negatives' shares at 0.07, 1": jnp.stack([entropy(0.07), entropy(1.0)]),
  }


def run(config: Config) -> Outcome:
  """Train at every temperature, and with hard negatives; measure, draw."""
  load = lambda split: data.load("mnist", split=split, data_dir=config.data_dir)
  images, test = load("train"), load("test")
  parts = ssl.images(images, config.probe_examples), ssl.images(test, config.probe_examples // 2)
  small = tuple(part._replace(x=ssl.halve(part.x)) for part in parts)
  make = partial(ssl.networks, (28, 28, 1), layers=(), channels=32)
  networks, plain = make(axis_name=config.axis_name), make()
  evaluate = config.each_seed(partial(measure, plain, small))
  hard = partial(hard_contrastive_loss, num_negatives=config.num_negatives)
  runs = [(f"tau {t:g}", info_nce, t) for t in config.temperatures]
  found = {}
  for name, loss_fn, temperature in [*runs, ("hard", hard, HARD)]:

    def objective(params: Any, tau: jax.Array, key: jax.Array, batch: Any, loss_fn: Any = loss_fn):
      """The temperature travels in the model state: one program serves all."""
      run = {"axis_name": config.axis_name, "block_size": config.block_size}
      fn = partial(loss_fn, temperature=tau, **run)
      both = lambda a, b: (fn(a, b) + fn(b, a)) / 2
      sphere = partial(to_sphere, axis_name=config.axis_name)
      loss = two_view(networks.embed_fn, lambda *z: both(*map(sphere, z)))
      return loss.objective(params, tau, key, batch)

    result = train(
      objective,
      lambda key, tau=temperature: (plain.init_fn(key), jnp.float32(tau)),
      config.optimizer(),
      images,
      config,
      config.folder / name.replace(" ", "_"),
      transform=partial(ssl.two_views, augment=ssl.small_view),
      name=name,
    )
    found[name] = jax.tree.map(np.asarray, evaluate(result.state.params))
    print(name, {k: np.round(v.mean(0), 3).tolist() for k, v in found[name].items()})
  draw(config, found)
  details = {n: {k: v.tolist() for k, v in values.items()} for n, values in found.items()}
  return Outcome(claims(config, found), details)


def claims(config: Config, found: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
  """The paper's against what was found, seed by seed."""
  by = lambda what: np.stack([found[f"tau {t:g}"][what] for t in config.temperatures])
  linear, hard, same = 100 * by("linear"), found["hard"], found[f"tau {HARD:g}"]
  middle = linear[1:-1].max(axis=0) if len(linear) > 2 else linear[0]
  least = lambda what, value, where, unit="": Claim(what, 0.0, value, where, "at least", unit=unit)
  table = f"{PAPER}, section 5"
  return [
    least(
      "smallest rise of uniformity with the temperature",
      np.diff(by("uniformity"), axis=0).min(0),
      PAPER,
    ),
    least(
      "smallest rise of tolerance with the temperature",
      np.diff(by("tolerance"), axis=0).min(0),
      PAPER,
    ),
    least(
      "probe: best temperature in the middle minus lowest", middle - linear[0], table, "points"
    ),
    least(
      "probe: best temperature in the middle minus highest", middle - linear[-1], table, "points"
    ),
    least(
      "uniformity at 1: all negatives minus hardest", same["uniformity"] - hard["uniformity"], table
    ),
    least(
      "probe at 1: hardest negatives minus all",
      100 * (hard["linear"] - same["linear"]),
      table,
      "points",
    ),
  ]


def draw(config: Config, found: dict[str, dict[str, np.ndarray]]) -> None:
  """Everything against the temperature."""
  x = np.log10(config.temperatures)
  lines = lambda what: (x, np.stack([found[f"tau {t:g}"][what] for t in config.temperatures]))
  for name, names in {"sphere": ("uniformity", "tolerance"), "probe": ("linear", "knn")}.items():
    hard = {f"{what}, hard negatives": found["hard"][what].mean() for what in names}
    pictures.curves(
      config.folder / f"{name}.png",
      {what: lines(what) for what in names},
      title="By temperature; dashed: hardest negatives alone, at 1",
      x_label="log10 of the temperature",
      y_label=" and ".join(names),
      reference=hard,
    )
