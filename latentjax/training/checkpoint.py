"""Checkpoints: Orbax writes them in the background; fingerprints of what they hold prove them on reading.

A checkpoint is a directory `checkpoints/STEP` with the train state and a JSON object beside it. Orbax
writes under a temporary name and renames at the end, so a killed run leaves no half checkpoint
under a final name. What it does not notice is damage done later; the fingerprints do.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

PyTree = Any
logger = logging.getLogger(__name__)

_TEMPORARY = ".orbax-checkpoint-tmp"
_CENTURY_S = 100 * 365 * 86400


class CheckpointError(RuntimeError):
  """No checkpoint of a directory that has some can be read, or a new one cannot be written."""


class CheckpointMismatch(CheckpointError):
  """A checkpoint is whole but was written by other code: its arrays have other names or shapes."""


class Restored(NamedTuple):
  """What `restore_latest` found.

  Attributes:
    step: number of the checkpoint.
    state: the state, placed as the abstract state asked.
    meta: the JSON object saved beside it.
  """

  step: int
  state: PyTree
  meta: dict[str, Any]


@jax.jit
def fingerprints(state: PyTree) -> jax.Array:
  """One uint32 per array of a tree: a weighted sum of its bits modulo 2**32, shape (number of arrays,).

  The weights are odd, hence invertible: any change to a single element changes the sum. Integer sums
  do not depend on their order, so neither on how the array is sharded.
  """

  def one(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.uint8) if x.dtype == jnp.bool_ else x
    word = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    bits = jax.lax.bitcast_convert_type(x, word).astype(jnp.uint32)
    weights = jnp.uint32(1)
    stride = 1
    for axis in reversed(range(bits.ndim)):  # position in row-major order, without a reshape
      position = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
      weights = weights + jnp.uint32((2 * stride) % 2**32) * position
      stride *= bits.shape[axis]
    return jnp.sum(bits * weights, dtype=jnp.uint32)

  return jnp.stack([one(x) for x in jax.tree.leaves(state)])


def check_path(folder: Path) -> None:
  """Refuse a folder whose checkpoints could be written and not read.

  Orbax looks for the files of a checkpoint by a pattern that begins with the folder's path.

  Raises:
    CheckpointError: if the path, made absolute, has a character that means something in a pattern.
  """
  if found := set("*?[\\") & set(str(folder.absolute())):
    raise CheckpointError(
      f"checkpoints under {folder.absolute()} could not be read again because of {sorted(found)} in "
      "that path; take another workdir"
    )


def open_checkpoints(directory: Path, *, keep: int) -> ocp.CheckpointManager:
  """Open a directory of checkpoints for asynchronous writing; the newest `keep` are kept.

  What a killed run had half written is reported and removed: it never had a final name.

  Orbax measures the time that a checkpoint may take by the system's clock, and gives one up within whose
  writing that clock is set ahead (by a time server, or when a machine wakes up). A process alone needs no
  such limit and has none. Of several, the limit, 20 minutes, is what frees those that wait for one that
  cannot write: there such a jump is a CheckpointError, and the run started again goes on from the checkpoint
  before.
  """
  if keep < 1:
    raise ValueError(f"keep: got {keep}, wanted at least 1 checkpoint")
  try:
    directory.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise CheckpointError(f"{directory} cannot be made ({error.strerror})") from error
  if jax.process_index() == 0:
    for half in sorted(directory.glob(f"*{_TEMPORARY}*")):
      logger.warning("half-written checkpoint %s ignored: the run was killed while saving it", half)
      shutil.rmtree(half, ignore_errors=True)
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep, enable_async_checkpointing=True, async_options=_time_limits()
  )
  return ocp.CheckpointManager(directory.absolute(), options=options)


def _time_limits() -> ocp.AsyncOptions:
  if jax.process_count() > 1:
    return ocp.AsyncOptions()
  # To wait for directories that are made in the background has a limit of its own, which cannot be set.
  return ocp.AsyncOptions(timeout_secs=_CENTURY_S, create_directories_asynchronously=False)


def save(manager: ocp.CheckpointManager, step: int, state: PyTree, meta: dict[str, Any]) -> None:
  """Start writing a checkpoint; the state may be donated as soon as this returns.

  Args:
    manager: from `open_checkpoints`.
    step: its number; a checkpoint of that number is never overwritten.
    state: tree of arrays without typed keys.
    meta: JSON object to keep beside it.

  Raises:
    CheckpointError: if the checkpoint before it could not be written.
  """
  prints = [int(p) for p in jax.device_get(fingerprints(state))]
  meta = {**meta, "structure": _structure(state), "fingerprints": prints}
  args = ocp.args.Composite(
    state=ocp.args.StandardSave(state),
    meta=ocp.args.JsonSave({**meta, "digest": _digest(meta)}),
  )
  with _writing(manager):
    manager.save(step, args=args, force=True)


def finish(manager: ocp.CheckpointManager) -> None:
  """Wait until what `save` started is on disk.

  Raises:
    CheckpointError: if it could not be written.
  """
  with _writing(manager):
    manager.wait_until_finished()


def close(manager: ocp.CheckpointManager) -> None:
  """`finish`, and give back the threads."""
  with _writing(manager):
    manager.close()


@contextmanager
def _writing(manager: ocp.CheckpointManager) -> Iterator[None]:
  """Where the background reports that it failed, as OSError or, from TensorStore, ValueError."""
  try:
    yield
  except (OSError, ValueError) as error:
    there = Path(manager.directory)
    steps = [int(p.name) for p in there.glob("*") if p.name.isdecimal() and p.is_dir()]
    last = f"step {max(steps)} is the last one there" if steps else "there is none yet"
    raise CheckpointError(
      f"a checkpoint could not be written to {manager.directory} ({_first_line(error)}); {last}. "
      "Started again, with room to write, the run goes on from there"
    ) from error


def _first_line(error: Exception) -> str:
  line = (str(error).strip() or type(error).__name__).splitlines()[0]
  line = line.partition(" [")[0]  # where TensorStore begins a page about itself
  return line if len(line) <= 400 else f"{line[:200]} ... {line[-200:]}"


def _digest(meta: dict[str, Any]) -> str:
  return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _structure(state: PyTree) -> dict[str, str]:
  leaves = jax.tree_util.tree_flatten_with_path(state)[0]
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
  return {name(path): f"{x.dtype}{list(x.shape)}" for path, x in leaves}


def _restore(manager: ocp.CheckpointManager, step: int, abstract_state: PyTree) -> Restored:
  """Read a checkpoint and prove it; over several processes all read it or all raise."""
  error = None
  try:
    state, meta = _read(manager, step, abstract_state)
  except (CheckpointMismatch, MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as cause:  # what a reader raises depends on which byte is damaged
    error = cause
  if not _all_processes(error is None):  # before the fingerprints, which wait for all of them
    raise ValueError("another process cannot read it") if error is None else error
  prints = [int(p) for p in jax.device_get(fingerprints(state))]
  if not _all_processes(prints == meta.pop("fingerprints")):
    raise ValueError("its arrays are not the ones that were saved")
  return Restored(step, state, meta)


def _read(
  manager: ocp.CheckpointManager, step: int, abstract_state: PyTree
) -> tuple[PyTree, dict[str, Any]]:
  meta = dict(manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())).meta)
  digest = meta.pop("digest", None)  # which older checkpoints lack
  if digest is not None and digest != _digest(meta):
    raise ValueError("its JSON object is not the one that was saved")
  saved, wanted = meta.pop("structure"), _structure(abstract_state)
  if saved != wanted:
    names = [k for k in sorted(saved | wanted) if saved.get(k) != wanted.get(k)]
    lines = [f"  {k}: {saved.get(k, 'absent')} there, {wanted.get(k, 'absent')} now" for k in names]
    raise CheckpointMismatch(
      f"checkpoint {manager.directory}/{step} was written by other code; its arrays differ:\n"
      + "\n".join(lines[:20])
    )
  args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))
  return manager.restore(step, args=args).state, meta


def _all_processes(mine: bool) -> bool:
  """Whether it is so in every process."""
  if jax.process_count() == 1:
    return mine
  return bool(np.all(multihost_utils.process_allgather(np.array(mine))))


def restore_latest(manager: ocp.CheckpointManager, abstract_state: PyTree) -> Restored | None:
  """Read the newest checkpoint that is whole.

  A damaged one is reported and, once an older one has been read, set aside under a name of its own
  (`damaged-STEP-...`), so that its number is free again. Nothing is deleted.

  Args:
    manager: from `open_checkpoints`.
    abstract_state: tree of `jax.ShapeDtypeStruct` with the shardings wanted.

  Returns:
    The state and its JSON object; None where no checkpoint was ever written.

  Raises:
    CheckpointError: if there are checkpoints and none can be read; nothing is changed then.
    CheckpointMismatch: if a checkpoint is whole but holds other arrays than the ones asked for.
  """
  damaged: list[int] = []
  for step in sorted(manager.all_steps(), reverse=True):
    try:
      restored = _restore(manager, step, abstract_state)
    except (CheckpointMismatch, MemoryError, jax.errors.JaxRuntimeError):
      raise
    except Exception as error:
      path = Path(manager.directory) / str(step)
      logger.warning(
        "damaged checkpoint %s; trying the one before it. Cause: %s", path, _first_line(error)
      )
      damaged.append(step)
    else:
      _set_aside(manager, damaged)
      return restored
  if damaged:
    raise CheckpointError(
      f"none of the checkpoints in {manager.directory} can be read (steps {damaged}). Nothing was "
      "changed. Put a whole copy of one back, or start again in an empty workdir."
    )
  return None


def _set_aside(manager: ocp.CheckpointManager, steps: list[int]) -> None:
  if not steps:
    return
  if jax.process_index() == 0:
    for step in steps:
      path = Path(manager.directory) / str(step)
      aside = path.with_name(f"damaged-{step}-{time.time_ns()}")
      path.rename(aside)
      logger.warning("damaged checkpoint of step %d kept as %s", step, aside)
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("damaged checkpoints set aside")
  manager.reload()
