"""Endless host batches in the training order, read through Grain, resumable at any step."""

import atexit
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from latentjax.data.dataset import Dataset
from latentjax.data.order import example_indices, step_positions
from latentjax.data.sources import Source

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Batches:
  """Random access to the batches of a run: item i is the batch of step `start_step + i`.

  A whole batch per item, not an example: records are read many at a time, and Grain's workers share
  the steps among them without touching what a step holds.
  """

  source: Source
  batch_size: int
  seeds: tuple[int, ...]
  shuffle: bool
  start_step: int
  process_index: int
  process_count: int

  def __len__(self) -> int:
    return sys.maxsize // 2  # endless; Grain wants a number

  def __getitem__(self, item: int) -> Batch:
    positions = step_positions(
      self.start_step + item,
      batch_size=self.batch_size,
      process_index=self.process_index,
      process_count=self.process_count,
    )
    total = self.source.num_examples
    indices = np.stack(
      [
        example_indices(positions, num_examples=total, seed=seed, shuffle=self.shuffle)
        for seed in self.seeds
      ]
    )
    try:
      rows = self.source.read(indices.reshape(-1))
    except StopIteration as error:  # would end the iterator quietly
      raise RuntimeError(f"reading of step {self.start_step + item} stopped") from error
    lead = indices.shape if len(self.seeds) > 1 else indices.shape[1:]
    return {name: values.reshape(*lead, *values.shape[1:]) for name, values in rows.items()}


class Stream(Iterator[Batch]):
  """Iterator over batches whose state is the number of the next step. Made by `stream`."""

  def __init__(self, batches: _Batches, fingerprint: str, *, num_workers: int, prefetch: int):
    self._batches, self._fingerprint = batches, fingerprint
    self._num_workers, self._prefetch = num_workers, prefetch
    self._step = batches.start_step
    self._running: list[Any] = []  # Grain's iterator, once it is started

  def __next__(self) -> Batch:
    if not self._running:
      self._running.append(self._start())
    try:
      batch = next(self._running[0])
    except BaseException as error:
      self.close()  # Grain would go on after the lost batch; the next call reads this step again
      if isinstance(error, StopIteration):
        raise RuntimeError(f"reading of step {self._step} ended without a batch") from error
      raise
    self._step += 1
    if self._num_workers:
      # Workers hand over shared memory, which lasts as long as the array: give it back at once.
      batch = {name: np.array(values) for name, values in batch.items()}
    return batch

  def get_state(self) -> dict[str, Any]:
    """JSON-serialisable state: the next step, and which run it belongs to."""
    return {"step": self._step} | self._identity()

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues where an iterator of the same run was, with any number of workers or processes.

    Raises:
      ValueError: if the state belongs to other data, another order or another batch size.
    """
    own = self._identity()
    wrong = [f"{k}: saved {state.get(k)!r}, here {own[k]!r}" for k in own if state.get(k) != own[k]]
    if wrong or not isinstance(state.get("step"), int) or state["step"] < 0:
      detail = "; ".join(wrong) or f"step: {state.get('step')!r}"
      raise ValueError(f"state does not belong to this data stream: {detail}")
    self.close()
    self._step = state["step"]

  def close(self) -> None:
    """Stops workers and threads; the next batch starts them again."""
    _stop(self._running)

  def _identity(self) -> dict[str, Any]:
    return {
      "fingerprint": self._fingerprint,
      "seeds": list(self._batches.seeds),
      "batch_size": self._batches.batch_size,
      "shuffle": self._batches.shuffle,
    }

  def _start(self) -> Any:
    import grain

    batches = dataclasses.replace(self._batches, start_step=self._step)
    # One reading thread: sources keep open files, and parallel decoding is what workers are for.
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=self._prefetch)
    pipeline = grain.MapDataset.source(batches).to_iter_dataset(options)
    if self._num_workers:
      _parse_flags()
      # Workers hold shared memory; this runs before multiprocessing ends them on its own.
      atexit.register(_stop, self._running)
      pipeline = pipeline.mp_prefetch(
        grain.MultiprocessingOptions(
          num_workers=self._num_workers, per_worker_buffer_size=self._prefetch
        )
      )
    return iter(pipeline)


def stream(
  dataset: Dataset,
  *,
  batch_size: int,
  seeds: Sequence[int],
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  num_workers: int = 0,
  prefetch: int = 2,
  shuffle: bool = True,
) -> Stream:
  """Endless batches of a data set, read ahead of the training loop.

  Step s holds the records `example_indices(step_positions(s, ...), seed=...)`, whatever the number of
  workers, processes and earlier interruptions.

  Args:
    dataset: the data, in arrays or streamed.
    batch_size: global batch size B, a multiple of process_count.
    seeds: one seed per replica; each replica has its own order.
    start_step: the first step to give.
    process_index: this process among those that share each batch.
    process_count: P, their number.
    num_workers: worker processes that read and decode; 0 reads in a thread. Workers are started
      afresh (spawn), so a script that uses them needs `if __name__ == "__main__":`.
    prefetch: batches read ahead, per worker where there are any.
    shuffle: False gives the stored order.

  Returns:
    Iterator over host batches, feature -> (B / P, *shape), or (S, B / P, *shape) for S > 1 seeds.

  Raises:
    ValueError: if seeds is empty, or a number is out of range.

  Example:
    >>> from latentjax.data import load
    >>> data = load({"x": np.arange(4)})
    >>> batches = stream(data, batch_size=2, seeds=[0], shuffle=False)
    >>> next(batches)["x"].tolist(), next(batches)["x"].tolist(), next(batches)["x"].tolist()
    ([0, 1], [2, 3], [0, 1])
    >>> batches.close()
  """
  if not seeds:
    raise ValueError("seeds must hold at least one seed, got none")
  if start_step < 0 or num_workers < 0 or prefetch < 1:
    raise ValueError(
      "start_step and num_workers must not be negative and prefetch at least 1, got "
      f"{start_step=}, {num_workers=}, {prefetch=}"
    )
  shares = {"process_index": process_index, "process_count": process_count}
  step_positions(0, batch_size=batch_size, **shares)  # says what is wrong with a batch or a process
  order = tuple(int(seed) for seed in seeds)
  batches = _Batches(dataset.source, batch_size, order, shuffle, start_step, **shares)
  return Stream(batches, dataset.fingerprint, num_workers=num_workers, prefetch=prefetch)


def _stop(running: list[Any]) -> None:
  while running:
    running.pop().close()


def _parse_flags() -> None:
  """Grain's workers read absl flags, which only programs made with absl.app have parsed."""
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
