"""What every VAE experiment measures on test data, and the pictures it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from experiments.harness import pictures
from latentjax.data import Dataset
from latentjax.data.transforms import dynamic_binarize
from latentjax.losses.importance import log_marginal_bound
from latentjax.objectives import LatentModel
from latentjax.training.workdir import read_lines


def binarized(dataset: Dataset, *, seed: int = 1234) -> jax.Array:
  """All images of a data set, binarised once: the same test set for every model and seed."""
  assert dataset.arrays is not None
  images = jnp.asarray(dataset.arrays["image"])
  keys = jax.random.split(jax.random.key(seed), len(images))
  return jax.jit(jax.vmap(dynamic_binarize))(keys, {"image": images})["image"]


def test_bound(
  model: LatentModel, x: jax.Array, params: Any, *, num_samples: int = 16
) -> jax.Array:
  """Mean ELBO in nats over test examples and draws of the noise."""
  keys = jax.random.split(jax.random.key(5), num_samples)
  return jnp.mean(jax.lax.map(lambda key: jnp.mean(model.bound(params, key, x).elbo), keys))


def test_nll(
  model: LatentModel, x: jax.Array, params: Any, *, num_samples: int, batch_size: int = 100
) -> jax.Array:
  """Mean negative log-likelihood in nats, by importance samples from the encoder (an upper bound)."""

  def one_batch(batch: jax.Array) -> jax.Array:
    log_w = lambda key, n: model.log_weights(params, key, batch, num_samples=n)
    return log_marginal_bound(jax.random.key(7), log_w, num_samples=num_samples, block_size=50)

  whole = len(x) // batch_size * batch_size
  sums = jnp.sum(jax.lax.map(one_batch, x[:whole].reshape(-1, batch_size, *x.shape[1:])))
  if whole < len(x):
    sums += jnp.sum(one_batch(x[whole:]))
  return -sums / len(x)


def draw(
  folder: Path,
  model: LatentModel,
  params: Any,
  x: jax.Array,
  *,
  originals: np.ndarray,
  columns: int = 12,
) -> None:
  """Save samples.png, reconstructions.png and traversal.png of one replica.

  Args:
    folder: where to.
    model: the trained model.
    params: its parameters.
    x: binarised test examples.
    originals: the same ones before binarisation, uint8.
    columns: images in a row.
  """
  samples = np.asarray(model.sample(params, jax.random.key(3), 6 * columns))
  pictures.image_grid(
    folder / "samples.png",
    list(samples.reshape(6, columns, *samples.shape[1:])),
    title="Samples: mean of p(x|z), z from the prior",
  )
  rows: list[np.ndarray] = []
  for start in (0, columns):
    some = slice(start, start + columns)
    mean, _ = model.encode(params, x[some])
    decoded = model.decode(params, mean)
    rows += [originals[some] / 255, np.asarray(x[some]), np.asarray(decoded)]
  pictures.image_grid(
    folder / "reconstructions.png",
    rows,
    labels=["test image", "binarised: the input", "reconstruction"] * 2,
    title="Reconstructions of test examples",
  )
  draw_traversal(folder / "traversal.png", model, params, x, columns=columns - 1)


def draw_traversal(
  path: Path, model: LatentModel, params: Any, x: jax.Array, *, columns: int, rows: int = 8
) -> None:
  """Save what happens when one latent at a time moves through the prior's quantiles.

  The rows are the latents that carry most information, by their mean divergence from the prior; the
  start is the posterior mean of the first test example.
  """
  mean, log_scale = model.encode(params, x)
  kl = np.asarray(jnp.mean(0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1) - log_scale, axis=0))
  most = np.argsort(-kl)[:rows]
  values = ndtri(np.linspace(0.02, 0.98, columns))
  z = np.tile(np.asarray(mean[0]), (len(most), columns, 1))
  for row, latent in enumerate(most):
    z[row, :, latent] = values
  images = np.asarray(model.decode(params, jnp.asarray(z.reshape(-1, z.shape[-1]))))
  pictures.image_grid(
    path,
    list(images.reshape(len(most), columns, *images.shape[1:])),
    labels=[f"z{latent}  {kl[latent]:.1f} nats" for latent in most],
    title="Traversal: one latent at a time, from the 2% to the 98% quantile of the prior",
  )


def draw_curves(folder: Path, runs: Mapping[str, Path]) -> None:
  """Save loss.png: the bound on training batches and on test data, for each named run."""
  lines = {}
  for name, run in runs.items():
    log = read_lines(run / "metrics.jsonl")
    for key, label in {"elbo": f"{name}, training", "eval/elbo": f"{name}, test"}.items():
      points = [(line["step"], line[key]) for line in log if key in line]
      if points:
        steps, values = zip(*points)
        lines[label] = (np.array(steps), np.array(values))
  pictures.curves(
    folder / "loss.png",
    lines,
    title="Lower bound on log p(x)",
    x_label="step",
    y_label="ELBO (nats)",
  )
