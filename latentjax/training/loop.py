"""The one training loop: fused steps, checkpoints and exact resumption, on any mesh."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from tqdm import tqdm

import latentjax
from latentjax import data
from latentjax.training import checkpoint, workdir
from latentjax.training.call import Call, default_fusion, make_call
from latentjax.training.clock import Clock
from latentjax.training.config import TrainConfig
from latentjax.training.convolutions import has_convolution
from latentjax.training.feed import Feed, make_feed
from latentjax.training.interrupt import stop_request
from latentjax.training.mesh import Rules, put_global, state_shardings
from latentjax.training.program import InitFn, initializer, make_step, run_mesh
from latentjax.training.step import (
  Metrics,
  Objective,
  TrainState,
  TrainStep,
)
from latentjax.training.workdir import MetricsLog

PyTree = Any
EvalFn = Callable[[TrainState], Mapping[str, Any]]


class TrainResult(NamedTuple):
  """A finished run.

  Attributes:
    state: final state, with a leading axis of replicas where there are several.
    steps_run: steps done by this process; fewer than `config.steps` after a resumption.
    seconds: wall time of training alone, without first calls, evaluations and saving.
    first_call_seconds: wall time of first calls, nearly all of it compilation.
    examples_per_second: over all replicas in `seconds`; nan if every call was a first one.
  """

  state: TrainState
  steps_run: int
  seconds: float
  first_call_seconds: float
  examples_per_second: float


class NonFiniteError(FloatingPointError):
  """The loss, another metric or the state became infinite or not a number."""


class Preempted(SystemExit):
  """SIGTERM came and the state is saved; exits with status 0 unless caught."""


def train(
  objective: Objective,
  init_fn: InitFn,
  optimizer: optax.GradientTransformation,
  dataset: data.Dataset,
  config: TrainConfig,
  folder: str | Path,
  *,
  transform: Callable[[jax.Array, PyTree], PyTree] | None = None,
  evaluate: EvalFn | None = None,
  rules: Rules | None = None,
  name: str = "train",
  progress: bool = True,
) -> TrainResult:
  """Train to `config.steps` from the newest checkpoint in a folder, or from the start.

  A run that was killed and started again ends with the bits of one that was not: the bounds of a call,
  the noise and the data are functions of the step alone.

  Args:
    objective: `objective(params, model_state, key, batch) -> (loss, (model_state, metrics))`, made
      with `axis_name=config.axis_name`.
    init_fn: `init_fn(key) -> (params, model_state)`; `model_state` is () if there is none.
    optimizer: optax optimiser.
    dataset: from `latentjax.data.load`.
    config: how to train.
    folder: the run's folder (workdir): config.json, metrics.jsonl and checkpoints/ go there.
    transform: `transform(key, example) -> example` for one example, run on the device.
    evaluate: `evaluate(state) -> metrics`, logged every `config.eval_every` steps and at the end.
    rules: sharding of the parameters, see `state_shardings`; None: `config.sharding` decides.
    name: what config.json and the progress bar call the run.
    progress: whether to show a progress bar.

  Returns:
    The final state and how long it took.

  Raises:
    ValueError: if the config does not fit the devices or the data.
    WorkdirError: if the folder belongs to another run or is in use, nothing is changed then; or if it
      cannot be written.
    CheckpointError: if there are checkpoints and none can be read, or the folder's path is one from
      which none could be, nothing is changed then; or if one cannot be written, because the disk is
      full, say.
    NonFiniteError: naming the step, the metric and the last good checkpoint.
    Preempted: after SIGTERM, once the state is saved.
  """
  with ExitStack() as stack:
    run = _prepare(
      stack,
      objective,
      init_fn,
      optimizer,
      dataset,
      config,
      Path(folder),
      transform=transform,
      rules=rules,
      name=name,
      progress=progress,
    )
    return _advance(run, config, evaluate)


class _Run(NamedTuple):
  """All that the steps need."""

  state: TrainState
  start: int
  keys: jax.Array
  key_data: jax.Array
  feed: Feed
  call: Call
  fused: int
  manager: ocp.CheckpointManager
  log: MetricsLog
  bar: Any
  stop: Callable[[], bool]


def _prepare(
  stack: ExitStack,
  objective: Objective,
  init_fn: InitFn,
  optimizer: optax.GradientTransformation,
  dataset: data.Dataset,
  config: TrainConfig,
  folder: Path,
  *,
  transform: Callable[[jax.Array, PyTree], PyTree] | None,
  rules: Rules | None,
  name: str,
  progress: bool,
) -> _Run:
  """Check everything, take the folder, restore or initialise; what is opened goes on the stack."""
  mesh = run_mesh(config)
  train_step = make_step(objective, optimizer, config, mesh, transform=transform)
  checkpoint.check_path(folder)
  main = jax.process_index() == 0
  if main:
    stack.enter_context(workdir.lock(folder))
    about = {"versions": versions(), "flags": dataclasses.asdict(config)}
    workdir.claim(folder, {"name": name, **config.identity()}, about)

  keys, init = initializer(init_fn, optimizer, config)
  abstract = jax.eval_shape(init, keys)
  shardings = state_shardings(
    abstract, mesh, rules=rules or config.sharding, stacked=config.stacked
  )
  manager = checkpoint.open_checkpoints(folder / "checkpoints", keep=config.keep_checkpoints)
  stack.callback(checkpoint.close, manager)
  found = checkpoint.restore_latest(manager, _saved(abstract, shardings, keys, mesh))
  start = 0 if found is None else found.step
  feed = make_feed(dataset, mesh, config, start_step=start)
  stack.callback(feed.close)
  if found is None:
    state = jax.jit(init, out_shardings=shardings)(keys)
  else:
    feed.check(found.meta["feed"])
    state, keys = found.state["train"], jax.random.wrap_key_data(found.state["key"])
  key_data = put_global(np.asarray(jax.random.key_data(keys)), NamedSharding(mesh, P()))

  call, fused = _compiled(train_step, feed, dataset, config, mesh, abstract, shardings)
  log = stack.enter_context(closing(MetricsLog(folder, step=start, enabled=main)))
  silent = not (progress and main)
  bar = tqdm(total=config.steps, initial=start, desc=name, unit="step", disable=silent)
  stack.enter_context(bar)
  stop = stack.enter_context(stop_request())
  return _Run(state, start, keys, key_data, feed, call, fused, manager, log, bar, stop)


def _advance(run: _Run, config: TrainConfig, evaluate: EvalFn | None) -> TrainResult:
  """From the first step to the last."""
  state, last, clock = run.state, run.start, Clock()
  pending: tuple[int, Metrics] | None = None
  for first, count in _calls(run.start, config.steps, run.fused):
    xs = run.feed.take(first, count)
    with clock.call(count, state) as finish:
      state, metrics = run.call(state, run.keys, run.feed.resident, xs)
      finish(metrics)
    if pending is not None:  # read while the devices are busy with the next call
      _record(run, *pending)
    pending, last = (first, metrics), first + count
    stopping = run.stop()
    evaluating = evaluate is not None and _due(config.eval_every, first, last, config.steps)
    saving = stopping or _due(config.checkpoint_every, first, last, config.steps)
    if evaluating or saving:
      _record(run, *pending)
      pending = None
      clock.pause(state)
    if evaluate is not None and evaluating:
      run.log.write(last, {f"eval/{k}": _plain(v) for k, v in evaluate(state).items()})
    if saving:
      _check_state(last, state, run.manager)
      run.log.sync()
      meta = {"feed": run.feed.state(last), "versions": versions()}
      checkpoint.save(run.manager, last, {"train": state, "key": run.key_data}, meta)
    if stopping:
      checkpoint.finish(run.manager)
      raise Preempted(0)
  clock.pause(state)
  checkpoint.finish(run.manager)
  examples = clock.steps * config.batch_size * config.seeds
  return TrainResult(
    state,
    last - run.start,
    clock.seconds,
    clock.first_call_seconds,
    examples / clock.seconds if clock.steps else float("nan"),
  )


def _record(run: _Run, first: int, metrics: Metrics) -> None:
  """Check and log the metrics of a call, as their means over its steps."""
  values = {k: np.asarray(v) for k, v in metrics.items()}
  _check_finite(first, values, run.manager)
  means = {k: np.mean(v, axis=0, dtype=np.float64) for k, v in values.items()}
  count = len(values["loss"])
  run.log.write(first + count, {k: _plain(v) for k, v in means.items()})
  run.bar.set_postfix(loss=f"{np.mean(means['loss']):.4g}", refresh=False)
  run.bar.update(count)


def versions() -> dict[str, str]:
  """Versions that a run's numbers may depend on."""
  packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
  own = {"python": platform.python_version(), "latentjax": latentjax.__version__}
  return own | {p: version(p) for p in packages}


