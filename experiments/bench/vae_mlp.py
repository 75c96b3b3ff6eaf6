"""Training a VAE, 784-400-20 with ReLU, on MNIST: end to end with data, against PyTorch and pythae.

All sides train the same network on the same images in [0, 1] with a Bernoulli likelihood, Adam at 1e-3 and
batches of 128, reshuffled every epoch, in float32 on all cores. Each has its own process; they take turns.
Command: python -m experiments.bench vae_mlp --torch_python=PYTHON --data_dir=DIRECTORY_OF_TFDS_MNIST
Goals: ours at least 2 x the plain PyTorch loop and 2.5 x pythae's trainer, medians of the ratios of a round.
Time: 3 minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench import rounds, worker
from experiments.harness.cli import EXPERIMENTS, git_hash

GOALS = {"torch": 2.0, "pythae": 2.5}
AGREE = 0.03
MIN_ROUNDS = 5
RESULT = EXPERIMENTS / "results" / "bench" / "vae_mlp.json"

# Module of each side's worker, its variant, and whether it runs in the environment of --torch_python.
SIDES = {
  "ours": ("vae_mlp_ours", "", False),
  "torch": ("vae_mlp_torch", "", True),
  "torch_fused": ("vae_mlp_torch", "fused", True),
  "torch_loader": ("vae_mlp_torch", "loader", True),
  "pythae": ("vae_mlp_pythae", "", True),
  "plain_jax": ("vae_mlp_plain_jax", "", False),
}
NO_TORCH = """torch_python: got {got}, wanted the Python of an environment that has the peers. To make one:
  python -m venv ~/peers
  ~/peers/bin/python -m pip install torch==2.13.0 pythae==0.1.2
and then give --torch_python=~/peers/bin/python. Without it only --sides={without} can run."""
LEGEND = """
images/s    ours: wall time inside `train` from the end of its second compiled call to its last step, with
            batches, log, progress bar and checkpoints at the default interval; pythae: whole epochs.
first call  ours: the first compiled call of the first run, no cache; others: the first step.
peak RSS    of the whole process, libraries and data included.
-ELBO       nats per image over {check:,} training images, after {steps} steps of each side.
"""
RATES = """Ours by other clocks (medians):
  {loop:,.0f} images/s by `train`'s own, without saving;
  {call:,.0f} images/s over the whole call of `train`, with tracing, set-up and the last checkpoint;
  {first:.2f} s for the first compiled call of a later run, from the compilation cache.
"""
CAUTION = """
CAUTION: other processes took up to {others:.0%} of the cores during a round. PyTorch's threads wait for each
other in every operation and suffer most from that: the ratios flatter us. Run it on a quiet machine."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this benchmark."""

  torch_python: Path | None = None
  """Python of an environment with torch and pythae."""
  sides: str = "ours,torch,pythae"
  """Which sides, in this order; also there: torch_fused, torch_loader, plain_jax."""
  rounds: int = MIN_ROUNDS
  """Turns of each side; the goals are judged from 5 on."""
  seconds: float = 5.0
  """Length of a turn; a side rounds it to whole epochs or checkpoint intervals."""
  check_steps: int = 1000
  """Steps after which the sides' losses are compared."""
  fused_steps: int | None = None
  """Steps per compiled call of our side; None: its default."""
  data_dir: Path | None = None
  """Where TFDS data sets lie; default TFDS's own."""
  record: bool = False
  """Write the result to experiments/results/bench/vae_mlp.json."""

  def __post_init__(self) -> None:
    for name in ("rounds", "seconds", "check_steps"):
      if getattr(self, name) <= 0:
        raise ValueError(f"{name}: got {getattr(self, name)}, wanted a positive number")
    names, known = self.sides.split(","), self.known()
    if unknown := [n for n in names if n not in known] or len(set(names)) != len(names):
      raise ValueError(f"sides: got {self.sides!r} ({unknown}), wanted some of {', '.join(known)}")

  def known(self) -> Mapping[str, tuple[str, str, bool]]:
    """The sides there are."""
    return SIDES


def commands(config: Config, problem: worker.Problem) -> dict[str, list[str]]:
  """Command of each side's worker.

  Raises:
    ValueError: if a side needs an environment that is not there.
  """
  names, known = config.sides.split(","), config.known()
  python = config.torch_python and config.torch_python.expanduser()
  if any(known[n][2] for n in names) and not (python and python.is_file()):
    without = ",".join(n for n in names if not known[n][2]) or "ours"
    raise ValueError(NO_TORCH.format(got=config.torch_python, without=without))
  found = {}
  for name in names:
    module, variant, peer = known[name]
    asked = json.dumps(problem._replace(variant=variant)._asdict())
    own = str(python.absolute()) if peer and python else sys.executable
    found[name] = [own, "-m", f"experiments.bench.{module}", asked]
  return found


