"""Auto-encoders sampled from a density fitted after training, and from a second VAE, against their prior.

Claims: (Ghosh et al. 2020) a regularised auto-encoder samples better from a mixture of ten Gaussians, fitted
to its encodings, than from one Gaussian or N(0, I); so does a VAE. (Dai & Wipf 2019) So does a VAE from a
second VAE, trained on samples of its posterior.
Command: python -m experiments ex_post
Expected: four differences of Frechet distances of at least 0; between Gaussians with the moments of 64 random
ReLU features, of 3,000 samples (means of p(x|z)) and of the training digits (Gaussian of learned scale).
Time: a minute on two CPU cores, three seeds of two models.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data, objectives
from latentjax.data.transforms import to_float
from latentjax.densities import gaussian
from latentjax.models import mlp_vae
from latentjax.objectives import fit_gaussian_mixture
from latentjax.training import train

PAPERS: dict[int, str] = {}
FUNCTIONS = ("objectives.fit_gaussian_mixture", "objectives.two_stage_vae")
QUICK = {"steps": 100, "seeds": 2, "num_samples": 200}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2500
  batch_size: int = 100
  seeds: int = 3
  latent_dim: int = 12
  """Dimensions of the latent space."""
  hidden: int = 200
  """Units of the one hidden layer each way."""
  latent_weight: float = 0.01
  """Penalty on half the squared length of a deterministic code."""
  decoder_weight: float = 1e-4
  """Penalty on half the squared length of its decoder's parameters."""
  num_samples: int = 3000
  """Samples for a Frechet distance."""


def deterministic(networks: Any, config: Config) -> Any:
  """Objective of the regularised auto-encoder: squared error and penalties on codes and decoder."""

  def objective(params: Any, model_state: Any, key: jax.Array, batch: Any) -> Any:
    z, _ = networks.encode_fn(params, batch["image"])
    error = jnp.square(networks.decode_fn(params, z)[0] - batch["image"])
    error = jnp.mean(jnp.sum(error, axis=(1, 2, 3)))
    length = jnp.mean(jnp.sum(z**2, axis=1))
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params["decoder"]))
    loss = error + 0.5 * (config.latent_weight * length + config.decoder_weight * squares)
    return loss, (model_state, {"squared_error": error})

  return objective


def run(config: Config) -> Outcome:
  """Train the auto-encoders, sample them in every way, compare with the data."""
  digits = data.load("digits", split="train", data_dir=config.data_dir)
  x = jnp.asarray(digits.arrays["image"]) / 255.0
  shared = {"hidden": (config.hidden,), "activation": "relu", "likelihood": "gaussian"}
  networks = mlp_vae(x.shape[1:], config.latent_dim, data_mean=np.asarray(x).mean(axis=0), **shared)
  second = mlp_vae((config.latent_dim,), config.latent_dim, **shared)

  def init_fn(key: jax.Array) -> tuple[Any, Any]:
    key_first, key_second = jax.random.split(key)
    return networks.init_fn(key_first) | {"second": second.init_fn(key_second)}, ()

  model = objectives.two_stage_vae(
    networks.encode_fn,
    networks.decode_fn,
    lambda params, z: second.encode_fn(params["second"], z),
    lambda params, u: second.decode_fn(params["second"], u),
    latent_dim=config.latent_dim,
    likelihood=gaussian,
    axis_name=config.axis_name,
  )
  params = {}
  for name, objective in {"VAE": model.objective, "RAE": deterministic(networks, config)}.items():
    params[name] = train(
      objective,
      init_fn,
      config.optimizer(),
      digits,
      config,
      config.folder if name == "VAE" else config.folder / name,
      transform=to_float,
      name=name,
    ).state.eval_params

  def latents(params: Any, noise: float) -> dict[str, jax.Array]:
    """z from the prior and from densities fitted to encodings, or to samples of the posterior."""
    key_noise, key_fit, key = jax.random.split(jax.random.key(1), 3)
    mean, log_scale = model.encode(params, x)
    z = mean + noise * jnp.exp(log_scale) * jax.random.normal(key_noise, mean.shape)
    fits = {f"{m} Gaussians": fit_gaussian_mixture(key_fit, z, num_components=m) for m in (1, 10)}
    out = {name: fit.sample(key, config.num_samples) for name, fit in fits.items()}
    return out | {"prior": jax.random.normal(key, (config.num_samples, config.latent_dim))}

  def samples(params: Any, noise: float) -> dict[str, jax.Array]:
    out = {name: model.decode(params, z) for name, z in latents(params, noise).items()}
    return out | {"second VAE": model.sample(params, jax.random.key(2), config.num_samples)}

  noise = {"VAE": 1.0, "RAE": 0.0}
  sampled = {n: config.each_seed(lambda p, n=n: samples(p, noise[n]))(params[n]) for n in params}
  del sampled["RAE"]["second VAE"]  # never trained
  distance = {
    f"{name}, {sampler}": np.array([frechet(np.asarray(each), np.asarray(x)) for each in images])
    for name, samplers in sampled.items()
    for sampler, images in samplers.items()
  }
  rows = {
    f"{n}, {s}": np.asarray(i[0, :16]) for n, each in sampled.items() for s, i in each.items()
  }
  file, names = config.folder / "samples.png", list(rows)
  pictures.image_grid(file, list(rows.values()), title="Samples: mean of p(x|z)", labels=names)

  def claim(a: str, b: str, paper: str) -> Claim:
    return Claim(f"{a}, minus {b}", 0.0, distance[a] - distance[b], paper, "at least", unit="")

  claims = [
    claim("RAE, prior", "RAE, 10 Gaussians", "Ghosh et al. 2020"),
    claim("RAE, 1 Gaussians", "RAE, 10 Gaussians", "Ghosh et al. 2020"),
    claim("VAE, prior", "VAE, 10 Gaussians", "Ghosh et al. 2020"),
    claim("VAE, prior", "VAE, second VAE", "Dai & Wipf 2019"),
  ]
  return Outcome(claims, {name: values.tolist() for name, values in distance.items()})


def frechet(a: np.ndarray, b: np.ndarray) -> float:
  """Squared Frechet distance between Gaussian fits to 64 random ReLU features of images."""
  rng, center, scale = np.random.default_rng(0), b.mean(axis=0), b.std()
  weight, bias = rng.standard_normal((b[0].size, 64)) / 8, rng.standard_normal(64)
  feature = lambda x: np.maximum(((x - center) / scale).reshape(len(x), -1) @ weight + bias, 0)
  mean_a, mean_b = feature(a).mean(axis=0), feature(b).mean(axis=0)
  cov_a, cov_b = np.cov(feature(a).T), np.cov(feature(b).T)
  values, vectors = np.linalg.eigh(cov_a)
  root = vectors * np.sqrt(np.clip(values, 0, None))  # the trace needs no symmetric root
  cross = np.sqrt(np.clip(np.linalg.eigvalsh(root.T @ cov_b @ root), 0, None)).sum()
  return float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b) - 2 * cross)
