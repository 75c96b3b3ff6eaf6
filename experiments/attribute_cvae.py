"""Conditional VAE on pictures of shapes: samples have the attributes asked for, z has none of them.

Claim (Debbagh 2023, who shows it by pictures of faces and birds): a conditional VAE generates samples with
the attributes asked for, and exchanging an attribute at fixed z changes that attribute alone. Here
classifiers judge, trained on real pictures.
Command: python -m experiments attribute_cvae
Expected, set before measuring: all four requested attributes in at least 95 % of the samples; after a swap
the new attribute in at least 95 %, each other one kept in at least 95 %, the position with R^2 of 0.9; a
linear probe of z at most 0.1 above chance.
Time: about two minutes on two CPU cores, two seeds.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures, probe, shapes
from experiments.harness.conditional import conditional_mlp
from latentjax import data, objectives
from latentjax.densities import gaussian
from latentjax.training import train

PAPERS = {
  190: "Learning Structured Output Representations from Attributes using Deep Conditional "
  "Generative Models"
}
FUNCTIONS = ("objectives.conditional_vae",)
QUICK = {"steps": 200, "num_train": 2000}
NAMES, NUM_VALUES = list(shapes.ATTRIBUTES), shapes.NUM_VALUES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 8000
  seeds: int = 2
  schedule: str = "cosine"
  beta: float = 1.0
  """Weight of the divergence."""
  latent_dim: int = 6
  """Dimensions of the latent space."""
  hidden: int = 256
  """Units of each of the two hidden layers each way."""
  num_train: int = 20_000
  """Pictures to train on."""


def run(config: Config) -> Outcome:
  """Train; ask the classifier about samples and swaps; probe z; draw a picture."""
  train_set = shapes.make_shapes(config.num_train, seed=1)
  test_set = shapes.make_shapes(4000, seed=2)
  networks = conditional_mlp(
    train_set.image.shape[1:],
    sum(NUM_VALUES),
    config.latent_dim,
    hidden=(config.hidden, config.hidden),
    data_mean=train_set.image.mean(0),
    dtype=config.compute_dtype,
  )
  model = objectives.conditional_vae(
    networks.encode_fn,
    networks.decode_fn,
    latent_dim=config.latent_dim,
    beta=config.beta,
    axis_name=config.axis_name,
  )
  params = train(
    model.objective,
    lambda key: (networks.init_fn(key), ()),
    config.optimizer(),
    data.load({"image": train_set.image, "label": np.asarray(train_set.y)}),
    config,
    config.folder,
    name="attribute_cvae",
  ).state.eval_params
  classify = probe.fit_attributes(
    jax.random.key(3),
    jnp.asarray(train_set.image),
    jnp.asarray(train_set.attributes),
    num_values=NUM_VALUES,
    hidden=128,
    steps=200 if config.quick else 3000,
  )
  real = jnp.mean(classify(jnp.asarray(test_set.image)) == test_set.attributes.T, axis=1)
  found = config.each_seed(partial(judge, model, classify, test_set))(params)
  excess = config.each_seed(partial(leak, model, train_set, test_set))(params)
  draw(config, model, config.first_seed(params), test_set)
  new, kept, position = (
    found[k].reshape(config.seeds, -1).min(1) for k in ("new", "kept", "position")
  )
  by_name = lambda values: dict(zip(NAMES, np.atleast_2d(values).mean(0).tolist()))
  table = [
    ("share of samples with all four requested attributes", 0.95, found["requested"], "at least"),
    ("swaps that show the new attribute, worst of four", 0.95, new, "at least"),
    ("swaps that keep another attribute, worst of twelve", 0.95, kept, "at least"),
    ("R^2 of the position after a swap, worst of four", 0.9, position, "at least"),
    ("linear probe of z above chance, worst of four", 0.1, excess.max(1), "at most"),
  ]
  published = "Debbagh 2023, by eye; limit ours"
  return Outcome(
    claims=[Claim(*row[:3], published, row[3], unit="") for row in table],
    details={
      "classifier_on_real_pictures": by_name(real),
      "swap_shows_new_attribute": by_name(found["new"]),
      "probe_of_z_above_chance": by_name(excess),
    },
  )


def judge(
  model: objectives.ConditionalModel, classify: Any, test: shapes.Shapes, params: Any
) -> dict[str, jax.Array]:
  """What the classifier sees in samples and in swaps of one attribute at a time."""
  x = jnp.asarray(test.image)
  seen = classify(model.sample(params, jax.random.key(4), test.y))
  spread = jnp.sum((test.position - test.position.mean(0)) ** 2)
  new, kept, position = [], [], []
  for i in range(len(NAMES)):
    wanted = shapes.exchange(test.attributes, i)
    images = model.swap(params, x, test.y, jnp.asarray(shapes.one_hot(wanted)))
    right = jnp.mean(classify(images) == wanted.T, axis=1)
    new.append(right[i])
    kept.append(jnp.delete(right, i))
    position.append(1 - jnp.sum((shapes.centroid(images) - shapes.centroid(x)) ** 2) / spread)
  return {
    "requested": jnp.mean(jnp.all(seen == test.attributes.T, axis=0)),
    "new": jnp.stack(new),
    "kept": jnp.stack(kept),
    "position": jnp.stack(position),
  }


def leak(
  model: objectives.ConditionalModel, real: shapes.Shapes, test: shapes.Shapes, params: Any
) -> jax.Array:
  """Accuracy of a linear probe of z, a draw of q(z|x, y), above that of guessing."""
  encode = lambda some: model.encode(params, jnp.asarray(some.image), some.y)
  z, z_test = (gaussian.sample(jax.random.key(5), *encode(some)) for some in (real, test))
  return probe.above_chance(z, real.attributes, z_test, test.attributes, num_values=NUM_VALUES)


def draw(config: Config, model: objectives.ConditionalModel, params: Any, test: shapes.Shapes):
  """Pictures, and the same ones with one attribute after the other exchanged."""
  test = shapes.Shapes(*(array[:16] for array in test))
  new = [shapes.one_hot(shapes.exchange(test.attributes, i)) for i in range(len(NAMES))]
  swaps = [model.swap(params, jnp.asarray(test.image), test.y, y) for y in map(jnp.asarray, new)]
  pictures.image_grid(
    config.folder / "swaps.png",
    [test.image, *map(np.asarray, swaps), model.sample(params, jax.random.key(7), test.y)],
    labels=["test picture", *[f"other {name}" for name in NAMES], "sample, same attributes"],
    title="Attributes exchanged at the posterior mean of z; samples with the attributes of row one",
  )
