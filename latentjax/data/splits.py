"""Split expressions such as "train", "train[:90%]" and "train+test", for every kind of data set."""

import re
import types
from collections.abc import Mapping
from typing import NamedTuple


class Piece(NamedTuple):
  """Records start to stop - 1 of one stored split."""

  split: str
  start: int
  stop: int

  def __str__(self) -> str:
    return f"{self.split}[{self.start}:{self.stop}]"


def resolve(split: str, sizes: Mapping[str, int], *, name: str) -> tuple[Piece, ...]:
  """Records that a split expression stands for.

  Args:
    split: the expression, in the grammar of TFDS: names, "+", "all", and slices by index or percent.
    sizes: number of records of every stored split.
    name: the data set, for messages.

  Returns:
    The pieces in the order written, none of them empty.

  Raises:
    ValueError: if a split does not exist, or a slice cannot be read, is out of range or is empty.
  """
  pieces = []
  for part in re.split(r"\s*\+\s*", split.strip()):
    stored, bracket, _ = part.partition("[")
    if stored == "all" and stored not in sizes and not bracket:
      pieces += [Piece(each, 0, size) for each, size in sizes.items()]
    elif stored not in sizes:
      known = ", ".join(f"{each!r} ({size:,})" for each, size in sizes.items())
      raise ValueError(f"split={split!r}: {name} has no split {stored!r}; its splits are {known}")
    else:
      start, stop = _slice(part, stored, sizes[stored]) if bracket else (0, sizes[stored])
      pieces.append(Piece(stored, start, stop))
  empty = [str(piece) for piece in pieces if piece.stop <= piece.start]
  if empty:
    raise ValueError(f"split={split!r} of {name} holds no example: {', '.join(empty)}")
  return tuple(pieces)


def _slice(part: str, stored: str, size: int) -> tuple[int, int]:
  import tensorflow_datasets as tfds

  try:
    info = types.SimpleNamespace(num_examples=size)
    (absolute,) = tfds.core.ReadInstruction.from_spec(part).to_absolute({stored: info})
  except (ValueError, AssertionError, AttributeError) as error:
    raise ValueError(
      f"split={part!r} is no slice of {stored!r} with {size:,} examples; write for example "
      f"'{stored}[:90%]', '{stored}[90%:]' or '{stored}[100:200]'"
    ) from error
  stop = size if absolute.to is None else absolute.to
  return absolute.from_ or 0, stop