def images(config: Config) -> tuple[np.ndarray, str]:
  """MNIST's training images, or random ones of their shape where it is not prepared, and which."""
  from latentjax import data

  try:
    mnist = data.load("mnist", split="train", data_dir=config.data_dir)
  except FileNotFoundError as error:
    if config.record:
      raise
    print(f"MNIST is not prepared: RANDOM IMAGES of its shape are used instead.\n({error})\n")
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60_000, 28, 28, 1), np.uint8), "random"
  assert mnist.arrays is not None, "60,000 small images fit into memory"
  return np.asarray(mnist.arrays["image"]), f"mnist {mnist.version}"


def summary(sides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Medians, ratios of our rate to the others', and whether all trained the same thing."""
  losses = [side["negative_elbo"] for side in sides.values()]
  found = {
    name: rounds.ratios(sides["ours"], side)
    for name, side in sides.items()
    if name != "ours" and "ours" in sides
  }
  return {
    "median_images_per_second": {n: statistics.median(rounds.rates(s)) for n, s in sides.items()},
    "ratios": found,
    "median_ratios": {name: statistics.median(values) for name, values in found.items()},
    "loss_spread": max(losses) / min(losses) - 1,
    "same_num_params": len({side["num_params"] for side in sides.values()}) == 1,
    "most_disturbed": max(r["others"] for side in sides.values() for r in side["rounds"]),
  }


def show(config: Config, sides: Mapping[str, Mapping[str, Any]], found: Mapping[str, Any]) -> bool:
  """Print the result; whether everything that was judged holds."""
  print("\n" + rounds.table(sides))
  print(LEGEND.format(check=worker.CHECK_IMAGES, steps=config.check_steps))
  if "ours" in sides:
    middle = lambda key: statistics.median(r[key] for r in sides["ours"]["rounds"])
    keys = ("loop_images_per_second", "call_images_per_second", "first_call_seconds")
    print(RATES.format(**dict(zip(("loop", "call", "first"), map(middle, keys)))))
  return judge(config, found, GOALS)


def judge(config: Config, found: Mapping[str, Any], goals: Mapping[str, float]) -> bool:
  """Print whether the sides train the same thing and the ratios reach their goals; whether all holds."""
  same = found["same_num_params"] and found["loss_spread"] <= AGREE
  print(
    f"losses agree within {found['loss_spread']:.1%}, numbers of parameters "
    f"{'agree' if found['same_num_params'] else 'DIFFER'}: "
    f"{'the sides train the same thing' if same else 'NOT THE SAME THING IS TRAINED'}"
  )
  judged, holds = config.rounds >= MIN_ROUNDS, same
  for name, values in found["ratios"].items():
    line = f"ours / {name}: {rounds.spread(values, '.2f')}"
    if name in goals:
      reached = found["median_ratios"][name] >= goals[name]
      holds = holds and (reached or not judged)
      verdict = (
        ("HOLDS" if reached else "FAILS") if judged else f"not judged below {MIN_ROUNDS} rounds"
      )
      line += f", goal at least {goals[name]:.1f}: {verdict}"
    print(line)
  if found["most_disturbed"] > 0.05:
    print(CAUTION.format(others=found["most_disturbed"]))
  return holds


def run(config: Config) -> int:
  """Run the benchmark; 0 if the goals hold, or too few rounds were run to judge them."""
  with tempfile.TemporaryDirectory() as scratch:
    path = Path(scratch) / "images.npy"
    problem = worker.Problem(
      str(path), check_steps=config.check_steps, fused_steps=config.fused_steps
    )
    asked = commands(config, problem)
    x, which = images(config)
    np.save(path, x)
    before = rounds.machine()
    sides = rounds.alternate(asked, Path(scratch), rounds=config.rounds, seconds=config.seconds)
  found = summary(sides)
  holds = show(config, sides, found)
  if config.record:
    about = {"sides": sides, "problem": problem._replace(data=which)._asdict(), "machine": before}
    save(RESULT, {"benchmark": "vae_mlp", "goals": GOALS, **found, **about})
  return 0 if holds else 1


def save(path: Path, result: Mapping[str, Any]) -> None:
  """Write a result with the commit and the date."""
  path.parent.mkdir(parents=True, exist_ok=True)
  stamp = {"git": git_hash(), "date": time.strftime("%Y-%m-%d")}
  path.write_text(json.dumps({**result, **stamp}, indent=2) + "\n")
  print(f"written to {path.relative_to(EXPERIMENTS.parent)}")
