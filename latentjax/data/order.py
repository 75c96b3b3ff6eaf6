"""Which record comes when: a pure function of (seed, position), the same on any number of processes."""

import functools

import numpy as np


def example_indices(
  positions: np.ndarray | int, *, num_examples: int, seed: int, shuffle: bool = True
) -> np.ndarray:
  r"""Record index at each position of the endless training order.

  .. math:: i(p) = \pi_{seed,\, \lfloor p / N \rfloor}(p \bmod N)

  with :math:`\pi` a fresh permutation of the N records for every epoch, so every record comes
  exactly once per epoch and nothing is dropped where a batch crosses into the next one.

  Args:
    positions: positions counted from the start of training, non-negative integers of any shape.
    num_examples: N, the number of records.
    seed: chooses the order, in [0, 2**64).
    shuffle: False gives the stored order p mod N in every epoch.

  Returns:
    Record indices in [0, N), shape of positions; int32 where N allows, else int64.

  Raises:
    TypeError: if positions are not integers.
    ValueError: if a position is negative, or num_examples or seed is out of range.

  Example:
    >>> sorted(example_indices(np.arange(4), num_examples=4, seed=0).tolist())
    [0, 1, 2, 3]

  References:
    Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011 (Philox).
  """
  positions = np.asarray(positions)
  if not np.issubdtype(positions.dtype, np.integer):
    raise TypeError(f"positions must be integers, got dtype {positions.dtype}")
  if num_examples < 1:
    raise ValueError(f"num_examples must be at least 1, got {num_examples}")
  if not 0 <= seed < 2**64:
    raise ValueError(f"seed must be in [0, 2**64), got {seed}")
  if positions.size and positions.min() < 0:
    raise ValueError(f"positions must not be negative, got {positions.min()}")
  epochs, offsets = np.divmod(positions.astype(np.int64), num_examples)
  if not shuffle:
    return offsets.astype(_index_dtype(num_examples))
  indices = np.empty(positions.shape, _index_dtype(num_examples))
  for epoch in np.unique(epochs):
    here = epochs == epoch
    indices[here] = _permutation(num_examples, int(seed), int(epoch))[offsets[here]]
  return indices


def step_positions(
  step: np.ndarray | int, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> np.ndarray:
  """Positions that one process reads for a step of the global batch.

  Step s covers positions s B to (s + 1) B - 1; process p of P takes the contiguous rows
  p B / P to (p + 1) B / P - 1 of them. The run is thus the same for every P.

  Args:
    step: step number, or an integer array of them.
    batch_size: B, the global batch size, a multiple of process_count.
    process_index: p, in [0, P).
    process_count: P, the number of processes.

  Returns:
    int64 positions, shape (*step.shape, B / P).

  Raises:
    ValueError: if batch_size is not a positive multiple of process_count, or process_index is out
      of range.

  Example:
    >>> step_positions(1, batch_size=4, process_index=1, process_count=2).tolist()
    [6, 7]
  """
  if process_count < 1 or not 0 <= process_index < process_count:
    raise ValueError(
      f"process_index must be in [0, process_count), got {process_index} of {process_count}"
    )
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
      f"batch_size must be a positive multiple of process_count = {process_count}, got {batch_size}"
    )
  local = batch_size // process_count
  rows = np.arange(process_index * local, (process_index + 1) * local, dtype=np.int64)
  return np.asarray(step, np.int64)[..., None] * batch_size + rows


def _permutation(num_examples: int, seed: int, epoch: int) -> np.ndarray:
  recent = _recent_epochs(num_examples, seed)
  order = recent.get(epoch)
  if order is None:
    # argsort of raw Philox words instead of Generator.permutation: numpy promises the words to stay
    # the same in every version, but not what its generators make of them.
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(num_examples)
    order = np.argsort(words, kind="stable").astype(_index_dtype(num_examples))
    for old in list(recent)[:-1]:
      recent.pop(old, None)
    recent[epoch] = order
  return order


@functools.lru_cache(maxsize=256)
def _recent_epochs(num_examples: int, seed: int) -> dict[int, np.ndarray]:
  """The last two permutations of one order: replicas with different seeds do not evict each other."""
  del num_examples, seed
  return {}


def _index_dtype(num_examples: int) -> type[np.signedinteger]:
  return np.int32 if num_examples <= 2**31 else np.int64