def _saved(abstract: PyTree, shardings: PyTree, keys: jax.Array, mesh: Mesh) -> PyTree:
  """Shapes and placement of what a checkpoint holds."""
  shape = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
  key_data = jax.eval_shape(jax.random.key_data, keys)
  return {
    "train": jax.tree.map(shape, abstract, shardings),
    "key": shape(key_data, NamedSharding(mesh, P())),
  }


def _compiled(
  train_step: TrainStep,
  feed: Feed,
  dataset: data.Dataset,
  config: TrainConfig,
  mesh: Mesh,
  abstract: PyTree,
  shardings: PyTree,
) -> tuple[Call, int]:
  """The call and how many steps it fuses."""
  backend, resident = jax.default_backend(), feed.resident != ()
  convolution = False
  if backend == "cpu" and None in (config.fused_steps, config.unroll):
    one = lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype) if config.stacked else x
    rows = config.batch_size // (jax.device_count() if config.axis_name else 1)
    batch = {
      k: jax.ShapeDtypeStruct((rows, *shape), dtype)
      for k, (shape, dtype) in dataset.features.items()
    }
    convolution = has_convolution(train_step, jax.tree.map(one, abstract), jax.random.key(0), batch)
  fused, unroll = default_fusion(backend, convolution=convolution, resident=resident)
  call = make_call(
    train_step,
    feed.batch,
    mesh,
    shardings,
    stacked=config.stacked,
    per_device=config.parallel == "pmap",
    unroll=unroll if config.unroll is None else config.unroll,
  )
  return call, config.fused_steps or fused


