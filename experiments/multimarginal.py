"""Three distributions at the corners of a simplex: one training, flows along every edge and a cheaper path.

Claim (Albergo et al. 2023): the conditional means of a barycentric interpolant, learned by simple quadratic
objectives on the simplex, give velocities between any two of the distributions, although no pair was trained
for; and the path on the simplex, chosen after training, reduces the cost of the transport between two.
Command: python -m experiments multimarginal
Expected: energy distance of transported points to those wanted, over that of the points before, at most 0.1
on the worst of the six directed edges; kinetic cost of an optimised path over that of the straight edge at
most 0.95 in the mean of three pairs, and the worst energy distance along these paths at most 0.1 as well.
From every distance that of two samples of the same distribution is subtracted.
Theory: of two standard normals with independent pairs the straight edge has the cost 2 - pi / 2 = 0.43 a
dimension, since the variance shrinks and grows again; a third distribution on the simplex makes it shrink
more, but paths with sums above 1, which the same conditional means serve, keep it.
Note: after 4,000 steps, in place of 10,000, the worst edge, ring to board, was at 0.149.
Time: about seven minutes on one CPU core, three seeds.
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

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax import data
from latentjax.diffusion.samplers import velocity_flow
from latentjax.losses.score import path_velocity, simplex_interpolant
from latentjax.objectives import multimarginal_flow
from latentjax.training import train
from latentjax.transport import generalized_energy_distance

PAPERS = {104: "Multimarginal generative modeling with stochastic interpolants"}
FUNCTIONS = (
  "losses.score.multimarginal_loss",
  "losses.score.path_velocity",
  "losses.score.simplex_interpolant",
  "objectives.multimarginal_flow",
  "diffusion.samplers.velocity_flow",
)
QUICK = {"steps": 10, "seeds": 2, "path_steps": 3, "num_samples": 100}
EDGES = ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 10000
  seeds: int = 3
  batch_size: int = 512
  schedule: str = "cosine"
  learning_rate: float = 2e-3
  ema_decay: float | None = 0.99
  width: int = 128
  """Of the network's three hidden layers."""
  path_steps: int = 300
  """Of the optimisation of a path."""
  num_samples: int = 1000
  """Points of every distance."""
  ode_steps: int = 40
  """Steps of Heun's method."""


class Means(nn.Module):
  """x (B, 2) and alpha (B, 3) to the three conditional means, (B, 3, 2)."""

  width: int

  @nn.compact
  def __call__(self, x: jax.Array, alpha: jax.Array) -> jax.Array:
    waves = [wave(k * x) for k in (1, 2, 4) for wave in (jnp.sin, jnp.cos)]
    h = jnp.concatenate([x, alpha, *waves], axis=1)
    for _ in range(3):
      h = nn.silu(nn.Dense(self.width)(h))
    return nn.Dense(6)(h).reshape(-1, 3, 2)


def marginals(count: int, seed: int) -> np.ndarray:
  """Two half moons, a ring of six normals, a checkerboard, each of scale 1; (count, 3, 2), independent."""
  rng = np.random.default_rng(seed)
  side, angle = rng.integers(2, size=count), np.pi * rng.uniform(size=count)
  moon = np.stack(
    [np.cos(angle) + side - 0.5, np.sin(angle) * (1 - 2 * side) + 0.5 * side - 0.25], 1
  )
  moon = 1.2 * (moon + 0.05 * rng.standard_normal((count, 2)))
  around = rng.integers(6, size=count) * np.pi / 3
  ring = 1.4 * np.stack([np.cos(around), np.sin(around)], 1) + 0.12 * rng.standard_normal(
    (count, 2)
  )
  column = rng.integers(4, size=count)
  row = 2 * rng.integers(2, size=count) + column % 2
  board = np.stack([column, row], 1) + rng.uniform(size=(count, 2)) - 2
  return np.float32(np.stack([moon, ring, 0.85 * board], axis=1))


def path(weights: jax.Array, edge: jax.Array, t: jax.Array) -> jax.Array:
  """A path from corner to corner that may leave the edge and the simplex: the weights' logarithms bend."""
  bend = weights @ jnp.stack([jnp.ones_like(t), t, jnp.square(t)])
  shares = jnp.stack([1 - t, t, t * (1 - t)]) * jnp.exp(
    bend * jnp.stack([t, 1 - t, jnp.ones_like(t)])
  )
  return jnp.zeros(3).at[jnp.append(edge, 3 - jnp.sum(edge))].set(shares)


def straight(edge: jax.Array, t: jax.Array) -> jax.Array:
  """The edge itself."""
  return jnp.zeros(3).at[edge].set(jnp.stack([1 - t, t]))


def kinetic_cost(means_fn: Any, path_fn: Any, xs: jax.Array, t: jax.Array) -> jax.Array:
  """Mean squared velocity along a path, at the interpolant's points xs (B, 3, 2) at times (B,)."""
  x = simplex_interpolant(jax.vmap(path_fn)(t), xs)
  return jnp.mean(jnp.sum(jnp.square(path_velocity(means_fn, path_fn)(x, t)), axis=1))


