"""Every public kernel on extreme values: finite up to the stated magnitude, and no gradient that is NaN.

One program per kernel, at the table's sizes; dear to compile, so that the suite runs a handful, and
`python -m pytest tests/properties --hypothesis-profile=deep` all of them, and each again with axes of one.
"""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import PATTERNS, bounds, fill, resolve
from tables import KERNELS

DEEP = settings.default.max_examples > 10
NAMES = [(package, name) for package in KERNELS for name in KERNELS[package]]
FEW = [
  ("densities", "gaussian.log_prob"),
  ("diffusion", "processes.convert"),
  ("losses", "contrastive.info_nce"),
  ("metrics", "subspace_affinity"),
  ("quantizers", "vector_quantize"),
]
# Arrays that lie on a set, where a gradient along all axes means little, still get one.
FLOATING = "fulmdshknpoctw"

each_kernel = pytest.mark.parametrize(
  ("package", "name"), NAMES if DEEP else FEW, ids=lambda part: part.replace(".", "-")
)


def program(package, name, sizes):
  """Results, and gradients of the sum of the floating ones by every floating argument, in one program."""
  call = KERNELS[package][name]
  kernel = resolve(package, name, call)
  arrays = call.named(kernel)
  run = call.bind(kernel, sizes)
  floating = [key for key, array in arrays.items() if array.domain in FLOATING]

  def total(chosen, others):
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(run({**chosen, **others}))]
    real = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum((jnp.sum(leaf, dtype=jnp.float32) for leaf in real), jnp.float32(0)), leaves

  @fast_jit
  def values_and_grads(values):
    chosen = {key: values[key] for key in floating}
    others = {key: value for key, value in values.items() if key not in chosen}
    return jax.grad(total, has_aux=True)(chosen, others)

  return arrays, values_and_grads


def check_values(call, grads, leaves, where):
  """Finite, or not where the docstring says so; within what is stated; no gradient of a number is NaN."""
  leaves = [np.float64(leaf) for leaf in leaves if not np.issubdtype(leaf.dtype, np.integer)]
  if not call.undefined:
    assert all(np.isfinite(leaf).all() for leaf in leaves), f"value {leaves} at {where}"
  if all(np.isfinite(leaf).all() for leaf in leaves):
    for key, grad in grads.items():
      assert not np.isnan(np.float64(grad)).any(), f"gradient of {key} at {where}"


def check_bounds(call, leaves, where):
  for result, leaf in zip(call.results, leaves):
    low, high = bounds(result, call.sizes)
    known = leaf[np.isfinite(np.float64(leaf))]
    assert (known >= low - 2e-5).all() and (known <= high + 2e-5).all(), f"{leaf} at {where}"


@each_kernel
def test_extreme_values_stay_finite(package, name):
  call = KERNELS[package][name]
  arrays, run = program(package, name, call.sizes)
  names = sorted(arrays)

  def check(patterns, seed, apart):
    where = dict(zip(names, patterns))
    values = {
      key: fill(arrays[key], call.sizes, pattern, seed + apart * i, call.limit)
      for i, (key, pattern) in enumerate(where.items())
    }
    grads, leaves = jax.device_get(run(values))
    check_values(call, grads, leaves, where)
    check_bounds(call, leaves, where)

  for pattern in PATTERNS:
    check([pattern] * len(names), 0, 0)
    check([pattern] * len(names), 0, 1)
  patterns = st.tuples(*[st.sampled_from(sorted(PATTERNS))] * len(names))
  mixed = given(patterns, st.integers(0, 99), st.integers(0, 1))
  mixed(check)()


@pytest.mark.skipif(not DEEP, reason="another program for every kernel")
@each_kernel
def test_one_of_everything_is_finite_or_refused_by_name(package, name):
  call = KERNELS[package][name]
  kernel = resolve(package, name, call)
  axes = " ".join(axis for array in call.named(kernel).values() for axis in array.axes)
  sizes = call.sizes | dict.fromkeys(re.findall("[A-Z]", axes), 1)
  try:
    arrays, run = program(package, name, sizes)
    for pattern in ("normal", "zeros", "large"):
      values = {key: fill(arrays[key], sizes, pattern, 0, call.limit) for key in arrays}
      check_values(call, *jax.device_get(run(values)), pattern)
  except (ValueError, TypeError) as error:
    parameters = inspect.signature(kernel).parameters
    assert any(re.search(rf"\b{re.escape(key)}\b", str(error)) for key in parameters), error
