"""InfoDiffusion: a code that the denoiser cannot do without, good to read and good to sample.

Claim (Wang et al. 2023, abstract): regularisation with the mutual information "improves latent space quality
and prevents the latents from being ignored by expressive diffusion-based decoders ... while retaining the
high sample quality of diffusion models".
Command: python -m experiments info_diffusion --data_dir=DIRECTORY_OF_TFDS_MNIST
Expected: information I(x; z) over the test images at most 0.1 nats for zeta = 0, at least 5 (of the
log 4,000 = 8.3 that can be seen) for zeta = 1. A linear classifier reads the digit from the code better than
from that of zeta = 0, by 0.5 of accuracy at least, and at least as well as from a diffusion autoencoder's
(tolerance 0.005, the standard error of 4,000 images). The Frechet distance of samples, with codes from what
is fitted to them, is at most that of the diffusion model without a code, at equal network and training; with
codes from the prior, at most the diffusion autoencoder's.
Protocol: MNIST at 14 x 14, codes of 16 numbers; "without information": zeta = 0 and lambda = 1, the bound;
"diffusion autoencoder": no noise in the code and no penalty; "no code": the denoiser alone.
Time: about six minutes on one CPU core, three seeds of four models.
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
from latentjax.densities import gaussian
from latentjax.diffusion.processes import vp_cosine
from latentjax.losses.elbo import total_correlation_terms
from latentjax.models import DenoisingMLP, MLPEncoder
from latentjax.objectives import DiffusionModel, fit_gaussian_mixture

PAPERS = {
  71: "InfoDiffusion: Representation Learning Using Information Maximizing Diffusion Models"
}
FUNCTIONS = (
  "objectives.info_diffusion",
  "objectives.diffusion_autoencoder",
  "losses.elbo.infovae_bound",
  "losses.elbo.mmd",
  "losses.elbo.total_correlation_terms",
  "metrics.frechet_distance",
)
QUICK = conditioned.QUICK
PAPER = "Wang et al. 2023, abstract"
PROCESS = vp_cosine()
NOTHING, BOUND, PLAIN, OURS = (
  "no code",
  "without information",
  "diffusion autoencoder",
  "InfoDiffusion",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(conditioned.Config):
  """Flags of this experiment."""

  reg_weight: float = 0.1
  """Weight lambda of the discrepancy."""


class Parts:
  """The networks, and a model for each arm."""

  def __init__(self, config: Config):
    code = np.zeros(config.latent_dim, np.float32)
    self.denoiser = bind(DenoisingMLP(config.width, depth=2), SHAPE, code)
    self.encoder = MLPEncoder(config.latent_dim, (256,), "relu")
    info = partial(objectives.info_diffusion, self.encode, self.predict)
    plain = partial(objectives.diffusion_autoencoder, self.mean_code, self.predict)
    given = {"process": PROCESS, "prediction": "x0"}
    self.models: dict[str, DiffusionModel] = {
      NOTHING: objectives.diffusion(self.predict, **given),
      BOUND: info(zeta=0.0, reg_weight=1.0, **given),
      PLAIN: plain(**given),
      OURS: info(zeta=1.0, reg_weight=config.reg_weight, **given),
    }

  def init(self, key: jax.Array) -> Any:
    key_denoiser, key_encoder = jax.random.split(key)
    encoder = self.encoder.init(key_encoder, jnp.zeros((1, *SHAPE)))["params"]
    return {"denoiser": self.denoiser.init_fn(key_denoiser), "encoder": encoder}

  def encode(self, params: Any, x: jax.Array) -> Any:
    return self.encoder.apply({"params": params["encoder"]}, x)

  def mean_code(self, params: Any, key: jax.Array, x: jax.Array) -> Any:
    return self.encode(params, x)[0], 0.0, {}

  def predict(self, params: Any, z_t: jax.Array, t: jax.Array, z: Any) -> jax.Array:
    return self.denoiser.predict_fn(params["denoiser"], z_t, t, z)


def run(config: Config) -> Outcome:
  """Train every arm, read its code and sample it."""
  digits = conditioned.load_digits(config)
  parts = Parts(config)
  found: dict[str, dict[str, np.ndarray]] = {}
  rows = {"test images": to_unit(digits.test.x[:16])}
  for arm, model in parts.models.items():
    params = conditioned.fit(config, arm, model.objective, parts.init, digits)
    measured = config.each_seed(partial(measure, parts, arm, config, digits))(params)
    samples = {key: np.asarray(measured.pop(key)) for key in ("prior", "fitted")}
    found[arm] = jax.tree.map(np.asarray, measured)
    for key, x in samples.items():
      found[arm][f"frechet_{key}"] = digits.frechet(x)
      rows[f"{arm}, {key}"] = to_unit(x[0, :16])
    print(arm, {key: value.round(4).tolist() for key, value in found[arm].items()})
  title = (
    f"{config.sampling_steps} steps of DDIM; codes from the prior, or from what was fitted to them"
  )
  pictures.image_grid(
    config.folder / "samples.png", list(rows.values()), labels=list(rows), title=title
  )
  return Outcome(claims(found), jax.tree.map(np.ndarray.tolist, found))


def measure(
  parts: Parts, arm: str, config: Config, digits: Digits, params: Any
) -> dict[str, jax.Array]:
  """What one replica's code tells of the class and of the image, and samples."""
  count, denoise = config.num_samples, parts.models[arm].denoise

  def sample(z: Any) -> jax.Array:
    predict = lambda x, t: denoise(params, x, t, z)
    steps = {"process": PROCESS, "num_steps": config.sampling_steps}
    return conditioned.draw(jax.random.key(3), predict, count=count, **steps)

  if arm == NOTHING:
    return dict.fromkeys(("prior", "fitted"), sample(None))
  codes = parts.encode(params, jnp.asarray(digits.train.x[:10_000]))[0]
  mean, log_scale = parts.encode(params, jnp.asarray(digits.test.x))
  z = gaussian.sample(jax.random.key(5), mean, log_scale)
  terms = total_correlation_terms(
    z, mean, log_scale, dataset_size=len(z), estimator="stratified", block_size=256
  )
  mixture = fit_gaussian_mixture(jax.random.key(1), codes, num_components=20, num_steps=30)
  found = {
    "probe": conditioned.probe(codes, digits, mean),
    "prior": sample(jax.random.normal(jax.random.key(2), (count, config.latent_dim))),
    "fitted": sample(mixture.sample(jax.random.key(2), count)),
  }
  noisy = {} if arm == PLAIN else {"information": jnp.mean(terms.mutual_information)}
  return found | noisy


def claims(found: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
  """The code is used, readable and sampled."""
  ours, claim = found[OURS], partial(Claim, published=PAPER, unit="")
  frechet = lambda key, arm: ours[f"frechet_{key}"] / found[arm][f"frechet_{key}"]
  return [
    Claim("information of the code, zeta = 0", 0.1, found[BOUND]["information"], PAPER, "at most"),
    Claim("information of the code, zeta = 1", 5.0, ours["information"], PAPER, "at least"),
    claim(
      "accuracy of a linear classifier of the code, zeta = 1, minus that of zeta = 0",
      0.5,
      ours["probe"] - found[BOUND]["probe"],
      relation="at least",
    ),
    claim(
      "accuracy of a linear classifier of the code minus that of a diffusion autoencoder's",
      0.0,
      ours["probe"] - found[PLAIN]["probe"],
      relation="at least",
      tolerance=0.005,
    ),
    claim(
      "Frechet distance of samples over that of the diffusion model without a code",
      1.0,
      frechet("fitted", NOTHING),
      relation="at most",
    ),
    claim(
      "Frechet distance of samples, codes from the prior, over that of a diffusion autoencoder",
      1.0,
      frechet("prior", PLAIN),
      relation="at most",
    ),
  ]
