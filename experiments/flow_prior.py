"""A frozen flow as the prior of latents: its training loss stands for the negative log-likelihood.

Claim (Li et al. 2025): the alignment loss, flow matching with the latents as the unknowns, is a tractable
surrogate of a bound of their log-likelihood under the flow's target; in a controlled setting its landscape
closely approximates the negative log-likelihood, and an auto-encoder trained with it has latents of the
target distribution, with reconstructions kept.
Command: python -m experiments flow_prior
Expected: Spearman correlation of the loss with -log p on a grid at least 0.9, for the exact flow and for the
trained one; points that descend on the loss within two standard deviations of a mode at least 0.9 (of the
target itself 1 - exp(-2) = 0.865); an auto-encoder's squared MMD to its target, with the loss over without,
at most 0.25, at squared error of the reconstruction at most 1.25 times as large.
Protocol: a mixture of six normals in two dimensions, and one of eight normals in eight dimensions for the
latents of scikit-learn's digits; velocities by small frozen networks (after 2,500 steps: 0.896 for 0.904).
Time: about five minutes on one CPU core, three seeds.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import spearmanr

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data, objectives
from latentjax.diffusion.processes import convert, rectified_flow
from latentjax.losses.elbo import mmd
from latentjax.losses.score import flow_alignment_loss
from latentjax.models import DenoisingMLP
from latentjax.training import train

PAPERS = {155: "Aligning Latent Spaces with Flow Priors"}
FUNCTIONS = (
  "losses.score.flow_alignment_loss",
  "objectives.flow_prior_autoencoder",
  "objectives.interpolant_flow",
)
QUICK = {"steps": 10, "flow_steps": 10, "seeds": 2, "draws": 4, "descent": 5}
ANGLES = np.arange(6) * np.pi / 3
PLANE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1) * np.array([2.0, 1.4])[:, None].repeat(3, 0)
SPACE = np.random.default_rng(4).choice([-0.5, 0.5], (8, 8))
SCALE = 0.35


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1500
  """Of an auto-encoder."""
  flow_steps: int = 6000
  """Of a flow."""
  seeds: int = 3
  schedule: str = "cosine"
  weight: float = 0.1
  """Of the alignment, against nats of the reconstruction."""
  draws: int = 512
  """Times and noises of every point of the grid."""
  descent: int = 400
  """Steps of the points that descend."""


def exact_velocity(z: jax.Array, t: jax.Array) -> jax.Array:
  """Of the flow to the plane's mixture."""
  a, b = (1 - t)[:, None], t[:, None]
  variance = (a * SCALE) ** 2 + b**2
  away = z[:, None] - a[..., None] * PLANE
  share = jax.nn.softmax(-0.5 * jnp.sum(jnp.square(away), axis=2) / variance, axis=1)
  means = PLANE + (a * SCALE**2 / variance)[..., None] * away
  x0 = jnp.sum(share[..., None] * means, axis=1)
  return convert(x0, z, t, process=rectified_flow(), source="x0", target="velocity")


def train_flow(config: Config, centres: np.ndarray, name: str) -> tuple[DenoisingMLP, Any]:
  """A velocity for a mixture, and its parameters for every seed."""
  rng = np.random.default_rng(1)
  noise = SCALE * rng.standard_normal((20_000, centres.shape[1]))
  x = np.float32(centres[rng.integers(len(centres), size=20_000)] + noise)
  network = DenoisingMLP(width=96, depth=2)
  objective = objectives.interpolant_flow(network.apply, start="x", axis_name=config.axis_name)
  init_fn = lambda key: (network.init(key, jnp.zeros((1, centres.shape[1])), jnp.zeros(1)), ())
  config = dataclasses.replace(config, steps=config.flow_steps, batch_size=256, ema_decay=0.99)
  dataset, folder = data.load({"x": x}), config.folder / name
  result = train(objective, init_fn, config.optimizer(), dataset, config, folder, name=name)
  return network, result.state.eval_params


def landscape(config: Config, velocity_fn: Any, grid: jax.Array) -> jax.Array:
  """Alignment loss of points, (B,), mean over shared draws; the mean of few would tilt the whole."""
  each = lambda y: jnp.mean(
    flow_alignment_loss(jax.random.key(7), velocity_fn, jnp.tile(y, (config.draws, 1)))
  )
  return jax.lax.map(each, grid, batch_size=100)


def descend(config: Config, velocity_fn: Any, start: jax.Array) -> jax.Array:
  """Points moved by Adam on the alignment loss, eight draws a step."""
  optimizer = optax.adam(optax.cosine_decay_schedule(0.05, config.descent))

  def loss(y: jax.Array, i: jax.Array) -> jax.Array:
    key = jax.random.fold_in(jax.random.key(8), i)
    return jnp.sum(flow_alignment_loss(key, velocity_fn, jnp.tile(y, (8, 1)))) / 8

  def step(i: jax.Array, carry: Any) -> Any:
    y, state = carry
    updates, state = optimizer.update(jax.grad(loss)(y, i), state)
    return optax.apply_updates(y, updates), state

  return jax.lax.fori_loop(0, config.descent, step, (start, optimizer.init(start)))[0]


