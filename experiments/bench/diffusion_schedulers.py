"""Schedulers of diffusers beside our samplers: the same denoiser, levels, start and noise, in two precisions.

The denoiser is that of a mixture of normal clusters, in closed form on both sides. The levels alpha and sigma
are those that the peer has for its steps, down to no noise; the noise is what our samplers draw. `error` is
the distance of a deterministic sampler's result from the probability-flow ODE's own, which 4,000 Heun steps
solve; `rounding` that of a side's result in float32 from its own in float64.
Expected: the same, but where a reason is given.
Command: python -m experiments.bench diffusion_schedulers --torch_python=PYTHON
Time: a minute.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.peer_values import ask
from experiments.harness.cli import EXPERIMENTS
from latentjax.diffusion import processes, samplers
from latentjax.diffusion.processes import Process
from latentjax.diffusion.processes.predictions import draw_noise

RESULT = EXPERIMENTS / "results" / "bench" / "diffusion_schedulers.json"
KEY = jax.random.key(0)
B, D, SCALE = 16, 3, 0.5
TOLERANCE = {"float64": 1e-9, "float32": 2e-4}
STEPS = (20, 50, 600)
sigma_heun = partial(samplers.heun, coordinates="sigma")
SAMPLERS: dict[str, Callable[..., jax.Array]] = {
  "DDPM": samplers.ddpm,
  "DDPM, large variance": partial(samplers.ddpm, variance="large"),
  "DDPM, large variance, trailing steps": partial(samplers.ddpm, variance="large"),
  "DDIM": samplers.ddim,
  "DDIM, eta 0.7": partial(samplers.ddim, eta=0.7),
  "DDIM, steps that do not divide 1,000": samplers.ddim,
  "Euler": samplers.euler,
  "Heun": sigma_heun,
  "DPM-Solver++ 2M": samplers.dpmpp_2m,
  "DPM-Solver++ 2M, SDE": partial(samplers.dpmpp_2m, stochastic=True),
  "UniPC, order 1": partial(samplers.unipc, order=1),
  "UniPC, order 2": samplers.unipc,
  "UniPC, order 3": partial(samplers.unipc, order=3),
  "flow, Euler": samplers.euler,
  "flow, Heun": samplers.heun,
  "flow, DPM-Solver++ 2M": samplers.dpmpp_2m,
  "flow, UniPC, order 2": samplers.unipc,
}
RANDOM = ("DDPM", "eta", "SDE")
SINGLE = (
  "in float32 the same; the peer casts samples to float32 in every step, whatever it is given"
)
# What differs from the peer, and why, where something does.
REASONS = {
  "DDPM, large variance, trailing steps": (
    "the peer asks whether t > 0, not whether there is noise left at the next level, and so adds some of "
    "variance 1 - alpha_t^2 in the step to the data; there q(z_s | z_t, x) is x alone, and the paper's "
    "sampling ends with the mean, as ours"
  ),
  "DDIM, steps that do not divide 1,000": (
    "the peer steps from t to t - floor(1000 / N), not to the next of its own times, so the network is told "
    "another level than the sample has, and noise is left in the end; ours is nearer to the exact solution"
  ),
} | dict.fromkeys(
  (
    "Euler",
    "DPM-Solver++ 2M",
    "DPM-Solver++ 2M, SDE",
    "flow, Euler",
    "flow, Heun",
    "flow, DPM-Solver++ 2M",
  ),
  SINGLE,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this comparison."""

  torch_python: Path
  """Python of an environment with torch and diffusers."""
  record: bool = False
  """Write the result to experiments/results/bench/diffusion_schedulers.json."""


def problem() -> dict[str, np.ndarray]:
  """The mixture, where to start, and the noise of every step in both precisions."""
  rng = np.random.default_rng(0)
  arrays = {
    "means": rng.standard_normal((4, D)),
    "weights": np.array([0.4, 0.3, 0.2, 0.1]),
    "scale": np.array(SCALE),
    "x_init": rng.standard_normal((B, D)),
  }
  for dtype in TOLERANCE:
    with jax.enable_x64(dtype == "float64"):
      x = jnp.zeros((B, D), dtype)
      for n in STEPS:
        draws = [draw_noise(key, x, None) for key in jax.random.split(KEY, n)]
        arrays[f"noise_{dtype}_{n}"] = np.stack(draws)
  return arrays


