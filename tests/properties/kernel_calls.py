"""How a kernel is called, in a line: its arrays with symbolic shapes, its results, and all else it needs.

`call("u:B D, i<3:B -> B")` stands for a kernel whose first array has unit rows and shape (B, D), whose
second holds labels below 3 of shape (B,), and whose result has shape (B,) and is "float32 or wider".
A result `=B D` has the dtype of the floating arguments, `i:B` is of integers, `b:B` of booleans, `0..1:B` in
[0, 1] and `0..:B` not negative, up to rounding; no result is stated for what is not an array. Arrays fill the
parameters in order, past the key and what `rest` gives; `name=` before one places it. A star before an array
leaves its rank or its broadcasting free.

A function that makes a function, or takes a tree, is called `through` one of arrays that uses it.

An array's letter says what values it may hold; see `DOMAINS`.
"""

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Distinct, so that no axis is taken for another, and large enough for every default.
SIZES = dict(
  A=2, B=6, C=3, D=4, E=5, F=9, G=10, H=8, K=7, L=11, M=12, N=13, P=14, R=1, T=15, V=16, W=17
)
# Squares of larger numbers, and sums of them, leave float32; of formulas with fourth powers, above `QUARTIC`.
LIMIT, QUARTIC = 1e15, 1e8
RESULT = re.compile(r"(=|[ib]:|(?P<low>-?\w*)\.\.(?P<high>\w*):)?(?P<axes>.*)")
SPEC = re.compile(r"(?:(\w+)=)?(\*?)(?:([a-zA-Z])(?:<(\w+))?:)?(.*)")


class Array(NamedTuple):
  """An argument: its domain's letter, the bound of an integer, its axes, and whether its rank is free."""

  domain: str
  bound: str
  axes: tuple[str, ...]
  free: bool

  def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(size_of(axis, sizes) for axis in self.axes)


class Sized(NamedTuple):
  """An argument that depends on the sizes, such as a state or a number of classes."""

  make: Callable[[dict[str, int]], Any]


class Call(NamedTuple):
  """What `call` returns; `limit` is the largest magnitude at which values have to stay finite, except where
  `undefined` says, as the kernel's docstring does, that there is none."""

  arrays: tuple[tuple[str, Array], ...]
  results: tuple[str, ...]
  rest: dict[str, Any]
  sizes: dict[str, int]
  limit: float
  through: Callable[[Callable], Callable]
  undefined: str

  def named(self, kernel: Callable) -> dict[str, Array]:
    """Arrays by the parameter's name."""
    free = [name for name in inspect.signature(kernel).parameters if name != "key"]
    given = {name for name, _ in self.arrays if name} | set(self.rest)
    names = iter([name for name in free if name not in given])
    return {name or next(names): array for name, array in self.arrays}

  def bind(self, kernel: Callable, sizes: dict[str, int]) -> Callable[[dict[str, Any]], Any]:
    """The kernel as a function of its arrays by name alone."""
    rest = {k: v.make(sizes) if isinstance(v, Sized) else v for k, v in self.rest.items()}
    if "key" in inspect.signature(kernel).parameters:
      rest["key"] = jax.random.key(0)
    return lambda arrays: kernel(**rest, **arrays)


def call(
  spec: str,
  *,
  sizes: dict[str, int] | None = None,
  limit: float = LIMIT,
  through: Callable[[Callable], Callable] = lambda kernel: kernel,
  undefined: str = "",
  **rest: Any,
) -> Call:
  """Reads a line; `rest` are the other arguments by name, `sizes` those that differ from `SIZES`."""
  arguments, _, results = spec.partition("->")
  arrays = []
  for part in filter(None, map(str.strip, arguments.split(","))):
    name, star, domain, bound, axes = SPEC.fullmatch(part).groups()
    arrays.append((name or "", Array(domain or "f", bound or "3", tuple(axes.split()), bool(star))))
  stated = tuple(part.strip() for part in results.split(",")) if results.strip() else ()
  return Call(tuple(arrays), stated, rest, SIZES | (sizes or {}), limit, through, undefined)


def resolve(package: str, name: str, call: Call) -> Callable:
  """The public function `name` of `latentjax.package`, as it is called."""
  module, _, function = f"latentjax.{package}.{name}".rpartition(".")
  return call.through(getattr(importlib.import_module(module), function))


def size_of(axis: str, sizes: dict[str, int]) -> int:
  """An axis is a number, a letter, or a sum or product of these, such as 2*D."""
  return int(eval(axis, {"__builtins__": {}}, sizes))


def dtype_of(array: Array, dtype: Any) -> Any:
  return {"i": jnp.int32, "b": jnp.bool_}.get(array.domain, dtype)


