"""Losses of another library on the same arrays: asks a process in its environment, and prints the table."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.rounds import WorkerError
from experiments.harness.cli import EXPERIMENTS


def ask(torch_python: Path, module: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """What `experiments.bench.<module>` prints last, given a file with the arrays."""
  python = torch_python.expanduser()
  if not python.is_file():
    raise ValueError(f"torch_python: got {torch_python}, wanted a Python that has the peers")
  with tempfile.TemporaryDirectory() as scratch:
    path = Path(scratch) / "arrays.npz"
    np.savez(path, **dict(arrays))
    done = subprocess.run(
      [str(python.absolute()), "-m", f"experiments.bench.{module}", str(path)],
      cwd=EXPERIMENTS.parent,
      capture_output=True,
      text=True,
    )
  if done.returncode:
    raise WorkerError(f"{module} failed:\n{done.stderr[-2000:]}")
  return json.loads(done.stdout.splitlines()[-1])
