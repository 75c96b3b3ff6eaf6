"""The optimiser from a handful of numbers; any optax optimiser can stand in its place."""

from __future__ import annotations

from typing import Literal

import optax

ScheduleName = Literal["constant", "cosine", "linear"]


def make_schedule(
  name: ScheduleName, learning_rate: float, *, num_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
  """Learning-rate schedule: linear warm-up from 0, then constant, or decaying to 0 at `num_steps`.

  Args:
    name: "constant", "cosine" or "linear".
    learning_rate: value after the warm-up.
    num_steps: length of the run in steps.
    warmup_steps: length of the warm-up.

  Raises:
    ValueError: for another name or a warm-up longer than the run.
  """
  if not 0 <= warmup_steps < max(num_steps, 1):
    raise ValueError(f"warmup_steps: got {warmup_steps}, wanted 0 <= warmup_steps < {num_steps}")
  decay_steps = max(num_steps - warmup_steps, 1)
  if name == "constant":
    after = optax.constant_schedule(learning_rate)
  elif name == "cosine":
    after = optax.cosine_decay_schedule(learning_rate, decay_steps)
  elif name == "linear":
    after = optax.linear_schedule(learning_rate, 0.0, decay_steps)
  else:
    raise ValueError(f"name: got {name!r}, wanted 'constant', 'cosine' or 'linear'")
  if warmup_steps == 0:
    return after
  warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
  return optax.join_schedules([warmup, after], [warmup_steps])


def make_optimizer(
  learning_rate: optax.ScalarOrSchedule,
  *,
  clip_norm: float | None = None,
  weight_decay: float = 0.0,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
) -> optax.GradientTransformation:
  """Adam (AdamW with weight decay), the gradient's global norm clipped first where asked for.

  Args:
    learning_rate: number or schedule.
    clip_norm: largest global norm of a gradient; None for no clipping.
    weight_decay: decoupled weight decay.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: added to the root of the second moment.
  """
  adam = (
    optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay)
    if weight_decay
    else optax.adam(learning_rate, b1, b2, eps)
  )
  return adam if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), adam)
