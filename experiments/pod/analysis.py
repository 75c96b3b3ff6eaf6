"""Bytes, operations, traffic and time of one device, from a compiled program."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple
from unittest import mock

import jax

from experiments.pod.chips import Chip
from experiments.pod.hlo import Collective, collectives, matmul_flops
from latentjax.training.step import REMAT

PyTree = Any
MIB = 2**20


class Cost(NamedTuple):
  """What one call of a program takes on each device.

  Attributes:
    params: bytes of parameters, with their moving average.
    opt_state: bytes of the optimiser's state.
    model_state: bytes of what an objective carries from step to step.
    data: bytes of the batch, and of the data where it lies on the device.
    arguments: bytes of all that goes in, with the padding of the device's tiles.
    outputs: bytes of all that comes out, with padding.
    donated: bytes of arguments that the results take over, with padding.
    temporaries: bytes of memory that the compiler sets aside, activations above all. What fits is kept in
      a TPU's faster memory and does not count.
    flops: operations of matrix products and convolutions.
    counted: operations of a device, of whatever kind, as the compiler counts them (loops once).
    accessed: bytes that go to and from memory, as the compiler counts them (loops once).
    collectives: every exchange.
    num_devices: of the program.
    compile_seconds: lowering included.
  """

  params: int
  opt_state: int
  model_state: int
  data: int
  arguments: int
  outputs: int
  donated: int
  temporaries: int
  flops: float
  counted: float
  accessed: float
  collectives: list[Collective]
  num_devices: int
  compile_seconds: float

  @property
  def state(self) -> int:
    """Bytes of what goes from step to step."""
    return self.params + self.opt_state + self.model_state

  @property
  def memory(self) -> int:
    """Bytes of a device in use."""
    return self.arguments + self.temporaries + self.outputs - self.donated

  @property
  def sent(self) -> float:
    """Bytes that leave a device."""
    return math.fsum(c.sent for c in self.collectives)


class Roofline(NamedTuple):
  """Seconds that a chip needs at the least, were it busy with one thing alone.

  Attributes:
    compute: of matrix products at the chip's peak.
    memory: of bytes to and from memory.
    interconnect: of what it sends.
  """

  compute: float
  memory: float
  interconnect: float

  @property
  def seconds(self) -> float:
    """All three at once: the longest."""
    return max(self)

  @property
  def bound(self) -> str:
    """Which of the three that is."""
    return self._fields[self.index(self.seconds)]

  @property
  def utilisation(self) -> float:
    """Model-FLOPs utilisation: share of the chip's peak that the matrix products then reach."""
    return self.compute / self.seconds if self.seconds else 0.0


def shard_bytes(tree: PyTree) -> int:
  """Bytes of arrays (or their shapes) on one device, by their shardings."""
  total = 0
  for leaf in jax.tree.leaves(tree):
    shape = leaf.shape
    if getattr(leaf, "sharding", None) is not None:
      shape = leaf.sharding.shard_shape(leaf.shape)
    itemsize = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
    total += math.prod(shape) * itemsize
  return total


def cost(
  compiled: Any,
  jaxpr: Any,
  *,
  params: PyTree,
  opt_state: PyTree = (),
  model_state: PyTree = (),
  data: PyTree = (),
  num_devices: int,
  compile_seconds: float = 0.0,
) -> Cost:
  """Cost of a compiled program.

  Args:
    compiled: from `jax.jit(...).lower(...).compile()`.
    jaxpr: the same program's, before it was split over devices.
    params: arrays or shapes with shardings, for what they take; so the next three.
    opt_state: the optimiser's.
    model_state: the objective's.
    data: batch and resident data.
    num_devices: of the program.
    compile_seconds: for the record.
  """
  memory = compiled.memory_analysis()
  counted = compiled.cost_analysis() or {}
  return Cost(
    params=shard_bytes(params),
    opt_state=shard_bytes(opt_state),
    model_state=shard_bytes(model_state),
    data=shard_bytes(data),
    arguments=memory.argument_size_in_bytes,
    outputs=memory.output_size_in_bytes,
    donated=memory.alias_size_in_bytes,
    temporaries=memory.temp_size_in_bytes,
    flops=matmul_flops(jaxpr) / num_devices,
    counted=counted.get("flops", 0.0),
    accessed=counted.get("bytes accessed", 0.0),
    collectives=collectives(compiled.as_text(), num_devices),
    num_devices=num_devices,
    compile_seconds=compile_seconds,
  )


