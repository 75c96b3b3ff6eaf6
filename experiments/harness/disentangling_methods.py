"""Six methods that disentangle, on sprites, with their strength as a number that can be traced."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from experiments.harness.config import Config
from latentjax import objectives
from latentjax.data.factors import (
  FactorSet,
  factor_dataset,
  factor_set,
  render_on_device,
  sprites,
)
from latentjax.densities import bernoulli
from latentjax.losses.annealing import linear_annealing
from latentjax.models import MLP, Networks
from latentjax.training import train

SIDE = 16
LATENT_DIM = 10
DISCRIMINATOR = MLP(2, hidden=(128, 128))
# From weak to strong; five of the six of Locatello et al. 2019.
STRENGTHS = {
  "beta_vae": (1.0, 2.0, 4.0, 8.0, 16.0),
  "annealed_vae": (100.0, 50.0, 25.0, 10.0, 5.0),
  "factor_vae": (10.0, 20.0, 30.0, 50.0, 100.0),
  "beta_tcvae": (1.0, 2.0, 4.0, 6.0, 10.0),
  "dip_vae_i": (1.0, 2.0, 5.0, 20.0, 50.0),
  "dip_vae_ii": (1.0, 2.0, 5.0, 20.0, 50.0),
}


def upright_sprites() -> FactorSet:
  """White sprites that differ in shape, scale and place."""
  made = sprites(side=SIDE, num_rotations=1, num_positions=8, num_colours=1)
  rotation = made.column("rotation")
  factors = tuple(factor for factor in made.factors if factor.name != "rotation")
  return factor_set("upright_sprites", factors, lambda v: made.render(jnp.insert(v, rotation, 0)))


def make_model(
  config: Config, networks: Networks, made: FactorSet, method: str, strength: Any
) -> objectives.LatentModel:
  """A method's model.

  Args:
    config: of the run, for its number of steps.
    networks: encoder and decoder.
    made: the data.
    method: one of STRENGTHS.
    strength: its weight or capacity; can be traced.
  """
  share = 64 / SIDE
  likelihood: Any = SimpleNamespace(
    log_prob=lambda *args, **options: share * bernoulli.log_prob(*args, **options),
    mean=bernoulli.mean,
  )
  code = lambda params, z: DISCRIMINATOR.apply({"params": params["discriminator"]}, z)
  capacity = partial(linear_annealing, num_steps=config.steps // 3, end=strength)
  make, settings = {
    "beta_vae": (objectives.vae, {"beta": strength}),
    "annealed_vae": (objectives.capacity_vae, {"capacity": capacity}),
    "factor_vae": (partial(objectives.factor_vae, discriminator_fn=code), {"gamma": strength}),
    "beta_tcvae": (objectives.tc_vae, {"beta": strength, "dataset_size": made.num_combinations}),
    "dip_vae_i": (
      partial(objectives.dip_vae, kind="i"),
      {"lambda_offdiag": strength, "lambda_diag": 10 * strength},
    ),
    "dip_vae_ii": (
      partial(objectives.dip_vae, kind="ii"),
      {"lambda_offdiag": strength, "lambda_diag": strength},
    ),
  }[method]
  common = {"latent_dim": LATENT_DIM, "likelihood": likelihood}
  return make(
    networks.encode_fn, networks.decode_fn, **common, **settings, axis_name=config.axis_name
  )


def init_params(networks: Networks, method: str, key: jax.Array) -> Any:
  """The networks' parameters and, for FactorVAE, those of its discriminator."""
  key, key_discriminator = jax.random.split(key)
  params = networks.init_fn(key)
  if method == "factor_vae":
    zeros = jnp.zeros((1, LATENT_DIM))
    params |= {"discriminator": DISCRIMINATOR.init(key_discriminator, zeros)["params"]}
  return params


def fit(
  config: Config,
  networks: Networks,
  made: FactorSet,
  method: str,
  strength: float,
  folder: Path,
) -> Any:
  """Parameters of all seeds. The strength is in the state, so that all strengths are one program."""
  make = partial(make_model, config, networks, made, method)
  render = render_on_device(made, fresh=True)

  def transform(key: jax.Array, example: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"image": render(key, example)["image"].astype(jnp.float32) / 255}

  def objective(params: Any, state: Any, key: jax.Array, batch: Any) -> Any:
    weight, inner = state
    loss, (inner, metrics) = make(weight).objective(params, inner, key, batch)
    return loss, ((weight, inner), metrics)

  return train(
    objective,
    lambda key: (
      init_params(networks, method, key),
      (jnp.float32(strength), make(strength).init_state),
    ),
    config.optimizer(),
    factor_dataset(made, num_examples=config.batch_size),  # its factors are drawn anew in the step
    config,
    folder,
    transform=transform,
    name=f"{method} {strength:g}",
  ).state.eval_params
