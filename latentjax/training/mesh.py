"""Where arrays live: the mesh, the sharding of states and batches, several processes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

PyTree = Any
Rules = Sequence[tuple[str, P]]

REPLICA_AXIS = "replica"  # independent replicas of a run (one per seed)
DATA_AXIS = "data"  # rows of a batch; parameters too where they are sharded
SHARD_AXIS = "shard"  # rows of a batch and parameters, where "data" is for rows alone
TENSOR_AXIS = "tensor"  # layers: all its devices have the same rows, and each a part of every layer

# Axes of an array's last dimensions by its path, the first pattern found. Layers that widen are split by
# their outputs, and those that come back by their inputs, so that the two exchange one sum.
TENSOR_RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
  (r"(^|/)(out|output|attended|proj|down)/kernel$", (TENSOR_AXIS, None)),
  (r"(kernel|embedding)$", (None, TENSOR_AXIS)),
)


def initialize_distributed(
  coordinator_address: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  heartbeat_timeout_s: int = 100,
) -> None:
  """Join the other processes of a multi-host run; call it before anything touches a device.

  Args:
    coordinator_address: `host:port` of process 0. None: from the environment (TPU pods, SLURM, ...).
    num_processes: how many processes there are; None with a coordinator from the environment.
    process_id: which of them this one is.
    heartbeat_timeout_s: a process that was silent for so many seconds is taken for dead, and the others
      end with an error that names it.

  Raises:
    ValueError: if neither the arguments nor the environment of a cluster say all three.
  """
  # On CPU the processes talk through gloo; elsewhere the setting is not looked at.
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  try:
    jax.distributed.initialize(
      coordinator_address,
      num_processes,
      process_id,
      heartbeat_timeout_seconds=heartbeat_timeout_s,
    )
  except ValueError as error:
    raise ValueError(
      f"coordinator_address, num_processes, process_id: got {coordinator_address}, {num_processes}, "
      f"{process_id}, wanted all three, or a cluster whose environment says the rest: {error}"
    ) from error


def make_mesh(
  *,
  num_replicas: int = 1,
  shards: int | None = None,
  tensor: int = 1,
  devices: Sequence[jax.Device] | None = None,
) -> Mesh:
  """Mesh with axes ("replica", "data") over all devices, and "shard" and "tensor" where asked for.

  Replicas are independent, so as many devices as divide their number go to them, and the rest to the
  rows of a batch. Over several processes all devices go to the rows.

  Args:
    num_replicas: number of replicas trained at once.
    shards: devices over which sharded parameters are split, the same way in every group of so many;
      None: all that have the rows. Fewer make more sizes divisible, and keep the traffic among neighbours.
    tensor: neighbouring devices that share every layer and have the same rows.
    devices: devices to use; all of them by default.

  Returns:
    The mesh, with automatic (compiler-partitioned) axes.

  Raises:
    ValueError: if tensor does not divide the devices, or shards those of a replica.
  """
  devices = list(jax.devices() if devices is None else devices)
  if tensor < 1 or len(devices) % tensor:
    raise ValueError(f"tensor: got {tensor}, wanted a divisor of the {len(devices)} devices")
  groups = len(devices) // tensor
  replicas = math.gcd(num_replicas, groups) if jax.process_count() == 1 else 1
  sizes, names = [replicas, groups // replicas], [REPLICA_AXIS, DATA_AXIS]
  if shards is not None:
    if shards < 1 or sizes[1] % shards:
      raise ValueError(f"shards: got {shards}, wanted a divisor of the {sizes[1]} devices")
    sizes, names = [replicas, sizes[1] // shards, shards], [*names, SHARD_AXIS]
  if tensor > 1:
    sizes, names = [*sizes, tensor], [*names, TENSOR_AXIS]
  axis_types = (AxisType.Auto,) * len(names)
  return Mesh(np.array(devices).reshape(sizes), names, axis_types=axis_types)


def row_axes(mesh: Mesh) -> tuple[str, ...]:
  """The mesh axes over which the rows of a batch are split."""
  return tuple(name for name in mesh.axis_names if name not in (REPLICA_AXIS, TENSOR_AXIS))


def fsdp_spec(
  shape: Sequence[int], mesh: Mesh, *, min_size: int = 2**14, taken: P | None = None
) -> P:
  """Fully sharded data parallelism: the largest divisible dimension is split over the last axis of rows.

  Dimensions that `taken` has given to an axis stay with it.
  """
  axis_name = row_axes(mesh)[-1]
  size = mesh.shape[axis_name]
  axes = [*(taken or ())] + [None] * (len(shape) - len(taken or ()))
  divisible = [d for d in range(len(shape)) if shape[d] % size == 0 and axes[d] is None]
  if math.prod(shape) >= min_size and divisible:
    axes[max(divisible, key=lambda d: shape[d])] = axis_name
  while axes and axes[-1] is None:
    axes.pop()
  return P(*axes)


def tensor_spec(name: str, shape: Sequence[int], mesh: Mesh) -> P:
  """What `TENSOR_RULES` say of an array, where the mesh has the axis and it divides the dimension."""
  if TENSOR_AXIS not in mesh.axis_names:
    return P()
  axes = next((axes for pattern, axes in TENSOR_RULES if re.search(pattern, name)), ())
  split = [d - len(axes) for d in range(len(axes)) if axes[d] is not None]
  if len(shape) < 2 or not split or shape[split[0]] % mesh.shape[TENSOR_AXIS]:
    return P()
  dim = len(shape) + split[0]
  return P(*(TENSOR_AXIS if d == dim else None for d in range(dim + 1)))


def fsdp_gather(mesh: Mesh) -> Callable[[PyTree], PyTree]:
  """Function that makes parameters whole on every device; their gradient is split again.

  To be called on the parameters of one layer where they are used, inside a loop over layers and what is
  rematerialised, so that one layer at a time is whole. Left to itself the compiler may send the rows of
  the batch around instead, which are more.

  Args:
    mesh: mesh from `make_mesh`.

  Returns:
    `(params) -> params`, the same values.
  """

  def whole(params: PyTree) -> PyTree:
    return jax.lax.with_sharding_constraint(params, NamedSharding(mesh, P()))

  def split(_: None, grads: PyTree) -> tuple[PyTree]:
    shardings = jax.tree.map(lambda g: NamedSharding(mesh, fsdp_spec(g.shape, mesh)), grads)
    return (jax.lax.with_sharding_constraint(grads, shardings),)

  gather = jax.custom_vjp(whole)
  gather.defvjp(lambda params: (whole(params), None), split)
  return gather


def state_shardings(
  state: PyTree, mesh: Mesh, *, rules: Rules | str = (), stacked: bool = False
) -> PyTree:
  """Sharding of every array of a train state.

  Args:
    state: state of arrays or of `jax.ShapeDtypeStruct`.
    mesh: mesh from `make_mesh`.
    rules: `(pattern, PartitionSpec)` pairs. The first pattern found (`re.search`) in an array's path,
      such as `params/encoder/Dense_0/kernel`, decides; without one the array is replicated. The
      optimiser's moments have the parameter's path in theirs and so follow it. Or a name: "replicated";
      "fsdp", where the largest dimension of every array is split; "optimizer", where that is done to all but
      the parameters. With a name, `TENSOR_RULES` come first where the mesh has a tensor axis.
    stacked: whether every array has a leading axis of replicas.

  Returns:
    Tree of `NamedSharding` like `state`.
  """
  if isinstance(rules, str) and rules not in ("fsdp", "optimizer", "replicated"):
    raise ValueError(
      f"rules: got {rules!r}, wanted 'replicated', 'fsdp', 'optimizer' or (pattern, spec) pairs"
    )

  def spec_of(path: Any, x: Any) -> NamedSharding:
    shape = x.shape[1:] if stacked else x.shape
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    if isinstance(rules, str):
      spec = tensor_spec(name, shape, mesh)
      if rules == "fsdp" or (rules == "optimizer" and not name.startswith("params/")):
        spec = fsdp_spec(shape, mesh, taken=spec)
    else:
      spec = next((s for pattern, s in rules if re.search(pattern, name)), P())
      if len(spec) > len(shape):  # a scalar of the optimiser that carries a parameter's name
        spec = P()
    return NamedSharding(mesh, P(REPLICA_AXIS, *spec) if stacked else spec)

  return jax.tree_util.tree_map_with_path(spec_of, state)


def batch_sharding(mesh: Mesh, *, stacked: bool = False) -> NamedSharding:
  """Sharding of what a call consumes: (steps, rows, ...), or (steps, replicas, rows, ...)."""
  rows = row_axes(mesh)
  return NamedSharding(mesh, P(None, REPLICA_AXIS, rows) if stacked else P(None, rows))


def put_global(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
  """Array on the devices from a host array that every process holds in full."""
  return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def put_local(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
  """Array on the devices from the rows of it that belong to this process."""
  return jax.make_array_from_process_local_data(sharding, x)