def _calls(start: int, steps: int, fused: int) -> Iterator[tuple[int, int]]:
  """First step and number of steps of each call; their bounds do not depend on where a run resumed."""
  first = start
  while first < steps:
    count = min(fused - first % fused, steps - first)
    yield first, count
    first += count


def _due(every: int | None, first: int, last: int, steps: int) -> bool:
  """Whether a multiple of `every` lies in (first, last], or the run ends there."""
  return last == steps or (every is not None and last // every > first // every)


def _plain(value: Any) -> Any:
  return np.asarray(value).tolist()


def _check_finite(
  first: int, values: dict[str, np.ndarray], manager: ocp.CheckpointManager
) -> None:
  """Every metric of every step of a call; the first step that fails is named."""
  for offset in range(len(values["loss"])):
    bad = {k: v[offset] for k, v in values.items() if not np.all(np.isfinite(v[offset]))}
    if bad:
      shown = ", ".join(f"{k} = {_plain(v)}" for k, v in bad.items())
      raise _non_finite(first + offset + 1, shown, manager)


def _check_state(step: int, state: TrainState, manager: ocp.CheckpointManager) -> None:
  """A gradient may spoil the state after a last finite loss: such a state is not saved."""
  flags = jax.device_get(_finite_arrays(state))
  bad = [
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, ok in jax.tree_util.tree_leaves_with_path(flags)
    if not ok
  ]
  if bad:
    raise _non_finite(step, f"after its update {', '.join(bad[:5])} are not finite", manager)


@jax.jit
def _finite_arrays(state: PyTree) -> PyTree:
  return jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), state)


def _non_finite(step: int, what: str, manager: ocp.CheckpointManager) -> NonFiniteError:
  checkpoint.finish(manager)
  good = manager.latest_step()
  where = f"{manager.directory}/{good}" if good is not None else "none was saved yet"
  return NonFiniteError(f"step {step}: {what}. Last good checkpoint: {where}")
