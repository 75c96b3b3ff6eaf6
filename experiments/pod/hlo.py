"""Reading a compiled program: its computations, how often they run, and what they send."""

from __future__ import annotations

import functools
import math
import re
from typing import Any, NamedTuple

from jax.extend.core import jaxprs_in_params

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(KINDS)})(-start)?\(")
CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)")
BRANCHES = re.compile(r"(?:true_computation|false_computation|branch_computations)=(\{[^}]*\}|\S+)")


class Collective(NamedTuple):
  """One exchange between devices.

  Attributes:
    kind: of `KINDS`.
    shapes: type of its result in the program's text, such as f32[8,256].
    size: bytes of the whole array: after a gather, before a reduce-scatter.
    group: number of devices that exchange with one another.
    times: how often it runs in a call.
    in_loop: whether it stands in a loop.
    source: the operation of the model that it was made for.
  """

  kind: str
  shapes: str
  size: int
  group: int
  times: int
  in_loop: bool
  source: str

  @property
  def sent(self) -> float:
    """Bytes that leave each device in a call, by the ring algorithms, which send the least."""
    share = (self.group - 1) / max(self.group, 1)
    factor = {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.kind, share)
    return self.times * factor * self.size


def array_bytes(shapes: str) -> list[int]:
  """Bytes of the arrays in an instruction's type, such as (bf16[8,256]{1,0}, f32[])."""
  arrays = re.findall(r"(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]", shapes)
  count = lambda dims: math.prod(map(int, filter(None, dims.split(","))))
  return [-(-int(bits or 8) * count(dims) // 8) for _, bits, dims in arrays]


def computations(hlo: str) -> dict[str, list[str]]:
  """Lines of every computation by its name; that of the program is called ENTRY."""
  found: dict[str, list[str]] = {}
  for line in hlo.splitlines():
    if line.endswith("{") and (head := re.match(r"(ENTRY )?%?([\w.-]+)", line)):
      found["ENTRY" if head[1] else head[2]] = body = []
    elif found:
      body.append(line)
  return found


def trip_count(line: str, bodies: dict[str, list[str]]) -> int:
  """How often a `while` runs: the compiler's own note, or the constant that its counter is compared with.

  1 where neither is there, as in a loop that stops by its values.
  """
  if note := re.search(r"known_trip_count\W+n\W+(\d+)", line):
    return int(note[1])
  condition = re.search(r"condition=%?([\w.-]+)", line)
  lines = bodies.get(condition[1], []) if condition else []
  bounds = [m[1] for text in lines if (m := re.search(r"= s32\[\]\S* constant\((\d+)\)", text))]
  counted = any("direction=LT" in text for text in lines)
  if not counted and lines:  # the comparison may be a fusion
    called = [m[1] for text in lines if (m := re.search(r"calls=%?([\w.-]+)", text))]
    counted = any("direction=LT" in text for name in called for text in bodies.get(name, []))
  return int(bounds[0]) if counted and len(bounds) == 1 else 1


def group_size(line: str, num_devices: int) -> int:
  """Devices in a group, from any of the ways in which the text lists them."""
  # Devices in an order of their own stand between the two: mesh[...], device_ids=([4,4]T(1,0)) {...}.
  if named := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", line):
    sizes = {name: int(n) for name, n in re.findall(r"'([^']+)'=(\d+)", named[1])}
    return math.prod(sizes.get(name, 1) for name in re.findall(r"'([^']+)'", named[2]))
  if iota := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
    return int(iota[1])
  if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
    return listed[1].count(",") + 1
  return num_devices


def collectives(hlo: str, num_devices: int) -> list[Collective]:
  """Every collective of a compiled program's text.

  One that the TPU's compiler has cut into pieces counts once. A reduce-scatter is written as an all-reduce
  in a fusion of a name of its own. Of the branches of a conditional the one counts that sends most.
  """
  bodies = computations(hlo)

  @functools.cache
  def visit(name: str, times: int, in_loop: bool) -> dict[str, Collective]:
    found: dict[str, Collective] = {}
    for line in bodies.get(name, []):
      if row := parse(line, name, num_devices, times, in_loop):
        found.setdefault(piece_of(line, row), row)
      loop = " while(" in line
      inside = times * trip_count(line, bodies) if loop else times
      called = [visit(name, inside, in_loop or loop) for name in CALLED.findall(line)]
      names = re.findall(r"[\w.-]+", " ".join(BRANCHES.findall(line)))
      branches = [visit(name, times, in_loop) for name in names]
      called.append(max(branches, key=lambda b: sum(c.sent for c in b.values()), default={}))
      for key, row in (item for inner in called for item in inner.items()):
        if key not in found or found[key].times < row.times:
          found[key] = row
    return found

  return [c for c in visit("ENTRY", 1, False).values() if c.group > 1]


def parse(
  line: str, computation: str, num_devices: int, times: int, in_loop: bool
) -> Collective | None:
  """The collective of a line, if it is one."""
  match = COLLECTIVE.search(line)
  if not match:
    return None
  kind = "reduce-scatter" if computation.startswith("all-reduce-scatter") else match[2]
  group = group_size(line, num_devices)
  size = sum(array_bytes(match[1]))
  if match[3] and kind == "all-gather":  # what starts lists its operands too
    size = size * group // (group + 1)
  if match[3] and kind == "collective-permute":  # and two numbers of its own
    size = sum(array_bytes(match[1].replace("u32[]", ""))) // 2
  if kind == "reduce-scatter" and kind == match[2]:
    size *= group
  shapes = ", ".join(re.findall(r"[a-z]+\d*\[[\d,]*\]", match[1]))
  source = re.search(r'op_name="([^"]*)"', line)
  return Collective(kind, shapes, size, group, times, in_loop, source[1] if source else "")


def piece_of(line: str, row: Collective) -> str:
  """Name of an exchange, the same for all its pieces.

  Pieces share a channel; but so do all collectives that `shard_map` has written, so pieces have to say so.
  """
  channel = re.search(r"channel_id=(\d+)", line)
  if channel and '"async_collective_fusion_config"' in line:
    return " ".join([channel[1], row.kind, row.shapes, row.source])
  return line.split(" = ")[0].split()[-1]


def matmul_flops(jaxpr: Any, *, loops_once: bool = False) -> int:
  """Operations of all matrix products and convolutions, loops counted as often as they run.

  Of the branches of a conditional the longest; a loop that stops by its values once, as is every one with
  `loops_once`.
  """
  total = 0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == "dot_general":
      (contracted, _), _ = eqn.params["dimension_numbers"]
      inner = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
      total += 2 * inner * math.prod(eqn.outvars[0].aval.shape)
    if eqn.primitive.name == "conv_general_dilated":
      total += convolution_flops(eqn)
    looped = eqn.primitive.name == "scan" and not loops_once
    times = eqn.params["length"] if looped else 1
    if eqn.primitive.name == "shard_map":
      times = copies(eqn)
    called = jaxprs_in_params(eqn.params)
    inner = [times * matmul_flops(sub, loops_once=loops_once) for sub in called]
    total += max(inner) if eqn.primitive.name == "cond" else sum(inner)
  return total


def copies(eqn: Any) -> int:
  """How many devices run what a `shard_map` says for one: those along the axes that it takes."""
  sizes = eqn.params["mesh"].shape
  return math.prod(sizes[name] for name in eqn.params["newly_manual_axes"])


def convolution_flops(eqn: Any) -> int:
  """Operations of a convolution, borders counted as if there were no edge; inserted zeros not counted."""
  spec = eqn.params["dimension_numbers"]
  kernel, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
  inner = math.prod(kernel) // kernel[spec.rhs_spec[0]]
  zeros = math.prod(eqn.params["lhs_dilation"])
  return 2 * inner * math.prod(out) // zeros // eqn.params["batch_group_count"]
