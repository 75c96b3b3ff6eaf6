"""Diffusion models with a condition on MNIST at 14 x 14: data and their judge, training, samples, probes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import config
from experiments.harness.denoising import Images, images
from experiments.harness.probe import fit_classifier
from experiments.harness.quality import Judge, fit_judge
from latentjax.diffusion import samplers
from latentjax.diffusion.processes import Process
from latentjax.metrics import frechet_distance
from latentjax.training import train

SHAPE = (14, 14, 1)
QUICK = {
  "steps": 8,
  "warmup_steps": 0,
  "seeds": 2,
  "num_train": 512,
  "num_test": 64,
  "num_samples": 64,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config.Config):
  """Flags that these experiments share."""

  steps: int = 1000
  batch_size: int = 128
  seeds: int = 3
  learning_rate: float = 2e-3
  schedule: str = "cosine"
  warmup_steps: int = 50
  ema_decay: float | None = 0.99
  latent_dim: int = 16
  """Numbers of a code."""
  width: int = 192
  """Of the denoiser's two layers."""
  num_train: int = 20_000
  """Images to learn from."""
  num_test: int = 4_000
  """Images to compare with."""
  num_samples: int = 2_000
  """Samples of every model."""
  sampling_steps: int = 25
  """From noise to data."""


class Digits(NamedTuple):
  """Images, and what judges samples of them.

  Attributes:
    train: to learn from.
    test: to compare with.
    judge: a classifier.
    reference: its features of the test images.
  """

  train: Images
  test: Images
  judge: Judge
  reference: np.ndarray

  def frechet(self, samples: Any) -> np.ndarray:
    """Frechet distance of samples to the test images in the judge's features, (R, N, ...) to (R,)."""
    features = (self.judge.features(replica) for replica in np.asarray(samples))
    return np.array([float(_frechet(each, self.reference)) for each in features])


_frechet = jax.jit(frechet_distance)


def load_digits(config: Config) -> Digits:
  """The first images of both splits, and a judge that has seen the training images."""
  learn = images("mnist", "train", config, side=14, count=config.num_train)
  test = images("mnist", "test", config, side=14, count=config.num_test)
  steps = {"steps": 5} if config.quick else {}
  judge = fit_judge(learn.x, learn.labels, config.folder / "judge", **steps)
  return Digits(learn, test, judge, judge.features(test.x))


def fit(config: Config, name: str, objective: Any, init_fn: Callable, digits: Digits) -> Any:
  """Train all replicas; their parameters, averaged if the config says so."""
  state = train(
    objective,
    lambda key: (init_fn(key), ()),
    config.optimizer(),
    digits.train.dataset,
    config,
    config.folder / name,
    name=name,
  ).state
  return state.eval_params


def draw(
  key: jax.Array,
  denoise_fn: Callable[[jax.Array, jax.Array], jax.Array],
  *,
  count: int,
  process: Process,
  num_steps: int,
  sampler: Callable[..., jax.Array] = samplers.ddim,
  start: Any = 0.0,
) -> jax.Array:
  """Images (count, 14, 14, 1) from noise around `start`, in steps of equal length."""
  key_init, key_steps = jax.random.split(key)
  x = start + jax.random.normal(key_init, (count, *SHAPE))
  times = jnp.linspace(1.0, 0.0, num_steps + 1)
  return sampler(key_steps, denoise_fn, x, process=process, times=times)


def probe(codes: jax.Array, digits: Digits, codes_test: jax.Array) -> jax.Array:
  """Test accuracy of a linear classifier of the digit's class, from codes (N, Z)."""
  labels = jnp.asarray(digits.train.labels[: len(codes)])
  steps = {"steps": 600, "learning_rate": 0.1}  # as far as a solver for convex problems gets
  read = fit_classifier(jax.random.key(6), codes, labels, num_classes=10, **steps)
  return jnp.mean(jnp.argmax(read(codes_test), axis=1) == digits.test.labels[: len(codes_test)])