def abstract(arrays: dict[str, Array], sizes: dict[str, int], dtype: Any) -> dict[str, Any]:
  return {
    name: jax.ShapeDtypeStruct(array.shape(sizes), dtype_of(array, dtype))
    for name, array in arrays.items()
  }


def expected(result: str, sizes: dict[str, int], dtype: Any) -> tuple[tuple[int, ...], Any]:
  """Shape and dtype that a stated result has for floating arguments of `dtype`."""
  kind = RESULT.fullmatch(result)
  dtypes = {"=": dtype, "i:": jnp.int32, "b:": jnp.bool_}
  shape = tuple(size_of(axis, sizes) for axis in kind["axes"].split() if axis != "()")
  return shape, jnp.dtype(dtypes.get(kind[1], jnp.promote_types(dtype, jnp.float32)))


def bounds(result: str, sizes: dict[str, int]) -> tuple[float, float]:
  """Least and largest value that a stated result may have."""
  low, high = RESULT.fullmatch(result).group("low", "high")
  return size_of(low, sizes) if low else -np.inf, size_of(high, sizes) if high else np.inf


def _unit(x: np.ndarray) -> np.ndarray:
  x = np.where(np.any(x, -1, keepdims=True), x, np.eye(x.shape[-1])[0])
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _softmax(x: np.ndarray) -> np.ndarray:
  weights = np.exp(x - x.max(-1, keepdims=True))
  return weights / weights.sum(-1, keepdims=True)


def _frame(x: np.ndarray) -> np.ndarray:
  return np.linalg.qr(np.random.default_rng(0).standard_normal(x.shape))[0]


# From any numbers to those that an argument may hold.
DOMAINS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  "f": lambda x: x,
  "u": _unit,  # rows of norm 1
  "d": _softmax,  # rows are distributions
  "s": lambda x: 1 / (1 + np.exp(-np.clip(x, -700, 700))),  # in [0, 1]
  "h": lambda x: 0.05 + 0.9 / (1 + np.exp(-np.clip(x, -700, 700))),  # inside (0, 1)
  "k": lambda x: np.round(np.abs(x)),  # counts
  "n": np.abs,  # not negative
  "w": lambda x: 20 + np.clip(np.abs(x), 0, 1e3),  # degrees of freedom of a matrix
  "p": lambda x: np.clip(np.abs(x), 1e-6, None),  # positive
  "l": lambda x: np.clip(x, -40, 40),  # logarithm of a scale
  "m": lambda x: np.clip(x, -8, 8),  # a moderate one
  "o": _frame,  # orthonormal columns
  "c": lambda x: np.eye(x.shape[-1]) * np.clip(np.abs(x), 1e-3, 1e3),  # covariance
  "t": lambda x: np.tril(x, -1) + np.eye(x.shape[-1]) * np.clip(np.abs(x), 1e-3, None),  # its root
}

# What arrays are filled with: (shape, rng, limit) -> numbers of at most that magnitude.
PATTERNS: dict[str, Callable] = {
  "zeros": lambda shape, rng, limit: np.zeros(shape),
  "ones": lambda shape, rng, limit: np.ones(shape),
  "subnormal": lambda shape, rng, limit: 1e-40 * rng.choice([-1, 1], shape),
  "tiny": lambda shape, rng, limit: 1e-30 * rng.choice([-1, 1], shape),
  "ties": lambda shape, rng, limit: rng.choice([0.0, 1.0], shape),
  "nearly equal": lambda shape, rng, limit: 1 + 1e-7 * rng.standard_normal(shape),
  "all large": lambda shape, rng, limit: np.full(shape, limit),
  "all low": lambda shape, rng, limit: np.full(shape, -limit),
  "large": lambda shape, rng, limit: limit * rng.choice([-1, 1], shape),
  "one hot": lambda shape, rng, limit: np.resize([1, *[0] * int(np.prod(shape[-1:]))], shape),
  "equal rows": lambda shape, rng, limit: rng.standard_normal(shape[-1:]) + np.zeros(shape),
  "normal": lambda shape, rng, limit: rng.standard_normal(shape),
  "mixed": lambda shape, rng, limit: rng.choice([0, 1, 1e-30, -1e-4, limit, -limit], shape),
}


def fill(array: Array, sizes: dict[str, int], pattern: str, seed: int, limit: float) -> np.ndarray:
  """Values of one argument."""
  rng = np.random.default_rng(seed)
  x = np.asarray(PATTERNS[pattern](array.shape(sizes), rng, limit), np.float64)
  if array.domain == "b":
    return x > 0
  if array.domain == "i":
    bound = max(size_of(array.bound, sizes), 1)
    constant = np.all(x == x.flat[0])
    return np.int32(np.zeros(x.shape) if constant else rng.integers(bound, size=x.shape))
  return np.asarray(DOMAINS[array.domain](x), np.float32)
