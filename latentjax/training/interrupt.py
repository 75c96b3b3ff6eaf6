"""SIGTERM, as a question that the loop asks between two calls."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils


@contextmanager
def stop_request() -> Iterator[Callable[[], bool]]:
  """Function that says whether SIGTERM came; over several processes all give the same answer."""
  if jax.process_count() > 1:
    # jax.distributed catches the signal and agrees on a number, here of a call: it has to go up one by one.
    calls = itertools.count(1)
    yield lambda: multihost_utils.reached_preemption_sync_point(next(calls))
    return
  if threading.current_thread() is not threading.main_thread():
    yield lambda: False
    return
  came = threading.Event()
  before = signal.signal(signal.SIGTERM, lambda *_: came.set())
  try:
    yield came.is_set
  finally:
    signal.signal(signal.SIGTERM, before)
