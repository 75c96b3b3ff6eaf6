"""A run's folder: which run it belongs to, its metrics log, and that nobody else is writing to it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any


class WorkdirError(RuntimeError):
  """The folder belongs to another run, or another process is using it."""


def write_atomically(path: Path, text: str) -> None:
  """Write a file so that a reader sees the old text or the new one, and never half of it."""
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  with temporary.open("w") as f:
    f.write(text)
    f.flush()
    os.fsync(f.fileno())
  temporary.replace(path)


def lock(workdir: Path) -> IO[str]:
  """Hold the folder until the returned file is closed or the process ends, however it ends.

  Raises:
    WorkdirError: if a running process holds it.
  """
  handle = (workdir / ".lock").open("a")
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError:
    handle.close()
    raise WorkdirError(f"workdir {workdir}: another run is using it right now") from None
  return handle


def claim(workdir: Path, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
  """Make the folder this run's own, or check that it is.

  Args:
    workdir: the folder; made if it is not there.
    config: JSON object; two runs with the same one are the same run.
    about: further facts to keep in `config.json` (versions, flags without influence on the result).

  Raises:
    WorkdirError: if the folder belongs to a run with another config (the difference is shown), or
      holds checkpoints of nobody knows what. Nothing is changed then.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / "config.json"
  wanted = json.loads(json.dumps(config))  # tuples become lists, as they will be when read back
  if not path.exists():
    if (workdir / "checkpoints").exists() and any((workdir / "checkpoints").iterdir()):
      raise WorkdirError(
        f"workdir {workdir}: it holds checkpoints but no config.json; take another"
      )
    write_atomically(
      path, json.dumps({"config": wanted, "about": about}, indent=2, default=str) + "\n"
    )
    return
  try:
    found = json.loads(path.read_text())["config"]
  except (ValueError, KeyError, TypeError) as error:
    raise WorkdirError(f"workdir {workdir}: its config.json cannot be read ({error})") from None
  absent = object()
  different = [
    f"  {k}: {found.get(k, '(absent)')!r} there, {wanted.get(k, '(absent)')!r} asked for"
    for k in sorted(found.keys() | wanted.keys())
    if found.get(k, absent) != wanted.get(k, absent)
  ]
  if different:
    raise WorkdirError(
      f"workdir {workdir} belongs to a run with another config:\n"
      + "\n".join(different)
      + "\nNothing was changed. Give those values to continue it, or another --workdir."
    )


class MetricsLog:
  """`metrics.jsonl`: one JSON object per line, with the step it was measured at.

  It holds nothing that differs between two runs of one config (no clock), so a run that was killed and
  resumed leaves the same bytes as one that was not.
  """

  def __init__(self, workdir: Path, *, step: int, enabled: bool = True) -> None:
    """Open the log for a run that goes on after `step`: what a killed run wrote beyond is dropped."""
    self.path = workdir / "metrics.jsonl"
    self._file: IO[str] | None = None
    if not enabled:
      return
    kept = [line for line in read_lines(self.path) if line["step"] <= step]
    write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept))
    self._file = self.path.open("a")

  def write(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Append one line; it is with the operating system when this returns."""
    if self._file is not None:
      self._file.write(json.dumps({"step": step, **metrics}) + "\n")
      self._file.flush()

  def close(self) -> None:
    """Close the file, its content safe on disk."""
    if self._file is not None:
      os.fsync(self._file.fileno())
      self._file.close()
      self._file = None


def read_lines(path: Path) -> list[dict[str, Any]]:
  """Lines of a metrics log; a last line cut off by a kill is left out."""
  lines: list[dict[str, Any]] = []
  if path.exists():
    for text in path.read_text().splitlines():
      try:
        lines.append(json.loads(text))
      except ValueError:
        break
  return lines
