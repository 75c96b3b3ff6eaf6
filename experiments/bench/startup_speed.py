"""From the start of a process to the end of its first training step, with a warm compilation cache.

Every round starts a process that imports the library, makes the MLP VAE of `vae_mlp` and its data, and trains
one batch: ours by `training.train` in a new folder, with log and checkpoints to come; PyTorch's by its loop.
Command: python -m experiments.bench startup_speed [--torch_python=PYTHON]
Goal: ours under 8 s.
Time: one minute on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from experiments.bench import rounds, vae_mlp, worker
from experiments.harness.cli import EXPERIMENTS

GOAL_SECONDS = 8.0
RESULT = EXPERIMENTS / "results" / "bench" / "startup_speed.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  torch_python: Path | None = None
  """Python of an environment with torch; without it ours alone is timed."""
  rounds: int = vae_mlp.MIN_ROUNDS
  """Processes of each side that are timed, after one that fills the cache."""
  record: bool = False
  """Write the result to experiments/results/bench/startup_speed.json."""


def until_first_step(command: list[str], environment: dict[str, str]) -> float:
  """Seconds until the process says that it has made a step."""
  begin = time.perf_counter()
  with subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
  ) as process:
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - begin
  if line.strip() != "stepped" or process.returncode:
    raise rounds.WorkerError(f"{command[2]} said {line!r} and ended with {process.returncode}")
  return seconds


def run(config: Config) -> int:
  """Run the benchmark; 0 if the goal holds."""
  before = rounds.machine()
  with tempfile.TemporaryDirectory() as scratch:
    path = Path(scratch) / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (10_000, 28, 28, 1), np.uint8))
    asked = json.dumps(worker.Problem(str(path))._asdict())
    cache = {
      "JAX_COMPILATION_CACHE_DIR": f"{scratch}/xla",
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    commands = {"ours": [sys.executable, "-m", "experiments.bench.startup_ours", asked]}
    if config.torch_python:
      peer = str(config.torch_python.expanduser().absolute())
      commands["torch"] = [peer, "-m", "experiments.bench.startup_torch", asked]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(config.rounds + 1):
      for name, command in commands.items():
        times[name].append(until_first_step(command, {**os.environ, **cache}))
  first = {name: values.pop(0) for name, values in times.items()}
  middle = {name: statistics.median(values) for name, values in times.items()}
  for name, seconds in middle.items():
    print(f"{name:6} {seconds:5.2f} s to the first step; {first[name]:5.2f} s in the first process")
  holds = middle["ours"] < GOAL_SECONDS
  print(f"ours under {GOAL_SECONDS:g} s: {'HOLDS' if holds else 'FAILS'}")
  if config.record:
    result = {"goal_seconds": GOAL_SECONDS, "first": first, "seconds": middle, "all": times}
    about = {"holds": holds, "machine": before}
    vae_mlp.save(RESULT, {"benchmark": "startup_speed", **result, **about})
  return 0 if holds else 1
