"""Reading MNIST from its TFDS directory to float batches on the device, beside PyTorch's and Grain's loaders.

Shuffled batches of 128 in [0, 1], whose sum is taken so that every pixel is there. From memory: ours resident
(indices are sent, as `train` does where a set fits) and streamed (rows are sent) beside `DataLoader` over the
decoded tensor. From records, decoded as they come, one process: ours beside `grain.DataLoader` over
`tfds.data_source`.
Command: python -m experiments.bench data_speed --torch_python=PYTHON --data_dir=DIRECTORY_OF_TFDS_MNIST
Goal: at least 1.5 x in each pair, medians of the ratios of a round.
Time: two minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from experiments.bench import rounds, vae_mlp, worker
from experiments.harness.cli import EXPERIMENTS

GOAL = 1.5
RESULT = EXPERIMENTS / "results" / "bench" / "data_speed.json"
# Ours and whom it is measured against.
PAIRS = {"resident": "torch", "stream": "torch", "records": "grain"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  torch_python: Path | None = None
  """Python of an environment with torch; without it only the records are read."""
  rounds: int = vae_mlp.MIN_ROUNDS
  """Turns of each side."""
  seconds: float = 3.0
  """Length of a turn."""
  batch_size: int = 128
  """Images of a batch."""
  data_dir: Path | None = None
  """Where TFDS data sets lie; default TFDS's own."""
  record: bool = False
  """Write the result to experiments/results/bench/data_speed.json."""


def commands(config: Config, decoded: Path) -> dict[str, list[str]]:
  """Command of each side's worker."""
  folder = str(config.data_dir or "")
  problem = worker.Problem(folder, batch_size=config.batch_size)
  asked = {
    **{name: ("ours", problem._replace(variant=name)) for name in PAIRS},
    "grain": ("grain", problem),
  }
  python = dict.fromkeys(asked, sys.executable)
  if config.torch_python:
    asked["torch"] = ("torch", problem._replace(data=str(decoded)))
    python["torch"] = str(config.torch_python.expanduser().absolute())
  return {
    name: [
      python[name],
      "-m",
      f"experiments.bench.data_speed_{side}",
      json.dumps(what._asdict()),
    ]
    for name, (side, what) in asked.items()
  }


def run(config: Config) -> int:
  """Run the benchmark; 0 if the goals hold."""
  with tempfile.TemporaryDirectory() as scratch:
    decoded = Path(scratch) / "images.npy"
    images, which = vae_mlp.images(vae_mlp.Config(data_dir=config.data_dir, record=True))
    np.save(decoded, images)
    before = rounds.machine()
    sides = rounds.alternate(
      commands(config, decoded), Path(scratch), rounds=config.rounds, seconds=config.seconds
    )
  rates = {name: statistics.median(rounds.rates(side)) for name, side in sides.items()}
  ratios = {
    name: statistics.median(rounds.ratios(sides[name], sides[peer]))
    for name, peer in PAIRS.items()
    if peer in sides
  }
  for name, rate in rates.items():
    print(f"{name:9} {rate:12,.0f} images/s")
  holds = True
  for name, ratio in ratios.items():
    holds = holds and ratio >= GOAL
    verdict = "HOLDS" if ratio >= GOAL else "FAILS"
    print(f"{name} / {PAIRS[name]}: {ratio:.2f}, goal at least {GOAL}: {verdict}")
  if config.record:
    found = {"data": which, "goal": GOAL, "median_images_per_second": rates}
    result = {**found, "median_ratios": ratios, "peers": PAIRS, "sides": sides, "machine": before}
    vae_mlp.save(RESULT, {"benchmark": "data_speed", **result})
  return 0 if holds else 1
