"""Physics-integrated VAE on damped pendulums of which it knows the frictionless equation alone.

Claim (Takeishi & Kalousis 2021): with its regularisers the physical latent is the physical
quantity, and predictions hold beyond the time the model was trained on; without them, or without the
physics, they are worse.
Command: python -m experiments pendulum
Expected: correlation of the encoder's z_P with the true frequency on test data at least 0.9; logarithm
of the squared error in the second half of the time, relative to either other model, below 0.
Note: the paper's pendulums are forced as well as damped. These are damped: theta'' = -omega^2 sin theta -
gamma theta', omega in [0.785, 3.14], gamma in [0, 0.8], theta(0) in [-1.57, 1.57], noise 0.01, seen for
2.5 seconds and predicted for as long again, as there. As in the authors' program the variance of p(x|z) is
fixed, the first angle is where the solution starts from (here as the mean of its latent), and the weights
are theirs, turned from squared radians into nats.
Time: three minutes of training on two CPU cores, two seeds of three models.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data, objectives
from latentjax.models import MLPDecoder, MLPEncoder
from latentjax.objectives import LatentModel
from latentjax.sequence import rk4
from latentjax.training import train

PAPERS = {78: "Physics-Integrated Variational Autoencoders"}
FUNCTIONS = (
  "objectives.physics_vae",
  "losses.elbo.least_action_loss",
  "losses.elbo.self_supervision_loss",
  "sequence.rk4",
)
QUICK = {"steps": 50, "seeds": 2}
PAPER = "Takeishi & Kalousis 2021"
TIMES = 0.1 * jnp.arange(50.0)
OBSERVED = 25
NOISE = 0.01
# Means and deviations of omega and theta(0), from their ranges: what a prior N(0, 1) is scaled by.
CENTRE, SPREAD = np.array([1.96, 0.0]), np.array([0.68, 0.9])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 3000
  batch_size: int = 100
  seeds: int = 2
  learning_rate: float = 2e-3
  schedule: Literal["constant", "cosine", "linear"] = "cosine"
  clip_norm: float | None = 10.0
  auxiliary_dim: int = 1
  """Latents z_A of the trained force."""
  least_action_weight: float = 0.01
  """alpha, the paper's."""
  cleaning_weight: float = 1e-3 / (2 * NOISE**2)
  """gamma: nats per squared radian, summed over time."""
  augmentation_weight: float = 0.1 * SPREAD[0] ** 2 / (2 * NOISE**2)
  """beta: nats per squared unit of z_P."""


def run(config: Config) -> Outcome:
  """Train with the regularisers, without them and without physics; compare beyond the horizon."""
  rows, _ = simulate(0, 1000)
  test, omega = simulate(1, 500)
  dataset = data.load({"x": rows[:, :OBSERVED]})
  found: dict[str, Any] = {}
  for name in ("regularised", "unregularised", "no_physics"):
    params = train(
      make_model(config, name).objective,
      lambda key: (init(config, key), ()),
      config.optimizer(),
      dataset,
      config,
      config.folder / name,
      name=name,
    ).state.eval_params
    found[name] = config.each_seed(partial(measure, config, name, test, omega))(params)
  error = {name: np.log(np.asarray(values["extrapolation"])) for name, values in found.items()}
  draw(config, test, found)
  keep = ("correlation", "reconstruction", "extrapolation")
  return Outcome(
    claims=[
      Claim(
        "correlation of z_P with the frequency",
        expected=0.9,
        measured=np.asarray(found["regularised"]["correlation"]).tolist(),
        published=PAPER,
        relation="at least",
        unit="",
      ),
      *[
        Claim(
          f"log extrapolation error over that of the {name.replace('_', ' ')} model",
          expected=0.0,
          measured=(error["regularised"] - error[name]).tolist(),
          published=PAPER,
          relation="at most",
          unit="",
        )
        for name in ("unregularised", "no_physics")
      ],
    ],
    details={
      name: {key: np.asarray(values[key]).tolist() for key in keep}
      for name, values in found.items()
    },
  )


