"""Training an IWAE, k = 50, 784-200-200-50 with tanh, batch 100, on MNIST: against PyTorch and pythae.

All sides train the same networks on the same images in [0, 1] with a Bernoulli likelihood and Adam at 1e-3,
in float32 on all cores, end to end with data. Ours is `latentjax.training.train` on `objectives.iwae`, all
samples of 20 rows at a time (`accumulate=5`, `block_size=None`). Beside it two other ways: "ours_blocks",
the objective's default, 10 samples of every row at a time, which needs a second forward pass since a row's
weights are known only after all its samples; "ours_at_once", everything together.
pythae minimises -sum_k w_k log w_k with detached normalised weights: the gradient is that of the paper's
eq. 8 (section 3 there), the value that it reports is not; -bound is eq. 8 on every side.
Command: python -m experiments.bench iwae_k50 --torch_python=PYTHON --data_dir=DIRECTORY_OF_TFDS_MNIST
Goals: at least 900 images/s, 1.5 x pythae's model in its own trainer, and 0.3 x the memory.
Time: 3 minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.bench import rounds, vae_mlp, worker
from experiments.harness.cli import EXPERIMENTS

RATE, MEMORY, GOALS = 900.0, 0.3, {"pythae": 1.5}
RESULT = EXPERIMENTS / "results" / "bench" / "iwae_k50.json"
SIDES = {
  "ours": ("iwae_k50_ours", "", False),
  "ours_blocks": ("iwae_k50_ours", "blocks", False),
  "ours_at_once": ("iwae_k50_ours", "at_once", False),
  "torch": ("iwae_k50_torch", "", True),
  "torch_fused": ("iwae_k50_torch", "fused", True),
  "pythae": ("iwae_k50_pythae", "", True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(vae_mlp.Config):
  """Flags of this benchmark."""

  sides: str = "ours,ours_blocks,ours_at_once,torch,pythae"
  """Which sides, in this order; also there: torch_fused."""
  check_steps: int = 200
  """Steps after which the sides' losses are compared."""
  fused_steps: int | None = 10
  """Steps per compiled call of our side."""
  record: bool = False
  """Write the result to experiments/results/bench/iwae_k50.json."""

  def known(self) -> Mapping[str, tuple[str, str, bool]]:
    """The sides there are."""
    return SIDES


def run(config: Config) -> int:
  """Run the benchmark; 0 if the goals hold, or too few rounds were run to judge them."""
  with tempfile.TemporaryDirectory() as scratch:
    path = Path(scratch) / "images.npy"
    problem = worker.Problem(
      str(path),
      batch_size=100,
      hidden=200,
      latent_dim=50,
      check_steps=config.check_steps,
      fused_steps=config.fused_steps,
      num_samples=50,
    )
    asked = vae_mlp.commands(config, problem)
    x, which = vae_mlp.images(config)
    np.save(path, x)
    before = rounds.machine()
    sides = rounds.alternate(asked, Path(scratch), rounds=config.rounds, seconds=config.seconds)
  found = vae_mlp.summary(sides)
  print("\n" + rounds.table(sides).replace("-ELBO", "-bound"))
  holds = vae_mlp.judge(config, found, GOALS)
  memory = {name: side["temp_mib"] for name, side in sides.items() if "temp_mib" in side}
  print("memory of a step: " + ", ".join(f"{name} {mib:.1f} MiB" for name, mib in memory.items()))
  reached = {}
  if "ours" in sides:
    rate = statistics.median(rounds.rates(sides["ours"]))
    reached[f"{rate:.0f} images/s, at least {RATE:.0f}"] = rate >= RATE
  for name in ("ours", "ours_blocks"):
    if not {name, "ours_at_once"} <= set(memory):
      continue
    share = memory[name] / memory["ours_at_once"]
    reached[f"{name}: {share:.2f} of the memory, at most {MEMORY}"] = share <= MEMORY
  judged = config.rounds >= vae_mlp.MIN_ROUNDS
  for what, held in reached.items():
    print(f"{what}: {('HOLDS' if held else 'FAILS') if judged else 'not judged below 5 rounds'}")
    holds = holds and (held or not judged)
  if config.record:
    goals = {**GOALS, "images_per_second": RATE, "memory": MEMORY}
    about = {"sides": sides, "problem": problem._replace(data=which)._asdict(), "machine": before}
    vae_mlp.save(RESULT, {"benchmark": "iwae_k50", "goals": goals, **found, **about})
  return 0 if holds else 1
