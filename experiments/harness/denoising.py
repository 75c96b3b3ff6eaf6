"""Diffusion models of small images: the data, a network bound to parameters, samples of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.config import Config
from latentjax import data
from latentjax.data import Dataset


class Images(NamedTuple):
  """Images in [-1, 1], float32 (N, H, W, 1), and their classes, int32 (N,)."""

  x: np.ndarray
  labels: np.ndarray

  @property
  def dataset(self) -> Dataset:
    """The same as a data set with "image" and "label"."""
    return data.load({"image": self.x, "label": self.labels})

  def take(self, rows: Any) -> Images:
    """Some of them."""
    return Images(self.x[rows], self.labels[rows])


def images(
  name: str, split: str, config: Config, *, side: int | None = None, count: int | None = None
) -> Images:
  """The first images of "mnist" (28 x 28) or "digits" (8 x 8), at 14 or 7 pixels a side if asked.

  Halving takes means of 2 x 2 pixels. Digits have 16 levels of grey, MNIST 256.
  """
  arrays = data.load(name, split=split, data_dir=config.data_dir).arrays
  assert arrays is not None, "the data set fits in memory"
  x = np.asarray(arrays["image"][:count], np.float32) / 127.5 - 1
  while side is not None and x.shape[1] > side:
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
  if side is not None and x.shape[1] != side:
    raise ValueError(f"side: got {side}, which {name} has not, nor by halving")
  return Images(x, np.asarray(arrays["label"][:count], np.int32))


def to_unit(x: Any) -> np.ndarray:
  """Images in [-1, 1] as images in [0, 1], which pictures are made of; values beyond are cut off."""
  return np.clip((np.asarray(x, np.float32) + 1) / 2, 0, 1)


class Network(NamedTuple):
  """A network with parameters given.

  Attributes:
    init_fn: `(key) -> params`.
    predict_fn: `(params, x_t, t, condition=None) -> prediction`, as `objectives.diffusion` takes it.
  """

  init_fn: Callable[[jax.Array], Any]
  predict_fn: Callable[..., jax.Array]


def bind(module: nn.Module, shape: tuple[int, ...], condition: Any = None) -> Network:
  """Functions of a Flax network `(x, t, condition)` for data of a shape.

  Args:
    module: the network.
    shape: of one example.
    condition: one of a row's shape and dtype, if it takes one; labels: `np.int32(0)`.
  """

  def init_fn(key: jax.Array) -> Any:
    given = None if condition is None else jnp.asarray(condition)[None]
    return module.init(key, jnp.zeros((1, *shape)), jnp.zeros(1), given)["params"]

  def predict_fn(params: Any, x_t: jax.Array, t: jax.Array, condition: Any = None) -> jax.Array:
    return module.apply({"params": params}, x_t, t, condition)

  return Network(jax.jit(init_fn), predict_fn)
