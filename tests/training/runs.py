"""Start, kill and read runs of driver.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import driver

from experiments.soak.lives import Life

DRIVER = Path(driver.__file__)
IMPORTS = [f"latentjax.{name}" for name in ("data", "models", "objectives", "training")]


def start(folder: Path, *, devices: int = 1, **config) -> subprocess.Popen | Life:
  """Start a run on simulated devices; its flags are those of driver.py and the fields of TrainConfig.

  Its process is forked from one that has imported the packages; one of several that talk to each other
  is fresh, since a forked one would leave without taking leave of the others.
  """
  folder.parent.mkdir(parents=True, exist_ok=True)
  environment = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}",
    "PYTHONPATH": str(DRIVER.parent.parent.parent),
    "LATENTJAX_CACHE": str(folder.parent / "cache"),
    "DRIVER_CACHE": str(folder.parent / "xla"),
  }
  words = [str(folder), json.dumps(config)]
  if "distributed" not in config:
    return Life(driver.main, words, environment, imports=IMPORTS)
  return subprocess.Popen(
    [sys.executable, str(DRIVER), *words],
    env=os.environ | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process: subprocess.Popen | Life, *, status: int | None = 0) -> tuple[dict, str]:
  """Wait for a run; what it printed last, and its standard error."""
  out, err = process.communicate(timeout=240)
  assert status is None or process.returncode == status, f"status {process.returncode}\n{err}"
  lines = [line for line in out.splitlines() if line.startswith("{")]
  return (json.loads(lines[-1]) if lines else {}), err


def run(folder: Path, **config) -> dict:
  """A whole run; what it printed last."""
  return finish(start(folder, **config))[0]


def log(folder: Path) -> bytes:
  """The metrics log as it is on disk."""
  return (folder / "metrics.jsonl").read_bytes()


def logged(folder: Path) -> list[dict]:
  """The metrics log, read."""
  return [json.loads(line) for line in log(folder).splitlines()]


def send_at(
  process: subprocess.Popen | Life, folder: Path, step: int, which: signal.Signals
) -> None:
  """Signal a run as soon as its log has reached a step (and it has not ended by itself)."""
  deadline = time.monotonic() + 120
  while process.poll() is None and time.monotonic() < deadline:
    if reached(folder) >= step:
      process.send_signal(which)
      return
    time.sleep(0.005)
  raise AssertionError(f"the run ended or hung before step {step}: {process.communicate()}")


def reached(folder: Path) -> int:
  """Last step in the log of a running run."""
  try:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["step"]
  except (OSError, IndexError, ValueError):
    return 0


def finish_all(processes: list[subprocess.Popen | Life]) -> None:
  """Wait for the processes of one run; all have to end well."""
  for process in processes:
    finish(process)
