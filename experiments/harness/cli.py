"""The command line: list experiments, run one, rebuild the table of results."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

EXPERIMENTS = Path(__file__).resolve().parent.parent
RESULTS = EXPERIMENTS / "results"


def available() -> dict[str, str]:
  """Names of the experiments with the first line of their docstrings; imports none of them."""
  found = {}
  for path in sorted(EXPERIMENTS.glob("*.py")):
    if not path.stem.startswith("_"):
      doc = ast.get_docstring(ast.parse(path.read_text())) or ""
      found[path.stem] = doc.split("\n")[0]
  return found


def main(argv: Sequence[str]) -> int:
  """Run the command; returns the exit status."""
  names = available()
  if not argv or argv[0] in ("-h", "--help"):
    width = max(map(len, names))
    print("python -m experiments NAME [--flag=value ...]   (NAME --help lists its flags)\n")
    print("\n".join(f"  {name:{width}}  {doc}" for name, doc in names.items()))
    print(f"\n  {'report':{width}}  Rebuild experiments/README.md from the committed results.")
    return 0
  name, *flags = argv
  if name == "report":
    from experiments.harness import report

    report.write(RESULTS, EXPERIMENTS / "README.md")
    return 0
  if name not in names:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)
    print(f"no experiment {name!r}; near it: {', '.join(near)}", file=sys.stderr)
    return 2
  return run(importlib.import_module(f"experiments.{name}"), name, flags)


def parse(module: ModuleType, name: str, flags: Sequence[str]) -> Any:
  """Config of an experiment from its flags; --quick changes the defaults, flags still win."""
  import tyro

  quick = "--quick" in flags
  default = module.Config(**module.QUICK, quick=True) if quick else module.Config()
  config = tyro.cli(
    type(default),
    args=list(flags),
    default=default,
    prog=f"python -m experiments {name}",
    description=re.sub(r"\n(?=[A-Z]\w+:)", "\n\n", module.__doc__ or ""),  # keep the lines apart
    use_underscores=True,
  )
  if config.record and config.quick:
    raise ValueError("record: got --record with --quick, which is no result; leave one of them out")
  if config.workdir is None:
    workdir = Path("runs") / (f"{name}_quick" if quick else name)
    config = dataclasses.replace(config, workdir=workdir)
  return config


def run(module: ModuleType, name: str, flags: Sequence[str]) -> int:
  """Run an experiment; 0 if every claim holds, 1 if one fails or the run had to stop."""
  logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
  logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax's notices; its errors are exceptions
  try:
    config = parse(module, name, flags)
  except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2

  import jax

  from experiments.harness import claims
  from latentjax.training import (
    CheckpointError,
    NonFiniteError,
    WorkdirError,
    initialize_distributed,
  )

  cache = os.environ.get("LATENTJAX_CACHE", "~/.cache/latentjax")
  jax.config.update("jax_compilation_cache_dir", str(Path(cache).expanduser() / "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  addresses = (config.coordinator_address, config.num_processes, config.process_id)
  start = time.perf_counter()
  try:
    if config.distributed or addresses != (None, None, None):
      initialize_distributed(*addresses)
    outcome = module.run(config)
    if jax.process_index() > 0:
      return 0
    print("\n" + claims.show(outcome.claims, judged=not config.quick))
    print(json.dumps(outcome.details, indent=2))
    result = describe(module, name, config, outcome, time.perf_counter() - start)
    save(result, config, name)
  except (ValueError, OSError, CheckpointError, NonFiniteError, WorkdirError) as error:
    if os.environ.get("LATENTJAX_TRACEBACK"):
      raise
    print(f"error: {error}", file=sys.stderr)
    return 1
  print(
    f"\nwritten to {config.workdir}: "
    + ", ".join(sorted(p.name for p in config.workdir.iterdir() if p.name[0] != "."))
  )
  return 0 if config.quick or all(c.holds for c in outcome.claims) else 1


def describe(
  module: ModuleType, name: str, config: Any, outcome: Any, seconds: float
) -> dict[str, Any]:
  """The result as a JSON object that says how it came about."""
  import jax

  from latentjax.training.loop import versions

  device = jax.devices()[0]
  return {
    "experiment": name,
    "papers": {str(number): title for number, title in module.PAPERS.items()},
    "functions": list(module.FUNCTIONS),
    "claims": [claim.to_json() for claim in outcome.claims],
    "details": outcome.details,
    "config": json.loads(json.dumps(config.identity())),
    "quick": config.quick,
    "device": f"{jax.device_count()} x {device.device_kind}",
    "cpu_count": os.cpu_count(),
    "seconds": round(seconds, 1),
    "versions": versions(),
    "git": git_hash(),
    "date": time.strftime("%Y-%m-%d"),
  }


def save(result: dict[str, Any], config: Any, name: str) -> None:
  """Write the result into the workdir, and among the committed ones if asked to."""
  from latentjax.training.workdir import write_atomically

  text = json.dumps(result, indent=2) + "\n"
  write_atomically(config.workdir / "result.json", text)
  if config.record:
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / f"{name}.json", text)


def git_hash() -> str:
  """Commit of the source, with -dirty if files of it were changed; "unknown" outside a checkout."""
  command = ["git", "-C", str(EXPERIMENTS), "describe", "--always", "--dirty", "--abbrev=12"]
  try:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return "unknown"