def optimise(config: Config, means_fn: Any, edge: jax.Array, xs: jax.Array) -> jax.Array:
  """Weights of a path of least kinetic cost."""
  optimizer = optax.adam(0.1)

  def cost(weights: jax.Array, i: jax.Array) -> jax.Array:
    key_rows, key_time = jax.random.split(jax.random.fold_in(jax.random.key(5), i))
    rows = jax.random.choice(key_rows, len(xs), (512,))
    t = (jax.random.uniform(key_time) + jnp.arange(512) / 512) % 1
    return kinetic_cost(means_fn, partial(path, weights, edge), xs[rows], t)

  def step(i: jax.Array, carry: Any) -> Any:
    weights, state = carry
    updates, state = optimizer.update(jax.grad(cost)(weights, i), state)
    return optax.apply_updates(weights, updates), state

  start = jnp.zeros((3, 3)).at[2, 0].set(-2.0)
  return jax.lax.fori_loop(0, config.path_steps, step, (start, optimizer.init(start)))[0]


def measure(config: Config, network: Means, xs: jax.Array, test: jax.Array, params: Any) -> Any:
  """Distances along all edges, and along optimised paths with their costs."""
  means_fn = partial(network.apply, params)
  times = jnp.linspace(0.0, 1.0, config.ode_steps + 1)
  points, wanted = test[: config.num_samples], test[config.num_samples :]
  distance = lambda a, b: generalized_energy_distance(a[None], b[None], distance="euclidean")[0]

  def flow(edge: jax.Array, path_fn: Any) -> tuple[jax.Array, jax.Array]:
    start, end = points[:, edge[0]], wanted[:, edge[1]]
    velocity = path_velocity(means_fn, path_fn)
    moved = velocity_flow(jax.random.key(0), velocity, start, times=times)
    same = distance(points[:, edge[1]], end)
    return (distance(moved, end) - same) / (distance(start, end) - same), moved

  def along(edge: jax.Array) -> dict[str, jax.Array]:
    ratio, moved = flow(edge, partial(straight, edge))
    return {"edges": ratio, "moved": moved}

  def bent(edge: jax.Array) -> dict[str, jax.Array]:
    best = partial(path, optimise(config, means_fn, edge, xs), edge)
    costs = [kinetic_cost(means_fn, fn, test, t) for fn in (best, partial(straight, edge))]
    paths = jax.vmap(best)(times)
    return {"bent": flow(edge, best)[0], "saved": costs[0] / costs[1], "paths": paths}

  t = (jnp.arange(len(test)) + 0.5) / len(test)
  edges = jnp.array(EDGES)
  return jax.lax.map(along, edges) | jax.lax.map(bent, edges[:3])


def run(config: Config) -> Outcome:
  """Train once, transport along all edges, bend three of them."""
  xs = marginals(30_000, 1)
  test = marginals(2 * config.num_samples, 2)
  network = Means(config.width)
  result = train(
    multimarginal_flow(network.apply, axis_name=config.axis_name),
    lambda key: (network.init(key, jnp.zeros((1, 2)), jnp.ones((1, 3))), ()),
    config.optimizer(),
    data.load({"xs": xs}),
    config,
    config.folder / "train",
  )
  each = config.each_seed(partial(measure, config, network, jnp.asarray(xs), jnp.asarray(test)))
  found = jax.device_get(each(result.state.eval_params))
  draw(config, found, test)
  claim = partial(Claim, published="Albergo et al. 2023, abstract", relation="at most", unit="")
  worst = "energy distance to the target over that before, worst of"
  details = {name: found[name].tolist() for name in ("edges", "bent", "saved")}
  return Outcome(
    [
      claim(f"{worst} six edges", 0.1, found["edges"].max(1)),
      claim(f"{worst} three optimised paths", 0.1, found["bent"].max(1)),
      claim("kinetic cost, optimised path over straight edge", 0.95, found["saved"].mean(1)),
    ],
    details,
  )


def draw(config: Config, found: dict[str, np.ndarray], test: np.ndarray) -> None:
  """The distributions, what flows made of them, and the optimised paths."""
  names = ("moons", "ring", "board")
  points = {name: test[:, k] for k, name in enumerate(names)} | {
    f"{names[i]} to {names[j]}": found["moved"][0, e] for e, (i, j) in enumerate(EDGES[:3])
  }
  text = {"x_label": "first", "y_label": "second"}
  pictures.scatter(
    config.folder / "flows.png",
    {name: {"": (x[:, 0], x[:, 1])} for name, x in points.items()},
    title="Data, and data moved along edges",
    **text,
  )
  times = np.linspace(0, 1, config.ode_steps + 1)
  pictures.curves(
    config.folder / "paths.png",
    {
      f"{names[i]} to {names[j]}": (times, found["paths"][:, e, :, 3 - i - j].T)
      for e, (i, j) in enumerate(EDGES[:3])
    },
    title="Weight of the third distribution on the optimised paths",
    x_label="time",
    y_label="weight",
  )
