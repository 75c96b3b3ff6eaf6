"""Self-supervised learning on images: two views, networks, and what the features are worth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.harness.probe import fit_classifier
from latentjax.data import Dataset
from latentjax.data.transforms import to_float
from latentjax.losses.contrastive import l2_normalize, uniformity
from latentjax.metrics import effective_rank, knn_predict, relative_scale
from latentjax.models import MLP, BatchNormMLP

Augment = Callable[[jax.Array, jax.Array], jax.Array]


class Networks(NamedTuple):
  """Encoder, projector and predictor as functions of one parameter tree.

  Attributes:
    init_fn: `(key) -> params`.
    features_fn: `(params, x) -> features` of the encoder alone, which is what is kept, shape (B, F).
    embed_fn: `(params, x) -> embeddings` after the projector, shape (B, D).
    predict_fn: `(params, z) -> predictions`, shape (B, D).
  """

  init_fn: Callable[[jax.Array], Any]
  features_fn: Callable[[Any, jax.Array], jax.Array]
  embed_fn: Callable[[Any, jax.Array], jax.Array]
  predict_fn: Callable[[Any, jax.Array], jax.Array]


def networks(
  image_shape: tuple[int, ...],
  *,
  layers: tuple[int, ...] = (512,),
  features: int = 128,
  hidden: int = 256,
  dim: int = 64,
  axis_name: str | None = None,
) -> Networks:
  """Fully connected encoder, with features that are not negative; projector and predictor."""
  encoder = MLP(features, layers)
  projector = BatchNormMLP(dim, (hidden,), axis_name=axis_name)
  predictor = BatchNormMLP(dim, (hidden,), axis_name=axis_name)

  def init_fn(key: jax.Array) -> dict[str, Any]:
    keys = jax.random.split(key, 3)
    plain = BatchNormMLP(
      dim, (hidden,)
    )  # the same parameters, and no mapped axis while they are made
    return {
      "encoder": encoder.init(keys[0], jnp.zeros((1, math.prod(image_shape))))["params"],
      "projector": plain.init(keys[1], jnp.zeros((1, features)))["params"],
      "predictor": plain.init(keys[2], jnp.zeros((1, dim)))["params"],
    }

  def apply(module: Any, name: str) -> Callable[[Any, jax.Array], jax.Array]:
    return lambda params, x: module.apply({"params": params[name]}, x)

  encode_fn, project_fn = apply(encoder, "encoder"), apply(projector, "projector")
  features_fn = lambda params, x: jax.nn.relu(encode_fn(params, x.reshape(len(x), -1)))
  embed_fn = lambda params, x: project_fn(params, features_fn(params, x))
  return Networks(jax.jit(init_fn), features_fn, embed_fn, apply(predictor, "predictor"))


def jitter_place(
  key: jax.Array, image: jax.Array, *, stretch: float = 0.3, shift: float = 0.15
) -> jax.Array:
  """Height and width stretched by up to e^stretch either way, and a shift by a share of the image."""
  key_stretch, key_shift = jax.random.split(key)
  size = jnp.array(image.shape[:2])
  zoom = jnp.exp(jax.random.uniform(key_stretch, (2,), minval=-stretch, maxval=stretch))
  moved = jax.random.uniform(key_shift, (2,), minval=-shift, maxval=shift) * size
  return jax.image.scale_and_translate(
    image, image.shape, (0, 1), zoom, moved + size * (1 - zoom) / 2, "linear", antialias=False
  )


def two_views(
  key: jax.Array, example: dict[str, jax.Array], *, augment: Augment = jitter_place
) -> dict[str, jax.Array]:
  """Transform of an example that puts "view_1" and "view_2" in the place of its image."""
  image = to_float(None, example)["image"]
  views = jax.vmap(augment, (0, None))(jax.random.split(key), image)
  rest = {name: value for name, value in example.items() if name != "image"}
  return rest | {"view_1": views[0], "view_2": views[1]}


class Images(NamedTuple):
  """Images in [0, 1], float32 (N, H, W, C), and their classes, int32 (N,)."""

  x: jax.Array
  labels: jax.Array


def images(dataset: Dataset, num_examples: int | None = None) -> Images:
  """The first images of a data set that fits in memory."""
  assert dataset.arrays is not None, "the data set fits in memory"
  rows = slice(num_examples)
  x, labels = dataset.arrays["image"][rows], dataset.arrays["label"][rows]
  return Images(jnp.asarray(x, jnp.float32) / 255, jnp.asarray(labels, jnp.int32))


def measure(
  features_fn: Callable[[Any, jax.Array], jax.Array],
  params: Any,
  train: Images,
  test: Images,
  *,
  num_classes: int = 10,
  num_neighbours: int = 20,
) -> dict[str, jax.Array]:
  """Accuracy of a linear probe and of nearest neighbours on the features, and signs of collapse.

  The probe is a softmax classifier on standardised features, 1,000 Adam steps of 256 rows; neighbours
  vote by cosine. All of `train` is what they learn from; every number is of `test`.
  """
  h_train, h_test = (
    jax.lax.map(lambda x: features_fn(params, x[None])[0], part.x, batch_size=500)
    for part in (train, test)
  )
  probe = fit_classifier(jax.random.key(7), h_train, train.labels, num_classes=num_classes)
  neighbours = knn_predict(
    h_test, h_train, train.labels, num_classes=num_classes, num_neighbours=num_neighbours
  )
  unit = l2_normalize(h_test)
  return {
    "linear": jnp.mean(jnp.argmax(probe(h_test), axis=1) == test.labels),
    "knn": jnp.mean(neighbours == test.labels),
    "rank": effective_rank(h_test - jnp.mean(h_test, axis=0)),
    "scale": relative_scale(h_test),
    "uniformity": uniformity(unit, block_size=1000),
  }
