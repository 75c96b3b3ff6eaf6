"""sigma-VAE: the latent space keeps its noise, and its decoder bears perturbed codes.

Claim (LatentLM, Sun et al. 2024): a VAE with a small weight on the divergence, as latent generative models
use, lets the scale of q(z|x) collapse, so its decoder fails on codes that a second model gets slightly
wrong; drawing the scale instead of learning it keeps the noise.
Command: python -m experiments sigma_vae
Expected: noise makes up less than 5 % of the latent variance in the VAE with weight 1e-3 and at least 5 %
in the sigma-VAE; codes perturbed by a tenth of their standard deviation cost the sigma-VAE fewer nats.
Time: one minute on two CPU cores, four seeds on the 8 x 8 digits.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data, objectives
from latentjax.data.transforms import to_float
from latentjax.densities import bernoulli
from latentjax.models import Networks, mlp_vae
from latentjax.objectives import LatentModel
from latentjax.training import train

PAPERS = {111: "Multimodal Latent Language Modeling with Next-Token Diffusion"}
FUNCTIONS = ("objectives.sigma_vae", "objectives.vae")
QUICK = {"steps": 100, "seeds": 2}
PAPER = "Sun et al. 2024"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 4000
  batch_size: int = 100
  seeds: int = 4
  latent_dim: int = 8
  """Dimensions of the latent space."""
  hidden: int = 200
  """Units of the one hidden layer each way."""
  beta: float = 1e-3
  """Weight of the VAE's divergence, and twice that of the sigma-VAE's means."""
  scale: float = 0.5
  """Standard deviation C of the sigma-VAE's scales."""
  perturbation: float = 0.1
  """Size of the perturbation of codes, in their standard deviations."""


def run(config: Config) -> Outcome:
  """Train both, measure noise and robustness."""
  digits = data.load("digits", split="train", data_dir=config.data_dir)
  x = jnp.asarray(data.load("digits", split="test", data_dir=config.data_dir).arrays["image"] / 255)
  x = x.astype(jnp.float32)
  networks = mlp_vae(x.shape[1:], config.latent_dim, hidden=(config.hidden,))
  pair = (networks.encode_fn, networks.decode_fn)
  common = {"latent_dim": config.latent_dim, "axis_name": config.axis_name}
  models = {
    "VAE": objectives.vae(*pair, beta=config.beta, **common),
    "sigma-VAE": objectives.sigma_vae(*pair, beta=config.beta / 2, scale=config.scale, **common),
  }
  found, rows = {}, []
  for name, model in models.items():
    result = train(
      model.objective,
      lambda key: (networks.init_fn(key), ()),
      config.optimizer(),
      digits,
      config,
      config.folder / name,
      transform=to_float,
      name=name,
    )
    params = result.state.eval_params
    measured = config.each_seed(partial(measure, config, networks, model, x))(params)
    found[name] = jax.tree.map(np.asarray, measured)
    rows += pictures_of(config, networks, model, config.first_seed(params), x)
  pictures.image_grid(
    config.folder / "perturbed.png",
    [np.asarray(x[:12]), *rows],
    labels=["test image"] + [f"{n}, {kind}" for n in models for kind in ("code", "perturbed")],
    title="Decoded codes, and the same codes perturbed by half their standard deviation",
  )
  share = {name: row["noise_share"] for name, row in found.items()}
  return Outcome(
    claims=[
      Claim(
        "VAE: share of noise in the latent variance", 0.05, share["VAE"], PAPER, "at most", unit=""
      ),
      Claim(
        "sigma-VAE: share of noise in the latent variance",
        0.05,
        share["sigma-VAE"],
        PAPER,
        "at least",
        unit="",
      ),
      Claim(
        "cost of perturbed codes, sigma-VAE minus VAE",
        0.0,
        found["sigma-VAE"]["cost"] - found["VAE"]["cost"],
        PAPER,
        "at most",
      ),
    ],
    details={n: jax.tree.map(lambda v: v.tolist(), row) for n, row in found.items()},
  )


def code_of(model: Any, params: Any, x: jax.Array) -> jax.Array:
  """The mean of q(z|x), the code that a second model would learn."""
  code = model.encode(params, x)
  return code[0] if isinstance(model, LatentModel) else code


def measure(
  config: Config, networks: Networks, model: Any, x: jax.Array, params: Any
) -> dict[str, jax.Array]:
  """Share of noise in the variance of z, distortion, and what a perturbation adds to it."""
  code = code_of(model, params, x)
  variance = jnp.var(code, axis=0)
  if isinstance(model, LatentModel):
    noise = jnp.mean(jnp.exp(2 * model.encode(params, x)[1]), axis=0)
  else:
    noise = jnp.full(code.shape[1], config.scale**2)
  distortion = lambda z: (
    -jnp.mean(bernoulli.log_prob(x, *networks.decode_fn(params, z), event_ndim=3))
  )
  shift = config.perturbation * jnp.sqrt(variance + noise)
  perturbed = code + shift * jax.random.normal(jax.random.key(3), code.shape)
  return {
    "noise_share": jnp.sum(noise) / jnp.sum(noise + variance),
    "distortion": distortion(code),
    "cost": distortion(perturbed) - distortion(code),
  }


def pictures_of(
  config: Config, networks: Networks, model: Any, params: Any, x: jax.Array
) -> list[np.ndarray]:
  """Decoded codes of the first test images, and decoded perturbed ones."""
  code = code_of(model, params, x)
  shift = 0.5 * jnp.std(code, axis=0) * jax.random.normal(jax.random.key(4), code[:12].shape)
  return [np.asarray(model.decode(params, z)) for z in (code[:12], code[:12] + shift)]
