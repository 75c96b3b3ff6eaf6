"""Semi-supervised VAE M2: unlabelled digits make a classifier better.

Claim (Kingma et al. 2014, table 1; the model of Jang et al. 2017, with the class
summed out): with few labels a classifier trained inside the generative model M2, on labelled and unlabelled
images, errs less than the same network trained on the labels alone; on MNIST with 100 labels 11.97 % against
25.81 %.
Command: python -m experiments m2_digits
Expected: the error of the supervised network minus that of M2 on the 297 test digits at least 0.02, with 5
labels per class of the 8 x 8 digits (the other 1,450 training digits are unlabelled), over the seeds.
Protocol: half of every batch is labelled. Networks of one layer of 128 units; both run the same steps.
Time: about 1 minute on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import harness
from experiments.harness import Claim, Outcome, discrete, pictures
from latentjax import data
from latentjax.data.transforms import dynamic_binarize
from latentjax.models.mlp import MLPDecoder, MLPEncoder
from latentjax.objectives import m2_vae

PAPERS: dict[int, str] = {165: "Categorical Reparameterization with Gumbel-Softmax"}
FUNCTIONS = ("objectives.m2_vae",)
QUICK = {"steps": 50, "seeds": 2}
NUM_CLASSES, LATENT_DIM, SHAPE = 10, 8, (8, 8, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1500
  batch_size: int = 100
  seeds: int = 4
  labels_per_class: int = 5
  """Training digits of each class whose label is known."""
  label_weight: float = 5.0
  """Weight of the cross-entropy of a labelled row."""


classifier = MLPEncoder(NUM_CLASSES, (128,), "relu")
encoder = MLPEncoder(LATENT_DIM, (128,), "relu")
decoder = MLPDecoder(SHAPE, (128,), "relu")


def init_fn(key: jax.Array) -> dict[str, Any]:
  """Parameters of the three networks."""
  keys, x = jax.random.split(key, 3), jnp.zeros((1, 64))
  return {
    "classifier": classifier.init(keys[0], x),
    "encoder": encoder.init(keys[1], jnp.zeros((1, 64 + NUM_CLASSES))),
    "decoder": decoder.init(keys[2], jnp.zeros((1, LATENT_DIM + NUM_CLASSES))),
  }


def classify_fn(params: Any, x: jax.Array) -> jax.Array:
  """Logits of q(y|x)."""
  return classifier.apply(params["classifier"], x)[0]


def encode_fn(params: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and log_scale of q(z|x, y)."""
  return encoder.apply(params["encoder"], jnp.concatenate([x.reshape(-1, 64), y], axis=-1))


def decode_fn(params: Any, zy: jax.Array) -> tuple[jax.Array, ...]:
  """Logits of the pixels."""
  return decoder.apply(params["decoder"], zy)


def supervised(params: Any, model_state: Any, key: jax.Array, batch: Any) -> Any:
  """Cross-entropy of the labelled rows."""
  nll = optax.softmax_cross_entropy_with_integer_labels(
    classify_fn(params, batch["image"]), jnp.maximum(batch["label"], 0)
  )
  known = batch["label"] >= 0
  return jnp.sum(nll * known) / jnp.maximum(jnp.sum(known), 1), (model_state, {})


def error(x: jax.Array, labels: np.ndarray, params: Any) -> jax.Array:
  """Share of test digits classified wrongly."""
  return jnp.mean(jnp.argmax(classify_fn(params, x), axis=-1) != labels)


def run(config: Config) -> Outcome:
  """Train the classifier with and without the generative model and the unlabelled digits."""
  digits = data.load("digits", split="train", data_dir=config.data_dir)
  test = data.load("digits", split="test", data_dir=config.data_dir)
  images, labels = (np.asarray(digits.arrays[name]) for name in ("image", "label"))
  rank = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
  known = rank < config.labels_per_class
  few, rest = np.flatnonzero(known), np.flatnonzero(~known)
  rows = np.concatenate([rest, np.resize(few, len(rest))])  # half of the rows have a label
  arrays = {
    "image": images[rows],
    "label": np.where(known[rows], labels[rows], -1).astype(np.int32),
  }
  dataset = data.load(arrays, split="train")
  m2 = m2_vae(
    classify_fn,
    encode_fn,
    decode_fn,
    num_classes=NUM_CLASSES,
    label_weight=config.label_weight,
    axis_name=config.axis_name,
  )
  x, y = jnp.asarray(test.arrays["image"]) / 255, np.asarray(test.arrays["label"])
  errors = {}
  for name, objective in {"supervised": supervised, "m2": m2}.items():
    params = discrete.fit(config, name, objective, init_fn, dataset, transform=dynamic_binarize)
    errors[name] = np.asarray(config.each_seed(partial(error, x, y))(params))
  draw(config, config.first_seed(params))
  return Outcome(
    claims=[
      Claim(
        f"test error of a supervised network minus M2's, {config.labels_per_class} labels per class",
        expected=0.02,
        measured=errors["supervised"] - errors["m2"],
        published="Kingma et al. 2014",
        relation="at least",
        unit="",
      )
    ],
    details={"test_error": {name: e.tolist() for name, e in errors.items()}},
  )


def draw(config: Config, params: Any) -> None:
  """Save classes.png: a column for every class, a row for every draw of z."""
  z = jnp.repeat(jax.random.normal(jax.random.key(3), (8, LATENT_DIM)), NUM_CLASSES, axis=0)
  (logits,) = decode_fn(params, jnp.concatenate([z, jnp.tile(jnp.eye(10), (8, 1))], axis=-1))
  rows = np.split(np.asarray(jax.nn.sigmoid(logits)), 8)
  pictures.image_grid(config.folder / "classes.png", rows, title="Rows: z; columns: class")
