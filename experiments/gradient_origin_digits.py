"""Gradient Origin Network against an auto-encoder with twice its parameters, on handwritten digits.

Claim (Bond-Taylor & Willcocks 2021, abstract): a network that takes the gradient of its loss at the origin as
its latents, with no encoder, reconstructs better after the same number of steps than the auto-encoder whose
decoder is that network, with half the parameters.
Command: python -m experiments gradient_origin_digits
Expected: the auto-encoder's test error minus the GON's at least 0; its number of parameters over the GON's at
least 1.9. 4 seeds, one learning rate, 8 x 8 images of scikit-learn instead of the paper's MNIST.
Note: the first claim fails here: the GON is ahead for the first tenth of the steps, the auto-encoder from a
fifth of them on. For a squared error the latents are J^T (x - f(0)), linear in x whatever the network; the
auto-encoder's encoder has two hidden layers.
Time: a minute on two CPU cores.
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
from latentjax import data
from latentjax.data.transforms import to_float
from latentjax.densities import gaussian
from latentjax.models import mlp_vae
from latentjax.objectives import gradient_origin
from latentjax.training import train
from latentjax.training.workdir import read_lines

PAPERS = {88: "Gradient Origin Networks"}
FUNCTIONS = ("objectives.gradient_origin",)
QUICK = {"steps": 100, "seeds": 2}
PAPER = "Bond-Taylor & Willcocks 2021"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2000
  batch_size: int = 64
  seeds: int = 4
  eval_every: int | None = 200
  latent_dim: int = 16
  """Dimensions of the latent space."""
  hidden: int = 128
  """Units of each of the two hidden layers, each way."""


def run(config: Config) -> Outcome:
  """Train both, compare their test errors, draw reconstructions and curves."""
  digits = data.load("digits", split="train", data_dir=config.data_dir)
  test = data.load("digits", split="test", data_dir=config.data_dir)
  x = jnp.asarray(test.arrays["image"], jnp.float32) / 255
  mean = digits.arrays["image"].mean(axis=0) / 255
  networks = mlp_vae(
    x.shape[1:],
    config.latent_dim,
    hidden=(config.hidden, config.hidden),
    activation="silu",
    likelihood="gaussian",
    data_mean=mean,
  )

  def decode_fn(params: Any, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    return networks.decode_fn(params, z)[0], jnp.zeros(())  # half the squared error

  gon = gradient_origin(decode_fn, latent_dim=config.latent_dim, likelihood=gaussian)

  def autoencode(params: Any, x: jax.Array) -> jax.Array:
    return decode_fn(params, networks.encode_fn(params, x)[0])[0]

  def auto_encoder(params: Any, model_state: Any, key: jax.Array, batch: Any) -> Any:
    error = 0.5 * jnp.sum(jnp.square(autoencode(params, batch["image"]) - batch["image"]))
    return error / len(batch["image"]), (model_state, {})

  def init(key: jax.Array, *, encoder: bool) -> Any:
    params = networks.init_fn(key)
    return (params if encoder else {"decoder": params["decoder"]}), ()

  def regenerate(params: Any, x: jax.Array) -> jax.Array:
    return gon.decode(params, gon.encode(params, x))

  sides = {
    "GON": (gon.objective, partial(init, encoder=False), regenerate),
    "auto-encoder": (auto_encoder, partial(init, encoder=True), autoencode),
  }
  errors, sizes, curves, rows = {}, {}, {}, [np.asarray(x[:12])]
  for name, (objective, init_fn, reconstruct) in sides.items():
    error = config.each_seed(
      lambda p, reconstruct=reconstruct: jnp.mean(jnp.square(reconstruct(p, x) - x))
    )
    result = train(
      objective,
      init_fn,
      config.optimizer(),
      digits,
      config,
      config.folder / name,
      transform=to_float,
      evaluate=lambda state, error=error: {"mse": error(state.eval_params)},
      name=name,
    )
    params = result.state.eval_params
    errors[name] = np.asarray(error(params), np.float64)
    first = config.first_seed(params)
    sizes[name] = sum(leaf.size for leaf in jax.tree.leaves(first))
    rows.append(np.asarray(reconstruct(first, x[:12])))
    log = [
      line for line in read_lines(config.folder / name / "metrics.jsonl") if "eval/mse" in line
    ]
    curves[name] = (
      np.array([line["step"] for line in log]),
      np.array([line["eval/mse"] for line in log]),
    )
  labels = ["test image", *sides]
  pictures.image_grid(
    config.folder / "reconstructions.png", rows, labels=labels, title="Test images"
  )
  pictures.curves(
    config.folder / "error.png",
    curves,
    title="Test error",
    x_label="step",
    y_label="mean squared error",
  )
  claim = partial(Claim, published=f"{PAPER}, abstract", relation="at least", unit="")
  gain, ratio = errors["auto-encoder"] - errors["GON"], sizes["auto-encoder"] / sizes["GON"]
  return Outcome(
    claims=[
      claim("test mean squared error, auto-encoder minus GON", expected=0.0, measured=gain),
      claim("number of parameters, auto-encoder over GON", expected=1.9, measured=[ratio]),
    ],
    details={
      "test_mse": {name: value.tolist() for name, value in errors.items()},
      "variance_of_the_test_images": float(jnp.mean(jnp.var(x, axis=0))),
      "num_params": sizes,
    },
  )
