"""DDIM in 50 steps: one compiled program against PyTorch's scheduler library and a bare loop.

Sides take turns, each in its own process on all cores, with the same network, weights and start; their
samples must agree. The U-Net is `models.UNet` at 28 x 28, the MLP has three hidden layers. PyTorch has the
faster of two memory layouts. Memory is what the compiled program needs beyond its inputs and outputs.
Goals: on the U-Net at least 1.5 x the library's rate, medians of the ratios of a round; on the MLP ahead of
the bare loop; no more memory for 1,000 steps than for 50, but for the steps' own numbers.
Note: on two idle cores the goal for the U-Net is missed, 1.14 x the library in its faster layout (1.45
while other processes ran, which slow PyTorch down more). A step takes 13.6 ms, 10.4 would do. By a profile
8 to 9 are convolutions, 2.7 GFLOP at the 300 to 350 GFLOP/s that each reaches alone, 220 at 7 x 7 (patch
products were slower, at 7 x 7 and 14 x 14 too); 3 are sums, squares and products of the norms with silu,
1.4 other matrix products, 0.6 softmax. Sums and squares in one pass would save 0.6, the last convolution,
to one channel, as a product 0.1; the rest would have to come from faster convolutions inside XLA. Winograd's
F(2 x 2, 3 x 3), written in products and sums of XLA, was 1.3 to 1.9 x faster alone at 28 x 28 and 14 x 14,
but the whole sampling took as long as before and 2.4 x as long to compile.
Command: python -m experiments.bench ddim_speed --torch_python=PYTHON
Time: three minutes on two quiet cores.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import rounds
from experiments.bench.ddim_speed_ours import PROCESS, unet
from experiments.harness.cli import EXPERIMENTS, git_hash

RESULT = EXPERIMENTS / "results" / "bench" / "ddim_speed.json"
SIDES = {
  "mlp": ("ours", "diffusers", "bare", "plain"),
  "unet": ("ours", "diffusers", "diffusers-last", "bare", "plain"),
}
AGREE = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  torch_python: Path | None = None
  """Python of an environment with torch and diffusers."""
  networks: str = "mlp,unet"
  """Which networks."""
  num_steps: int = 50
  """Steps of DDIM; a divisor of 1,000."""
  rounds: int = 7
  """Turns of each side."""
  seconds: float = 3.0
  """Length of a turn; a side rounds it up to whole samplings."""
  batch_size: int = 8
  """Images, and eight times as many vectors."""
  hidden: int = 512
  """Units of the MLP's layers."""
  channels: tuple[int, ...] = (32, 64, 64)
  """Of the U-Net's levels."""
  record: bool = False
  """Write the result to experiments/results/bench/ddim_speed.json."""


def arrays(network: str, config: Config) -> dict[str, np.ndarray]:
  """Weights by their path, the start, and the schedule of a thousand steps."""
  rng = np.random.default_rng(0)
  if network == "mlp":
    x = rng.standard_normal((8 * config.batch_size, 64))
    widths = [64 + 32, *[config.hidden] * 3, 64]
    shapes = {f"{i}/kernel": pair for i, pair in enumerate(itertools.pairwise(widths))}
    w = {name: rng.standard_normal(shape) / np.sqrt(shape[0]) for name, shape in shapes.items()}
    w |= {f"{i}/bias": 0.1 * rng.standard_normal(width) for i, width in enumerate(widths[1:])}
  else:
    x = rng.standard_normal((config.batch_size, 28, 28, 1))
    given = unet(config.channels, (2,)).init(
      jax.random.key(0), jnp.asarray(x, jnp.float32), jnp.float32(0)
    )["params"]
    # At first half of the layers are zero, and the samples of all sides the same for nothing.
    w = {
      name: np.asarray(leaf) + 0.02 * rng.standard_normal(leaf.shape)
      for name, leaf in flax.traverse_util.flatten_dict(given, sep="/").items()
    }
  with jax.enable_x64():
    squared = np.square(np.asarray(PROCESS.alpha(jnp.arange(1001) / 1000)))
  out = {**w, "x": x, "betas": 1 - squared[1:] / squared[:-1]}
  return {name: array.astype(np.float32) for name, array in out.items()}


