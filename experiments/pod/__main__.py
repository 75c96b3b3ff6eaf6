"""`python -m experiments.pod NAME [--topology=v5e:16x16 ...] [--flag=value ...]`, or `table`."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import itertools
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from experiments.harness.cli import available


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Compile the train step of an experiment for devices that need not be there; its own flags follow."""

  topology: str = "v5e:16x16"
  """Devices: v5e:16x16, v5p:4x4x8, v6e:8x8, ...; gpu:8 and cpu:8 on simulated devices of the host."""
  batch_per_chip: int | None = None
  """Rows for each device; None: the experiment's batch size, unless --batch_size says how many in all."""
  program: str | None = None
  """Name of one of the networks that the experiment trains; None: the first with its flags; "all"."""
  resident: bool = False
  """Data on the devices, indexed there, instead of rows that are handed over."""
  hlo: Path | None = None
  """Where to write the compiled program's text."""


def prepare(topology: str) -> None:
  """Set JAX up, before it has touched a device."""
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  import jax

  from experiments.pod.chips import parse

  kind, count = parse(topology)
  if kind in ("cpu", "gpu"):
    jax.config.update("jax_num_cpu_devices", count)


def calls(config: Config, name: str, flags: Sequence[str], num_devices: int) -> list[Any]:
  """The wanted calls of `train` for so many devices, of one seed; `intercept` has to have been called.

  Unless the flags say how many rows there are, every group of devices has the rows of the experiment. Some
  stages of some experiments have a batch size of their own, whatever the flags: it is then that of a group.
  """
  given = values(flags)
  tensor = given.get("--tensor", "1")
  if not tensor.isdigit() or tensor == "0" or num_devices % int(tensor):
    raise ValueError(f"tensor: got {tensor}, wanted a divisor of the {num_devices} devices")
  groups = num_devices // int(tensor)
  rows = config.batch_per_chip
  if rows is None:
    rows = importlib.import_module(f"experiments.{name}").Config().batch_size

  def found(groups: int) -> list[Any]:
    defaults = {"--batch_size": str(rows * groups), "--seeds": "1"}
    missing = [f"{flag}={value}" for flag, value in defaults.items() if flag not in given]
    return captured(name, (*missing, *flags), config.program)

  wanted = found(groups)
  if "--batch_size" in given or groups == 1:
    return wanted
  alone = found(1)
  fixed = [a.config.batch_size == c.config.batch_size for a, c in zip(alone, wanted, strict=True)]
  return [call.times(groups) if own else call for call, own in zip(wanted, fixed, strict=True)]


def values(flags: Sequence[str]) -> dict[str, str]:
  """Values of flags by their names, written in any of the ways that the command line takes."""
  found = {}
  for flag, after in itertools.zip_longest(flags, flags[1:], fillvalue=""):
    if flag.startswith("--"):
      name, equals, value = flag.partition("=")
      found["--" + name[2:].replace("-", "_")] = value if equals else after
  return found


@functools.cache
def captured(name: str, flags: tuple[str, ...], program: str | None) -> list[Any]:
  """See `capture`; once for the same flags."""
  from experiments.pod.capture import capture

  with tempfile.TemporaryDirectory() as folder:
    return capture(name, flags, Path(folder), program=program)


def run(config: Config, name: str, flags: Sequence[str]) -> int:
  """Compile and print."""
  from experiments.pod import analysis, chips
  from experiments.pod.capture import intercept
  from experiments.pod.findings import findings
  from latentjax.training.mesh import row_axes

  intercept()
  target = chips.target(config.topology)
  for call in calls(config, name, flags, len(target.devices)):
    program = call.program(target.devices, resident=config.resident)
    found, jaxpr, compiled = analysis.program_cost(program, target.platform)
    if config.hlo is not None:
      config.hlo.write_text(compiled.as_text())
    print(
      f"\n{name}, program {call.name!r}, on {target.name}: {call.config.batch_size} rows, "
      f"mesh {dict(program.mesh.shape)}, compiled in {found.compile_seconds:.1f} s; each device:\n"
    )
    groups = math.prod(program.mesh.shape[name] for name in row_axes(program.mesh))
    print(analysis.show(found, target.chip, analysis.activations(call, groups)))
    warnings = findings(found, jaxpr, program.args[0], batch_size=call.config.batch_size)
    print("\n" + "\n".join(f"warning: {line}" for line in warnings or ["none"]))
  if target.platform == "cpu":
    print(
      "\nTemporaries are those of a program for the host, which fuses less than an accelerator."
    )
  return 0


def main(argv: Sequence[str]) -> int:
  """Run the command; returns the exit status."""
  if argv and argv[0] == "table":
    from experiments.pod import table

    return table.main(argv[1:])
  if not argv or argv[0] in ("-h", "--help"):
    print("python -m experiments.pod NAME [--topology=v5e:16x16 ...] [--flag=value ...]")
    print("python -m experiments.pod table [--flag=value ...]\n")
    print("NAME is an experiment, see `python -m experiments`; NAME --help lists the flags.")
    return 0
  name, *rest = argv
  if name not in available():
    near = difflib.get_close_matches(name, available(), n=3, cutoff=0.4) or sorted(available())
    print(f"no experiment {name!r}; near it: {str(near)[1:-1]}", file=sys.stderr)
    return 2
  config, flags = tyro.cli(
    Config, args=rest, prog=f"python -m experiments.pod {name}", return_unknown_args=True,
    use_underscores=True,
  )  # fmt: skip
  try:
    prepare(config.topology)
    return run(config, name, flags)
  except (ValueError, FileNotFoundError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
