"""RED-diff and diffusion posterior sampling restore MNIST images with as many calls of one denoiser.

Claim (Mardani et al. 2023): regularisation by denoising diffusion restores images better than sampling-based
solvers such as DPS (inpainting and superresolution, PSNR), without gradients through the denoiser; weighting
its times by the inverse of the signal-to-noise ratio is better than weighting them alike.
Command: python -m experiments red_diff --data_dir=DIRECTORY_OF_TFDS_MNIST
Expected: PSNR of RED-diff minus that of DPS at least 0 dB, for a box of 6 x 6 of 14 x 14 pixels and for means
of 2 x 2 pixels; PSNR with the weights sigma / alpha minus that with equal ones at least 0 dB in both.
Protocol: 14 x 14 pixels in [-1, 1], measured with noise 0.05; a fully connected denoiser of v, cosine
process; 100 calls each, times equally spaced. RED-diff: Adam with rate 0.1 from the pseudo-inverse, the last
point. DPS: ancestral steps. The one strength of each, lambda and zeta, is the best of five on 64 training
images. Seeds are groups of 64 test images with noise of their own; the denoiser is the same.
Note: the least lambda was chosen everywhere, by little; estimates fit the measurement closer than its noise.
Time: a minute and a half on one CPU core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from experiments.harness.denoising import bind, to_unit
from experiments.harness.restoration import (
  PROBLEMS,
  SIDE,
  MeasureFn,
  Restored,
  load,
  make_tasks,
  pseudo_inverse,
  restore,
)
from latentjax.diffusion.inverse import dps, red_diff
from latentjax.diffusion.processes import vp_cosine
from latentjax.losses.score import uniform_weight
from latentjax.models import DenoisingMLP
from latentjax.objectives import diffusion
from latentjax.training import train

PAPERS = {201: "A Variational Perspective on Solving Inverse Problems with Diffusion Models"}
FUNCTIONS = (
  "diffusion.inverse.red_diff",
  "diffusion.inverse.red_diff_loss",
  "diffusion.inverse.dps",
)
QUICK = {"steps": 30, "calls": 5, "groups": 2, "group_size": 4, "dataset": "digits"}
PROCESS = vp_cosine()
STRENGTHS = {
  "RED-diff": (0.01, 0.03, 0.1, 0.3, 1.0),
  "equal weights": (0.01, 0.03, 0.1, 0.3, 1.0),
  "DPS": (0.2, 0.5, 1.0, 2.0, 5.0),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 3000
  batch_size: int = 128
  ema_decay: float | None = 0.999
  schedule: str = "cosine"
  dataset: str = "mnist"
  """mnist, or digits for a trial."""
  width: int = 192
  """Of the denoiser's layers."""
  calls: int = 100
  """Calls of the denoiser for an image."""
  noise: float = 0.05
  """Standard deviation of a measurement's noise."""
  groups: int = 3
  """Groups of test images."""
  group_size: int = 64
  """Images of a group."""


def solvers(config: Config, denoise_fn: Callable, measure_fn: MeasureFn) -> dict[str, Callable]:
  """Functions `(key, y, strength) -> x`."""
  times = jnp.linspace(1.0, 0.0, config.calls + 1)

  def red(key: jax.Array, y: jax.Array, strength: jax.Array, weighting: Any = None) -> jax.Array:
    start = pseudo_inverse(measure_fn, y)
    run = {"process": PROCESS, "times": times[1:] + 0.5 / config.calls, "weighting": weighting}
    return red_diff(key, denoise_fn, measure_fn, start, y, strength=strength, **run)

  def sampled(key: jax.Array, y: jax.Array, strength: jax.Array) -> jax.Array:
    key_start, key_steps = jax.random.split(key)
    start = jax.random.normal(key_start, (y.shape[0], SIDE, SIDE, 1))
    run = {"process": PROCESS, "times": times, "step_size": strength}
    return dps(key_steps, denoise_fn, measure_fn, start, y, **run)

  equal = partial(red, weighting=uniform_weight)
  return {"RED-diff": red, "equal weights": equal, "DPS": sampled}


def run(config: Config) -> Outcome:
  """Train the denoiser, choose strengths, restore."""
  pixels, test = load(config.dataset, config)
  network = bind(DenoisingMLP(width=config.width), pixels.x.shape[1:])
  model = diffusion(network.predict_fn, process=PROCESS)
  init = lambda key: (network.init_fn(key), ())
  result = train(
    model.objective,
    init,
    config.optimizer(),
    pixels.dataset,
    config,
    config.folder,
    name="red_diff",
  )
  denoise_fn = partial(model.denoise, config.first_seed(result.state.eval_params))
  truth = test.x[: config.groups * config.group_size]
  found: dict[str, dict[str, Restored]] = {}
  for problem in ("box", "pooled"):
    measure_fn = PROBLEMS[problem]
    tasks = partial(make_tasks, measure_fn=measure_fn, size=config.group_size, noise=config.noise)
    groups = tasks(jax.random.key(1), images=truth)
    (trial,) = tasks(jax.random.key(2), images=pixels.x[: config.group_size])
    rows = [truth[:10], pseudo_inverse(measure_fn, groups[0].y[:10])]
    for name, solve in solvers(config, denoise_fn, measure_fn).items():
      restored = restore(solve, measure_fn, trial, groups, STRENGTHS[name])
      found.setdefault(problem, {})[name] = restored
      print(problem, name, restored.strength, restored.psnr.round(2), restored.trial, flush=True)
      rows.append(restored.x[0, :10])
    labels = ["truth", "pseudo-inverse", *found[problem]]
    pictures.image_grid(
      config.folder / f"{problem}.png", list(map(to_unit, rows)), title=problem, labels=labels
    )
  claims = [
    Claim(
      f"{problem}: PSNR of RED-diff minus that {what}",
      0.0,
      both["RED-diff"].psnr - both[other].psnr,
      published,
      "at least",
      unit="dB",
    )
    for problem, both in found.items()
    for what, other, published in (
      ("of DPS", "DPS", "Mardani et al. 2023: inpainting, superresolution"),
      ("with equal weights", "equal weights", "Mardani et al. 2023: weights of the denoisers"),
    )
  ]
  details = {
    f"{problem}, {name}": {
      "psnr": restored.psnr.tolist(),
      "misfit": restored.misfit.tolist(),
      "strength": restored.strength,
      "psnr of the trial": restored.trial,
    }
    for problem, both in found.items()
    for name, restored in both.items()
  }
  return Outcome(claims, details)
