"""Context-encoding VAE finds blobs in images of which it has seen healthy ones alone.

Claim (Zimmerer et al. 2018; Chatterjee et al. 2022, StRegA): the context-encoding branch and the
post-processing each raise the Dice score of the thresholded reconstruction error over that of a plain VAE
of the same size. (Published for both together, against the best of other methods: 0.642 and 0.522 on
BraTS, 0.859 and 0.783 on synthetic anomalies.)
Command: python -m experiments anomalies
Expected: Dice on test images with one blob higher with context encoding than without it, and with
smoothing and the mask of the background than without them; the share of healthy pixels above the
threshold, which is the 98% quantile on other healthy images, 0.02 within 0.01.
Note: the paper's images are brain MRIs. Here a bright ellipse with two darker ones inside, 16 x 16
pixels in noise of 0.1; the anomaly is a disc of radius 1.5 to 3 within it, brighter or darker by 0.35. The
scale of p(x|z) is fixed: a learned one would not come down from 1 to the noise in these steps, and until
then the images' structure costs less than the divergence. With less noise smoothing has nothing to do.
Time: one minute of training on two CPU cores, three seeds of two models.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data
from latentjax.densities import laplace
from latentjax.losses.elbo import anomaly_map
from latentjax.models import mlp_vae
from latentjax.objectives import LatentModel, context_encoding_vae
from latentjax.training import train

PAPERS = {229: "StRegA: Unsupervised Anomaly Detection using a Compact Context-encoding VAE"}
FUNCTIONS = ("objectives.context_encoding_vae", "losses.elbo.anomaly_map", "augment.random_squares")
QUICK = {"steps": 50, "seeds": 2}
PAPER = "Chatterjee et al. 2022"
SIZE, QUANTILE, NOISE = 16, 0.98, 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2500
  batch_size: int = 64
  seeds: int = 3
  schedule: Literal["constant", "cosine", "linear"] = "cosine"
  latent_dim: int = 16
  """Dimensions of the latent space."""
  hidden: int = 128
  """Units of the one hidden layer each way."""
  context_weight: float = 0.5
  """Share of the context-encoding branch."""
  smoothing: float = 0.8
  """Width of the window in pixels."""


def run(config: Config) -> Outcome:
  """Train with and without context encoding, score the thresholded maps."""
  healthy, _, _ = bodies(0, 4000, blobs=False)
  calibration, test = bodies(1, 500, blobs=False), bodies(2, 500, blobs=True)
  clean = bodies(3, 500, blobs=False)
  dataset = data.load({"image": healthy})
  networks = mlp_vae(
    (SIZE, SIZE, 1),
    config.latent_dim,
    hidden=(config.hidden,),
    likelihood="gaussian",
    data_mean=healthy.mean(axis=0),
  )
  # The L1 distance of the papers, in units of the noise.
  decode_fn = lambda params, z: (networks.decode_fn(params, z)[0], jnp.log(NOISE))
  scores: dict[str, Any] = {}
  for name, weight in {"context": config.context_weight, "plain": 0.0}.items():
    model = context_encoding_vae(
      networks.encode_fn,
      decode_fn,
      latent_dim=config.latent_dim,
      context_weight=weight,
      likelihood=laplace,
      axis_name=config.axis_name,
    )
    params = train(
      model.objective,
      lambda key: (networks.init_fn(key), ()),
      config.optimizer(),
      dataset,
      config,
      config.folder / name,
      name=name,
    ).state.eval_params
    for processed in (True, False):
      measure = partial(score, config, model, calibration, test, clean, processed)
      key = f"{name}, {'processed' if processed else 'raw'}"
      scores[key] = np.asarray(config.each_seed(measure)(params))
    draw(config, name, model, config.first_seed(params), *test)
  context, plain = scores["context, processed"], scores["plain, processed"]
  claim = partial(Claim, published=PAPER, unit="")
  return Outcome(
    claims=[
      claim(
        "Dice with context encoding, less that of the plain VAE",
        0.0,
        (context - plain)[:, 0].tolist(),
        relation="at least",
      ),
      claim(
        "Dice with post-processing, less that without",
        0.0,
        (context - scores["context, raw"])[:, 0].tolist(),
        relation="at least",
      ),
      claim("share of healthy pixels found", 0.02, context[:, 1].tolist(), tolerance=0.01),
    ],
    details={"dice": {name: value[:, 0].tolist() for name, value in scores.items()}},
  )


def bodies(seed: int, count: int, *, blobs: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Images (N, H, W, 1), masks of their anomalies and of the body, each (N, H, W)."""
  random = np.random.default_rng(seed)
  uniform = lambda low, high: random.uniform(low, high, (count, 1, 1))
  rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2

  def ellipse(y: np.ndarray, x: np.ndarray, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    return np.hypot((rows - y) / height, (columns - x) / width) < 1

  height, width = uniform(5.5, 7.2), uniform(4.5, 6.2)
  body = ellipse(uniform(-0.5, 0.5), uniform(-0.5, 0.5), height, width)
  away, inner = uniform(1.6, 2.6), uniform(1.5, 3.0)
  inside = ellipse(0 * away, away, inner, 1.2 + 0 * away) | ellipse(
    0 * away, -away, inner, 1.2 + 0 * away
  )
  image = body * (0.6 - 0.25 * inside) + random.normal(0, NOISE, body.shape)
  radius, sign = uniform(1.5, 3.0), np.sign(uniform(-1, 1))
  spot = ellipse(uniform(-3, 3), uniform(-2.5, 2.5), radius, radius) & body & blobs
  return (image + 0.35 * sign * spot)[..., None].astype(np.float32), spot, body


def score(
  config: Config,
  model: LatentModel,
  calibration: tuple[np.ndarray, ...],
  test: tuple[np.ndarray, ...],
  clean: tuple[np.ndarray, ...],
  processed: bool,
  params: Any,
) -> jax.Array:
  """Mean Dice on test images, and the share of healthy pixels above the threshold."""

  def found(images: np.ndarray, body: np.ndarray) -> jax.Array:
    x = jnp.asarray(images)
    x_hat = model.decode(params, model.encode(params, x)[0])
    scores = anomaly_map(x, x_hat, smoothing=config.smoothing if processed else 0.0)
    return scores * body if processed else scores

  threshold = jnp.quantile(found(calibration[0], calibration[2]), QUANTILE)
  hit = found(test[0], test[2]) > threshold
  overlap = jnp.sum(hit & test[1], axis=(1, 2))
  dice = 2 * overlap / (jnp.sum(hit, axis=(1, 2)) + test[1].sum((1, 2)))
  return jnp.stack([jnp.mean(dice), jnp.mean(found(clean[0], clean[2]) > threshold)])


def draw(
  config: Config,
  name: str,
  model: LatentModel,
  params: Any,
  images: np.ndarray,
  spot: Any,
  body: Any,
) -> None:
  """Save test images, reconstructions, maps and the truth."""
  x = jnp.asarray(images[:12])
  x_hat = model.decode(params, model.encode(params, x)[0])
  scores = anomaly_map(x, x_hat, smoothing=config.smoothing)[..., None] / 0.35
  pictures.image_grid(
    config.folder / f"{name}.png",
    [np.asarray(a) for a in (x, x_hat, scores * body[:12, ..., None], spot[:12, ..., None])],
    labels=["image", "reconstruction", "score", "truth"],
    title=f"Anomalies, {name}",
  )
