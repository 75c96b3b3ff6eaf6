"""Fourteen auto-encoders on MNIST with one network and one budget: the table a newcomer looks for.

Columns: distortion -E[log p(x|z)] and rate KL(q(z|x) || p(z)) on test images, test negative log-likelihood
by importance samples, active units. A deterministic auto-encoder has a distortion alone. comparison.png shows
reconstructions and samples of each.
Claims: the rate of the capacity-annealed VAE is its capacity within 5 % (Burgess et al. 2018); a VampPrior
raises the test likelihood (Tomczak & Welling 2018); beta-TCVAE (Chen et al. 2018) and FactorVAE
(Kim & Mnih 2018) lower the total correlation, DIP-VAE (Kumar et al. 2018) the covariances of the means.
Expected: every difference on the claimed side of 0; the rate within 5 % of the capacity.
Command: python -m experiments vae_table --data_dir=DIRECTORY_OF_TFDS_MNIST
Time: about 10 minutes on two CPU cores for 10 epochs each.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures, vae_report
from latentjax import data, objectives
from latentjax.data.transforms import dynamic_binarize
from latentjax.losses.annealing import linear_annealing
from latentjax.losses.elbo import total_correlation_terms
from latentjax.models import MLP, mlp_vae
from latentjax.objectives import LatentModel
from latentjax.training import train

PAPERS = {
  40: "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations",
  42: "Isolating Sources of Disentanglement in Variational Autoencoders",
  62: "Understanding disentangling in beta-VAE",
}
FUNCTIONS = (
  "objectives.vae",
  "objectives.capacity_vae",
  "objectives.tc_vae",
  "objectives.factor_vae",
  "objectives.dip_vae",
  "objectives.info_vae",
  "objectives.wae_mmd",
  "objectives.aae",
  "objectives.rae",
  "objectives.sigma_vae",
  "objectives.vamp_prior",
)
QUICK = {"dataset": "digits", "steps": 40, "hidden": 32, "nll_samples": 20, "test_examples": 100}
SHOWN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  dataset: Literal["mnist", "digits"] = "mnist"
  """Binarised images."""
  steps: int = 4690
  batch_size: int = 128
  latent_dim: int = 16
  """Dimensions of the latent space."""
  hidden: int = 400
  """Units of the one hidden layer each way."""
  capacity: float = 25.0
  """Nats at the end of the capacity annealing, which takes half the run."""
  pseudo_inputs: int = 100
  """Components of the VampPrior."""
  nll_samples: int = 500
  """Importance samples per test example."""
  test_examples: int = 1000
  """Test examples that are evaluated."""


def run(config: Config) -> Outcome:
  """Train every model, measure it, draw it."""
  images = data.load(config.dataset, split="train", data_dir=config.data_dir)
  test = data.load(config.dataset, split="test", data_dir=config.data_dir)
  x = vae_report.binarized(test)[: config.test_examples]
  mean = images.arrays["image"].mean(axis=0) / 255
  networks = mlp_vae(
    x.shape[1:], config.latent_dim, hidden=(config.hidden,), activation="relu", data_mean=mean
  )

  def init_fn(key: jax.Array) -> Any:
    key, key_discriminator, key_inputs = jax.random.split(key, 3)
    zeros = jnp.zeros((1, config.latent_dim))
    inputs = jax.random.normal(key_inputs, (config.pseudo_inputs, *x.shape[1:]))
    return networks.init_fn(key) | {
      "discriminator": MLP(2).init(key_discriminator, zeros)["params"],
      "pseudo_inputs": inputs + jnp.log(mean + 0.01) - jnp.log(1.01 - mean),
    }

  table, rows, labels = {}, [], []
  for name, model in models(config, networks, images.num_examples).items():
    result = train(
      model.objective,
      lambda key, model=model: (init_fn(key), getattr(model, "init_state", ())),
      config.optimizer(),
      images,
      config,
      config.folder / name.replace(" ", "_"),
      transform=dynamic_binarize,
      name=name,
    )
    params = result.state.eval_params
    table[name] = jax.tree.map(
      np.asarray, config.each_seed(partial(measure, config, model, x))(params)
    )
    rows.append(picture(model, config.first_seed(params), x))
    labels.append(label(name, table[name]))
    print(labels[-1])
  originals = np.asarray(x[:SHOWN])
  pictures.image_grid(
    config.folder / "comparison.png",
    [np.concatenate([originals, 0 * originals]), *rows],
    labels=["inputs", *labels],
    title="Reconstructions (left) and samples (right) after one budget",
  )
  return Outcome(
    claims=claims(config, table),
    details={name: jax.tree.map(lambda v: v.tolist(), row) for name, row in table.items()},
  )


def models(config: Config, networks: Any, dataset_size: int) -> dict[str, Any]:
  """All models, with the weights of their papers where those carry over to nats."""
  common = {"latent_dim": config.latent_dim, "axis_name": config.axis_name}
  pair = (networks.encode_fn, networks.decode_fn)
  code = lambda params, z: MLP(2).apply({"params": params["discriminator"]}, z)
  capacity = partial(linear_annealing, num_steps=config.steps // 2, end=config.capacity)
  vamp = objectives.vamp_prior(networks.encode_fn, lambda p: jax.nn.sigmoid(p["pseudo_inputs"]))
  deterministic = {"axis_name": config.axis_name}
  return {
    "VAE": objectives.vae(*pair, **common),
    "VampPrior": objectives.vae(*pair, prior=vamp, **common),
    "beta-VAE 4": objectives.vae(*pair, beta=4.0, **common),
    "capacity": objectives.capacity_vae(*pair, capacity=capacity, **common),
    "beta-TCVAE 6": objectives.tc_vae(*pair, dataset_size=dataset_size, beta=6.0, **common),
    "FactorVAE 10": objectives.factor_vae(*pair, code, gamma=10.0, **common),
    "DIP-VAE I": objectives.dip_vae(*pair, kind="i", **common),
    "DIP-VAE II": objectives.dip_vae(*pair, kind="ii", lambda_diag=10.0, **common),
    "MMD-VAE": objectives.info_vae(*pair, alpha=1.0, reg_weight=1000.0, **common),
    "WAE-MMD": objectives.wae_mmd(*pair, reg_weight=100.0, **common),
    "AAE": objectives.aae(*pair, lambda p, z: code(p, z)[:, 0], reg_weight=10.0, **common),
    "RAE-L2": objectives.rae(*pair, regularizer="l2", **deterministic),
    "RAE-GP": objectives.rae(*pair, regularizer="gp", **deterministic),
    "sigma-VAE": objectives.sigma_vae(*pair, **common),
  }


def measure(config: Config, model: Any, x: jax.Array, params: Any) -> dict[str, jax.Array]:
  """What the table shows of one model."""
  if not isinstance(model, LatentModel):
    _, (_, metrics) = model.objective(params, (), jax.random.key(5), {"image": x})
    return {"distortion": -metrics["log_likelihood"]}
  mean, log_scale = model.encode(params, x)
  terms = model.bound(params, jax.random.key(5), x)
  noise = jax.random.normal(jax.random.key(6), mean.shape)
  parts = total_correlation_terms(
    mean + jnp.exp(log_scale) * noise,
    mean,
    log_scale,
    dataset_size=len(x),  # every example is there: the estimate is exact for these examples
    estimator="stratified",
  )
  covariance = jnp.cov(mean, rowvar=False)
  return {
    "distortion": -jnp.mean(terms.log_likelihood),
    "rate": jnp.mean(terms.kl),
    "nll": vae_report.test_nll(model, x, params, num_samples=config.nll_samples),
    "active_units": jnp.sum(jnp.diag(covariance) > 0.01),
    "total_correlation": jnp.mean(parts.total_correlation),
    "covariances": jnp.sum(jnp.square(covariance - jnp.diag(jnp.diag(covariance)))),
  }


def label(name: str, row: dict[str, np.ndarray]) -> str:
  """One line of the table."""
  values = {key: float(value.mean()) for key, value in row.items()}
  text = f"{name}: distortion {values['distortion']:.1f}"
  if "rate" in values:
    text += f", rate {values['rate']:.1f}, NLL {values['nll']:.1f}"
    text += f", {values['active_units']:.0f} units"
  return text


def picture(model: Any, params: Any, x: jax.Array) -> np.ndarray:
  """Reconstructions, then samples; blank where a model has no prior to sample from."""
  code = model.encode(params, x[:SHOWN])
  decoded = model.decode(params, code[0] if isinstance(model, LatentModel) else code)
  drawn = 0 * decoded
  if model.sample is not None:
    drawn = model.sample(params, jax.random.key(3), SHOWN)
  return np.concatenate([decoded, drawn])


def claims(config: Config, table: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
  """Model against model, seed by seed."""

  def less(name: str, key: str, what: str, published: str, unit: str = "nats") -> Claim:
    difference = table[name][key] - table["VAE"][key]
    return Claim(f"{what}: {name} minus VAE", 0.0, difference, published, "at most", unit=unit)

  return [
    Claim(
      "rate of the capacity-annealed VAE on test images",
      expected=config.capacity,
      measured=table["capacity"]["rate"],
      published="Burgess et al. 2018",
      tolerance=0.05 * config.capacity,
    ),
    less("VampPrior", "nll", "test negative log-likelihood", "Tomczak & Welling 2018"),
    less("beta-TCVAE 6", "total_correlation", "total correlation", "Chen et al. 2018"),
    less("FactorVAE 10", "total_correlation", "total correlation", "Kim & Mnih 2018"),
    less("DIP-VAE I", "covariances", "squared covariances of the means", "Kumar et al. 2018", ""),
  ]
