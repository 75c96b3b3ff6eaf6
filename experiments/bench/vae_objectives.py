"""Training throughput of five more objectives beside pythae's models of the same name, 784-400-20, MNIST.

As vae_mlp (networks, data, Adam, batches of 128, both trainers end to end), one objective after the other
with the same hyper-parameters on both sides: beta-VAE, annealed capacity at its final value, beta-TCVAE
(weighted sampling), InfoVAE (inverse multiquadratic kernels), IWAE with 5 samples. Whether both train the
same thing is judged by the error of the reconstruction from q's mean, in nats.
Command: python -m experiments.bench vae_objectives --torch_python=PYTHON --data_dir=DIRECTORY_OF_TFDS_MNIST
Goal: faster than pythae everywhere, medians of the ratios of a round.
Time: 12 minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.bench import rounds, vae_mlp, worker
from experiments.harness.cli import EXPERIMENTS

GOALS = {"pythae": 1.0}
OBJECTIVES = ("beta_vae", "capacity", "tc_vae", "info_vae", "iwae")
RESULT = EXPERIMENTS / "results" / "bench" / "vae_objectives.json"
SIDES = {"ours": ("vae_mlp_ours", "", False), "pythae": ("vae_mlp_pythae", "", True)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(vae_mlp.Config):
  """Flags of this benchmark."""

  sides: str = "ours,pythae"
  """Which sides, in this order."""
  check_steps: int = 2000
  """Steps after which the sides' reconstructions are compared; their initial weights differ."""
  objectives: str = ",".join(OBJECTIVES)
  """Which objectives, in this order."""
  record: bool = False
  """Write the result to experiments/results/bench/vae_objectives.json."""

  def __post_init__(self) -> None:
    super().__post_init__()
    if unknown := [n for n in self.objectives.split(",") if n not in OBJECTIVES]:
      raise ValueError(f"objectives: got {unknown}, wanted some of {', '.join(OBJECTIVES)}")

  def known(self) -> Mapping[str, tuple[str, str, bool]]:
    """The sides there are."""
    return SIDES


def run(config: Config) -> int:
  """Run the benchmark; 0 if the goals hold, or too few rounds were run to judge them."""
  before, holds, found = rounds.machine(), True, {}
  with tempfile.TemporaryDirectory() as scratch:
    path = Path(scratch) / "images.npy"
    x, which = vae_mlp.images(config)
    np.save(path, x)
    problem = worker.Problem(
      str(path), check_steps=config.check_steps, fused_steps=config.fused_steps
    )
    for name in config.objectives.split(","):
      asked = vae_mlp.commands(config, problem._replace(objective=name))
      sides = rounds.alternate(asked, Path(scratch), rounds=config.rounds, seconds=config.seconds)
      found[name] = {**vae_mlp.summary(sides), "sides": sides}
      print(f"\n{name}\n{rounds.table(sides).replace('-ELBO', 'error')}")
      holds = vae_mlp.judge(config, found[name], GOALS) and holds
  if config.record:
    about = {"problem": problem._replace(data=which)._asdict(), "machine": before}
    vae_mlp.save(RESULT, {"benchmark": "vae_objectives", "goals": GOALS, **found, **about})
  return 0 if holds else 1