def roofline(found: Cost, chip: Chip) -> Roofline:
  """Least seconds of a call on a chip."""
  return Roofline(
    found.flops / chip.flops,
    found.accessed / chip.bandwidth,
    found.sent / chip.interconnect,
  )


def activations(call: Any, num_groups: int) -> int:
  """Bytes that the backward pass finds from the forward one, for a device's rows of a micro-batch.

  As differentiation leaves them to the compiler, which may make some of them again: what is computed,
  neither parameters nor batch, as if nothing but the rows were split, and for one replica.

  Args:
    call: of `capture`.
    num_groups: parts that the rows are split into.
  """
  (objective, init_fn, _, dataset), config = call.arguments, call.config
  num_rows = config.batch_size // (num_groups * config.accumulate)
  if REMAT[config.remat] is not None:
    objective = jax.checkpoint(objective, policy=REMAT[config.remat])
  params, model_state = jax.eval_shape(init_fn, jax.random.key(0))
  batch = {
    name: jax.ShapeDtypeStruct((1, num_rows, *shape), dtype)
    for name, (shape, dtype) in dataset.features.items()
  }

  def kept(params: PyTree, model_state: PyTree, batch: PyTree) -> PyTree:
    key = jax.random.key(0)
    if call.transform is not None:
      keys = jax.random.split(key, num_rows)
      batch = jax.vmap(jax.vmap(call.transform), (None, 0))(keys, batch)
    # An axis of one device, for objectives that exchange something.
    loss = lambda params, batch: objective(params, model_state, key, batch)[0]
    mapped = jax.vmap(loss, (None, 0), axis_name=config.axis_name or "rows")
    return jax.vjp(lambda params: mapped(params, batch), params)[1]

  jaxpr = jax.make_jaxpr(kept)(params, model_state, batch).jaxpr
  given = {id(v) for v in (*jaxpr.invars, *jaxpr.constvars)}
  made = {id(v): v.aval for v in jaxpr.outvars if id(v) not in given}  # each once
  return shard_bytes([jax.ShapeDtypeStruct(a.shape, a.dtype) for a in made.values()])


def program_cost(program: Any, platform: str) -> tuple[Cost, Any, Any]:
  """Compile a `latentjax.training.program.Program`; its cost, jaxpr and compiled form."""
  begin = time.perf_counter()
  with mock.patch.object(jax, "default_backend", lambda: platform):  # kernels choose blocks by it
    traced = program.call.trace(*program.args)
  compiled = traced.lower(lowering_platforms=(platform,)).compile()
  state, _, resident, xs = program.args
  found = cost(
    compiled,
    traced.jaxpr.jaxpr,
    params=(state.params, state.ema_params),
    opt_state=state.opt_state,
    model_state=state.model_state,
    data=(resident, xs),
    num_devices=program.mesh.size,
    compile_seconds=time.perf_counter() - begin,
  )
  return found, traced.jaxpr.jaxpr, compiled


def show(found: Cost, chip: Chip | None, kept: int | None = None) -> str:
  """The cost as text for a terminal, with `activations`."""
  mib = lambda size: f"{size / MIB:12,.2f} MiB"
  rows = [
    ("parameters", mib(found.params)),
    ("optimiser", mib(found.opt_state)),
    ("model state", mib(found.model_state)),
    ("batch and data", mib(found.data)),
    *([] if kept is None else [("activations", mib(kept) + ", as left to the compiler")]),
    ("temporaries", mib(found.temporaries) + ", what it sets aside for these and all else"),
    ("donated", mib(found.donated)),
  ]
  of = "" if chip is None else f", {found.memory / chip.memory:.2%} of {chip.memory / 1e9:g} GB"
  rows.append(("in use, padded", mib(found.memory) + of))
  rows += [("operations", f"{found.flops / 1e9:12,.3f} G"), ("sent", mib(found.sent))]
  if chip is not None:
    least = roofline(found, chip)
    parts = ", ".join(f"{name} {1e6 * value:.1f}" for name, value in least._asdict().items())
    rows.append(("roofline", f"{1e6 * least.seconds:12,.1f} us: {parts}"))
    rows.append(
      ("utilisation", f"{100 * least.utilisation:12.1f} % of the peak, {least.bound} bound")
    )
  lines = [f"{name:16}{value}" for name, value in rows]
  lines += ["", f"{len(found.collectives)} collectives, largest first:"]
  for c in sorted(found.collectives, key=lambda c: -c.sent):
    lines.append(
      f"  {c.kind:19} {c.times:4} x over {c.group:4}, {c.sent / MIB:10,.3f} MiB sent  "
      f"{c.shapes[:60]}  {c.source[-60:]}"
    )
  return "\n".join(lines)
