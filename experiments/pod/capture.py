"""What an experiment trains, without training it."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from latentjax import training
from latentjax.training.program import Program, abstract_program, initializer

PyTree = Any


class Done(Exception):
  """Raised in place of what comes after the last call that was wanted."""


@dataclasses.dataclass(frozen=True)
class Call:
  """The arguments of one call of `latentjax.training.train`."""

  name: str
  config: training.TrainConfig
  arguments: tuple[Any, ...]
  transform: Callable[..., Any] | None
  rules: Any

  def times(self, num_groups: int) -> Call:
    """This call with as many times the rows."""
    config = dataclasses.replace(self.config, batch_size=self.config.batch_size * num_groups)
    return dataclasses.replace(self, config=config)

  def program(self, devices: Any, **options: Any) -> Program:
    """The program of this call for some devices."""
    return abstract_program(
      *self.arguments, self.config, transform=self.transform, rules=self.rules, devices=devices,
      **options,
    )  # fmt: skip


class Recorder:
  """Stands in for `latentjax.training.train`: takes notes, and returns a first state.

  Experiments import `train` by its name, once: so there is one recorder, put in place before.
  """

  def __init__(self) -> None:
    self.wanted: Callable[[Call], bool] = lambda call: True
    self.only = True
    self.found: list[Call] = []

  def __call__(
    self, objective: Any, init_fn: Any, optimizer: Any, dataset: Any, config: Any, folder: Any, *,
    transform: Any = None, rules: Any = None, name: str = "train", **ignored: Any,
  ) -> training.TrainResult:  # fmt: skip
    call = Call(name, config, (objective, init_fn, optimizer, dataset), transform, rules)
    if self.wanted(call):
      self.found.append(call)
      if self.only:
        raise Done
    keys, init = initializer(init_fn, optimizer, config)
    return training.TrainResult(jax.jit(init)(keys), config.steps, 1.0, 0.0, 1.0)


RECORDER = Recorder()


def intercept() -> None:
  """Put the recorder in place of `train`, before an experiment is imported."""
  training.train = RECORDER


def capture(
  experiment: str, flags: Sequence[str], workdir: Path, *, program: str | None = None
) -> list[Call]:
  """The calls of `train` that an experiment makes.

  The experiment runs until the wanted call: the one of that name, all of them for "all", by default the
  first that is given the experiment's own flags. No experiment may have been imported before `intercept`.

  Args:
    experiment: name of an experiment.
    flags: its flags, as on the command line.
    workdir: an empty folder for what it writes.
    program: name of the wanted call.

  Raises:
    ValueError: if there is no such call.
  """
  intercept()
  from experiments.harness import cli

  module = importlib.import_module(f"experiments.{experiment}")
  config = cli.parse(module, experiment, [f"--workdir={workdir}", *flags])
  RECORDER.found, RECORDER.only = [], program != "all"
  RECORDER.wanted = lambda call: (
    isinstance(call.config, module.Config) if program is None else program in (call.name, "all")
  )
  try:
    module.run(config)
  except Done:
    pass
  except Exception:
    if not RECORDER.found:
      raise
  if not RECORDER.found:
    raise ValueError(f"program: got {program!r}, and {experiment} trains nothing of that name")
  return RECORDER.found
