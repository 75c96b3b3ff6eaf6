"""The benchmark's end: one process per side, kept warm, of which one at a time is at work."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class WorkerError(RuntimeError):
  """A worker ended, or said something else than a JSON line."""


class Worker:
  """A side's process; what it prints besides its answers is kept in a log."""

  def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
    self.name, self.log = name, log
    with log.open("w") as stderr:
      self._process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=REPOSITORY,
      )

  def answer(self) -> dict[str, Any]:
    """The next line it says; waits for it."""
    assert self._process.stdout is not None
    line = self._process.stdout.readline()
    try:
      return json.loads(line)
    except ValueError:
      tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
      raise WorkerError(
        f"the worker of {self.name!r} gave {line!r}; its log ends:\n{tail}"
      ) from None

  def go(self, seconds: float) -> dict[str, Any]:
    """One round, with its rate, its CPU time, and the share of the cores that other processes took."""
    assert self._process.stdin is not None
    before, begin = self._cpu_seconds(), time.perf_counter()
    try:
      self._process.stdin.write(f"go {seconds}\n")
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # it has ended; reading its answer says how
    result = self.answer()
    own, busy = (b - a for a, b in zip(before, self._cpu_seconds()))
    cores = os.cpu_count() or 1
    others = min(1.0, max(0.0, busy - own) / (cores * (time.perf_counter() - begin)))
    rate = result["images"] / result["seconds"]
    return {"images_per_second": rate, "cpu_seconds": own, "others": others, **result}

  def close(self) -> None:
    """Let it end; it is killed if it does not."""
    assert self._process.stdin is not None and self._process.stdout is not None
    self._process.stdin.close()
    try:
      self._process.wait(timeout=20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._process.stdout.close()

  def _cpu_seconds(self) -> tuple[float, float]:
    """Used by this process, and by all with what a hypervisor took away; 0 where it cannot be known."""
    tick = os.sysconf("SC_CLK_TCK")
    try:
      stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
      machine = [int(n) for n in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except (OSError, IndexError):
      return 0.0, 0.0
    busy = sum(machine) - machine[3] - machine[4]  # all but idle and waiting for disks
    return (int(stat[11]) + int(stat[12])) / tick, busy / tick


def alternate(
  commands: Mapping[str, Sequence[str]],
  logs: Path,
  *,
  rounds: int,
  seconds: float,
  say: Callable[[str], None] = print,
) -> dict[str, dict[str, Any]]:
  """Warm every side up, one after the other, then give each its turn in every round.

  Args:
    commands: command of each side's worker.
    logs: folder for what the workers print.
    rounds: turns of each.
    seconds: length of a turn.
    say: called with a line at every step.

  Returns:
    For each side, what it said when it was warm, with its `rounds`.
  """
  workers: list[Worker] = []
  sides: dict[str, dict[str, Any]] = {}
  try:
    for name, command in commands.items():
      say(f"{name}: starting and warming up")
      workers.append(Worker(name, command, logs / f"{name}.log"))
      sides[name] = {**workers[-1].answer(), "rounds": []}
    for i in range(rounds):
      for worker in workers:
        result = worker.go(seconds)
        sides[worker.name]["rounds"].append(result)
        rate, others = result["images_per_second"], result["others"]
        say(f"round {i + 1}/{rounds}  {worker.name:12} {rate:10,.0f} images/s  others {others:.0%}")
  finally:
    for worker in workers:
      worker.close()
  return sides


def rates(side: Mapping[str, Any]) -> list[float]:
  """Images per second of each round."""
  return [r["images_per_second"] for r in side["rounds"]]


def ratios(side: Mapping[str, Any], peer: Mapping[str, Any]) -> list[float]:
  """A side's rate over a peer's, round by round: what slows both of a pair down cancels."""
  return [a / b for a, b in zip(rates(side), rates(peer), strict=True)]


def spread(values: Sequence[float], form: str) -> str:
  """Median, and the range."""
  low, middle, high = (format(f(values), form) for f in (min, statistics.median, max))
  return f"{middle} ({low} to {high})"


def table(sides: Mapping[str, Mapping[str, Any]]) -> str:
  """The sides as text."""
  lines = [
    f"{'side':12} {'images/s, median (range)':>32} {'first call, s':>14} {'peak RSS, MiB':>14} {'-ELBO':>8}"
  ]
  for name, side in sides.items():
    rate = spread(rates(side), ",.0f")
    peak = max(r["peak_rss_mib"] for r in [side, *side["rounds"]])
    numbers = f"{side['first_seconds']:14.2f} {peak:14,.0f} {side['negative_elbo']:8.2f}"
    lines.append(f"{name:12} {rate:>32} {numbers}")
  return "\n".join(lines)


def machine() -> dict[str, Any]:
  """What the sides ran on."""
  try:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
  except (OSError, StopIteration):
    cpu = platform.processor() or platform.machine()
  return {
    "cpu": cpu,
    "cores": len(os.sched_getaffinity(0)),
    "system": platform.platform(),
    "load_average": os.getloadavg(),
  }
