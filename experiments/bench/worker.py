"""A worker's end of the pipe to the benchmark: the standard library only, so that any Python can run it.

A worker prints one JSON line when it is warm and one for each round. It reads "go SECONDS" before a round,
sleeps in that read while others have theirs, and ends with its input.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

CHECK_IMAGES = 10_000
CHECK_WEIGHTED = 2_000  # where every image takes many samples


class Problem(NamedTuple):
  """What every side trains.

  Attributes:
    data: .npy file of images, uint8, (N, H, W, C).
    batch_size: rows of a batch.
    hidden: units of a hidden layer.
    latent_dim: dimensions of the latent space.
    learning_rate: of Adam, everything else of it at its default.
    check_steps: steps after which the sides' losses are compared.
    fused_steps: of our side; None for its default.
    variant: which of a worker's variants to run.
    num_samples: samples of z per image, of the importance weighted ones.
    objective: one of `vae_objectives.OBJECTIVES`; the VAE by default.
  """

  data: str
  batch_size: int = 128
  hidden: int = 400
  latent_dim: int = 20
  learning_rate: float = 1e-3
  check_steps: int = 1000
  fused_steps: int | None = None
  variant: str = ""
  num_samples: int = 1
  objective: str = ""


class Channel:
  """The pipe; whatever else the process prints goes to its standard error."""

  def __init__(self) -> None:
    self._out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

  def send(self, **message: Any) -> None:
    """One line to the benchmark, with the most memory the process ever had resident."""
    self._out.write(json.dumps({**message, "peak_rss_mib": peak_rss_mib()}) + "\n")

  def rounds(self) -> Iterator[float]:
    """Seconds of each round that is asked for; to be sent an answer before the next one."""
    for line in sys.stdin:
      _, seconds = line.split()
      yield float(seconds)

  def serve(self, run: Any) -> None:
    """Answer every round with `run(seconds)`, a JSON object with at least `images` and `seconds`."""
    for seconds in self.rounds():
      self.send(**run(seconds))


def start() -> tuple[Problem, Channel]:
  """What the benchmark asks of this process, and the pipe to it."""
  return Problem(**json.loads(sys.argv[1])), Channel()


def num_threads() -> int:
  """Cores this process may use; every side uses all of them."""
  return len(os.sched_getaffinity(0))


def peak_rss_mib() -> float:
  """Largest resident memory since the process's program was started."""
  try:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
  except (OSError, IndexError):  # not Linux; this one may count what the parent had when it forked
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def steps_for(seconds: float, step: Any) -> dict[str, float]:
  """Call `step() -> number of images` until the time is over."""
  images, begin = 0, time.perf_counter()
  while (elapsed := time.perf_counter() - begin) < seconds:
    images += step()
  return {"images": images, "seconds": elapsed}
