"""Value and gradient of one kernel, beside the peer that most people take it from: time, memory, agreement.

  total_correlation   beta-TCVAE's terms by minibatch weighted sampling, 1,024 x 32; pythae
  nt_xent             4,096 pairs of 128 numbers, dense and in blocks; lightly's NTXentLoss
  siglip              4,096 pairs of 128 numbers, in blocks; PyTorch with all logits at once
  sinkhorn            divergence of two sets of 1,024 x 16, epsilon 1, to convergence; geomloss
Both sides get the same float32 arrays and all cores; each has a process of its own, and they take turns.
Command: python -m experiments.bench kernel_speed --torch_python=PYTHON
Goal: every kernel at least 1.5 x its peer, median of the ratios of a round; values agree to 1e-3.
Time: 4 minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.bench import rounds, vae_mlp, worker
from experiments.harness.cli import EXPERIMENTS

GOAL, AGREE = 1.5, 1e-3
RESULT = EXPERIMENTS / "results" / "bench" / "kernel_speed.json"
KERNELS = {  # how our side is called, beside the peer
  "total_correlation": ("",),
  "nt_xent": ("dense", "blocks"),
  "siglip": ("blocks",),
  "sinkhorn": ("",),
}
NO_TORCH = """torch_python: got {got}, wanted the Python of an environment that has the peers. To make one:
  python -m venv ~/peers
  ~/peers/bin/python -m pip install torch==2.13.0 pythae==0.1.2 lightly==1.6.0 geomloss==0.3.1
and then give --torch_python=~/peers/bin/python."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  torch_python: Path | None = None
  """Python of an environment with the peers."""
  kernels: str = ",".join(KERNELS)
  """Which kernels."""
  rounds: int = vae_mlp.MIN_ROUNDS
  """Turns of each side."""
  seconds: float = 2.0
  """Length of a turn; at least one call."""
  record: bool = False
  """Write the result to experiments/results/bench/kernel_speed.json."""

  def __post_init__(self) -> None:
    if self.rounds <= 0 or self.seconds <= 0:
      raise ValueError(f"rounds and seconds must be positive, got {self.rounds}, {self.seconds}")
    if unknown := set(self.kernels.split(",")) - set(KERNELS):
      raise ValueError(f"kernels: got {sorted(unknown)}, wanted some of {', '.join(KERNELS)}")


def measure(name: str, python: Path, config: Config) -> dict[str, Any]:
  """One kernel: what its sides said, ratios of our rates to the peer's, and whether the values agree."""

  def command(own: str, module: str, variant: str = "") -> list[str]:
    problem = worker.Problem("", objective=name, variant=variant)
    return [own, "-m", f"experiments.bench.{module}", json.dumps(problem._asdict())]

  commands = {
    f"ours {variant}".strip(): command(sys.executable, "kernel_speed_ours", variant)
    for variant in KERNELS[name]
  }
  commands["peer"] = command(str(python.absolute()), "kernel_speed_torch")
  with tempfile.TemporaryDirectory() as scratch:
    sides = rounds.alternate(
      commands, Path(scratch), rounds=config.rounds, seconds=config.seconds, say=lambda line: None
    )
  peer = sides["peer"]
  summary = {
    side: {
      "milliseconds": 1e3 / statistics.median(rounds.rates(said)),
      "ratio": statistics.median(rounds.ratios(said, peer)),
      "first_seconds": said["first_seconds"],
      "peak_rss_mib": max(r["peak_rss_mib"] for r in said["rounds"]),
      "added_mib": max(r["peak_rss_mib"] for r in said["rounds"]) - said["mib_before"],
      "value": said["value"],
    }
    for side, said in sides.items()
  }
  values = [row["value"] for row in summary.values()]
  agree = max(values) - min(values) <= AGREE * abs(peer["value"])
  fastest = max(row["ratio"] for side, row in summary.items() if side != "peer")
  disturbed = max(r["others"] for said in sides.values() for r in said["rounds"])
  return {"sides": summary, "agree": agree, "best_ratio": fastest, "most_disturbed": disturbed}


def show(name: str, found: dict[str, Any]) -> None:
  """Print one kernel's rows."""
  for side, row in found["sides"].items():
    print(
      f"{name:18} {side:12} {row['milliseconds']:10.2f} ms  {row['ratio']:6.2f} x the peer  "
      f"first {row['first_seconds']:5.2f} s  memory added {row['added_mib']:6.0f} MiB"
    )
  print(
    f"{name:18} values {'agree' if found['agree'] else 'DIFFER'}; others took up to "
    f"{found['most_disturbed']:.0%} of the cores"
  )


def run(config: Config) -> int:
  """Run the benchmark; 0 if the goals hold."""
  python = config.torch_python and config.torch_python.expanduser()
  if not (python and python.is_file()):
    raise ValueError(NO_TORCH.format(got=config.torch_python))
  before, kernels = rounds.machine(), {}
  for name in config.kernels.split(","):
    kernels[name] = measure(name, python, config)
    show(name, kernels[name])
  holds = {n: bool(k["agree"] and k["best_ratio"] >= GOAL) for n, k in kernels.items()}
  print("\n".join(f"{name}: {'HOLDS' if ok else 'FAILS'}" for name, ok in holds.items()))
  if config.record:
    result = {"goal": GOAL, "kernels": kernels, "holds": holds, "machine": before}
    vae_mlp.save(RESULT, {"benchmark": "kernel_speed", **result})
  return 0 if all(holds.values()) else 1
