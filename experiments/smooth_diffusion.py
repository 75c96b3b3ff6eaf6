"""Smooth Diffusion: a penalty on how unevenly estimates move with the noise makes interpolations even.

Claim (Guo et al. 2023, abstract): step-wise variation regularisation makes the proportion between variations
of the noise and of the output constant at any training step; the interpolation standard deviation (ISTD)
falls, and the model stays as good.
Command: python -m experiments smooth_diffusion
Setting: digits, 8 x 8, v-prediction by an MLP, trained from the start with and without the penalty (the paper
fine-tunes Stable Diffusion with adapters); the same seeds, noise and steps. ISTD by DDIM with 25 steps along
great circles between noises. The penalty's weight is 10, not the paper's 1: variations of these pixels are of
size 0.1, their squares far below the denoising loss. Variation: norm of the gradient of `step_variation`, of
test images at all times.
Expected: with the penalty ISTD at most 0.95 of that without; coefficient of variation of the variations at
most 0.9 of it; denoising loss on test images at most 1.05 of it.
Time: one to two minutes on one CPU core, three seeds of two runs.
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
from experiments.harness.denoising import bind, images, to_unit
from latentjax.diffusion.processes import noised, vp_cosine
from latentjax.diffusion.samplers import ddim
from latentjax.losses.score import antithetic_times, denoising_loss, step_variation
from latentjax.metrics import interpolation_deviation, slerp
from latentjax.models.denoising import DenoisingMLP
from latentjax.objectives import diffusion, smooth_diffusion
from latentjax.training import train

PAPERS = {9: "Smooth Diffusion: Crafting Smooth Latent Spaces in Diffusion Models"}
FUNCTIONS = (
  "losses.score.step_variation",
  "losses.score.variation_penalty",
  "metrics.interpolation_deviation",
  "objectives.smooth_diffusion",
)
QUICK = {"steps": 4, "seeds": 2, "width": 16, "num_steps": 3, "pairs": 4}
PAPER = "Guo et al. 2023, abstract; the number is set here"
SHAPE = (8, 8, 1)
PROCESS = vp_cosine()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1_000
  batch_size: int = 128
  seeds: int = 3
  schedule: str = "cosine"
  width: int = 128
  """Of the MLP's layers."""
  weight: float = 10.0
  """Of the penalty."""
  num_steps: int = 25
  """Steps of DDIM."""
  pairs: int = 128
  """Pairs of noises between which is interpolated."""
  num_frames: int = 11
  """Images of an interpolation."""


def measure(config: Config, predict_fn: Any, x: jax.Array, params: Any) -> dict[str, jax.Array]:
  """On test images and interpolations; the same noise whatever the parameters."""
  keys = jax.random.split(jax.random.key(1), 5)
  predict = lambda z, t: predict_fn(params, z, t)
  x = jnp.tile(x, (8, 1, 1, 1))
  loss = denoising_loss(keys[0], predict, x, process=PROCESS, prediction="v")
  t = antithetic_times(keys[1], batch_size=len(x))
  eps, direction = (jax.random.normal(key, x.shape) for key in jax.random.split(keys[2]))
  z_t = noised(x, eps, t, process=PROCESS)
  moved = step_variation(predict, z_t, t, direction, process=PROCESS, prediction="v").variation
  denoise = diffusion(predict_fn, process=PROCESS, prediction="v").denoise
  times = jnp.linspace(1.0, 0.0, config.num_steps + 1)
  decode = lambda z: ddim(keys[0], partial(denoise, params), z, process=PROCESS, times=times)
  ends = [jax.random.normal(key, (config.pairs, *SHAPE)) for key in keys[3:]]
  deviation = interpolation_deviation(decode, *ends, num_frames=config.num_frames)
  path = jnp.stack(
    [slerp(*(z[:6] for z in ends), s) for s in jnp.linspace(0, 1, config.num_frames)]
  )
  shown = decode(path.reshape(-1, *SHAPE)).reshape(path.shape)
  return {
    "denoising": jnp.mean(loss) / x[0].size,
    "istd": jnp.mean(deviation),
    "coefficient": jnp.std(moved) / jnp.mean(moved),
    "variation": jnp.mean(moved),
    "shown": shown,
  }


def run(config: Config) -> Outcome:
  """Train with and without the penalty, measure, draw interpolations."""
  digits, test = (images("digits", split, config) for split in ("train", "test"))
  network = bind(DenoisingMLP(width=config.width, depth=2), SHAPE)
  common = {"process": PROCESS, "prediction": "v", "axis_name": config.axis_name}

  def objective(params: Any, state: Any, key: jax.Array, batch: Any) -> Any:
    """The weight travels in the model state: one program serves both."""
    mean, weight = state
    model = smooth_diffusion(network.predict_fn, weight=weight, **common)
    loss, (mean, metrics) = model.objective(params, mean, key, batch)
    return loss, ((mean, weight), metrics)

  evaluate = config.each_seed(partial(measure, config, network.predict_fn, jnp.asarray(test.x)))
  found: dict[str, Any] = {}
  for name, weight in (("without", 0.0), ("with", config.weight)):
    start = lambda key, weight=weight: (
      network.init_fn(key),
      (jnp.zeros(()), jnp.float32(weight)),
    )
    result = train(
      objective,
      start,
      config.optimizer(),
      digits.dataset,
      config,
      config.folder / name,
      name=name,
    )
    found[name] = jax.tree.map(np.asarray, evaluate(result.state.params))
    shown = {k: v.round(4).tolist() for k, v in found[name].items() if k != "shown"}
    print(name, shown)
  draw(config, {name: row.pop("shown")[0] for name, row in found.items()})
  return Outcome(claims(found), jax.tree.map(np.ndarray.tolist, found))


def draw(config: Config, paths: dict[str, np.ndarray]) -> None:
  """Three interpolations (frames, pairs, H, W, 1) of each run."""
  rows = {
    f"{name} {pair}": to_unit(path[:, pair]) for pair in range(3) for name, path in paths.items()
  }
  pictures.image_grid(
    config.folder / "interpolations.png",
    list(rows.values()),
    title="Between noises, without and with the penalty",
    labels=list(rows),
  )


def claims(found: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
  """The paper's."""
  ratio = lambda what: found["with"][what] / found["without"][what]
  most = lambda what, expected, measured: Claim(what, expected, measured, PAPER, "at most", unit="")
  return [
    most("ISTD with the penalty over that without", 0.95, ratio("istd")),
    most("coefficient of variation of variations, with over without", 0.9, ratio("coefficient")),
    most("denoising loss on test images, with over without", 1.05, ratio("denoising")),
  ]
