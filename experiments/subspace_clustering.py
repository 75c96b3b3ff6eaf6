"""A diffusion model of points near subspaces clusters them, from as many points as a subspace has dimensions.

Claim (Wang et al. 2024): trained by the denoising loss, with the denoiser of a mixture of low-rank Gaussians
as its network, a diffusion model solves subspace clustering; it learns the subspaces once each has about as
many points as dimensions, whatever the dimension of the space, and fails below (a phase transition).
Command: python -m experiments subspace_clustering
Expected: one subspace of d dimensions: mean error 0 (tolerance 0.03) from d points; from d - 1 points at
least 1 / (2 d). Two subspaces: never learned from d - 1 points each; in at least 0.75 of the runs from d + 2;
the least number of points that half of the runs succeed with is at most d + 2 for every d, in spaces of 24
and of 96 dimensions; from 2 d points, 0.9 of them are in the component of their own subspace; the same with
drawn noise and the posterior's weights (d = 2), error 0 (tolerance 0.05).
Error: 1 - affinity^2, the mean over subspaces, at the better order of them; learned: at most 0.05.
Note: two subspaces cannot be told from d points each: any d points span d dimensions, so that every split
in halves fits. d + 1 points are the least that determine them; the theorem is about the order.
Protocol: orthonormal frames, Adam, one time a step; 16 starts, of which the one with the least training loss
counts. The loss is that of the theorem, with all weight on the nearest component, in expectation over the
noise. With drawn noise: `denoising_loss` up to t = 0.3 of a rectified flow (in first runs up to 0.9 both
frames often became one: where noise rules, they are pulled alike).
Time: four and a half minutes on one busy CPU core, three seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.linalg import solve_triangular

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax.densities import low_rank_mixture
from latentjax.diffusion.processes import rectified_flow
from latentjax.losses.score import denoising_loss, subspace_denoising_loss
from latentjax.metrics import subspace_affinity

PAPERS = {8: "Diffusion Models Learn Low-Dimensional Distributions via Subspace Clustering"}
FUNCTIONS = (
  *(f"densities.low_rank_mixture.{name}" for name in ("denoise", "sample", "responsibilities")),
  "losses.score.denoising_loss",
  "losses.score.subspace_denoising_loss",
  "metrics.subspace_affinity",
)
QUICK = {"steps": 20, "seeds": 2, "starts": 2, "dims": "2", "spaces": "24"}
PROCESS = rectified_flow()
Case = tuple[int, int, int, int]
LossFn = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1500
  seeds: int = 3
  learning_rate: float = 0.05
  schedule: str = "cosine"
  starts: int = 16
  """Random starts of every run."""
  dims: str = "2,3,4"
  """Dimensions d of the subspaces, separated by commas."""
  spaces: str = "24,96"
  """Dimensions D of the space, separated by commas."""


class Found(NamedTuple):
  """Of every seed: error of the learned subspaces, and share of points in their own component."""

  error: jax.Array
  accuracy: jax.Array


def orthonormal(weights: jax.Array) -> jax.Array:
  """The columns of weights (K, D, R), made orthonormal."""
  root = jnp.linalg.cholesky(jnp.einsum("kdr,kds->krs", weights, weights))
  return jnp.swapaxes(solve_triangular(root, jnp.swapaxes(weights, 1, 2), lower=True), 1, 2)


def mixture(frames: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Equal weights and zero means."""
  return jnp.zeros(frames.shape[0]), jnp.zeros(frames.shape[:2]), frames


def fit(config: Config, loss: LossFn, shape: tuple[int, ...], key: jax.Array) -> jax.Array:
  """Frames of one start, by steps down `loss(frames, key, share of the steps that are left)`."""
  optimizer = config.optimizer()
  slope = jax.grad(lambda weights, *args: loss(orthonormal(weights), *args))

  def step(carry: tuple, inputs: tuple) -> tuple:
    weights, state = carry
    updates, state = optimizer.update(slope(weights, *inputs), state, weights)
    return (optax.apply_updates(weights, updates), state), None

  key_start, key_steps = jax.random.split(key)
  start = orthonormal(jax.random.normal(key_start, shape))
  inputs = jax.random.split(key_steps, config.steps), jnp.linspace(1, 0.02, config.steps)
  (weights, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), inputs)
  return orthonormal(weights)


def expected_loss(x: jax.Array, used: jax.Array) -> LossFn:
  """Over the noise, each point by its nearest component; times fall."""

  def loss(frames: jax.Array, key: jax.Array, left: jax.Array) -> jax.Array:
    alpha, sigma = PROCESS.alpha(0.9 * left), PROCESS.sigma(0.9 * left)
    each = subspace_denoising_loss(x, frames, alpha=alpha, sigma=sigma)
    return jnp.sum(used * each) / jnp.sum(used)

  return loss


def noisy_loss(x: jax.Array, used: jax.Array) -> LossFn:
  """Of drawn noise, with the posterior's weights of the components."""

  def loss(frames: jax.Array, key: jax.Array, left: jax.Array) -> jax.Array:
    def predict(z: jax.Array, t: jax.Array) -> jax.Array:
      levels = {"alpha": PROCESS.alpha(t[0]), "sigma": PROCESS.sigma(t[0])}
      return low_rank_mixture.denoise(z, *mixture(frames), **levels)

    one_time = lambda key, *, batch_size, axis_name=None: jnp.full(
      batch_size, jax.random.uniform(key, minval=0.02, maxval=0.3)
    )
    given = {"process": PROCESS, "prediction": "x0", "time_sampler": one_time}
    return jnp.sum(used * denoising_loss(key, predict, x, **given)) / jnp.sum(used)

  return loss


