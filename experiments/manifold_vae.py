"""Images of a turning pattern: latents on the circle find the ring, a line has to tear it.

Claim (Perez Rey, Menkovski & Portegies 2020, abstract): a VAE with a latent space of the data's topology
captures it, a Euclidean one is structurally incapable. Pictures there; as numbers here: the latent angle goes
round once as the true one does, without turning back, and follows it closely. On a line, by the theorem of
Borsuk and Ulam, some image shares its code with the one turned by 180 degrees, so the worst squared error is
at least a quarter of the least squared distance of such a pair, whatever the encoder.
Command: python -m experiments manifold_vae
Expected: resultant length of latent minus true angle at least 0.95; total variation of the latent angle
1 turn within 0.02; worst error in units of that bound at least 1 on the line, at most 0.25 on the circle.
Note: the winding number is that of the encoder's first steps. A pattern of nearly threefold symmetry gave 3
(three blobs, 100 steps, tried once): the right topology makes a homeomorphism possible, not certain.
Time: about a minute of training on two CPU cores, four seeds of three models.
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
from latentjax.densities import gaussian, manifolds
from latentjax.models import mlp_vae
from latentjax.training import train

PAPERS = {105: "Diffusion Variational Autoencoders"}
FUNCTIONS = (
  "objectives.manifold_vae",
  "objectives.hyperspherical_vae",
  "densities.brownian.sample",
)
QUICK = {"steps": 60, "seeds": 2}
BLOBS = ((0.4, 0.0, 0.3, 1.0), (-0.1, 0.5, 0.15, 0.7))  # x, y, width, height
LIMITS = (
  ("set here, see the docstring", 0.25, "at most"),
  ("theorem of Borsuk and Ulam", 1.0, "at least"),
)
RING = np.linspace(0, 2 * np.pi, 720, endpoint=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 3000
  batch_size: int = 100
  seeds: int = 4
  hidden: int = 100
  """Units of the two hidden layers each way."""
  noise: float = 0.1
  """Standard deviation of a pixel."""


def render(angles: np.ndarray) -> np.ndarray:
  """Two blobs, turned: images (N, 16, 16, 1) with values in [0, 1]."""
  y, x = np.meshgrid(np.linspace(-1, 1, 16), np.linspace(-1, 1, 16), indexing="ij")
  cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
  u, v = cos * x + sin * y, cos * y - sin * x
  blobs = (h * np.exp(-0.5 * ((u - a) ** 2 + (v - b) ** 2) / s**2) for a, b, s, h in BLOBS)
  return np.clip(sum(blobs), 0, 1)[..., None].astype(np.float32)


def make_model(name: str, config: Config, mean_image: np.ndarray) -> tuple[Any, Any]:
  """(model, init_fn) for a latent space, all with the same networks."""
  networks = mlp_vae(
    mean_image.shape,
    1 if name == "line" else 2,
    hidden=(config.hidden, config.hidden),
    likelihood="gaussian",
    data_mean=mean_image,
    dtype=config.compute_dtype,
  )

  def encode_fn(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_scale = networks.encode_fn(params, x - mean_image)
    spreads = {"Brownian": 2 * log_scale[:, 0], "von Mises-Fisher": -2 * log_scale[:, 0]}
    return mean, spreads.get(name, log_scale)

  def decode_fn(params: Any, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    return networks.decode_fn(params, z)[0], jnp.log(jnp.float32(config.noise))

  make, extra = {
    "Brownian": (objectives.manifold_vae, {"manifold": manifolds.sphere(dim=1)}),
    "von Mises-Fisher": (objectives.hyperspherical_vae, {"latent_dim": 2}),
    "line": (objectives.vae, {"latent_dim": 1}),
  }[name]
  model = make(encode_fn, decode_fn, likelihood=gaussian, axis_name=config.axis_name, **extra)
  return model, lambda key: (networks.init_fn(key), ())


def measure(model: Any, ring: jax.Array, params: Any) -> tuple[jax.Array, jax.Array]:
  """Codes around the ring and the worst squared error of their reconstructions."""
  codes = model.encode(params, ring)[0]
  return codes, jnp.max(jnp.sum(jnp.square(model.decode(params, codes) - ring), axis=(1, 2, 3)))


def run(config: Config) -> Outcome:
  """Train the three models, compare codes with angles, draw both."""
  angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 4000)
  dataset = data.load({"image": render(angles)}, split="train")
  ring = render(RING)
  floor = 0.25 * np.square(ring - np.roll(ring, 360, axis=0)).sum((1, 2, 3)).min()
  claims, details, curves, samples = [], {"bound_for_a_line": float(floor)}, {}, {}
  for name in ("Brownian", "von Mises-Fisher", "line"):
    model, init_fn = make_model(name, config, ring.mean(axis=0))
    folder = config.folder / name.replace(" ", "_").lower()
    result = train(model.objective, init_fn, config.optimizer(), dataset, config, folder, name=name)
    params = result.state.eval_params
    codes, worst = config.each_seed(lambda p, m=model: measure(m, jnp.asarray(ring), p))(params)
    samples[name] = np.asarray(model.sample(config.first_seed(params), jax.random.key(1), 12))
    if name == "line":
      curves["line: z"] = np.asarray(codes)[0, :, 0]
    else:
      latent = np.arctan2(codes[..., 1], codes[..., 0])
      curves[f"{name}: angle / pi"] = latent[0] / np.pi
      claims += angle_claims(name, latent, details)
    published, bound, side = LIMITS[name == "line"]
    what = f"{name}: worst error over the bound for a line"
    claims.append(Claim(what, bound, np.asarray(worst) / floor, published, side, unit=""))
  draw(config, curves, samples)
  return Outcome(claims, details)


def angle_claims(name: str, latent: np.ndarray, details: dict[str, Any]) -> list[Claim]:
  """How the latent angle (seeds, 720) goes round with the true one."""
  steps = np.angle(np.exp(1j * (np.roll(latent, -1, axis=1) - latent)))
  details[f"winding numbers, {name}"] = np.rint(steps.sum(axis=1) / (2 * np.pi)).tolist()
  fits = [np.abs(np.exp(1j * (latent - sign * RING)).mean(axis=1)) for sign in (1, -1)]
  published = "Perez Rey et al. 2020, a picture; the number is set here"
  return [
    Claim(f"{name}: resultant length of latent minus true angle", 0.95, np.maximum(*fits),
          published, relation="at least", unit=""),
    Claim(f"{name}: total variation of the latent angle", 1.0,
          np.abs(steps).sum(axis=1) / (2 * np.pi), published, tolerance=0.02, unit="turns"),
  ]  # fmt: skip


def draw(config: Config, curves: dict[str, np.ndarray], samples: dict[str, np.ndarray]) -> None:
  """Save codes.png, the code of every angle, and samples.png."""
  lines = {name: (np.rad2deg(RING), code) for name, code in curves.items()}
  text = {"x_label": "true angle (degrees)", "y_label": "code"}
  pictures.curves(config.folder / "codes.png", lines, title="Code of the turned image", **text)
  rows, names = list(samples.values()), list(samples)
  pictures.image_grid(config.folder / "samples.png", rows, labels=names, title="Prior samples")
