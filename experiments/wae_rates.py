"""Wasserstein auto-encoders learn at a rate set by the intrinsic dimension of the data, not the ambient one.

Claim (Chakraborty & Bartlett 2024): the expected excess risk of a WAE falls with the number n of training
examples at a rate that depends on the intrinsic dimension alone. Data: Gaussians of dimension 2 or 8 sent by
a fixed random tanh network into 32 or 256 dimensions. Risk: squared error plus weighted MMD^2 of the codes on
new examples; excess: over the risk after training on 16,384 examples, which is not zero, since a code of two
dimensions cannot fill the prior's eight.
Command: python -m experiments wae_rates
Expected: the slope of log excess risk against log n is steeper for dimension 2 than for 8, in either ambient
space, and differs by less than 0.1 between the ambient spaces.
Time: five minutes on two CPU cores, four seeds.
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
from latentjax.densities import gaussian
from latentjax.losses.elbo import mmd
from latentjax.models import mlp_vae
from latentjax.training import train

PAPERS = {
  131: "A Statistical Analysis of Wasserstein Autoencoders for Intrinsically Low-dimensional Data"
}
FUNCTIONS = ("objectives.wae_mmd", "losses.elbo.mmd")
QUICK = {"steps": 30, "seeds": 2, "most": 64, "reference": 256, "test_examples": 256}
PAPER = "Chakraborty & Bartlett 2024"
INTRINSIC, AMBIENT = (2, 8), (32, 256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 4000
  batch_size: int = 64
  seeds: int = 4
  latent_dim: int = 8
  """Dimensions of the latent space, the larger intrinsic one."""
  hidden: int = 128
  """Units of the one hidden layer each way."""
  least: int = 16
  """Training examples at the start of the sweep; they grow by factors of 4."""
  most: int = 1024
  """Training examples at its end."""
  reference: int = 16_384
  """Training examples of the run whose risk is subtracted."""
  test_examples: int = 2048
  """New examples on which the risk is measured."""
  reg_weight: float = 1.0
  """Weight of MMD^2 in units of the squared error; the data have a mean squared norm of 1."""
  block_size: int | None = harness.free(None)
  """Rows at a time in MMD^2, against all of all devices."""


def run(config: Config) -> Outcome:
  """Train over all sizes and dimensions, fit the slopes."""
  sizes = [config.least]
  while sizes[-1] * 4 <= config.most:
    sizes.append(4 * sizes[-1])
  risks, slopes, lines = {}, {}, {}
  for intrinsic in INTRINSIC:
    for ambient in AMBIENT:
      name = f"{intrinsic} in {ambient}"
      x = manifold(intrinsic, ambient, config.reference + config.test_examples)
      test = jnp.asarray(x[config.reference :])
      *risk, floor = (risk_of(config, name, x[:n], test) for n in (*sizes, config.reference))
      excess = np.maximum(np.stack(risk) - floor.mean(), 1e-6)
      log_n = np.log(sizes) - np.mean(np.log(sizes))
      slopes[intrinsic, ambient] = log_n @ np.log(excess) / (log_n @ log_n)
      risks[name] = [*np.stack(risk).tolist(), floor.tolist()]
      lines[name] = (np.log2(sizes), np.log2(excess))
  pictures.curves(
    config.folder / "risk.png",
    lines,
    title="Excess risk of a WAE on new examples: intrinsic in ambient dimensions",
    x_label="log2 of the number of training examples",
    y_label="log2 excess risk",
  )
  claims = [
    Claim(
      f"slope of log excess risk in log n, intrinsic dimension 2 minus 8, ambient {ambient}",
      expected=0.0,
      measured=slopes[2, ambient] - slopes[8, ambient],
      published=PAPER,
      relation="at most",
      unit="",
    )
    for ambient in AMBIENT
  ] + [
    Claim(
      f"slope, ambient dimension 32 minus 256, intrinsic {intrinsic}",
      expected=0.0,
      measured=slopes[intrinsic, 32] - slopes[intrinsic, 256],
      published=PAPER,
      tolerance=0.1,
      unit="",
    )
    for intrinsic in INTRINSIC
  ]
  found = {f"{d} in {a}": np.asarray(slope).tolist() for (d, a), slope in slopes.items()}
  return Outcome(claims, {"sizes": sizes, "risks": risks, "slopes": found})


def manifold(intrinsic: int, ambient: int, num_examples: int) -> np.ndarray:
  """Draws of a Gaussian sent through a random tanh network, centred, with mean squared norm 1."""
  rng = np.random.default_rng(intrinsic)
  u = rng.standard_normal((num_examples, intrinsic))
  h = np.tanh(u @ rng.standard_normal((intrinsic, 64)) / np.sqrt(intrinsic))
  x = h @ np.random.default_rng(ambient).standard_normal((64, ambient))
  x -= x.mean(axis=0)
  return (x / np.sqrt((x**2).sum(axis=1).mean())).astype(np.float32)


def risk_of(config: Config, name: str, x: np.ndarray, test: jax.Array) -> np.ndarray:
  """Train on x; the risk on new examples, one for each seed."""
  networks = mlp_vae(
    x.shape[1:],
    config.latent_dim,
    hidden=(config.hidden,),
    activation="relu",
    likelihood="gaussian",
  )
  # -log p(x|z) with variance 1/2 is the squared error, up to a constant.
  log_scale = jnp.float32(-0.5 * np.log(2))
  decode_fn = lambda params, z: (networks.decode_fn(params, z)[0], log_scale)
  model = objectives.wae_mmd(
    networks.encode_fn,
    decode_fn,
    latent_dim=config.latent_dim,
    likelihood=gaussian,
    reg_weight=config.reg_weight,
    feature="x",
    axis_name=config.axis_name,
    block_size=config.block_size,
  )
  result = train(
    model.objective,
    lambda key: (networks.init_fn(key), ()),
    config.optimizer(),
    data.load({"x": x}),
    config,
    config.folder / f"{name}, {len(x)}".replace(" ", "_"),
    name=f"{name}, {len(x)}",
  )

  def risk(params: Any) -> jax.Array:
    z = model.encode(params, test)
    error = jnp.mean(jnp.sum(jnp.square(test - model.decode(params, z)), axis=1))
    prior = jax.random.normal(jax.random.key(3), z.shape)
    return error + config.reg_weight * mmd(z, prior, estimator="biased", block_size=512)

  return np.asarray(config.each_seed(risk)(result.state.eval_params))
