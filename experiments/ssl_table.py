"""Self-supervised methods under one budget: linear probe, neighbours and signs of collapse in one table.

Claim (each method's own paper): views of an image are enough to learn features that a linear classifier
reads classes from, and the method does not collapse; alignment alone does (Chen & He 2021, section 4.1:
without what prevents it, the standard deviation of normalised outputs falls to 0).
Command: python -m experiments ssl_table --data_dir=DIR [--methods=nt_xent,byol] [--dataset=mnist]
Expected: probe accuracy of every method at least 2 points above the untrained encoder's. On embeddings,
relative scale (1 if isotropic, 0 if collapsed) at most 0.05 for alignment alone, at least 0.2 for every
method. No order among methods is claimed: temperatures and weights are their papers', the rest is shared;
but Barlow Twins' weight of 0.005 is for 8,192 dimensions and batches of 2,048: it is scaled so that what
sampling alone adds to the loss, weight x dimensions / batch, stays what it was.
Protocol: one encoder (windows as a convolution, 128 features), projector and augmentation for all, the same
steps, batch and Adam; features frozen before the projector; softmax probe and 20 neighbours by cosine from
`probe_examples` labelled images, tested on half as many test images.
Time: about six minutes on two CPU cores, three seeds of sixteen runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures, ssl
from latentjax import data
from latentjax import objectives as o
from latentjax.losses import contrastive as c
from latentjax.metrics import effective_rank, relative_scale
from latentjax.objectives import SelfSupervised
from latentjax.training import train

PAPERS = {}  # what every library has, and no paper of the table
FUNCTIONS = (
  *(f"losses.contrastive.{name}" for name in ("nt_xent", "dcl_loss", "moco_loss", "nnclr_loss")),
  *(f"losses.contrastive.{name}" for name in ("byol_loss", "simsiam_loss", "barlow_twins_loss")),
  *(f"losses.contrastive.{name}" for name in ("vicreg_loss", "swav_loss", "dino_loss")),
  *(f"losses.contrastive.{name}" for name in ("spectral_contrastive_loss", "uniformity")),
  *(f"losses.contrastive.{name}" for name in ("frossl_loss", "mmcr_loss", "sigreg_loss")),
  *(f"objectives.{name}" for name in ("two_view", "multi_view", "byol", "simsiam", "moco")),
  *(f"objectives.{name}" for name in ("nnclr", "dino", "lejepa")),
)
QUICK = {"steps": 3, "seeds": 2, "probe_examples": 400, "methods": "nt_xent,byol,dino"}
COLLAPSING = "alignment alone"
DIM, PROTOTYPES = 64, 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 400
  batch_size: int = 128
  seeds: int = 3
  learning_rate: float = 2e-3
  schedule: str = "cosine"
  dataset: str = "mnist"
  """An image set of TFDS with labels."""
  methods: str = ""
  """Names of methods, separated by commas; all by default."""
  probe_examples: int = 5_000
  """Labelled images that the probe and the neighbours learn from."""
  block_size: int | None = harness.free(None)
  """Rows of a block of pairwise scores; with --parallel=pmap the blocks go round the devices."""


def all_methods(config: Config, networks: ssl.Networks) -> dict[str, Callable[[], SelfSupervised]]:
  """Objectives by name, with temperatures and weights as published."""
  embed, predict, run = networks.embed_fn, networks.predict_fn, {"axis_name": config.axis_name}
  blocks = run | {"block_size": config.block_size}
  unit = c.l2_normalize
  momentum = o.cosine_momentum(0.97, config.steps)  # the papers' 0.996 is meant for long runs
  weight = 5e-3 * (8192 / DIM) * (config.batch_size / 2048)
  queue = {"dim": DIM, "queue_size": 32 * config.batch_size, **run}
  pair = lambda loss: lambda: o.two_view(embed, lambda *z: loss(*map(unit, z)))
  scores = lambda params, x: unit(embed(params, x)) @ unit(params["prototypes"], axis=0)
  spread = lambda *z: (c.uniformity(z[0], **blocks) + c.uniformity(z[1], **blocks)) / 2
  return {
    "nt_xent": pair(partial(c.nt_xent, temperature=0.5, **blocks)),
    "dcl": pair(partial(c.dcl_loss, temperature=0.1, **blocks)),
    "moco": lambda: o.moco(embed, momentum=momentum, temperature=0.2, **queue),
    "nnclr": lambda: o.nnclr(embed, predict, temperature=0.1, **queue),
    "byol": lambda: o.byol(embed, predict, momentum=momentum),
    "simsiam": lambda: o.simsiam(embed, predict),
    "barlow_twins": lambda: o.two_view(
      embed, partial(c.barlow_twins_loss, lambda_offdiag=weight, **run)
    ),
    "vicreg": lambda: o.two_view(embed, partial(c.vicreg_loss, **run)),
    "swav": lambda: o.multi_view(scores, partial(c.swav_loss, **run)),
    "dino": lambda: o.dino(scores, num_prototypes=PROTOTYPES, momentum=momentum, **run),
    "spectral": lambda: o.two_view(embed, partial(c.spectral_contrastive_loss, **run)),
    "align_uniform": pair(lambda *z: c.alignment(*z) + spread(*z)),
    "frossl": lambda: o.multi_view(embed, partial(c.frossl_loss, **run)),
    "mmcr": lambda: o.multi_view(embed, partial(c.mmcr_loss, **run)),
    "lejepa": lambda: o.lejepa(embed, num_slices=128, **run),
    COLLAPSING: pair(c.alignment),
  }


def init_params(networks: ssl.Networks, key: jax.Array) -> dict[str, Any]:
  """Networks, and prototypes, which some methods train."""
  key_networks, key_prototypes = jax.random.split(key)
  prototypes = jax.random.normal(key_prototypes, (DIM, PROTOTYPES))
  return networks.init_fn(key_networks) | {"prototypes": prototypes}


def measure(
  networks: ssl.Networks, train_set: ssl.Images, test_set: ssl.Images, num_classes: int, params: Any
) -> dict[str, jax.Array]:
  """What the features are worth, and whether the embeddings have collapsed."""
  found = ssl.measure(networks.features_fn, params, train_set, test_set, num_classes=num_classes)
  z = networks.embed_fn(params, test_set.x)
  return found | {"embedding_rank": effective_rank(z), "embedding_scale": relative_scale(z)}


def run(config: Config) -> Outcome:
  """Train every method, measure, write the table."""
  load = lambda split: data.load(config.dataset, split=split, data_dir=config.data_dir)
  images, test = load("train"), load("test")
  parts = ssl.images(images, config.probe_examples), ssl.images(test, config.probe_examples // 2)
  small = [p._replace(x=ssl.halve(p.x)) if min(p.x.shape[1:3]) >= 20 else p for p in parts]
  num_classes = int(jnp.max(parts[0].labels)) + 1
  shape = parts[0].x.shape[1:]
  networks = ssl.networks(shape, layers=(), channels=32, dim=DIM, axis_name=config.axis_name)
  plain = ssl.networks(shape, layers=(), channels=32, dim=DIM)  # outside of any device axis
  evaluate = config.each_seed(partial(measure, plain, *small, num_classes))
  methods = all_methods(config, networks)
  chosen = config.methods.split(",") if config.methods else list(methods)
  unknown = set(chosen) - set(methods)
  if unknown:
    raise ValueError(f"methods: got {sorted(unknown)}, wanted some of {', '.join(methods)}")
  keys = jnp.stack([jax.random.key(config.seed + i) for i in range(config.seeds)])
  start = jax.vmap(partial(init_params, plain))(keys)
  found = {"untrained": evaluate(start if config.stacked else jax.tree.map(lambda x: x[0], start))}
  for name in dict.fromkeys([*chosen, COLLAPSING]):
    model = methods[name]()

    def init(key: jax.Array, model: SelfSupervised = model) -> tuple[Any, Any]:
      params = init_params(plain, key)
      return params, model.init_state(params)

    result = train(
      model.objective,
      init,
      config.optimizer(),
      images,
      config,
      config.folder / name.replace(" ", "_"),
      transform=partial(ssl.two_views, augment=ssl.small_view),
      name=name,
    )
    found[name] = evaluate(result.state.params)
  found = {name: jax.tree.map(np.asarray, values) for name, values in found.items()}
  pixels = jax.jit(lambda: ssl.measure(lambda _, x: x.reshape(len(x), -1), (), *parts))()
  found["pixels"] = {name: np.asarray(value)[None] for name, value in pixels.items()}
  print(table := show(found))
  (config.folder / "table.txt").write_text(table)
  draw(config, parts[1].x[:12])
  return Outcome(
    claims(found, [name for name in chosen if name != COLLAPSING]),
    {name: {k: v.tolist() for k, v in values.items()} for name, values in found.items()},
  )


def claims(found: dict[str, dict[str, np.ndarray]], methods: list[str]) -> list[Claim]:
  """Gains, and the control against the methods."""
  linear = {name: 100 * values["linear"] for name, values in found.items()}
  scale = {name: found[name]["embedding_scale"] for name in [*methods, COLLAPSING]}
  least = lambda values: np.min(np.stack(values), axis=0)
  return [
    *(
      Claim(
        f"linear probe: {name} minus untrained encoder",
        2.0,
        linear[name] - linear["untrained"],
        "set here",
        "at least",
        unit="points",
      )
      for name in methods
    ),
    Claim(
      "relative scale of embeddings, alignment alone",
      0.05,
      scale[COLLAPSING],
      "Chen & He 2021, section 4.1; the number is set here",
      "at most",
      unit="",
    ),
    Claim(
      "relative scale of embeddings, least of all methods",
      0.2,
      least([scale[name] for name in methods]),
      "set here",
      "at least",
      unit="",
    ),
  ]


def show(found: dict[str, dict[str, np.ndarray]]) -> str:
  """The table as text, means over the seeds and the probe's standard deviation."""
  names = ("linear", "knn", "rank", "scale", "uniformity", "embedding_rank", "embedding_scale")
  lines = [f"{'':16}" + "".join(f"{name:>16}" for name in names)]
  for method, values in sorted(found.items(), key=lambda item: -item[1]["linear"].mean()):
    cells = [f"{values[n].mean():.4g}" if n in values else "" for n in names]
    cells[0] = f"{100 * values['linear'].mean():.1f} ± {100 * values['linear'].std():.1f}"
    cells[1] = f"{100 * values['knn'].mean():.1f}"
    lines.append(f"{method:16}" + "".join(f"{cell:>16}" for cell in cells))
  return "\n".join(lines) + "\n"


def draw(config: Config, x: jax.Array) -> None:
  """Images and what the networks see of them."""
  keys = jax.random.split(jax.random.key(1), (2, len(x)))
  views = jax.jit(jax.vmap(jax.vmap(ssl.small_view), (0, None)))(keys, x)
  rows = [np.asarray(view) for view in (ssl.halve(x), *views)]
  pictures.image_grid(
    config.folder / "views.png", rows, labels=["image", "view 1", "view 2"], title="Views"
  )