def commands(network: str, config: Config, folder: Path) -> dict[str, list[str]]:
  """Of each side's worker."""
  np.savez(folder / "weights.npz", **arrays(network, config))
  found = {}
  for side in SIDES[network]:
    own = side in ("ours", "plain")
    python = sys.executable if own else config.torch_python and config.torch_python.expanduser()
    if not python or not Path(python).is_file():
      raise ValueError(f"torch_python: got {config.torch_python}, wanted one with the peers")
    asked = {
      "network": network,
      "variant": side,
      "num_steps": config.num_steps,
      "channels": config.channels,
      "attention": (2,),
      "weights": str(folder / "weights.npz"),
      "answer": str(folder / f"{side}.npy"),
    }
    module = f"experiments.bench.ddim_speed_{'ours' if own else 'torch'}"
    found[side] = [str(Path(python).absolute()), "-m", module, json.dumps(asked)]
  return found


def measure(network: str, config: Config) -> dict[str, Any]:
  """Rates of all sides, ratios of ours to them, how far apart their samples are, memory."""
  with tempfile.TemporaryDirectory() as scratch:
    folder = Path(scratch)
    sides = rounds.alternate(
      commands(network, config, folder), folder, rounds=config.rounds, seconds=config.seconds
    )
    samples = {side: np.load(folder / f"{side}.npy") for side in sides}
  x = samples["ours"]
  count = config.batch_size * (8 if network == "mlp" else 1)
  return {
    "seconds": {s: count / statistics.median(rounds.rates(side)) for s, side in sides.items()},
    "ours_over": {
      s: rounds.ratios(sides["ours"], side) for s, side in sides.items() if s != "ours"
    },
    "apart": {s: float(np.max(np.abs(y - x)) / np.max(np.abs(x))) for s, y in samples.items()},
    "temporary_bytes": sides["ours"]["temporary_bytes"],
    "others": max(r["others"] for side in sides.values() for r in side["rounds"]),
    "sides": sides,
  }


def judge(found: dict[str, Any], num_steps: int) -> dict[str, bool]:
  """The goals."""
  holds = {}
  for network, row in found.items():
    ratio = {side: statistics.median(values) for side, values in row["ours_over"].items()}
    layouts = [value for side, value in ratio.items() if side.startswith("diffusers")]
    first, last = row["temporary_bytes"].values()
    holds[f"{network}: samples agree"] = max(row["apart"].values()) < AGREE
    holds[f"{network}: memory"] = last - first <= 64 * (1000 - num_steps)
    if network == "mlp":
      holds["mlp: ahead of the bare loop"] = ratio["bare"] > 1
    else:
      holds["unet: at least 1.5 x the library"] = min(layouts) >= 1.5
  return holds


def run(config: Config) -> int:
  """Measure; 0 if every goal is reached."""
  found = {network: measure(network, config) for network in config.networks.split(",")}
  for network, row in found.items():
    for side, seconds in row["seconds"].items():
      ratio = row["ours_over"].get(side)
      text = f"ours is {rounds.spread(ratio, '.2f')} x as fast" if ratio else ""
      print(f"{network:6} {side:16} {1e3 * seconds:9.1f} ms  {text}")
    print(f"{network:6} samples apart by at most {max(row['apart'].values()):.1e}")
    print(f"{network:6} temporary bytes by steps: {row['temporary_bytes']}")
    if row["others"] > 0.1:
      print(f"{network:6} CAUTION: other processes took up to {row['others']:.0%} of the cores")
  holds = judge(found, config.num_steps)
  print("\n".join(f"{what}: {'HOLDS' if held else 'FAILS'}" for what, held in holds.items()))
  if config.record:
    result = {"git": git_hash(), "machine": rounds.machine(), "networks": found, "holds": holds}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
  return 0 if all(holds.values()) else 1
