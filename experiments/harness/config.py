"""Flags that every experiment has, on top of how to train."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from latentjax.training import TrainConfig, make_optimizer, make_schedule
from latentjax.training.config import free


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
  """Flags of every experiment; each adds its own."""

  quick: bool = free(False)
  """Shrink the run to seconds; its claims are then not judged."""
  workdir: Path | None = free(None)
  """Folder for checkpoints, logs and pictures; default runs/NAME."""
  data_dir: Path | None = free(None)
  """Where TFDS data sets lie; default TFDS's own."""
  record: bool = free(False)
  """Write the result to experiments/results/NAME.json too."""
  learning_rate: float = 1e-3
  """Learning rate after the warm-up."""
  schedule: Literal["constant", "cosine", "linear"] = "constant"
  """How the learning rate goes on."""
  warmup_steps: int = 0
  """Steps of linear warm-up."""
  clip_norm: float | None = None
  """Largest global norm of a gradient; None: not clipped."""
  weight_decay: float = 0.0
  """Decoupled weight decay (AdamW)."""
  dtype: Literal["float32", "bfloat16"] = "float32"
  """What the networks compute in; parameters stay float32."""
  distributed: bool = free(False)
  """Join a multi-host run; what the next three leave out, from the cluster's environment."""
  coordinator_address: str | None = free(None)
  """host:port of process 0."""
  num_processes: int | None = free(None)
  """Number of processes."""
  process_id: int | None = free(None)
  """Which of them this is."""

  @property
  def folder(self) -> Path:
    """The workdir, as a path that is set."""
    assert self.workdir is not None, "the command line fills workdir in"
    return self.workdir

  @property
  def compute_dtype(self) -> jnp.dtype:
    """What the networks compute in."""
    return jnp.dtype(self.dtype)

  def optimizer(self) -> optax.GradientTransformation:
    """Adam as the flags describe it."""
    schedule = make_schedule(
      self.schedule, self.learning_rate, num_steps=self.steps, warmup_steps=self.warmup_steps
    )
    return make_optimizer(schedule, clip_norm=self.clip_norm, weight_decay=self.weight_decay)

  def each_seed(self, fn: Callable[..., Any]) -> Callable[[Any], Any]:
    """Compile `fn(params)` for the final parameters of a run, mapped over its replicas."""
    mapped = jax.vmap(fn) if self.stacked else fn
    compiled = jax.jit(mapped)

    def call(params: Any) -> Any:
      out = compiled(params)
      return out if self.stacked else jax.tree.map(lambda x: x[None], out)

    return call

  def first_seed(self, params: Any) -> Any:
    """Parameters of the first replica."""
    return jax.tree.map(lambda x: x[0], params) if self.stacked else params
