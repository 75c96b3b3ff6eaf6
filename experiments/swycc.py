"""Sample what you can't compress: an autoencoder whose decoder draws the details that its code leaves open.

Claim (Birodkar et al. 2024, abstract): autoencoders "often produce blurry results"; learned jointly with a
diffusion decoder, encoder and decoder reconstruct better, and "since our decoder is stochastic, it can
generate details not encoded in the otherwise deterministic latent representation".
Command: python -m experiments swycc --data_dir=DIRECTORY_OF_TFDS_MNIST
Expected: at a heavy bottleneck, and of test images, sampled reconstructions have at most the Frechet
distance (in a classifier's features) of those of an autoencoder with the same encoder, code and first
decoder, trained on the squared error; and a power at high spatial frequencies nearer to that of the images
(absolute logarithm of the ratio, at most the autoencoder's). Of the variance among samples of one image, a
larger share is at high frequencies than of the variance among images. A linear classifier of the digit reads
the code at most 0.01 worse than the autoencoder's.
Protocol: MNIST at 14 x 14, codes of 6 numbers, 25 steps of DDPM, no guidance. High frequencies are those
above a quarter of a cycle per pixel. The first reconstruction has the squared error, no perceptual loss.
Time: about three minutes on one CPU core, three seeds of two models.
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
from latentjax.models import DenoisingMLP, mlp_vae

PAPERS = {141: "Sample what you cant compress"}
FUNCTIONS = (
  "objectives.swycc",
  "objectives.diffusion_autoencoder",
  "diffusion.samplers.ddpm",
  "metrics.frechet_distance",
)
QUICK = conditioned.QUICK
PAPER = "Birodkar et al. 2024, abstract"
PROCESS = vp_cosine()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(conditioned.Config):
  """Flags of this experiment."""

  latent_dim: int = 6
  """Numbers of the code."""
  num_test: int = 2_000
  """Images to reconstruct."""


class Parts:
  """Networks, of which the autoencoder leaves the denoiser out."""

  def __init__(self, config: Config, digits: Digits):
    given = {"likelihood": "gaussian", "data_mean": digits.train.x.mean(0), "activation": "relu"}
    self.networks = mlp_vae(SHAPE, config.latent_dim, hidden=(256,), **given)
    # The first reconstruction is a second channel of what the denoiser sees.
    self.denoiser = bind(DenoisingMLP(config.width, depth=2), (*SHAPE[:2], 2))
    self.model = objectives.swycc(
      self.encode, self.decode, self.predict, process=PROCESS, prediction="x0"
    )

  def init(self, key: jax.Array) -> Any:
    key_coder, key_denoiser = jax.random.split(key)
    return {
      "coder": self.networks.init_fn(key_coder),
      "denoiser": self.denoiser.init_fn(key_denoiser),
    }

  def encode(self, params: Any, x: jax.Array) -> jax.Array:
    return self.networks.encode_fn(params["coder"], x)[0]

  def decode(self, params: Any, z: jax.Array) -> jax.Array:
    return self.networks.decode_fn(params["coder"], z)[0]

  def predict(self, params: Any, z_t: jax.Array, t: jax.Array, x_hat: jax.Array) -> jax.Array:
    seen = jnp.concatenate([z_t, x_hat], axis=-1)
    return self.denoiser.predict_fn(params["denoiser"], seen, t)[..., :1]

  def autoencode(self, params: Any, model_state: Any, key: jax.Array, batch: Any) -> Any:
    """Squared error of the first decoder alone."""
    x = batch["image"]
    return jnp.mean(jnp.square(x - self.decode(params, self.encode(params, x)))), (model_state, {})


def run(config: Config) -> Outcome:
  """Train both autoencoders, reconstruct the test images with both."""
  digits = conditioned.load_digits(config)
  parts = Parts(config, digits)
  objective = {"autoencoder": parts.autoencode, "SWYCC": parts.model.objective}
  found: dict[str, dict[str, np.ndarray]] = {}
  rows = {"test images": to_unit(digits.test.x[:16])}
  for name in objective:
    params = conditioned.fit(config, name, objective[name], parts.init, digits)
    drawn = config.each_seed(partial(measure, parts, name, config, digits))(params)
    images = {key: np.asarray(drawn.pop(key)) for key in ("first", "sampled", "again")}
    columns = jax.tree.map(np.asarray, drawn)
    for key, x in images.items():
      columns |= {f"frechet_{key}": digits.frechet(x), f"power_{key}": power(x, digits.test.x)}
      if name == "SWYCC" or key == "first":
        rows[f"{name}, {key}"] = to_unit(x[0, :16])
    columns["error_first"] = np.mean((images["first"] - digits.test.x) ** 2, axis=(1, 2, 3, 4))
    columns["error_sampled"] = np.mean((images["sampled"] - digits.test.x) ** 2, axis=(1, 2, 3, 4))
    difference = images["sampled"] - images["again"]
    columns["share_among_samples"] = np.array([high_share(each) for each in difference])
    found[name] = columns
    print(name, {key: value.round(4).tolist() for key, value in columns.items()})
  among_images = high_share(digits.test.x - digits.test.x.mean(0))
  pictures.image_grid(
    config.folder / "reconstructions.png",
    list(rows.values()),
    labels=list(rows),
    title=f"Test images from codes of {config.latent_dim} numbers",
  )
  details = jax.tree.map(np.ndarray.tolist, found) | {"share_among_images": among_images}
  return Outcome(claims(found, among_images), details)


def measure(
  parts: Parts, name: str, config: Config, digits: Digits, params: Any
) -> dict[str, jax.Array]:
  """Reconstructions of the test images by one replica, and what its code tells of the class."""
  codes = parts.encode(params, jnp.asarray(digits.train.x[:10_000]))
  codes_test = parts.encode(params, jnp.asarray(digits.test.x))
  first = parts.decode(params, codes_test)
  found = {"probe": conditioned.probe(codes, digits, codes_test), "first": first}
  if name == "autoencoder":
    return found | {"sampled": first, "again": first}
  for key, seed in (("sampled", 3), ("again", 4)):
    found[key] = conditioned.draw(
      jax.random.key(seed),
      lambda x, t: parts.model.denoise(params, x, t, first),
      count=len(first),
      process=PROCESS,
      num_steps=config.sampling_steps,
      sampler=samplers.ddpm,
    )
  return found


def spectrum(x: np.ndarray) -> tuple[float, float]:
  """Mean power of images (N, H, W, 1) at frequencies above 1/4 per pixel, and at all but zero."""
  squares = np.mean(np.abs(np.fft.fft2(x[..., 0])) ** 2, axis=0)
  frequency = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, squares.shape), indexing="ij"))
  return float(squares[frequency > 0.25].sum()), float(squares[frequency > 0].sum())


def power(x: np.ndarray, images: np.ndarray) -> np.ndarray:
  """High-frequency power of each replica's reconstructions over that of the images."""
  return np.array([spectrum(each)[0] / spectrum(images)[0] for each in x])


def high_share(x: np.ndarray) -> float:
  """Share of the power that is at high frequencies."""
  high, all_of_it = spectrum(x)
  return high / max(all_of_it, 1e-12)


def claims(found: dict[str, dict[str, np.ndarray]], among_images: float) -> list[Claim]:
  """Against the autoencoder."""
  plain, ours = found["autoencoder"], found["SWYCC"]
  claim = partial(Claim, published=PAPER, unit="")
  blur = lambda columns: np.abs(np.log(columns["power_sampled"]))
  return [
    claim(
      "Frechet distance of sampled reconstructions over that of the autoencoder's",
      1.0,
      ours["frechet_sampled"] / plain["frechet_first"],
      relation="at most",
    ),
    claim(
      "|log ratio of high-frequency power to that of the images|, SWYCC's over the autoencoder's",
      1.0,
      blur(ours) / blur(plain),
      relation="at most",
    ),
    claim(
      "share of high frequencies in the variance among samples, over that among images",
      1.0,
      ours["share_among_samples"] / among_images,
      relation="at least",
    ),
    claim(
      "accuracy of a linear classifier of the code minus that of the autoencoder's",
      0.0,
      ours["probe"] - plain["probe"],
      relation="at least",
      tolerance=0.01,
    ),
  ]
