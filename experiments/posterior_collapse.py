"""Posterior collapse in linear VAEs, plain, conditional and hierarchical: gradient descent against theory.

Claim (Dang et al. 2024): a latent of a linear VAE survives if its data eigenvalue exceeds
beta eta^2; in a conditional VAE that of y given x counts, so correlation of x and y causes collapse; in a
hierarchical VAE a learned encoder variance makes the top latents collapse. So too in nonlinear models.
Command: python -m experiments posterior_collapse
Expected, set before measuring: singular values of the trained decoders within 0.05 of the closed form,
relative to the data's largest standard deviation; the predicted number of active units in every setting; in a
nonlinear conditional VAE on digits a rate that falls as the input tells more about the output.
Time: about two minutes on two CPU cores, two seeds of 14 models.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from experiments.harness.conditional import conditional_mlp
from experiments.harness.linear_vae import decode, encode, hierarchical, init
from latentjax import data, objectives
from latentjax.densities import gaussian
from latentjax.losses.elbo import conditional_covariance, linear_hvae_spectrum, linear_vae_spectrum
from latentjax.training import train

PAPERS = {
  93: "Beyond Vanilla Variational Autoencoders: Detecting Posterior Collapse in Conditional and "
  "Hierarchical Variational Autoencoders"
}
FUNCTIONS = (
  "losses.elbo.linear_vae_spectrum",
  "losses.elbo.linear_hvae_spectrum",
  "losses.elbo.conditional_covariance",
  "objectives.conditional_vae",
)
QUICK = {"steps": 100}
VARIANCES = np.array([9.0, 5.0, 3.0, 1.6, 0.8, 0.3])
D = len(VARIANCES)  # dimensions of the data and of every latent
SPREAD = VARIANCES.max() ** 0.5
SCALE = 0.7  # of q(z_1|x) in the hierarchical VAE, where it is fixed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 3000
  batch_size: int = 500
  seeds: int = 2
  learning_rate: float = 1e-2
  schedule: str = "cosine"


class Setting(NamedTuple):
  """A model to train; `spectra` predicts the singular values of the named decoders."""

  name: str
  objective: Any
  arrays: dict[str, np.ndarray]
  spectra: dict[str, Any]


def settings(config: Config) -> list[Setting]:
  """Plain VAEs over beta, conditional ones over the correlation, hierarchical ones over beta_2."""
  rng = np.random.default_rng(0)
  rotation = np.linalg.qr(rng.standard_normal((D, D)))[0]
  x, rest = rng.standard_normal((2, 10_000, D))
  found, spread = [], lambda u: (u * np.sqrt(VARIANCES)) @ rotation
  common = {"latent_dim": D, "likelihood": gaussian, "axis_name": config.axis_name, "feature": "y"}
  eigenvalues = lambda covariance: np.linalg.eigvalsh(covariance)[::-1]
  plain, y = eigenvalues(np.cov(spread(x), rowvar=False)), spread(x)
  for beta in (0.5, 1.2, 2.2, 4.0):
    model = objectives.vae(encode, decode, beta=beta, **common)
    spectra = {"u": linear_vae_spectrum(plain, beta=beta)}
    found.append(Setting(f"VAE, beta {beta}", model.objective, {"y": y}, spectra))
  for rho in (0.0, 0.5, 0.8, 0.95):
    mixed = spread(rho * x + np.sqrt(1 - rho**2) * rest)
    joint = np.cov(np.hstack([mixed, x]), rowvar=False)
    model = objectives.conditional_vae(encode, decode, condition="x", **common)
    remains = conditional_covariance(joint[:D, :D], joint[:D, D:], joint[D:, D:])
    spectra = {"u": linear_vae_spectrum(eigenvalues(remains))}
    found.append(
      Setting(f"CVAE, correlation {rho}", model.objective, {"y": mixed, "x": x}, spectra)
    )
  for beta in (1.0, 1.4):
    bottom, top = linear_hvae_spectrum(plain, encoder_scale=SCALE, beta_top=beta)
    objective = hierarchical(beta, scale=SCALE, axis_name=config.axis_name)
    spectra = {"u": bottom, "u_top": top}
    found.append(Setting(f"HVAE, beta_2 {beta}", objective, {"y": y}, spectra))
  spectra = {"u": linear_vae_spectrum(plain), "u_top": np.zeros(D)}
  objective = hierarchical(1.4, scale=None, axis_name=config.axis_name)
  return [*found, Setting("HVAE, beta_2 1.4, learned s", objective, {"y": y}, spectra)]


def run(config: Config) -> Outcome:
  """Train every setting; compare spectra and numbers of active units."""
  errors: dict[str, list[np.ndarray]] = {"VAE": [], "CVAE": [], "HVAE": []}
  wrong, details, lines = np.zeros(config.seeds), {}, {}
  for i, (name, objective, arrays, spectra) in enumerate(settings(config)):
    dataset = data.load({k: a.astype(np.float32) for k, a in arrays.items()})
    folder = config.folder / f"setting_{i}"
    params = train(
      objective, partial(init, D), config.optimizer(), dataset, config, folder, name=name
    ).state.eval_params
    for decoder, want in spectra.items():
      maps = np.asarray(params[decoder]).reshape(config.seeds, D, D)
      got, want = np.linalg.svd(maps, compute_uv=False), np.asarray(want)
      errors[name.split(",")[0]].append(np.abs(got - want).max(axis=1) / SPREAD)
      wrong += (got > 0.05 * SPREAD).sum(1) != (want > 0).sum()
      details[f"{name}, {decoder}"] = {"closed_form": want.tolist(), "trained": got[0].tolist()}
      if decoder == "u" and name[0] != "H":
        lines |= {name: (np.arange(D), got.T)}
  rates = nonlinear(config)
  pictures.curves(
    config.folder / "spectra.png", lines, title="Singular values of the trained decoders",
    x_label="index", y_label="singular value",
  )  # fmt: skip
  least_fall = np.min(rates[:-1] - rates[1:], axis=0)
  table = [(f"error of the spectrum, {n}, worst setting", 0.05, np.max(e, 0), "at most", "")
    for n, e in errors.items()]  # fmt: skip
  table += [
    ("decoders with another number of active units than predicted", 0, wrong, "at most", ""),
    ("least fall of a nonlinear CVAE's rate when x gets better", 0, least_fall, "at least", "nats"),
  ]
  published = "Dang et al. 2024"
  claims = [Claim(*row[:3], published, row[3], unit=row[4]) for row in table]
  return Outcome(claims, details | {"nonlinear_rates": rates.tolist()})


def nonlinear(config: Config) -> np.ndarray:
  """Rates of conditional VAEs of digits given the same digit, ever fainter under fresh noise."""
  digits = data.load("digits", split="train", data_dir=config.data_dir)
  image = jnp.asarray(digits.arrays["image"] / 255, jnp.float32)
  networks = conditional_mlp((8, 8, 1), 64, 8, hidden=(128,), data_mean=np.asarray(image.mean(0)))
  model = objectives.conditional_vae(
    networks.encode_fn, networks.decode_fn, latent_dim=8, axis_name=config.axis_name
  )
  slow, rates = dataclasses.replace(config, learning_rate=1e-3, batch_size=100), []
  for signal in (0.0, 0.5, 2.0):

    def blur(key: jax.Array, example: Any, signal: float = signal) -> Any:
      x = example["image"].astype(jnp.float32) / 255
      return {"image": x, "label": signal * x.ravel() + jax.random.normal(key, (64,))}

    params = train(
      model.objective, lambda key: (networks.init_fn(key), ()), slow.optimizer(), digits, slow,
      config.folder / f"digits_{signal}", transform=blur, name=f"digits, signal {signal}",
    ).state.eval_params  # fmt: skip
    y = signal * image.reshape(-1, 64) + jax.random.normal(jax.random.key(3), (len(image), 64))
    rate = lambda p, y=y: jnp.mean(model.bound(p, jax.random.key(0), image, y).kl)
    rates.append(config.each_seed(rate)(params))
  return np.stack(rates)
