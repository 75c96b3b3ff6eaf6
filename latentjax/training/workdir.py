"""A run's folder: which run it belongs to, its metrics log, and that nobody else is writing to it."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)


class WorkdirError(RuntimeError):
  """The folder belongs to another run, another process is using it, or it cannot be written."""


@contextmanager
def _writing(workdir: Path) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    raise WorkdirError(
      f"workdir {workdir} cannot be written ({error.strerror or error}: "
      f"{error.filename or 'metrics.jsonl'}). "
      "Make room, or take another --workdir"
    ) from error


def write_atomically(path: Path, text: str) -> None:
  """Write a file so that a reader sees the old text or the new one, and never half of it."""
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with temporary.open("w") as f:
      f.write(text)
      f.flush()
      os.fsync(f.fileno())
    temporary.replace(path)
  except OSError:
    temporary.unlink(missing_ok=True)
    raise


def lock(workdir: Path) -> IO[str]:
  """Make the folder, and hold it until the returned file is closed or the process ends, however it ends.

  Raises:
    WorkdirError: if a running process holds it, or it cannot be locked or written.
  """
  with _writing(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    _read(workdir / ".lock")  # names what stands in the way: who opened a pipe would wait for ever
    handle = (workdir / ".lock").open("a")
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    handle.close()
    raise WorkdirError(f"workdir {workdir}: another run is using it right now") from None
  except OSError as error:  # a file system without locks
    handle.close()
    raise WorkdirError(f"workdir {workdir} cannot be locked ({error.strerror})") from error
  for left_over in workdir.glob(".*.tmp"):  # of a process killed while writing
    with suppress(OSError):
      left_over.unlink(missing_ok=True)
  return handle


def claim(workdir: Path, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
  """Make the folder this run's own, or check that it is.

  Args:
    workdir: the folder; made if it is not there.
    config: JSON object; two runs with the same one are the same run.
    about: further facts to keep in `config.json` (versions, flags without influence on the result).

  Raises:
    WorkdirError: if the folder belongs to a run with another config (the difference is shown), holds
      checkpoints of nobody knows what, or a config that cannot be read. Nothing is changed then.
  """
  path = workdir / "config.json"
  wanted = json.loads(json.dumps(config))  # tuples become lists, as they will be when read back
  text = _read(path)
  if text is None:
    if (workdir / "checkpoints").is_dir() and any((workdir / "checkpoints").iterdir()):
      raise WorkdirError(
        f"workdir {workdir}: it holds checkpoints but no config.json; take another"
      )
    with _writing(workdir):
      workdir.mkdir(parents=True, exist_ok=True)
      write_atomically(
        path, json.dumps({"config": wanted, "about": about}, indent=2, default=str) + "\n"
      )
    return
  try:
    found = json.loads(text)["config"]
    if not isinstance(found, dict):
      raise ValueError(f"its config is {found!r:.40}, no object")
  except (ValueError, KeyError, TypeError, RecursionError) as error:
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
    with _writing(workdir):
      write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept))
      self._file = self.path.open("a")

  def write(self, step: int, metrics: Mapping[str, Any]) -> None:
    """Append one line; it is with the operating system when this returns."""
    if self._file is not None:
      with _writing(self.path.parent):
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()

  def sync(self) -> None:
    """What was written is safe on disk when this returns: a checkpoint counts on the lines before it."""
    if self._file is not None:
      with _writing(self.path.parent):
        os.fsync(self._file.fileno())

  def close(self) -> None:
    """Close the file, its content safe on disk."""
    self.sync()
    if self._file is not None:
      with _writing(self.path.parent):
        self._file.close()
      self._file = None


def _read(path: Path) -> bytes | None:
  """A file of the folder, None where there is none; what is no file (a pipe would block) is an error."""
  try:
    if path.exists() and not path.is_file():
      raise OSError(errno.EINVAL, "no regular file")
    return path.read_bytes() if path.exists() else None
  except OSError as error:
    raise WorkdirError(f"{path} is in the way: it cannot be read ({error.strerror})") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
  """Lines of a metrics log; a last line cut off by a kill is left out, a damaged one reported."""
  lines: list[dict[str, Any]] = []
  texts = (_read(path) or b"").splitlines()
  for number, text in enumerate(texts, 1):
    try:
      line = json.loads(text)
      lines.append({"step": int(line["step"]), **line})
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
      if number < len(texts):
        logger.warning("%s: line %d is damaged and left out", path, number)
  return lines
