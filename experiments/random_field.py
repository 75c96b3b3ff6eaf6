"""Random field augmentations in SimCLR: how strong the fields should be.

Claim (Mansfield et al. 2023, abstract): transformations whose parameters vary over the image as Gaussian
random fields make representations better when mild, and worse when strong, for they then destroy
the image: an inverted U. (On ImageNet 1.7 % of top-1 accuracy over the same training without them.)
Command: python -m experiments random_field --data_dir=DIRECTORY_OF_TFDS_MNIST
Expected: accuracy of a linear probe on the features, MNIST at 14 x 14 pixels, one budget for all: strength 1
(the defaults of `random_field_augment`, set before any run) above strength 0, which leaves both views to the
shifts and stretches that all runs have; strength 8 below strength 1. All strengths are in the picture.
Time: under two minutes on two CPU cores, three seeds of four runs.
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
from latentjax import augment, data, objectives
from latentjax.data.transforms import to_float
from latentjax.losses.contrastive import l2_normalize, nt_xent
from latentjax.training import train

PAPERS = {279: "Random Field Augmentations for Self-Supervised Representation Learning"}
FUNCTIONS = (
  "augment.random_field_augment",
  "augment.gaussian_random_field",
  "augment.local_warp",
  "augment.local_color",
)
QUICK = {"steps": 30, "seeds": 2, "probe_examples": 500, "strengths": "0,1,8"}
ABSTRACT = "Mansfield et al. 2023, abstract; on other data"
SHAPE = (14, 14, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 400
  batch_size: int = 128
  seeds: int = 3
  schedule: str = "cosine"
  strengths: str = "0,1,3,8"
  """Factors of the fields' standard deviations; 0, 1 and 8 are what the claims need."""
  gamma: float = 5.0
  """Slope of the fields' spectrum."""
  temperature: float = 0.2
  """Of NT-Xent."""
  probe_examples: int = 5000
  """Labelled images for the probe, and test images."""


def shrink(image: jax.Array) -> jax.Array:
  """Means of 2 x 2 pixels, (..., 28, 28, 1) to (..., 14, 14, 1)."""
  return jnp.mean(image.reshape(*image.shape[:-3], 14, 2, 14, 2, 1), axis=(-4, -2))


def view(key: jax.Array, image: jax.Array, *, strength: float, gamma: float) -> jax.Array:
  """Shifted and stretched as in every run, then changed by the fields."""
  key_place, key_field = jax.random.split(key)
  image = ssl.jitter_place(key_place, image)
  if strength == 0:
    return image
  fields = partial(augment.random_field_augment, gamma=gamma, strength=strength, max_frequency=4)
  return fields(key_field, jnp.clip(image, 0, 1))


def transform(view_fn: ssl.Augment, key: jax.Array, example: Any) -> Any:
  """Two views of a small image."""
  image = shrink(to_float(None, example)["image"])
  return ssl.two_views(key, {"image": image}, augment=view_fn)


def probe_sets(config: Config) -> tuple[ssl.Images, ssl.Images]:
  """Images that the probe learns from and is tested on."""
  load = lambda name: data.load(
    "mnist", split=f"{name}[:{config.probe_examples}]", data_dir=config.data_dir
  )
  parts = [ssl.images(load(name)) for name in ("train", "test")]
  return parts[0]._replace(x=shrink(parts[0].x)), parts[1]._replace(x=shrink(parts[1].x))


def run(config: Config) -> Outcome:
  """Train at every strength, probe, draw what the fields do and what it is worth."""
  mnist = data.load("mnist", split="train", data_dir=config.data_dir)
  parts = probe_sets(config)
  networks = ssl.networks(SHAPE, layers=(256,), axis_name=config.axis_name)
  loss = lambda z_1, z_2: nt_xent(
    l2_normalize(z_1), l2_normalize(z_2), temperature=config.temperature, axis_name=config.axis_name
  )
  objective = objectives.two_view(networks.embed_fn, loss).objective
  found, rows = {}, []
  strengths = [float(s) for s in config.strengths.split(",")]
  for strength in strengths:
    view_fn = partial(view, strength=strength, gamma=config.gamma)
    result = train(
      objective,
      lambda key: (networks.init_fn(key), ()),
      config.optimizer(),
      mnist,
      config,
      config.folder / f"strength_{strength:g}",
      transform=partial(transform, view_fn),
      name=f"strength {strength:g}",
    )
    measure = lambda params: ssl.measure(networks.features_fn, params, *parts)
    by_name = config.each_seed(measure)(result.state.eval_params)
    found[strength] = {name: np.asarray(value) for name, value in by_name.items()}
    print(strength, {name: np.round(value, 4).tolist() for name, value in found[strength].items()})
    views = jax.jit(jax.vmap(view_fn))(jax.random.split(jax.random.key(5), 14), parts[1].x[:14])
    rows.append(np.asarray(views))
  draw(config, strengths, np.asarray(parts[1].x[:14]), rows, found)
  percent = {s: 100 * by["linear"] for s, by in found.items()}
  claims = [
    Claim(
      f"probe accuracy: strength 1 minus strength {other}",
      0.0,
      gain,
      ABSTRACT,
      "at least",
      unit="%",
    )
    for other, gain in ((0, percent[1] - percent[0]), (8, percent[1] - percent[8]))
  ]
  details = {f"{s:g}": {k: v.tolist() for k, v in by.items()} for s, by in found.items()}
  return Outcome(claims, details)


def draw(
  config: Config,
  strengths: list[float],
  x: np.ndarray,
  rows: list[np.ndarray],
  found: dict[float, Any],
) -> None:
  """Save views at every strength, and accuracy by strength."""
  labels = ["test image", *(f"strength {s:g}" for s in strengths)]
  pictures.image_grid(config.folder / "views.png", [x, *rows], labels=labels, title="Views")
  at = np.arange(len(strengths))
  lines = {
    name: (at, 100 * np.stack([found[s][key] for s in strengths]))
    for name, key in {"linear probe": "linear", "20 neighbours": "knn"}.items()
  }
  text = {"x_label": f"strength: {config.strengths}", "y_label": "accuracy (%)"}
  pictures.curves(config.folder / "accuracy.png", lines, title="Features by field strength", **text)
