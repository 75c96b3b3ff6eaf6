"""Inverse problems of small images: measurements, how well an image was restored, and strengths by trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.config import Config
from experiments.harness.denoising import Images, images
from latentjax.diffusion.inverse import hard_data_consistency

SIDE = 14
HOLE = slice(4, 10)  # rows and columns of the box that is not seen
MeasureFn = Callable[[jax.Array], jax.Array]


def box(x: jax.Array) -> jax.Array:
  """Pixels outside a box of 6 x 6, (B, 160)."""
  seen = np.ones((SIDE, SIDE), bool)
  seen[HOLE, HOLE] = False
  return x.reshape(x.shape[0], -1)[:, np.flatnonzero(seen)]


def pooled(x: jax.Array) -> jax.Array:
  """Means of 2 x 2 pixels, (B, 7, 7)."""
  return x.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean((2, 4))


def blurred(x: jax.Array) -> jax.Array:
  """A Gaussian blur of standard deviation 1.5 pixels, (B, 14, 14)."""
  away = np.subtract.outer(np.arange(SIDE), np.arange(SIDE))
  weights = np.exp(-0.5 * np.square(away / 1.5))
  rows = jnp.asarray(weights / weights.sum(axis=1, keepdims=True), x.dtype)
  return rows @ x[..., 0] @ rows.T


def clipped(x: jax.Array) -> jax.Array:
  """Twice the contrast, cut off smoothly: an image of too high dynamic range, not linear, (B, 14, 14)."""
  return jnp.tanh(2 * blurred(x))


PROBLEMS: dict[str, MeasureFn] = {
  "box": box,
  "pooled": pooled,
  "blurred": blurred,
  "clipped": clipped,
}


def load(name: str, config: Config) -> tuple[Images, Images]:
  """Images of 14 x 14 pixels to train on and to test: "mnist" halved, or "digits" with a margin."""
  if name == "mnist":
    return images(name, "train", config, side=SIDE), images(name, "test", config, side=SIDE)
  margin = ((0, 0), (3, 3), (3, 3), (0, 0))
  pad = lambda part: part._replace(x=np.pad(part.x, margin, constant_values=-1))
  return pad(images(name, "train", config)), pad(images(name, "test", config))


class Task(NamedTuple):
  """Images (B, 14, 14, 1) and noisy measurements of them."""

  truth: jax.Array
  y: jax.Array


def make_task(key: jax.Array, measure_fn: MeasureFn, truth: np.ndarray, noise: float) -> Task:
  """Measurements with normal noise."""
  clean = measure_fn(jnp.asarray(truth))
  return Task(jnp.asarray(truth), clean + noise * jax.random.normal(key, clean.shape))


def pseudo_inverse(measure_fn: MeasureFn, y: jax.Array) -> jax.Array:
  """The image of least norm that a linear measurement has, nearly."""
  blank = jnp.zeros((y.shape[0], SIDE, SIDE, 1))
  return hard_data_consistency(measure_fn, blank, y, num_steps=10)


def psnr(x: jax.Array, truth: jax.Array) -> jax.Array:
  """Peak signal-to-noise ratio of images in [-1, 1] in dB, shape (B,)."""
  error = jnp.mean(jnp.square(jnp.clip(x, -1, 1) - truth), axis=(1, 2, 3))
  return 10 * jnp.log10(4 / error)


def misfit(measure_fn: MeasureFn, x: jax.Array, y: jax.Array) -> jax.Array:
  """Root mean square of y - A(x) of every image, shape (B,)."""
  error = jnp.square(measure_fn(x) - y)
  return jnp.sqrt(jnp.mean(error, axis=tuple(range(1, error.ndim))))


class Restored(NamedTuple):
  """Images by one solver, (groups, B, 14, 14, 1), and how its strength was chosen.

  Attributes:
    x: the images.
    psnr: mean of every group in dB, (groups,).
    misfit: mean root mean square of y - A(x) of every group, (groups,).
    strength: the one with the greatest mean PSNR on the trial.
    trial: mean PSNR of every strength there.
  """

  x: np.ndarray
  psnr: np.ndarray
  misfit: np.ndarray
  strength: float
  trial: dict[str, float]


def restore(
  solve: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
  measure_fn: MeasureFn,
  trial: Task,
  groups: Sequence[Task],
  strengths: Sequence[float],
) -> Restored:
  """Choose a strength of `solve(key, y, strength)` on one task, restore the others with it."""

  @jax.jit
  def run(key: jax.Array, task: Task, strength: jax.Array) -> tuple[jax.Array, ...]:
    x = solve(key, task.y, strength)
    return x, jnp.mean(psnr(x, task.truth)), jnp.mean(misfit(measure_fn, x, task.y))

  found = {s: float(run(jax.random.key(7), trial, jnp.float32(s))[1]) for s in strengths}
  best = max(found, key=lambda s: found[s] if np.isfinite(found[s]) else -np.inf)
  keys = jax.random.split(jax.random.key(3), len(groups))
  parts = [run(key, task, jnp.float32(best)) for key, task in zip(keys, groups)]
  x, scores, errors = map(np.stack, zip(*parts))
  return Restored(x, scores, errors, best, {f"{s:g}": v for s, v in found.items()})


def make_tasks(
  key: jax.Array, measure_fn: MeasureFn, images: np.ndarray, size: int, noise: float
) -> list[Task]:
  """Tasks of `size` images each."""
  groups = images.reshape(-1, size, *images.shape[1:])
  keys = jax.random.split(key, len(groups))
  return [make_task(key, measure_fn, group, noise) for key, group in zip(keys, groups)]