def simulate(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Angles over time (count, T) with noise, and the frequencies."""
  random = np.random.default_rng(seed)
  omega, gamma = random.uniform(0.785, 3.14, count), random.uniform(0.0, 0.8, count)
  start = np.stack([random.uniform(-1.57, 1.57, count), np.zeros(count)], axis=1)
  force = lambda y, t: jnp.stack([y[:, 1], -(omega**2) * jnp.sin(y[:, 0]) - gamma * y[:, 1]], 1)
  angle = np.asarray(rk4(start, TIMES, force, num_substeps=4))[:, :, 0].T
  return (angle + NOISE * random.normal(size=angle.shape)).astype(np.float32), omega


def networks(config: Config) -> dict[str, Any]:
  """Encoder of z_A, cleaner, encoder of z_P, trained force: each with the shape of its input."""
  mlp = {"hidden": (64, 64), "activation": "elu"}
  return {
    "auxiliary": (MLPEncoder(config.auxiliary_dim, **mlp), OBSERVED),
    "cleaner": (MLPDecoder((OBSERVED,), **mlp), OBSERVED),
    "physics": (MLPEncoder(2, **mlp), OBSERVED),
    "force": (MLPDecoder((1,), hidden=(32,)), 4 + config.auxiliary_dim),
  }


def init(config: Config, key: jax.Array) -> Any:
  """Parameters of all networks."""
  parts = networks(config).items()
  keys = jax.random.split(key, len(parts))
  return {
    name: module.init(key, jnp.zeros((1, size)))["params"]
    for key, (name, (module, size)) in zip(keys, parts)
  }


def make_model(config: Config, name: str, times: jax.Array = TIMES[:OBSERVED]) -> LatentModel:
  """One of the three models; times other than the observed ones are for `decode` alone."""
  nets = networks(config)
  net = lambda params, part, x: nets[part][0].apply({"params": params[part]}, x)
  physics_weight = 0.0 if name == "no_physics" else 1.0
  weights = ("least_action_weight", "cleaning_weight", "augmentation_weight")

  def solve(params: Any, z: jax.Array, trained: bool) -> jax.Array:
    omega, start = (CENTRE + SPREAD * z[:, :2]).T

    def velocity(y: jax.Array, t: jax.Array) -> jax.Array:
      force = -physics_weight * omega**2 * jnp.sin(y[:, 0])
      if trained:
        # What does not know physics has to know all latents.
        seen = z * jnp.where(jnp.arange(z.shape[1]) < 2, 1.0 - physics_weight, 1.0)
        force += net(params, "force", jnp.concatenate([y, seen], axis=1))[0][:, 0]
      return jnp.stack([y[:, 1], force], axis=1)

    return rk4(jnp.stack([start, 0.0 * start], 1), times, velocity)[:, :, 0].T

  def clean(params: Any, x: jax.Array) -> jax.Array:
    return x + net(params, "cleaner", x)[0]

  def encode_physics(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_scale = net(params, "physics", x)
    return mean.at[:, 1].add((x[:, 0] - CENTRE[1]) / SPREAD[1]), log_scale

  def encode(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    both = encode_physics(params, clean(params, x)), net(params, "auxiliary", x)
    mean, log_scale = (jnp.concatenate(pair, axis=1) for pair in zip(*both))
    return mean, log_scale - 3.0

  return objectives.physics_vae(
    encode,
    lambda params, z: (solve(params, z, True), jnp.log(NOISE)),
    lambda params, z: solve(params, z, False),
    clean,
    lambda params, x: encode_physics(params, x)[0],
    latent_dim=2 + config.auxiliary_dim,
    physics_dim=2,
    axis_name=config.axis_name,
    **{weight: getattr(config, weight) * (name == "regularised") for weight in weights},
  )


def measure(
  config: Config, name: str, x: jax.Array, omega: np.ndarray, params: Any
) -> dict[str, jax.Array]:
  """Test errors of the prediction at the posterior mean, and the correlation of z_P."""
  model = make_model(config, name, TIMES)
  mean, _ = model.encode(params, jnp.asarray(x[:, :OBSERVED]))
  predicted = model.decode(params, mean)
  error = jnp.square(predicted - x)
  return {
    "correlation": jnp.corrcoef(mean[:, 0], omega)[0, 1],
    "reconstruction": jnp.mean(error[:, :OBSERVED]),
    "extrapolation": jnp.mean(error[:, OBSERVED:]),
    "predicted": predicted[:6],
  }


def draw(config: Config, x: np.ndarray, found: dict[str, Any]) -> None:
  """Save one picture per test pendulum: truth and the three predictions."""
  times = np.asarray(TIMES)
  for i in range(3):
    lines = {name: (times, np.asarray(values["predicted"])[0, i]) for name, values in found.items()}
    pictures.curves(
      config.folder / f"pendulum_{i}.png",
      {"observed": (times, x[i])} | lines,
      title=f"Test pendulum {i}: the models saw t < {0.1 * OBSERVED:g}",
      x_label="time",
      y_label="angle (radians)",
    )
