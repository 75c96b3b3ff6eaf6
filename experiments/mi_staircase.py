"""Every estimator of mutual information on a staircase of 2 to 10 nats: correlated Gaussians and their cubes.

Claim (Song & Ermon 2020): the variance of the partition function over n product samples, at the optimal
critic, is at least (e^I - 1) / n (theorem 2; for these Gaussians it is (e^2I - 1) / n); SMILE's clip trades
bias for variance; at high information SMILE has the smaller mean squared error. InfoNCE never exceeds log of
the batch size (van den Oord et al. 2018); NWJ, TUBA and I_alpha stay below I (Poole et al. 2019).
Command: python -m experiments mi_staircase
Expected: 20 dimensions, batches of 64, critics trained on from stair to stair; the cubes are of y, scaled to
variance 1. Bias and variance are those of one batch's estimate, over 200 new ones at the end of a stair,
2,000 with the exact critic. There the variance of SMILE rises with its clip on all stairs from 4; the bias
falls with it at 2 nats, but not at 8 and 10: it is at most the clip, so less for 1 than for 5. More bias for
less variance is therefore claimed at 2. (Over 200 batches the mean's own noise, 0.02, hid that of clip 5.)
Time: two minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, mi_estimators, pictures
from experiments.harness.correlated_gaussians import draw, log_ratio
from latentjax import data
from latentjax.losses import information
from latentjax.training import train
from latentjax.training.workdir import read_lines

PAPERS = {124: "Understanding the Limitations of Variational Mutual Information Estimators"}
BOUNDS = ("club", "donsker_varadhan", "info_nce", "interpolated", "jensen_shannon")
BOUNDS += ("leave_one_out", "mine", "nwj", "smile", "tuba")
FUNCTIONS = (*(f"losses.information.{name}_bound" for name in BOUNDS),)
FUNCTIONS += ("losses.information.ksg_mutual_information",)
QUICK = {"steps": 250, "seeds": 2, "test_batches": 10, "ksg_rows": 128}
PAPER, CPC, KSG = "Song & Ermon 2020", "van den Oord et al. 2018", "Kraskov et al. 2004"
THEORY, POOLE = "second moment of the ratio; at least 1 by theorem 2", "Poole et al. 2019"
DIM, STAIRS = 20, np.array([2.0, 4.0, 6.0, 8.0, 10.0])
LOG_B = math.log(64)
PANELS = {
  "InfoNCE": ("InfoNCE", "InfoNCE, joint"),
  "no logarithm": ("NWJ", "TUBA", "I_alpha"),
  "Donsker-Varadhan": ("DV", "MINE"),
  "SMILE, separable critic": ("SMILE 1", "SMILE 5", "SMILE inf"),
  "SMILE, joint critic": ("SMILE 1, joint", "SMILE 5, joint", "SMILE inf, joint"),
  "upper bounds": ("CLUB", "L1Out"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2500
  batch_size: int = 64
  seeds: int = 2
  hidden: int = 128
  """Units of both hidden layers of separable critics and of the conditional density."""
  joint_hidden: int = 32
  """Units of both hidden layers of joint critics, which see all pairs."""
  test_batches: int = 200
  """New batches over which bias and variance are taken, for every stair."""
  ksg_rows: int = 1024
  """Pairs of which KSG makes an estimate."""


def objective(scores_fn: Callable, config: Config) -> Callable:
  """All critics on one batch, drawn in here, of the stair that the step is on."""

  def loss_fn(params: Any, state: Any, key: jax.Array, batch: Any) -> tuple[jax.Array, Any]:
    step, cubic, mine = state
    level = jnp.asarray(STAIRS)[step * len(STAIRS) // config.steps]
    pairs = draw(key, level, config.batch_size, DIM, cubic=cubic)
    total, (mine, found) = mi_estimators.loss(scores_fn(params, *pairs), mine)
    return total, ((step + 1, cubic, mine), found)

  return loss_fn


def climb(config: Config, cubic: bool) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
  """Train over all stairs; moments (stairs, seeds) at the end of each, and the lines of the log."""
  init_fn, scores_fn = mi_estimators.networks(DIM, config.hidden, config.joint_hidden)
  folder = config.folder / ("cubic" if cubic else "gaussian")
  start = jnp.int32(0), jnp.asarray(cubic), information.init_mine()  # one program for both

  def at_end_of_stair(trained: tuple) -> dict[str, jax.Array]:
    params, (step, cubic, _) = trained
    level = jnp.asarray(STAIRS)[(step - 1) * len(STAIRS) // config.steps]
    pairs = partial(draw, level=level, num_rows=config.batch_size, dim=DIM, cubic=cubic)
    keys = jax.random.split(jax.random.key(99), config.test_batches)
    return mi_estimators.moments(partial(scores_fn, params), pairs, keys, level)

  measure = config.each_seed(at_end_of_stair)
  train(
    objective(scores_fn, config),
    lambda key: (init_fn(key), start),
    config.optimizer(),
    data.load({"row": np.arange(config.batch_size)}),  # pairs are drawn in the objective
    dataclasses.replace(config, eval_every=config.steps // len(STAIRS)),
    folder,
    evaluate=lambda state: measure((state.params, state.model_state)),
    name=folder.name,
  )
  lines = read_lines(folder / "metrics.jsonl")
  at_ends = [line for line in lines if "eval/DV/bias" in line]
  keys = [key for key in at_ends[0] if key.startswith("eval/")]
  found = {key[5:]: np.reshape([line[key] for line in at_ends], (len(STAIRS), -1)) for key in keys}
  return found, [line for line in lines if "DV" in line]


def exact_moments(config: Config) -> dict[str, np.ndarray]:
  """Moments (stairs, seeds) of every estimate at the optimal critic of the Gaussians."""

  def one(seed: jax.Array, level: jax.Array) -> dict[str, jax.Array]:
    pairs = partial(draw, level=level, num_rows=config.batch_size, dim=DIM)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(98), seed), 10 * config.test_batches)
    return mi_estimators.moments(partial(mi_estimators.exact_scores, level), pairs, keys, level)

  over = jax.vmap(jax.vmap(one, (0, None)), (None, 0))
  found = jax.jit(over)(jnp.arange(config.seeds), jnp.asarray(STAIRS))
  return {name: np.asarray(v) for name, v in found.items() if "joint" not in name}


def partition_slope(config: Config) -> np.ndarray:
  """Slope of log(1 + n Var Z) in the information, at the optimal critic, for every seed."""
  levels, count = jnp.linspace(0.2, 0.8, 4), config.batch_size * (config.batch_size - 1)

  def partition(level: jax.Array, key: jax.Array) -> jax.Array:
    critic = log_ratio(level, *draw(key, level, config.batch_size, DIM))
    return jnp.exp(jnp.mean(jnp.diag(critic) - information.donsker_varadhan_bound(critic)))

  def slope(seed: jax.Array) -> jax.Array:
    keys = jax.random.split(jax.random.fold_in(jax.random.key(97), seed), 20 * config.test_batches)
    variance = [jnp.var(jax.lax.map(partial(partition, level), keys)) for level in levels]
    return jnp.polyfit(levels, jnp.log1p(count * jnp.stack(variance)), 1)[0]

  return np.asarray(jax.jit(lambda seeds: jax.lax.map(slope, seeds))(jnp.arange(config.seeds)))


def neighbours(config: Config, cubic: bool, algorithm: str) -> np.ndarray:
  """KSG estimates (stairs and independence, repetitions) of `ksg_rows` pairs."""
  ksg = partial(information.ksg_mutual_information, algorithm=algorithm, block_size=64)
  one = lambda level, key: jnp.mean(ksg(*draw(key, level, config.ksg_rows, DIM, cubic=cubic)))
  keys = jax.random.split(jax.random.key(96), 2 * config.seeds)
  levels = jnp.asarray([*STAIRS, 0.0])
  return np.asarray(jax.jit(jax.vmap(lambda level: jax.lax.map(partial(one, level), keys)))(levels))


def run(config: Config) -> Outcome:
  """Measure at the exact critic, climb twice, compare."""
  tables, rows, independent = {"exact critic": exact_moments(config)}, [], []
  for name, cubic in {"Gaussian": False, "cubic": True}.items():
    tables[name], lines = climb(config, cubic)
    for algorithm in ("cubes", "rectangles"):
      *at_stairs, at_zero = neighbours(config, cubic, algorithm)
      bias = np.stack(at_stairs) - STAIRS[:, None]
      tables[name][f"KSG {algorithm}/bias"] = bias.mean(axis=1, keepdims=True)
      tables[name][f"KSG {algorithm}/variance"] = bias.var(axis=1, ddof=1, keepdims=True)
      independent.append(abs(at_zero.mean()))
    steps = np.array([line["step"] for line in lines])
    curve = lambda n, steps=steps, lines=lines: (steps, np.array([line[n] for line in lines]))
    rows.append({f"{name}: {t}": {n: curve(n) for n in names} for t, names in PANELS.items()})
  ends = np.arange(1, len(STAIRS)).repeat(2) * config.steps // len(STAIRS)
  pictures.panels(
    config.folder / "staircase.png",
    rows,
    title="Estimates of mutual information while training, means of 50 batches of 64",
    x_label="step",
    y_label="nats",
    y_range=(-1, 14),
    reference=(np.array([0, *ends, config.steps]), STAIRS.repeat(2)),
  )
  found = claims(tables, partition_slope(config), max(independent))
  return Outcome(found, {"tables": summary(tables)})


def rmse(table: dict[str, np.ndarray], name: str) -> np.ndarray:
  """Root of the mean squared error of one batch's estimate, (stairs, seeds)."""
  return np.sqrt(table[f"{name}/bias"] ** 2 + table[f"{name}/variance"])


