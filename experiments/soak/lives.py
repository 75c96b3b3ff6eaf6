"""Start runs in processes of their own, watch them, and say how they ended."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.harness.cli import EXPERIMENTS
from experiments.soak import run

DEADLINE_S = 180.0


class Place(NamedTuple):
  """Where a soak works.

  Attributes:
    root: its folder.
    images: the folder of images that all runs train on.
    seed: decides every random choice.
  """

  root: Path
  images: Path
  seed: int


class Outcome(NamedTuple):
  """A row of the table.

  Attributes:
    fault: what went wrong.
    how: how it was really done.
    times: how often.
    outcome: what came of it.
    seconds: the longest that a process took to go on or to say what is wrong.
    holds: whether it is what is promised.
    details: anything else, for the result.
  """

  fault: str
  how: str
  times: int
  outcome: str
  seconds: float
  holds: bool
  details: dict[str, Any] = {}  # noqa: RUF012  (never changed)


class SoakError(RuntimeError):
  """A run did what it must not, without a fault or after one."""


class Life:
  """A process of its own, forked from one that has imported what a run needs: its start is most of a life.

  It has the few methods of `subprocess.Popen` that are wanted here.
  """

  def __init__(
    self,
    main: Callable[[list[str]], int],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    imports: Sequence[str],
  ) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(imports))
    self._files = [tempfile.NamedTemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
    names = [file.name for file in self._files]
    self._process = context.Process(
      target=_live, args=(main, list(arguments), dict(environment), names)
    )
    self._process.start()

  @property
  def returncode(self) -> int | None:
    """As `Popen` has it: minus the signal that ended it."""
    return self._process.exitcode

  def poll(self) -> int | None:
    """Its status, None while it lives."""
    return self._process.exitcode

  def send_signal(self, which: signal.Signals) -> None:
    """Send a signal, unless it has ended."""
    if self._process.pid is not None and self.poll() is None:
      os.kill(self._process.pid, which)

  def kill(self) -> None:
    """End it."""
    self._process.kill()

  def communicate(self, timeout: float | None = None) -> tuple[str, str]:
    """Wait for it; what it wrote."""
    self._process.join(timeout)
    if self._process.exitcode is None:
      raise subprocess.TimeoutExpired("run", timeout or 0.0)
    return self._files[0].read(), self._files[1].read()


def _live(
  main: Callable[[list[str]], int],
  arguments: list[str],
  environment: dict[str, str],
  files: list[str],
) -> None:
  os.environ.update(environment)
  for descriptor, name in enumerate(files, 1):
    os.dup2(os.open(name, os.O_WRONLY), descriptor)
  sys.exit(main(arguments))


def start(
  place: Place,
  folder: Path | Sequence[Path],
  *,
  devices: int = 1,
  cache: Path | None = None,
  fresh: bool = False,
  **arguments: Any,
) -> subprocess.Popen | Life:
  """A run, or several one after the other, on simulated devices; in a fresh process or a forked one."""
  folders = [folder] if isinstance(folder, Path) else list(folder)
  folders[0].parent.mkdir(parents=True, exist_ok=True)
  flags = (
    f"--xla_force_host_platform_device_count={devices} --xla_cpu_parallel_codegen_split_count=1"
  )
  environment = {
    "XLA_FLAGS": flags,
    "LATENTJAX_CACHE": str(cache or place.root / "cache"),
    "SOAK_XLA_CACHE": str(place.root / "xla"),
  }
  words = [",".join(map(str, folders)), json.dumps({"images": str(place.images), **arguments})]
  if not fresh:
    return Life(run.main, words, environment, imports=[run.__name__])
  return subprocess.Popen(
    [sys.executable, "-m", "experiments.soak.run", *words],
    env=os.environ | environment,
    cwd=EXPERIMENTS.parent,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def pair(place: Place, folder: Path | Sequence[Path], **arguments: Any) -> list[Any]:
  """The two processes of one run, two devices each, which give each other up after ten seconds."""
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{s.getsockname()[1]}"
  about = {"coordinator_address": address, "num_processes": 2, "heartbeat_timeout_s": 10}
  return [
    start(place, folder, devices=2, fresh=True, distributed={**about, "process_id": i}, **arguments)
    for i in range(2)  # fresh: a forked process would leave without taking leave of the other
  ]


def end(process: Any, *, status: int | None = 0) -> tuple[list[dict], str]:
  """Wait for a process: the lines it printed, and its standard error."""
  try:
    out, err = process.communicate(timeout=DEADLINE_S)
  except subprocess.TimeoutExpired:
    process.kill()
    out, err = process.communicate()
    raise SoakError(f"it hung for {DEADLINE_S:.0f} s:\n{err[-2000:]}") from None
  if status is not None and process.returncode != status:
    raise SoakError(f"status {process.returncode}, wanted {status}:\n{err[-2000:]}")
  return [json.loads(line) for line in out.splitlines() if line.startswith("{")], err


def whole(place: Place, folder: Path, **arguments: Any) -> dict[str, Any]:
  """A run to its end; what it printed."""
  return end(start(place, folder, **arguments))[0][-1]


def end_all(processes: Sequence[Any]) -> list[dict]:
  """Wait for the processes of one run; the lines that the first printed."""
  lines = [end(process)[0] for process in processes]
  return lines[0]


def whole_pair(place: Place, folder: Path, **arguments: Any) -> dict[str, Any]:
  """A run of two processes to its end; what the first printed."""
  return end_all(pair(place, folder, **arguments))[-1]


def wait_until(true: Callable[[], bool], process: Any, *, pause: float) -> bool:
  """Ask again and again; False if the process ended before."""
  deadline = time.monotonic() + DEADLINE_S
  while not true():
    if process.poll() is not None:
      return False
    if time.monotonic() > deadline:
      process.kill()
      raise SoakError("it did not come to the point where the fault was to happen")
    time.sleep(pause)
  return True


def reached(folder: Path) -> int:
  """Last whole line of the log of a running run."""
  try:
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")
    return json.loads(lines[-2])["step"]
  except (OSError, IndexError, ValueError):
    return 0


def newest(folder: Path) -> int:
  """The newest checkpoint that has its final name; 0 if there is none."""
  names = os.listdir(folder / "checkpoints") if (folder / "checkpoints").is_dir() else []
  return max((int(name) for name in names if name.isdecimal()), default=0)


def last_line(text: str) -> str:
  """What an error says, shortened."""
  lines = [line for line in text.strip().splitlines() if line.strip()]
  return lines[-1][:300] if lines else ""
