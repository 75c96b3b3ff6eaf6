"""What is likely to be wrong with a program on many devices."""

from __future__ import annotations

import math
import re
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

from experiments.pod.analysis import MIB, Cost
from experiments.pod.hlo import Collective, copies, matmul_flops

PyTree = Any
LARGE = 64 * MIB
TILES = 2**16  # bytes
# Operations for a random word or key; for a parameter in an optimiser, which every device may update in full.
RANDOM, UPDATE = 100, 40
RANDOM_PRIMITIVES = ("random_bits", "random_fold_in", "random_split", "threefry2x32")


def findings(
  found: Cost, jaxpr: Any, state: PyTree, *, batch_size: int, large: int = LARGE
) -> list[str]:
  """All warnings about a program.

  Args:
    found: its cost.
    jaxpr: as for `cost`.
    state: shapes with shardings of what goes from step to step.
    batch_size: rows of the global batch.
    large: bytes on one device from which on it is worth a warning.
  """
  return [
    *replicated(state, large=large),
    *squares(jaxpr, batch_size, state, num_devices=found.num_devices, large=large),
    *misplaced_gathers(found.collectives, state, batch_size, large=large),
    *not_donated(found),
    *repeated(found, jaxpr),
    *swapped(found, jaxpr, state),
  ]


def name_of(path: Any) -> str:
  """Such as params/encoder/kernel."""
  return jax.tree_util.keystr(path, simple=True, separator="/")


def replicated(state: PyTree, *, large: int = LARGE) -> list[str]:
  """Large arrays that every device holds in full."""
  out = []
  for path, x in jax.tree_util.tree_leaves_with_path(state):
    size = math.prod(x.shape) * x.dtype.itemsize
    if x.sharding.num_devices > 1 and x.sharding.is_fully_replicated and size >= large:
      out.append(
        f"replicated: {name_of(path)} {list(x.shape)}, {size / MIB:.0f} MiB on every device"
      )
  return out


def squares(
  jaxpr: Any, batch_size: int, state: PyTree, *, num_devices: int = 1, large: int = LARGE
) -> list[str]:
  """Arrays with the batch along two dimensions, which grow with its square.

  Seen before the program is split, with at least `large` bytes for each device; where `shard_map` has split
  it, a device's rows by those of all. Says nothing where a dimension of the state is a multiple of the batch
  size, or these rows, as the two cannot then be told apart.
  """
  taken = {n for leaf in jax.tree.leaves(state) for n in leaf.shape}
  # Within `shard_map`, as many features as a device has rows are no rows.
  features = taken | {n for var in jaxpr.invars for n in var.aval.shape[1:]}
  if batch_size < 2 or any(n and n % batch_size == 0 for n in taken):
    return []
  sizes: dict[tuple[int, ...], int] = {}

  def visit(jaxpr: Any, parts: int) -> None:
    own = batch_size * parts // num_devices  # rows of what the jaxpr is written for
    split = parts < num_devices and own > 1 and own not in features
    for eqn in jaxpr.eqns:
      for var in eqn.outvars:
        shape = getattr(var.aval, "shape", ())
        whole = [n > 0 and n % batch_size == 0 for n in shape]
        rest = [n for n, is_whole in zip(shape, whole, strict=True) if not is_whole]
        if sum(whole) >= 2 or (sum(whole) == 1 and split and own in rest):
          sizes[shape] = math.prod(shape) * var.aval.dtype.itemsize // parts
      inner = parts // copies(eqn) if eqn.primitive.name == "shard_map" else parts
      for sub in jaxprs_in_params(eqn.params):
        visit(sub, inner)

  visit(jaxpr, num_devices)
  return [
    f"batch x batch: an array {list(shape)}, {size / MIB:.0f} MiB on every device at best"
    for shape, size in sizes.items()
    if size >= large
  ]