def denoise(a: dict[str, np.ndarray], process: Process, x: jax.Array, t: jax.Array) -> jax.Array:
  """E[x | z_t]."""
  alpha, sigma = process.alpha(t), process.sigma(t)
  variance = (alpha * SCALE) ** 2 + sigma**2
  means, weights = (jnp.asarray(a[name], x.dtype) for name in ("means", "weights"))
  squares = jnp.sum((x[:, None] - alpha * means) ** 2, axis=-1)
  centre = jax.nn.softmax(jnp.log(weights) - squares / (2 * variance), axis=1) @ means
  return centre + alpha * SCALE**2 / variance * (x - alpha * centre)


def at_levels(alpha: list[float], sigma: list[float]) -> Process:
  """The process of which these are the levels at t = 1, 1 - 1/N, ... 0."""
  with np.errstate(divide="ignore"):
    tables = np.array(alpha), np.array(sigma), 2 * np.log(np.array(alpha) / np.array(sigma))
  place = lambda t: jnp.round((1 - t) * (len(alpha) - 1)).astype(int)
  look_up = lambda table: lambda t: jnp.asarray(table, t.dtype)[place(t)]
  return Process(*map(look_up, tables))


def ours(name: str, a: dict[str, np.ndarray], peer: dict[str, Any], dtype: str) -> np.ndarray:
  """Our sample at the peer's levels."""
  with jax.enable_x64(dtype == "float64"):
    process = at_levels(peer["alpha"], peer["sigma"])
    times = jnp.linspace(1.0, 0.0, len(peer["alpha"]), dtype=dtype)
    run = lambda x: SAMPLERS[name](
      KEY, partial(denoise, a, process), x, process=process, times=times
    )
    return np.asarray(jax.jit(run)(jnp.asarray(a["x_init"], dtype)), np.float64)


def exact(flow: bool, a: dict[str, np.ndarray], peer: dict[str, Any]) -> np.ndarray:
  """The ODE's solution from the first level to the end."""
  ratio = peer["sigma"][0] / peer["alpha"][0] if peer["alpha"][0] else np.inf
  process = processes.rectified_flow() if flow else processes.trigonometric()
  start = peer["sigma"][0] if flow else 2 / np.pi * np.arctan(ratio)
  with jax.enable_x64():
    times = jnp.linspace(start, 0.0, 4001)
    run = lambda x: samplers.heun(
      KEY, partial(denoise, a, process), x, process=process, times=times
    )
    return np.asarray(jax.jit(run)(jnp.asarray(a["x_init"])))


def compare(name: str, a: dict[str, np.ndarray], peer: dict[str, Any]) -> dict[str, Any]:
  """Largest differences over the size of the sample, and errors of deterministic samplers."""
  mine = {dtype: ours(name, a, peer[dtype], dtype) for dtype in TOLERANCE}
  theirs = {dtype: np.array(peer[dtype]["x"]) for dtype in TOLERANCE}
  largest = lambda x, y: float(np.max(np.abs(x - y)) / np.max(np.abs(y)))
  root = lambda x, y: float(np.sqrt(np.mean((x - y) ** 2)))
  apart = {dtype: largest(theirs[dtype], mine[dtype]) for dtype in TOLERANCE}
  sides = {"ours": mine, "peer": theirs}
  row: dict[str, Any] = {
    "differences": apart,
    "agree": {dtype: off < TOLERANCE[dtype] for dtype, off in apart.items()},
  }
  if not any(word in name for word in RANDOM):
    row["rounding"] = {side: root(x["float32"], x["float64"]) for side, x in sides.items()}
    truth = exact(name.startswith("flow"), a, peer["float64"])
    row["error"] = {side: root(x["float64"], truth) for side, x in sides.items()}
  return row


def run(config: Config) -> int:
  """Compare; 0 if every difference has its reason."""
  arrays = problem()
  peer = ask(config.torch_python, "diffusion_schedulers_torch", arrays)
  table = {name: compare(name, arrays, case) for name, case in peer["cases"].items()}
  for name, row in table.items():
    if not all(row["agree"].values()):
      row["reason"] = REASONS.get(name, "UNEXPLAINED")
    apart = ", ".join(f"{what} {off:.1e}" for what, off in row["differences"].items())
    print(f"{name:38} differ by: {apart}; {row.get('reason', 'agree')}")
    for what in ("rounding", "error"):
      values = ", ".join(f"{side} {value:.2e}" for side, value in row.get(what, {}).items())
      print(f"{'':38} {what}: {values}" if values else "", end="\n" if values else "")
  if config.record:
    result = {"diffusers": peer["version"], "tolerance": TOLERANCE, "cases": table}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
  return int(any(row.get("reason") == "UNEXPLAINED" for row in table.values()))
