"""`python -m experiments.bench NAME [--flag=value ...]`; `report` makes one table of all results."""

import importlib
import sys
from collections.abc import Sequence

import tyro

from experiments.bench import report
from experiments.bench.rounds import WorkerError

BENCHMARKS = (
  "checkpoint_speed",
  "contrastive_losses",
  "contrastive_speed",
  "data_speed",
  "ddim_speed",
  "diffusion_schedulers",
  "disentanglement_speed",
  "dit_xl_pod",
  "factor_speed",
  "growth",
  "iwae_k50",
  "kernel_speed",
  "quantize_speed",
  "quantizer_values",
  "startup_speed",
  "vae_conv",
  "vae_losses",
  "vae_mlp",
  "vae_objectives",
)


def main(argv: Sequence[str]) -> int:
  """Run the command; returns the exit status."""
  if list(argv) == ["report"]:
    return report.main()
  modules = {name: importlib.import_module(f"experiments.bench.{name}") for name in BENCHMARKS}
  if not argv or argv[0] not in modules:
    print("python -m experiments.bench NAME [--flag=value ...]   (NAME --help lists its flags)")
    print("python -m experiments.bench report                  (one table of what was recorded)\n")
    print("\n".join(f"  {n:18} {(m.__doc__ or '').splitlines()[0]}" for n, m in modules.items()))
    return 0 if not argv or argv[0] in ("-h", "--help") else 2
  name, *flags = argv
  try:
    config = tyro.cli(
      modules[name].Config,
      args=flags,
      prog=f"python -m experiments.bench {name}",
      description=modules[name].__doc__,
    )
    return modules[name].run(config)
  except (ValueError, FileNotFoundError, WorkerError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