def claims(tables: dict[str, dict[str, np.ndarray]], slope: np.ndarray, zero: float) -> list[Claim]:
  """What is published; for the exact critic, for critics trained on Gaussians and on cubes."""
  exact, trained = tables["exact critic"], [tables["Gaussian"], tables["cubic"]]
  smile = [f"SMILE {clip:g}" for clip in mi_estimators.CLIPS]
  rises = [exact[f"{b}/variance"] / exact[f"{a}/variance"] for a, b in itertools.pairwise(smile)]
  falls = [abs(exact[f"{a}/bias"]) - abs(exact[f"{b}/bias"]) for a, b in itertools.pairwise(smile)]
  over = lambda names, part: np.max([t[f"{n}/{part}"] for t in trained for n in names], (0, 1))
  largest = over(("InfoNCE", "InfoNCE, joint"), "largest")
  lower = over(("NWJ", "TUBA", "I_alpha", "InfoNCE"), "bias")
  what = "SMILE with exact critic: least ratio of variances from clip 1 to 5 to none, 4 to 10 nats"
  rise, fall = np.min(rises, axis=0)[1:].min(axis=0), np.min(falls, axis=0)[0]
  found = [
    Claim("slope of log(1 + n Var Z) in I", 2.0, slope, THEORY, tolerance=0.1, unit=""),
    Claim(what, 1.0, rise, PAPER, "at least", unit=""),
    Claim("the same: least fall of |bias|, at 2 nats", 0.0, fall, PAPER, "at least"),
    Claim("largest InfoNCE estimate", LOG_B, largest, CPC, "at most", 1e-4),
    Claim("largest bias of NWJ, TUBA, I_alpha, InfoNCE", 0.0, lower, POOLE, "at most", 0.1),
    Claim("largest |mean KSG| of independent x and y", 0.0, [zero], KSG, "at most", 0.05),
  ]
  for name, clip in itertools.product(("Gaussian", "cubic"), smile[:2]):
    rivals = [rmse(tables[name], rival) for rival in ("InfoNCE", "NWJ", "DV", "MINE")]
    excess = (rmse(tables[name], clip) - np.min(rivals, axis=0))[3:].max(axis=0)
    what = f"{name}: RMSE of {clip} minus the least of InfoNCE, NWJ, DV, MINE; worst of 8, 10 nats"
    found.append(Claim(what, 0.0, excess, PAPER, "at most"))
  return found


def summary(tables: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
  """Bias, variance and RMSE by stair, means over the seeds."""

  def row(table: dict[str, np.ndarray], name: str) -> dict[str, list[float]]:
    parts = {"bias": table[f"{name}/bias"], "variance": table[f"{name}/variance"]}
    parts |= {"rmse": rmse(table, name)}
    return {part: np.round(value.mean(axis=1), 3).tolist() for part, value in parts.items()}

  names = {t: sorted({key.split("/")[0] for key in table}) for t, table in tables.items()}
  return {t: {name: row(table, name) for name in names[t]} for t, table in tables.items()}
