"""Training a convolutional VAE on MNIST: end to end with data, against a plain PyTorch loop.

Two 4 x 4 convolutions with stride 2, of 32 and 64 channels, a layer of 256, 20 latents, and back; images
in [0, 1] with a Bernoulli likelihood, Adam at 1e-3, batches of 128, float32 on all cores. See `vae_mlp`.
Command: python -m experiments.bench vae_conv --torch_python=PYTHON --data_dir=DIRECTORY_OF_TFDS_MNIST
Goal: at least as fast as the plain PyTorch loop, median of the ratios of a round.
Time: 4 minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.bench import rounds, vae_mlp, worker
from experiments.harness.cli import EXPERIMENTS

GOALS = {"torch": 1.0}
RESULT = EXPERIMENTS / "results" / "bench" / "vae_conv.json"
SIDES = {
  "ours": ("vae_conv_ours", "", False),
  "torch": ("vae_conv_torch", "", True),
  "torch_fused": ("vae_conv_torch", "fused", True),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(vae_mlp.Config):
  """Flags of this benchmark."""

  sides: str = "ours,torch"
  """Which sides, in this order; also there: torch_fused."""
  check_steps: int = 200
  """Steps after which the sides' losses are compared."""
  fused_steps: int | None = 10
  """Steps per compiled call of our side, written out; its default is one at a time, which compiles faster."""
  record: bool = False
  """Write the result to experiments/results/bench/vae_conv.json."""

  def known(self) -> Mapping[str, tuple[str, str, bool]]:
    """The sides there are."""
    return SIDES


def run(config: Config) -> int:
  """Run the benchmark; 0 if the goal holds, or too few rounds were run to judge it."""
  with tempfile.TemporaryDirectory() as scratch:
    path = Path(scratch) / "images.npy"
    problem = worker.Problem(
      str(path), hidden=256, check_steps=config.check_steps, fused_steps=config.fused_steps
    )
    asked = vae_mlp.commands(config, problem)
    x, which = vae_mlp.images(config)
    np.save(path, x)
    before = rounds.machine()
    sides = rounds.alternate(asked, Path(scratch), rounds=config.rounds, seconds=config.seconds)
  found = vae_mlp.summary(sides)
  print("\n" + rounds.table(sides))
  holds = vae_mlp.judge(config, found, GOALS)
  if config.record:
    about = {"sides": sides, "problem": problem._replace(data=which)._asdict(), "machine": before}
    vae_mlp.save(RESULT, {"benchmark": "vae_conv", "goals": GOALS, **found, **about})
  return 0 if holds else 1
