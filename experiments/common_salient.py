"""What two sets of pictures share, and what only one of them has: digits, and shapes laid over digits.

Claim (Louiset et al. 2024, SepCLR): contrastive encoders of a common and a salient space, trained on a
background and a target set, put what both have into the one and what only the target has into the other;
without the joint-entropy term (k-JEM) one leaks into the other.
Command: python -m experiments common_salient
Expected, set after a short run of one seed, of linear probes on the target: digit from the common space at
least 0.6 right, shape from the salient space at least 0.7; each 0.3 above the same probe on the other space;
the leak, which is the accuracy on shapes from common plus that on digits from salient, at least 0.05 more
without the joint-entropy term. (The paper's figures are of CIFAR-10 under MNIST digits.)
Time: about a minute on two CPU cores, three seeds of two models.
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
from experiments.harness import Claim, Outcome, pictures, probe, shapes
from latentjax import data
from latentjax.collectives import row_offset
from latentjax.losses.contrastive import l2_normalize, sepclr_terms
from latentjax.models import MLP
from latentjax.training import train

PAPERS = {195: "Separating common from salient patterns with Contrastive Representation Learning"}
FUNCTIONS = ("losses.contrastive.sepclr_terms", "losses.contrastive.joint_entropy_loss")
QUICK = {"steps": 40, "num_train": 500}
PAPER = "Louiset et al. 2024, abstract; the number is set here"
SHAPES = 4  # small or large, filled or outlined


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1500
  batch_size: int = 128
  seeds: int = 3
  schedule: str = "cosine"
  num_train: int = 8000
  """Pictures to train on, half of them of the background."""
  common_dim: int = 16
  """Dimensions of the common space."""
  salient_dim: int = 4
  """Dimensions of the salient space."""
  lambda_salient: float = 1000.0
  """Weight of the salient term; of the common one it is 1. All are the authors' on CIFAR-10."""
  lambda_background: float = 1000.0
  """Weight of pulling the background to 0."""
  lambda_joint: float = 10.0
  """Weight of the joint-entropy term."""
  block_size: int | None = harness.free(None)
  """Rows of a block of pairwise scores; with --parallel=pmap the blocks go round the devices."""


def make_pictures(digits: data.Dataset, count: int, *, seed: int) -> dict[str, np.ndarray]:
  """Digits of 16 x 16 pixels, under a shape in the second half."""
  rng = np.random.default_rng(seed)
  rows = rng.integers(len(digits.arrays["image"]), size=count)
  digit = digits.arrays["image"][rows, ..., 0].astype(np.float32) / 255
  digit = np.asarray(jax.image.resize(digit, (count, shapes.SIDE, shapes.SIDE), "linear"))[
    ..., None
  ]
  is_target = np.arange(count) >= count // 2
  over = shapes.make_shapes(count, seed=seed, allowed=shapes.CLASSES[shapes.CLASSES[:, 3] == 1])
  image = 0.4 * digit + 0.6 * over.image * is_target[:, None, None, None]
  return {
    "image": image.astype(np.float32),
    "is_target": is_target,
    "digit": digits.arrays["label"][rows].astype(np.int32),
    "shape": 2 * over.attributes[:, 1] + over.attributes[:, 2],
  }


def make_view(key: jax.Array, image: jax.Array) -> jax.Array:
  """Moved by up to a pixel either way, of another contrast, and noisy; of one picture."""
  key_move, key_level, key_noise = jax.random.split(key, 3)
  moved = jnp.roll(image, jax.random.randint(key_move, (2,), -1, 2), axis=(0, 1))
  level = jax.random.uniform(key_level, minval=0.7, maxval=1.3)
  return level * moved + 0.1 * jax.random.normal(key_noise, image.shape)


