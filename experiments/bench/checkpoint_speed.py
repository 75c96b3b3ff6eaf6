"""How long a training loop stands still for a checkpoint of 192 MiB, and how long reading one takes.

Ours is what `training.train` does: fingerprints, Orbax in the background, names that are final only when all
is written; the loop waits for the copy alone. Beside it `torch.save` and `torch.load` of as many numbers;
both use one file system.
Command: python -m experiments.bench checkpoint_speed --torch_python=PYTHON
Goal: blocked at most 1 / 1.5 of the peer's time. That of reading has none and varies much, 0.16 to 0.31 s
against 0.11 to 0.27: of 0.29 s Orbax takes 0.21, which decompresses and builds sharded arrays for any number
of processes, and the fingerprints, which the peer has not, 0.06.
Time: one minute on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path

from experiments.bench import rounds, vae_mlp, worker
from experiments.harness.cli import EXPERIMENTS

GOAL = 1.5
RESULT = EXPERIMENTS / "results" / "bench" / "checkpoint_speed.json"
NO_TORCH = "torch_python: got {got}, wanted the Python of an environment that has torch"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  torch_python: Path | None = None
  """Python of an environment with torch."""
  rounds: int = vae_mlp.MIN_ROUNDS
  """Turns of each side."""
  record: bool = False
  """Write the result to experiments/results/bench/checkpoint_speed.json."""


def run(config: Config) -> int:
  """Run the benchmark; 0 if the goal holds."""
  python = config.torch_python and config.torch_python.expanduser()
  if not (python and python.is_file()):
    raise ValueError(NO_TORCH.format(got=config.torch_python))
  before, rows = rounds.machine(), {}
  for what in ("save", "restore"):
    with tempfile.TemporaryDirectory() as scratch:
      asked = json.dumps(worker.Problem(scratch, objective=what)._asdict())
      module = "experiments.bench.checkpoint_speed_"
      commands = {
        "ours": [sys.executable, "-m", f"{module}ours", asked],
        "torch": [str(python.absolute()), "-m", f"{module}torch", asked],
      }
      sides = rounds.alternate(
        commands, Path(scratch), rounds=config.rounds, seconds=0.0, say=lambda line: None
      )
    seconds = {n: statistics.median(r["seconds"] for r in s["rounds"]) for n, s in sides.items()}
    ratio = statistics.median(rounds.ratios(sides["ours"], sides["torch"]))
    disturbed = max(r["others"] for s in sides.values() for r in s["rounds"])
    rows[what] = {"seconds": seconds, "ratio": ratio, "most_disturbed": disturbed}
    print(
      f"{what:8} ours {seconds['ours']:.3f} s, torch {seconds['torch']:.3f} s: {ratio:.2f} x"
      f" (others took up to {disturbed:.0%} of the cores)"
    )
  holds = rows["save"]["ratio"] >= GOAL
  print(f"blocked at most 1 / {GOAL} of the peer's time: {'HOLDS' if holds else 'FAILS'}")
  if config.record:
    result = {"goal": GOAL, "mib": 192, "rows": rows, "holds": holds, "machine": before}
    vae_mlp.save(RESULT, {"benchmark": "checkpoint_speed", **result})
  return 0 if holds else 1
