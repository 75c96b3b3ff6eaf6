"""A class-conditional diffusion model of digits is a classifier: the class is what denoises best.

Claim (Li et al. 2023): the class under which a conditional model predicts the noise with the least error,
over evenly spread times, comes near to what discriminative classifiers achieve (abstract, of ImageNet). All
classes must see the same times and noise, since draws differ more than classes do; and most classes can be
given up after a few draws at no loss.
Command: python -m experiments diffusion_classifier
Expected: at least 95 % of the test digits right, at most 0.03 less than of a softmax classifier with one
hidden layer trained on the same images; the variance of the difference of two classes' errors with shared
noise at most a quarter of that with noise of their own; with 16 draws at least 0.05 more right; elimination
in three stages finds the class of the full table for at least 98 %, with at most 0.4 of its predictions
(0.33 by design).
Protocol: 8 x 8 pixels, 1,500 training images, 297 test images; a residual network of vectors predicts v.
Times are in [0.02, 0.98] in the order of the golden ratio, so that any first few are evenly spread, with
one draw each. Variances are among draws at one time; the first run took them over all times, where most of
the difference is that of the times themselves, with shared noise or not (0.72).
Note: two claims fail, whose numbers were set here and not by the paper, while their directions are the
paper's: the ratio of variances is 0.40, and with 16 draws both kinds of noise are near the ceiling (0.990
and 0.983), where 0.05 is not to be had; with one draw it is 0.960 and 0.907.
Time: about three minutes on one CPU core, three seeds.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, denoising, pictures
from experiments.harness.probe import fit_classifier
from latentjax.diffusion import processes
from latentjax.diffusion.classification import class_errors, eliminate_classes
from latentjax.models import DenoisingMLP
from latentjax.objectives import diffusion
from latentjax.training import train

PAPERS = {24: "Your Diffusion Model is Secretly a Zero-Shot Classifier"}
FUNCTIONS = (
  "diffusion.classification.class_errors",
  "diffusion.classification.eliminate_classes",
  "objectives.diffusion",
)
QUICK = {"steps": 20, "warmup_steps": 5, "seeds": 2, "draws": 32, "num_images": 40}
PAPER = "Li et al. 2023"
PROCESS = processes.vp_cosine()
FEW = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 3000
  batch_size: int = 128
  seeds: int = 3
  learning_rate: float = 1e-3
  schedule: str = "cosine"
  warmup_steps: int = 100
  ema_decay: float | None = 0.995
  draws: int = 64
  """Times, each with a draw of noise, at which classes are tried."""
  num_images: int = 297
  """Test images."""


def spread_times(count: int) -> np.ndarray:
  """Times whose first few, however many, are evenly spread."""
  return np.float32(0.02 + 0.96 * ((0.5 + np.arange(count) * 0.6180339887) % 1))


def run(config: Config) -> Outcome:
  """Train, classify the test images in three ways, count."""
  sets = {split: denoising.images("digits", split, config) for split in ("train", "test")}
  test = sets["test"].take(slice(config.num_images))
  network = denoising.bind(DenoisingMLP(128, 3, 10), test.x.shape[1:], np.int32(0))
  model = diffusion(network.predict_fn, process=PROCESS, prediction="v", condition="label")
  fitted = train(
    model.objective,
    lambda key: (network.init_fn(key), ()),
    config.optimizer(),
    sets["train"].dataset,
    config,
    config.folder / "model",
    name="denoiser",
  )
  measure = partial(classify, network.predict_fn, test, config.draws)
  found = jax.tree.map(np.asarray, config.each_seed(measure)(fitted.state.eval_params))
  baseline = np.array([discriminative(sets["train"], test, seed) for seed in range(config.seeds)])
  draw(config, found)
  details = {name: v.mean(0).tolist() for name, v in found.items()}
  return Outcome(claims(found, baseline), details | {"discriminative": baseline.tolist()})


def classify(
  predict_fn: Any, test: denoising.Images, draws: int, params: Any
) -> dict[str, jax.Array]:
  """Accuracies and variances over the test images."""
  key, x, labels = jax.random.key(1), jnp.asarray(test.x), jnp.asarray(test.labels)
  times = spread_times(draws)
  predict = lambda z, t, y: predict_fn(params, z, t, y)
  given = {"num_classes": 10, "process": PROCESS, "prediction": "v"}

  def one_by_one(seed: int, shared_noise: bool) -> jax.Array:
    """Errors of every time by itself, (T, B, C)."""
    at = lambda inputs: class_errors(
      inputs[1], predict, x, times=inputs[0][None], shared_noise=shared_noise, **given
    )
    return jax.lax.map(at, (jnp.asarray(times), jax.random.split(jax.random.key(seed), draws)))

  def accuracy(errors: jax.Array) -> jax.Array:
    """After each number of draws, (T,)."""
    return jnp.mean(jnp.argmin(jnp.cumsum(errors, axis=0), axis=-1) == labels, axis=1)

  shared, own = one_by_one(1, True), one_by_one(1, False)
  rival = jnp.argsort(shared.mean(0), axis=1)[:, :2]  # the two best: what there is to decide

  def scatter(first: jax.Array, second: jax.Array) -> jax.Array:
    """Variance of the rivals' difference among draws at one time, from two of them."""
    best, next_best = (
      jnp.take_along_axis(first - second, rival[None, :, i : i + 1], axis=2) for i in (0, 1)
    )
    return jnp.mean(jnp.square(best - next_best)) / 2

  spread = scatter(shared, one_by_one(2, True)), scatter(own, one_by_one(2, False))
  stages = [(times[: draws // 8], 4), (times[draws // 8 : draws // 4], 2), (times[draws // 4 :], 1)]
  best, _ = eliminate_classes(key, predict, x, stages=stages, **given)
  full = jnp.argmin(shared.mean(0), axis=1)
  calls = sum(len(t) * n for (t, _), n in zip(stages, (10, 4, 2)))
  return {
    "shared": accuracy(shared),
    "own": accuracy(own),
    "variance_ratio": spread[0] / spread[1],
    "agreement": jnp.mean(best[:, 0] == full),
    "eliminated": jnp.mean(best[:, 0] == labels),
    "calls": jnp.float32(calls / (10 * draws)),
  }


def discriminative(train_set: denoising.Images, test: denoising.Images, seed: int) -> float:
  """Accuracy of a softmax classifier with one hidden layer."""
  fit = fit_classifier(
    jax.random.key(seed),
    jnp.asarray(train_set.x),
    jnp.asarray(train_set.labels),
    num_classes=10,
    hidden=128,
  )
  return float(np.mean(np.argmax(fit(jnp.asarray(test.x)), axis=1) == test.labels))


def claims(found: dict[str, np.ndarray], baseline: np.ndarray) -> list[Claim]:
  """What the paper says, of digits."""
  accuracy = found["shared"][:, -1]
  few = min(FEW, found["shared"].shape[1]) - 1
  claim = partial(Claim, published=PAPER, unit="")
  return [
    claim("accuracy of the diffusion classifier", 0.95, accuracy, relation="at least"),
    claim("that less a discriminative one's", -0.03, accuracy - baseline, relation="at least"),
    claim(
      "variance of differences of errors, shared noise over own",
      0.25,
      found["variance_ratio"],
      relation="at most",
    ),
    claim(
      f"accuracy with {FEW} draws, shared noise less own",
      0.05,
      found["shared"][:, few] - found["own"][:, few],
      relation="at least",
    ),
    claim(
      "elimination: share of images with the full table's class",
      0.98,
      found["agreement"],
      relation="at least",
    ),
    claim("elimination: share of the predictions", 0.4, found["calls"], relation="at most"),
  ]


def draw(config: Config, found: dict[str, np.ndarray]) -> None:
  """Accuracy against the number of draws."""
  count = np.log2(1 + np.arange(found["shared"].shape[1]))
  lines = {f"{name} noise": (count, found[name].T) for name in ("shared", "own")}
  pictures.curves(
    config.folder / "accuracy.png",
    lines,
    title="digits: accuracy of the diffusion classifier",
    x_label="log2 draws",
    y_label="accuracy",
  )
