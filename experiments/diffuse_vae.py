"""DiffuseVAE: ten steps of diffusion are enough where a VAE has done the rest.

Claim (Pandey et al. 2022, abstract): a diffusion model that refines the samples of a VAE "improves upon the
speed vs quality tradeoff" of DDPM and DDIM, "for instance, FID of 16.47 vs 34.36 using a standard DDIM" with
10 reverse steps, and it "exhibits inherent generalization to different types of noise in the conditioning
signal".
Command: python -m experiments diffuse_vae --data_dir=DIRECTORY_OF_TFDS_MNIST
Expected: with 10 steps of DDIM, Frechet distance in a classifier's features at most that of the
unconditional diffusion model with the same network and training, for both formulations; at most the VAE's
own too, and still at most the unconditional model's where the VAE's samples have noise of deviation 0.2 on
them before they are given. With x_T fixed, an image changes along a line between two latents by steps whose
largest is at most 3 times their mean.
Protocol: MNIST at 14 x 14; VAE and denoisers share their steps, the reconstruction detached. z is drawn
from a mixture of Gaussians fitted to the codes after training, as one of the paper's variants does.
Time: about five minutes on one CPU core, three seeds of three models.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import Claim, Outcome, conditioned, pictures
from experiments.harness.conditioned import SHAPE, Digits
from experiments.harness.denoising import bind, to_unit
from latentjax import objectives
from latentjax.diffusion import samplers
from latentjax.diffusion.processes import vp_cosine
from latentjax.diffusion.shifted import shifted_sampler
from latentjax.models import DenoisingMLP, mlp_vae
from latentjax.objectives import DiffusionModel, fit_gaussian_mixture

PAPERS = {
  37: "DiffuseVAE: Efficient, Controllable and High-Fidelity Generation from Low-Dimensional Latents"
}
FUNCTIONS = (
  "objectives.diffuse_vae",
  "objectives.diffusion",
  "diffusion.shifted.shifted_sampler",
  "diffusion.samplers.ddim",
  "objectives.fit_gaussian_mixture",
  "metrics.frechet_distance",
)
QUICK = conditioned.QUICK
PAPER = "Pandey et al. 2022, abstract"
PROCESS = vp_cosine()
ARMS = ("unconditional", "formulation 1", "formulation 2")
NOISE = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(conditioned.Config):
  """Flags of this experiment."""

  sampling_steps: int = 10
  """Of DDIM."""


class Parts:
  """The VAE, and a denoiser for each arm; one tree of parameters {"vae": ..., "denoiser": ...}."""

  def __init__(self, config: Config, digits: Digits):
    mean = (digits.train.x.mean(0) + 1) / 2
    given = {"likelihood": "bernoulli", "data_mean": mean, "activation": "relu"}
    self.networks = mlp_vae(SHAPE, config.latent_dim, hidden=(256,), **given)
    self.vae = objectives.vae(
      self.networks.encode_fn, self.networks.decode_fn, latent_dim=config.latent_dim
    )
    # The reconstruction is a second channel of what the network sees.
    self.denoiser = bind(DenoisingMLP(config.width, depth=2), (*SHAPE[:2], 2))
    make = partial(objectives.diffuse_vae, self.reconstruct, process=PROCESS, prediction="x0")
    self.models: dict[str, DiffusionModel] = {
      "unconditional": objectives.diffusion(self.predict, process=PROCESS, prediction="x0"),
      "formulation 1": make(self.predict),
      "formulation 2": make(self.predict, formulation=2),
    }

  def init(self, key: jax.Array) -> Any:
    key_vae, key_denoiser = jax.random.split(key)
    return {"vae": self.networks.init_fn(key_vae), "denoiser": self.denoiser.init_fn(key_denoiser)}

  def decode(self, params: Any, z: jax.Array) -> jax.Array:
    return 2 * self.vae.decode(params["vae"], z) - 1

  def reconstruct(self, params: Any, key: jax.Array, x: jax.Array) -> jax.Array:
    mean, log_scale = self.vae.encode(params["vae"], (x + 1) / 2)
    noise = jax.random.normal(key, mean.shape)
    return self.decode(params, mean + jnp.exp(log_scale) * noise)

  def predict(self, params: Any, z_t: jax.Array, t: jax.Array, x_hat: Any) -> jax.Array:
    x_hat = jnp.zeros_like(z_t) if x_hat is None else x_hat
    seen = jnp.concatenate([z_t, x_hat], axis=-1)
    return self.denoiser.predict_fn(params["denoiser"], seen, t)[..., :1]

  def objective(self, arm: str) -> Any:
    """Both stages; no gradient goes from one to the other."""

    def objective(params: Any, model_state: Any, key: jax.Array, batch: Any) -> Any:
      key_vae, key_denoiser = jax.random.split(key)
      unit = {"image": (batch["image"] + 1) / 2}
      bound, (_, metrics) = self.vae.objective(params["vae"], (), key_vae, unit)
      loss, (_, more) = self.models[arm].objective(params, (), key_denoiser, batch)
      return bound + loss, (model_state, {"elbo": metrics["elbo"], "refined": loss} | more)

    return objective

  def sample(self, arm: str, config: Config, params: Any, x_hat: jax.Array) -> jax.Array:
    """Images by a few steps of DDIM, given decoded latents."""
    model, plain = self.models[arm], arm == "unconditional"
    given = None if plain else x_hat
    shifted = arm == "formulation 2"
    return conditioned.draw(
      jax.random.key(3),
      lambda x, t: model.denoise(params, x, t, given),
      count=len(x_hat),
      process=PROCESS,
      num_steps=config.sampling_steps,
      sampler=shifted_sampler(samplers.ddim, x_hat) if shifted else samplers.ddim,
      start=x_hat if shifted else 0.0,
    )


def run(config: Config) -> Outcome:
  """Train every arm, sample each in the same few steps, compare."""
  digits = conditioned.load_digits(config)
  parts = Parts(config, digits)
  found: dict[str, np.ndarray] = {}
  rows: dict[str, np.ndarray] = {"test images": to_unit(digits.test.x[:16])}
  roughness = {}
  for arm in ARMS:
    params = conditioned.fit(config, arm, parts.objective(arm), parts.init, digits)
    drawn = config.each_seed(partial(measure, parts, arm, config, digits))(params)
    roughness[arm] = np.asarray(drawn.pop("roughness"))
    for name, x in drawn.items():
      found[f"{arm}{name}"] = digits.frechet(x)
      rows[f"{arm}{name}"] = to_unit(x[0, :16])
      print(arm, name, found[f"{arm}{name}"].round(1))
  pictures.image_grid(
    config.folder / "samples.png",
    list(rows.values()),
    labels=list(rows),
    title=f"{config.sampling_steps} steps of DDIM",
  )
  roughness.pop("unconditional")
  details = {"frechet_distance": found, "roughness": roughness}
  return Outcome(claims(found, roughness), jax.tree.map(np.ndarray.tolist, details))


def measure(
  parts: Parts, arm: str, config: Config, digits: Digits, params: Any
) -> dict[str, jax.Array]:
  """Samples of one replica: of the arm, with noisy conditions, of its VAE; and how uneven a line is."""
  x = jnp.asarray(digits.train.x[:10_000])
  codes = parts.vae.encode(params["vae"], (x + 1) / 2)[0]
  mixture = fit_gaussian_mixture(jax.random.key(1), codes, num_components=20, num_steps=30)
  x_hat = parts.decode(params, mixture.sample(jax.random.key(2), config.num_samples))
  sample = partial(parts.sample, arm, config, params)
  found = {"": sample(x_hat)}
  if arm == "unconditional":
    return found | {", VAE": x_hat, "roughness": jnp.zeros(())}
  noisy = x_hat + NOISE * jax.random.normal(jax.random.key(4), x_hat.shape)
  # One noise for all points of a line between latents, 16 lines of 17 points.
  ends = mixture.sample(jax.random.key(5), 32).reshape(2, 16, 1, -1)
  share = jnp.linspace(0.0, 1.0, 17)[:, None]
  lines = parts.decode(params, ((1 - share) * ends[0] + share * ends[1]).reshape(16 * 17, -1))
  one = lambda image: sample(image[None])[0]
  images = jax.vmap(one)(lines).reshape(16, 17, -1)
  moves = jnp.linalg.norm(jnp.diff(images, axis=1), axis=-1)
  uneven = jnp.mean(jnp.max(moves, axis=1) / jnp.mean(moves, axis=1))
  return found | {", noisy": sample(noisy), "roughness": uneven}


def claims(found: dict[str, np.ndarray], roughness: dict[str, np.ndarray]) -> list[Claim]:
  """At ten steps, and what the condition gives."""
  ratio = lambda a, b: found[a] / found[b]
  what = "Frechet distance with 10 steps, over that of"
  return [
    claim
    for arm in ARMS[1:]
    for claim in (
      Claim(
        f"{arm}: {what} unconditional DDIM", 1.0, ratio(arm, ARMS[0]), PAPER, "at most", unit=""
      ),
      Claim(
        f"{arm}: {what} the VAE's own samples",
        1.0,
        ratio(arm, f"{ARMS[0]}, VAE"),
        PAPER,
        "at most",
        unit="",
      ),
      Claim(
        f"{arm}, condition with noise {NOISE}: {what} unconditional DDIM",
        1.0,
        ratio(f"{arm}, noisy", ARMS[0]),
        PAPER,
        "at most",
        unit="",
      ),
      Claim(
        f"{arm}: largest step over mean step along a line of latents, x_T fixed",
        3.0,
        roughness[arm],
        "Pandey et al. 2022 (controllable synthesis)",
        "at most",
        unit="",
      ),
    )
  ]
