"""How long training takes, without what is not training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

PyTree = Any


class Clock:
  """Wall time of training alone: compilation, evaluation and saving are not counted.

  Attributes:
    seconds: of `steps` steps.
    steps: those of all calls but the first ones.
    first_call_seconds: of first calls with a number of steps, which compile.
  """

  def __init__(self) -> None:
    self.seconds, self.first_call_seconds, self.steps = 0.0, 0.0, 0
    self._counts: set[int] = set()
    self._since: float | None = None

  def pause(self, state: PyTree) -> None:
    """Stop counting once the devices are done."""
    if self._since is not None:
      jax.block_until_ready(state)
      self.seconds += time.perf_counter() - self._since
      self._since = None

  @contextmanager
  def call(self, count: int, state: PyTree) -> Iterator[Callable[[PyTree], None]]:
    """Around one call; a first call with so many steps compiles, and is waited for."""
    fresh = count not in self._counts
    if fresh:
      self.pause(state)
    start = time.perf_counter()
    yield (lambda out: jax.block_until_ready(out)) if fresh else (lambda out: None)
    if fresh:
      self._counts.add(count)
      self.first_call_seconds += time.perf_counter() - start
    else:
      self.steps += count
      self._since = start if self._since is None else self._since
