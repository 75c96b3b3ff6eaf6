"""How to train, as one flat dataclass that experiments extend and the command line fills."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from latentjax.training.mesh import DATA_AXIS

# A field marked so does not change what a run computes, beyond float rounding: a run may be continued
# with another value of it.
FREE = {"free": True}


def free(default: Any) -> Any:
  """Field of a config that does not belong to a run's identity."""
  return dataclasses.field(default=default, metadata=FREE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """How to train; experiments add fields of their own."""

  steps: int = 1000
  """Optimiser steps of the whole run."""
  batch_size: int = 128
  """Rows of a global batch, over all devices and processes."""
  seed: int = 0
  """Decides initialisation, noise and data order."""
  seeds: int = 1
  """Independent replicas trained at once, with seeds seed, seed + 1, ..."""
  accumulate: int = 1
  """Micro-batches that a batch is split into, to save memory."""
  remat: Literal["none", "dots", "dots_without_batch"] = free("none")
  """What the backward pass makes again to save memory; see `make_train_step`."""
  ema_decay: float | None = None
  """Decay of the moving average of the parameters; None for none."""
  grad_norm: bool = False
  """Log the gradient's global norm, before clipping."""
  eval_every: int | None = None
  """Steps between evaluations; None: only at the end."""
  parallel: Literal["jit", "pmap"] = free("jit")
  """One program over a mesh of devices, or one program per device."""
  sharding: Literal["replicated", "fsdp", "optimizer"] = free("replicated")
  """Parameters on every device, or split over them; or the optimiser's state and the average alone split."""
  shards: int | None = free(None)
  """Devices over which arrays are split by `sharding`, alike in every group of so many; None: all."""
  tensor: int = free(1)
  """Neighbouring devices that share every layer and the same rows, on top of `sharding`."""
  fused_steps: int | None = free(None)
  """Steps per call of the compiled program; None: by backend and network."""
  unroll: bool | None = free(None)
  """Write the fused steps out instead of looping; None: by backend and network."""
  checkpoint_every: int = free(1000)
  """Steps between checkpoints; there is always one at the end."""
  keep_checkpoints: int = free(3)
  """The newest checkpoints that stay on disk."""
  num_workers: int = free(0)
  """Reading processes, for data that does not fit in memory."""
  resident: bool | None = free(None)
  """Keep the data on the device; None: where it fits."""

  def __post_init__(self) -> None:
    self._check_types()
    for name in (
      "steps",
      "batch_size",
      "seeds",
      "accumulate",
      "tensor",
      "checkpoint_every",
      "keep_checkpoints",
    ):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}: got {getattr(self, name)}, wanted at least 1")
    for name in ("fused_steps", "eval_every"):
      if getattr(self, name) is not None and getattr(self, name) < 1:
        raise ValueError(f"{name}: got {getattr(self, name)}, wanted at least 1, or None")
    if self.parallel == "pmap" and (self.sharding != "replicated" or self.tensor > 1):
      raise ValueError(
        f"sharding: got {self.sharding!r} and tensor={self.tensor} with parallel='pmap', which keeps "
        "the parameters on every device; wanted 'replicated' and 1, or parallel='jit'"
      )
    if self.shards is not None and self.sharding == "replicated":
      raise ValueError(
        f"shards: got {self.shards} without sharding='fsdp' or 'optimizer', wanted None"
      )
    if not 0 <= self.seed <= 2**32 - self.seeds:  # `jax.random.key` drops the bits above
      raise ValueError(f"seed: got {self.seed}, wanted all seeds in [0, 2**32)")
    if self.num_workers < 0:
      raise ValueError(f"num_workers: got {self.num_workers}, wanted at least 0")

  def _check_types(self) -> None:
    """Values are what their annotations say; NumPy's scalars become Python's."""
    wanted = {int: "a whole number", float: "a number", bool: "True or False"}
    for name, kind in get_type_hints(TrainConfig).items():
      value, kinds = getattr(self, name), get_args(kind) or (kind,)
      if isinstance(value, np.generic):
        value = value.item()
        object.__setattr__(self, name, value)
      if get_origin(kind) is Literal:
        if value not in kinds:
          raise ValueError(f"{name}: got {value!r}, wanted one of {', '.join(kinds)}")
      elif type(value) not in kinds and not (type(value) is int and float in kinds):
        raise ValueError(f"{name}: got {value!r}, wanted {wanted[kinds[0]]}")

  @property
  def axis_name(self) -> str | None:
    """What objectives and batch-coupled kernels are to be given as `axis_name`."""
    return DATA_AXIS if self.parallel == "pmap" else None

  @property
  def stacked(self) -> bool:
    """Whether states, batches and metrics have a leading axis of replicas."""
    return self.seeds > 1

  def identity(self) -> dict[str, Any]:
    """The fields that decide what a run computes."""
    return {
      f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.metadata.get("free")
    }