def make_networks(config: Config) -> tuple[Callable, Callable]:
  """`init_fn(key)` and `encode(params, image) -> (common, salient)`."""
  nets = {"common": MLP(config.common_dim, (256,)), "salient": MLP(config.salient_dim, (256,))}
  of = lambda k, params, x: nets[k].apply({"params": params[k]}, x.reshape(len(x), -1))

  def init_fn(key: jax.Array) -> tuple[Any, Any]:
    keys = zip(nets, jax.random.split(key))
    return {k: nets[k].init(v, jnp.zeros((1, shapes.SIDE**2)))["params"] for k, v in keys}, ()

  return init_fn, lambda params, image: (
    l2_normalize(of("common", params, image)),
    of("salient", params, image),
  )


def make_objective(config: Config, encode: Callable, lambda_joint: float) -> Callable:
  """Weighted sum of the terms, on two views of every picture."""

  def objective(params: Any, state: Any, key: jax.Array, batch: Any) -> Any:
    image, rows = batch["image"], jnp.arange(len(batch["image"]))
    rows += row_offset(len(image), config.axis_name)  # a picture's keys do not depend on the split
    of_row = lambda key, row, x: make_view(jax.random.fold_in(key, row), x)
    views = [jax.vmap(partial(of_row, k))(rows, image) for k in jax.random.split(key)]
    (c_1, s_1), (c_2, s_2) = (encode(params, view) for view in views)
    run = {"axis_name": config.axis_name, "block_size": config.block_size}
    terms = sepclr_terms(c_1, c_2, s_1, s_2, batch["is_target"], **run)
    loss = terms.common + config.lambda_salient * terms.salient
    loss += config.lambda_background * terms.background + lambda_joint * terms.joint
    return loss, (state, terms._asdict())

  return objective


def measure(encode: Callable, train_set: Any, test: Any, params: Any) -> dict[str, jax.Array]:
  """Accuracy of linear probes for digit and shape, on both spaces of target pictures."""
  found = {}
  spaces = zip(("common", "salient"), *(encode(params, x["image"]) for x in (train_set, test)))
  for space, z, z_test in spaces:
    for what, num_classes in (("digit", 10), ("shape", SHAPES)):
      fit = probe.fit_classifier(
        jax.random.key(4), z, jnp.asarray(train_set[what]), num_classes=num_classes
      )
      guess = jnp.argmax(fit(z_test), axis=1)
      found[f"{what} from {space}"] = jnp.mean(guess == test[what])
  return found


def run(config: Config) -> Outcome:
  """Train with and without the joint-entropy term; probe."""
  load = lambda split: data.load("digits", split=split, data_dir=config.data_dir)
  made = make_pictures(load("train"), config.num_train, seed=1)
  test = make_pictures(load("test"), 3000, seed=2)
  of_target = lambda rows: {k: v[rows["is_target"]] for k, v in rows.items()}
  init_fn, encode = make_networks(config)
  found = {}
  for name, weight in {"SepCLR": config.lambda_joint, "without joint entropy": 0.0}.items():
    params = train(
      make_objective(config, encode, weight),
      init_fn,
      config.optimizer(),
      data.load({k: made[k] for k in ("image", "is_target")}),
      config,
      config.folder / name.replace(" ", "_"),
      name=name,
    ).state.eval_params
    evaluate = config.each_seed(lambda p: measure(encode, of_target(made), of_target(test), p))
    found[name] = {k: np.asarray(v) for k, v in evaluate(params).items()}
  half = config.num_train // 2
  pictures.image_grid(
    config.folder / "data.png",
    [made["image"][:12], made["image"][half : half + 12]],
    labels=["background", "target"],
    title="Digits, and digits under shapes",
  )
  full = found["SepCLR"]
  leak = {k: v["shape from common"] + v["digit from salient"] for k, v in found.items()}
  table = [
    ("digit from common", 0.6, full["digit from common"]),
    ("shape from salient", 0.7, full["shape from salient"]),
    ("digit: common minus salient", 0.3, full["digit from common"] - full["digit from salient"]),
    ("shape: salient minus common", 0.3, full["shape from salient"] - full["shape from common"]),
    ("leak without joint entropy minus with", 0.05, leak["without joint entropy"] - leak["SepCLR"]),
  ]
  return Outcome(
    [Claim(*row, PAPER, "at least", unit="") for row in table],
    {name: {k: v.tolist() for k, v in values.items()} for name, values in found.items()},
  )