def misplaced_gathers(
  exchanged: list[Collective], state: PyTree, batch_size: int, *, large: int = LARGE
) -> list[str]:
  """Gathers of a whole stack of layers at once, and of rows where parameters are what is split."""
  leaves = [
    (name_of(path), x)
    for path, x in jax.tree_util.tree_leaves_with_path(state)
    if not x.sharding.is_fully_replicated
  ]
  out = []
  for c in exchanged:
    if c.kind != "all-gather" or c.size < large:
      continue
    for shape in re.findall(r"\[([\d,]+)\]", c.shapes):
      dims = tuple(int(n) for n in shape.split(","))
      names = [name for name, x in leaves if x.ndim > 2 and tuple(x.shape) == dims]
      if names and not c.in_loop:
        out.append(f"gathered whole: {names[0]} {list(dims)}, all layers of a stack at once")
      elif leaves and batch_size in dims:
        out.append(f"rows gathered: {list(dims)} for {c.source[-60:]}; gather parameters instead")
  return out


def not_donated(found: Cost) -> list[str]:
  """State whose memory the next state does not take over; metrics, a tile for each, are none."""
  missing = found.outputs - found.donated
  if missing <= max(0.05 * found.state, TILES):
    return []
  return [
    f"not donated: {missing / MIB:.2f} of {found.outputs / MIB:.2f} MiB of results are new memory"
  ]


def swapped(found: Cost, jaxpr: Any, state: PyTree) -> list[str]:
  """Arrays that the compiler moves from device to device where neither parameters nor objective ask for it.

  Sums over the batch and gathers of it have their uses; this is of rows joined to rows, say, which then lie
  elsewhere. Exchanges that the program itself writes are its own matter.
  """
  split = any(not x.sharding.is_fully_replicated for x in jax.tree.leaves(state))
  sent: dict[str, float] = {}
  for c in found.collectives:
    if c.kind in ("all-to-all", "collective-permute"):
      sent[c.source] = sent.get(c.source, 0) + c.sent
  total = sum(sent.values())
  if split or total <= TILES or exchanges(jaxpr):
    return []
  most = max(sent, key=lambda source: sent[source])
  return [f"rows swapped: {total / MIB:.3g} MiB leave every device, most for {most[-60:]}"]


def exchanges(jaxpr: Any) -> bool:
  """Whether the program itself sends arrays from device to device."""
  return any(
    eqn.primitive.name in ("ppermute", "all_to_all", "all_gather")
    or any(map(exchanges, jaxprs_in_params(eqn.params)))
    for eqn in jaxpr.eqns
  )


def repeated(found: Cost, jaxpr: Any) -> list[str]:
  """Work that devices do once more, each the same, instead of sharing it: rows drawn from one key, say.

  Loops are counted once, as the compiler does.
  """
  products = matmul_flops(jaxpr, loops_once=True)
  share = (products + other_operations(jaxpr)) / found.num_devices
  if found.num_devices == 1 or found.counted <= 2 * share + UPDATE * found.params / 4:
    return []
  return [
    f"repeated work: {found.counted / 1e6:.3g} million operations on every device, where a share of"
    f" the program's is {share / 1e6:.3g}"
  ]


def other_operations(jaxpr: Any) -> int:
  """Rather more than what there is besides matrix products: every element that goes in or comes out."""
  total = 0
  for eqn in jaxpr.eqns:
    times = copies(eqn) if eqn.primitive.name == "shard_map" else 1
    inner = list(jaxprs_in_params(eqn.params))
    total += times * sum(map(other_operations, inner))
    if not inner and eqn.primitive.name not in ("dot_general", "conv_general_dilated"):
      arrays = [v.aval for v in (*eqn.invars, *eqn.outvars) if hasattr(v.aval, "shape")]
      size = max((math.prod(array.shape) for array in arrays), default=0)
      total += size * (RANDOM if eqn.primitive.name in RANDOM_PRIMITIVES else 1)
  return total