def run_one(
  config: Config, loss_of: Callable, case: tuple[int, int, int], number: jax.Array, key: jax.Array
) -> Found:
  """One seed: `case` is (how many subspaces, dimensions D, d), `number` points of each."""
  count, dim, rank = case
  key_frames, key_points, key_starts = jax.random.split(key, 3)
  truth = orthonormal(jax.random.normal(key_frames, (count, dim, rank)))
  draw = lambda key, u: low_rank_mixture.sample(key, *mixture(u[None]), num_samples=2 * rank)
  x = jax.vmap(draw)(jax.random.split(key_points, count), truth).reshape(-1, dim)
  used = jnp.tile(jnp.arange(2 * rank) < number, count)
  keys = jax.random.split(key_starts, config.starts)
  frames = jax.vmap(partial(fit, config, loss_of(x, used), truth.shape))(keys)
  residual = lambda u: jnp.sum(used * subspace_denoising_loss(x, u, alpha=1.0, sigma=0.0))
  best = frames[jnp.argmin(jax.vmap(residual)(frames))]
  shared = jnp.square(subspace_affinity(truth[:, None], best[None]))  # (true, learned)
  orders = jnp.array([[0, 1], [1, 0]])[:count, :count]
  matches = jax.vmap(lambda order: jnp.mean(shared[jnp.arange(count), order]))(orders)
  own = jnp.repeat(orders[jnp.argmax(matches)], 2 * rank)
  component = jnp.argmax(low_rank_mixture.responsibilities(x, *mixture(best), sigma=0.1), axis=1)
  accuracy = jnp.sum(used * (component == own)) / jnp.sum(used)
  return Found(1 - jnp.max(matches), accuracy)


def run(config: Config) -> Outcome:
  """Learn subspaces of several dimensions from several numbers of points."""
  dims, spaces = ([int(n) for n in part.split(",")] for part in (config.dims, config.spaces))
  keys = jax.random.split(jax.random.key(config.seed), config.seeds)
  found: dict[Case, Found] = {}
  for count, dim, rank in [(1, spaces[-1], d) for d in dims] + [
    (2, dim, d) for dim in spaces for d in dims
  ]:
    numbers = [rank - 1, rank] if count == 1 else sorted({*range(rank - 1, rank + 3), 2 * rank})
    learn = partial(run_one, config, expected_loss, (count, dim, rank))
    every = jax.jit(jax.vmap(jax.vmap(learn, in_axes=(None, 0)), in_axes=(0, None)))
    values = jax.tree.map(np.asarray, every(jnp.array(numbers), keys))
    for i, number in enumerate(numbers):
      found[count, dim, rank, number] = case = jax.tree.map(lambda v, i=i: v[i], values)
      print((count, dim, rank, number), *(np.round(v, 3).tolist() for v in case), flush=True)
  noisy = partial(run_one, config, noisy_loss, (2, spaces[0], 2), jnp.array(4))
  drawn = jax.tree.map(np.asarray, jax.jit(jax.vmap(noisy))(keys))
  draw(config, found)
  details = {
    "x".join(map(str, case)): {name: v.tolist() for name, v in values._asdict().items()}
    for case, values in found.items()
  }
  return Outcome(claims(found, drawn), {"subspaces_x_dim_x_rank_x_points": details})


def claims(found: dict[Case, Found], drawn: Found) -> list[Claim]:
  """Where learning begins."""
  of = lambda wanted, name="error": np.array(
    [getattr(v, name) for (k, _, d, n), v in found.items() if wanted(k, n - d, d)]
  )
  learned = lambda wanted: (of(lambda k, more, d: k == 2 and wanted(more)) <= 0.05).mean(axis=0)
  missing = [d * v.error for (k, _, d, n), v in found.items() if k == 1 and n < d]
  least = {(dim, d): np.inf for k, dim, d, _ in found if k == 2}
  for (k, dim, d, number), values in found.items():
    if k == 2 and np.mean(values.error <= 0.05) >= 0.5:
      least[dim, d] = min(least[dim, d], number - d)
  one, two = "one subspace: ", "two subspaces: "
  own = of(lambda k, more, d: k == 2 and more == d, "accuracy").mean(axis=0)
  enough = of(lambda k, more, d: k == 1 and more == 0).mean(axis=0)
  table = [
    (one + "error from d points", 0, enough, "at most", 0.03),
    (one + "error from d - 1 points, times d", 0.5, np.min(missing, axis=0), "at least", 0),
    (two + "share learned from d - 1 points", 0, learned(lambda m: m == -1), "at most", 0),
    (two + "share learned from d + 2 and more", 0.75, learned(lambda m: m >= 2), "at least", 0),
    (two + "least points that do, minus d, greatest", 2, [max(least.values())], "at most", 0),
    (two + "points of 2 d in their own component", 0.9, own, "at least", 0),
    (two + "error by drawn noise", 0, drawn.error, "at most", 0.05),
  ]
  published = "Wang et al. 2024: about as many points as dimensions"
  return [Claim(*row[:3], published, *row[3:], unit="") for row in table]


def draw(config: Config, found: dict[Case, Found]) -> None:
  """Error against the number of points in units of d."""
  lines: dict[str, dict[float, np.ndarray]] = {}
  for (count, dim, d, points), values in found.items():
    if count == 2:
      lines.setdefault(f"d = {d}, D = {dim}", {})[points / d] = values.error
  config.folder.mkdir(parents=True, exist_ok=True)
  pictures.curves(
    config.folder / "phase_transition.png",
    {name: (np.array(list(line)), np.stack(list(line.values()))) for name, line in lines.items()},
    title="Two subspaces learned by denoising",
    x_label="points of a subspace over its dimensions",
    y_label="1 - affinity squared",
  )