def plane(config: Config) -> dict[str, np.ndarray]:
  """The mixture in the plane: landscapes of both flows, and points that descend on the trained one's."""
  side = jnp.linspace(-3.0, 3.0, 24)
  grid = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
  network, params = train_flow(config, PLANE, "plane")

  def measure(params: Any) -> dict[str, jax.Array]:
    velocity = partial(network.apply, params)
    start = 1.5 * jax.random.normal(jax.random.key(9), (300, 2))
    return {"loss": landscape(config, velocity, grid), "points": descend(config, velocity, start)}

  found = jax.device_get(config.each_seed(measure)(params))
  squared = jnp.sum(jnp.square(grid[:, None] - PLANE), axis=2) / SCALE**2
  nll = -np.asarray(jax.nn.logsumexp(-0.5 * squared, axis=1))  # up to a constant
  exact = np.asarray(jax.jit(partial(landscape, config, exact_velocity))(grid))
  near = np.linalg.norm(found["points"][:, :, None] - PLANE, axis=-1).min(-1) < 2 * SCALE
  return found | {
    "nll": nll,
    "exact": exact,
    "rank_exact": np.array([spearmanr(exact, nll).statistic]),
    "rank_trained": np.array([spearmanr(loss, nll).statistic for loss in found["loss"]]),
    "near": near.mean(axis=1),
  }


def coder(features: int) -> nn.Module:
  """One hidden layer."""
  return nn.Sequential([nn.Dense(128), nn.silu, nn.Dense(features)])


def digits(config: Config, weight: float, name: str, flow: Any) -> dict[str, np.ndarray]:
  """An auto-encoder of the digits, with the frozen flow of the first seed."""
  images = data.load("digits", split="train", data_dir=config.data_dir).arrays["image"]
  x = np.float32(images).reshape(len(images), -1) / 255
  encoder, decoder, (network, params) = coder(8), coder(x.shape[1]), flow
  model = objectives.flow_prior_autoencoder(
    lambda p, x: encoder.apply(p["encoder"], x),
    lambda p, z: decoder.apply(p["decoder"], z),
    partial(network.apply, config.first_seed(params)),
    weight=weight,
    axis_name=config.axis_name,
  )

  def init(key: jax.Array) -> Any:
    keys = jax.random.split(key)
    parts = encoder.init(keys[0], x[:1]), decoder.init(keys[1], jnp.zeros((1, 8)))
    return dict(zip(("encoder", "decoder"), parts)), ()

  result = train(
    model.objective, init, config.optimizer(), data.load({"image": x}), config, config.folder / name
  )
  rng = np.random.default_rng(3)
  noise = SCALE * rng.standard_normal((1500, 8))
  target = jnp.asarray(np.float32(SPACE[rng.integers(8, size=1500)] + noise))

  def measure(params: Any) -> dict[str, jax.Array]:
    z = model.encode(params, jnp.asarray(x))
    error = jnp.mean(jnp.square(model.decode(params, z) - x))
    return {"mmd": mmd(z, target, bandwidths=(1.0, 4.0)), "error": error}

  return jax.device_get(config.each_seed(measure)(result.state.params))


def run(config: Config) -> Outcome:
  """The plane's landscape, then latents of digits with and without the flow's loss."""
  flat = plane(config)
  flow = train_flow(config, SPACE, "space")
  free, aligned = (
    digits(config, weight, name, flow)
    for name, weight in (("free", 0.0), ("aligned", config.weight))
  )
  draw(config, flat)
  details = {k: flat[k].tolist() for k in ("rank_exact", "rank_trained", "near")}
  details |= {f"free_{k}": v.tolist() for k, v in free.items()}
  details |= {f"aligned_{k}": v.tolist() for k, v in aligned.items()}
  claim = partial(Claim, published="Li et al. 2025, abstract", unit="")
  least, most = partial(claim, relation="at least"), partial(claim, relation="at most")
  ratio = lambda name: aligned[name] / free[name]
  return Outcome(
    [
      least("rank correlation with -log p, exact flow", 0.9, flat["rank_exact"]),
      least("rank correlation with -log p, trained flow", 0.9, flat["rank_trained"]),
      least("share of descended points near a mode", 0.9, flat["near"]),
      most("squared MMD of latents to the target, aligned over free", 0.25, ratio("mmd")),
      most("squared error of reconstructions, aligned over free", 1.25, ratio("error")),
    ],
    details,
  )


def draw(config: Config, flat: dict[str, np.ndarray]) -> None:
  """Landscapes, dark where likely, and where points went."""
  ranks = lambda values: np.argsort(np.argsort(values)).reshape(1, 24, 24, 1) / 576
  pictures.image_grid(
    config.folder / "landscapes.png",
    [1 - ranks(values) for values in (flat["nll"], flat["exact"], flat["loss"][0])],
    labels=["-log p", "exact", "trained"],
    title="-log p and losses",
  )
  points = {"target": PLANE, "descended": flat["points"][0]}
  pictures.scatter(
    config.folder / "points.png",
    {name: {"": (x[:, 0], x[:, 1])} for name, x in points.items()},
    title="Modes, and points moved by the loss",
    x_label="first",
    y_label="second",
  )
