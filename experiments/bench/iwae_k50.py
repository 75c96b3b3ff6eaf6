"""Training an IWAE, k = 50, 784-200-200-50 with tanh, batch 100, on MNIST: against PyTorch and pythae.

All sides train the same networks on the same images in [0, 1] with a Bernoulli likelihood and Adam at 1e-3,
in float32 on all cores, end to end with data. Ours is `latentjax.training.train` on `objectives.iwae` with
its default block of 10 samples, which computes the forward pass twice, a third more products, for a fifth
of the memory of all 50 at once (`block_size=None`, the side "ours_at_once": 1.76 x pythae, idle).
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
  "ours_at_once": ("iwae_k50_ours", "at_once", False),
  "torch": ("iwae_k50_torch", "", True),
  "torch_fused": ("iwae_k50_torch", "fused", True),
  "pythae": ("iwae_k50_pythae", "", True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(vae_mlp.Config):
  """Flags of this benchmark."""

  sides: str = "ours,ours_at_once,torch,pythae"
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
  if "ours" in sides:
    blocks, naive = (sides["ours"]["temp_mib"][name] for name in ("blocks", "naive"))
    rate = statistics.median(rounds.rates(sides["ours"]))
    print(f"memory of a step: {blocks:.1f} MiB in blocks, {naive:.1f} MiB at once")
    for what, value, reached in (
      (f"at least {RATE:.0f} images/s", rate, rate >= RATE),
      (f"at most {MEMORY} of the memory", blocks / naive, blocks / naive <= MEMORY),
    ):
      judged = config.rounds >= vae_mlp.MIN_ROUNDS
      verdict = ("HOLDS" if reached else "FAILS") if judged else "not judged below 5 rounds"
      print(f"{what}: {value:.3g}: {verdict}")
      holds = holds and (reached or not judged)
  if config.record:
    goals = {**GOALS, "images_per_second": RATE, "memory": MEMORY}
    about = {"sides": sides, "problem": problem._replace(data=which)._asdict(), "machine": before}
    vae_mlp.save(RESULT, {"benchmark": "iwae_k50", "goals": goals, **found, **about})
  return 0 if holds else 1
