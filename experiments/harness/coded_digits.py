"""MNIST as discrete codes, by an auto-encoder that is trained first, and samples of codes as images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import denoising, quality, tokens
from experiments.harness.config import Config
from latentjax.diffusion.discrete import DiscreteProcess, ancestral, draw_prior
from latentjax.losses.score import discrete_loss
from latentjax.objectives import quantized_autoencoder
from latentjax.quantizers import Quantized
from latentjax.training import make_optimizer, make_schedule, train

BATCH = 500

PredictFn = Callable[[Any, jax.Array, jax.Array, Any], jax.Array]


class CodedDigits(NamedTuple):
  """Digits as codes (N, ...), and what is needed to look at codes.

  Attributes:
    train: of training images.
    test: of the test images.
    decode: `(codes) -> images` (N, 28, 28, 1) in [-1, 1].
    judge: a classifier of digits.
    reference: its features of the first decoded test codes.
    floor: Frechet distance to the reference of as many decoded training codes.
  """

  train: np.ndarray
  test: np.ndarray
  decode: Callable[[Any], np.ndarray]
  judge: quality.Judge
  reference: np.ndarray
  floor: float

  def frechet(self, codes: Any) -> float:
    """Distance of the features of decoded codes to the reference."""
    return quality.quality(self.decode(codes), None, self.judge, self.reference)["frechet"]


def encode(
  config: Config,
  networks: tokens.Networks,
  init_fn: Callable[[jax.Array], tuple[Any, Any]],
  quantize_fn: Callable[..., tuple[Quantized, Any]],
  *,
  codes_of: Callable[[Quantized], jax.Array],
  vectors_of: Callable[[Any, jax.Array], jax.Array],
  steps: int,
  num_train: int,
  num_test: int,
  num_reference: int,
) -> CodedDigits:
  """Train the auto-encoder, one for all seeds, and the judge; encode MNIST.

  Args:
    config: flags; the folder holds both.
    networks: of images (B, 28, 28, 1) in [-1, 1].
    init_fn: `(key) -> (parameters, state)` of the quantizer.
    quantize_fn: as `quantized_autoencoder` takes it; its own parameters are params["quantizer"].
    codes_of: codes (B, ...) of what quantize_fn returns without noise.
    vectors_of: `(state, codes) -> z_q`, as the decoder takes it.
    steps: of the auto-encoder.
    num_train: images to learn from and to encode, a multiple of 500.
    num_test: test images, a multiple of 500.
    num_reference: of them, those that the reference is made of.
  """
  counts = {"train": num_train, "test": num_test}
  sets = {split: denoising.images("mnist", split, config, count=n) for split, n in counts.items()}
  judge = quality.fit_judge(
    *sets["train"], config.folder / "judge", steps=50 if config.quick else 1200
  )
  model = quantized_autoencoder(networks.encode_fn, networks.decode_fn, quantize_fn)

  def init(key: jax.Array) -> tuple[Any, Any]:
    own, state = init_fn(jax.random.fold_in(key, 1))
    return networks.init_fn(key) | {"quantizer": own}, state

  fitted = train(
    model.objective,
    init,
    make_optimizer(make_schedule("cosine", 3e-3, num_steps=steps)),
    sets["train"].dataset,
    dataclasses.replace(config, steps=steps, seeds=1, ema_decay=None, batch_size=64),
    config.folder / "autoencoder",
    name="autoencoder",
  ).state
  look = jax.jit(lambda x: codes_of(model.encode(fitted.params, fitted.model_state, x)))
  paint = jax.jit(lambda codes: model.decode(fitted.params, vectors_of(fitted.model_state, codes)))
  codes = {
    split: np.concatenate([np.asarray(look(x)) for x in batches(digits.x)])
    for split, digits in sets.items()
  }
  decode = lambda codes: np.clip(np.concatenate([paint(rows) for rows in batches(codes)]), -1, 1)
  reference = judge.features(decode(codes["test"][:num_reference]))
  made = CodedDigits(codes["train"], codes["test"], decode, judge, reference, np.nan)
  return made._replace(floor=made.frechet(codes["train"][:num_reference]))


def batches(rows: Any) -> list[Any]:
  """Slices of 500 rows."""
  return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def test_bound(
  params: Any,
  predict_fn: PredictFn,
  codes: jax.Array,
  *,
  process: DiscreteProcess,
  num_steps: int,
) -> jax.Array:
  """The variational bound of codes, one time each, in nats per token."""
  predict = lambda x_t, t: predict_fn(params, x_t, t, None)
  loss = discrete_loss(jax.random.key(7), predict, codes, process=process, num_steps=num_steps)
  return jnp.mean(loss.bound) / (codes.size / len(codes))


def sample(
  params: Any,
  predict_fn: PredictFn,
  shape: tuple[int, ...],
  *,
  process: DiscreteProcess,
  num_steps: int,
) -> jax.Array:
  """Codes (N, ...) in this many steps."""
  key_start, key_steps = jax.random.split(jax.random.key(8))
  predict = lambda x_t, t: predict_fn(params, x_t, jnp.full(x_t.shape[:1], t), None)
  start = draw_prior(key_start, shape=shape, process=process)
  times = jnp.linspace(1.0, 0.0, num_steps + 1)
  return ancestral(key_steps, predict, start, process=process, times=times)
