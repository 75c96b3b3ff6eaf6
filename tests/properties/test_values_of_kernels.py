"""Every public kernel on extreme values: finite up to the stated magnitude, and no gradient that is NaN.

One program per kernel, at the table's sizes; dear to compile, so that the suite runs a handful, and
`python -m pytest tests/properties --hypothesis-profile=deep` all of them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import PATTERNS, fill, resolve
from tables import KERNELS

DEEP = settings.default.max_examples > 10
# Metrics are left out: of degenerate data many are NaN or infinite, as their docstrings say.
NAMES = [
  (package, name) for package in KERNELS if package != "metrics" for name in KERNELS[package]
]
FEW = [
  ("densities", "gaussian.log_prob"),
  ("diffusion", "processes.convert"),
  ("losses", "contrastive.info_nce"),
  ("quantizers", "vector_quantize"),
]
# Arrays that lie on a set, where a gradient along all axes means little, still get one.
FLOATING = "fulmdshknpoctw"


def program(package, name):
  """Results, and gradients of the sum of the floating ones by every floating argument, in one program."""
  call = KERNELS[package][name]
  kernel = resolve(package, name, call)
  arrays = call.named(kernel)
  run = call.bind(kernel, call.sizes)
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


@pytest.mark.parametrize(
  ("package", "name"), NAMES if DEEP else FEW, ids=lambda part: part.replace(".", "-")
)
def test_extreme_values_stay_finite(package, name):
  call = KERNELS[package][name]
  arrays, run = program(package, name)
  names = sorted(arrays)

  def check(patterns, seed):
    values = {
      key: fill(arrays[key], call.sizes, pattern, seed, call.limit)
      for key, pattern in zip(names, patterns)
    }
    grads, leaves = jax.device_get(run(values))
    for leaf in leaves:
      assert np.issubdtype(leaf.dtype, np.integer) or np.isfinite(np.float64(leaf)).all(), (
        f"value {leaf} at {dict(zip(names, patterns))}"
      )
    for key, grad in grads.items():
      assert not np.isnan(np.float64(grad)).any(), (
        f"gradient of {key} at {dict(zip(names, patterns))}"
      )

  for pattern in PATTERNS:
    check([pattern] * len(names), 0)
  mixed = given(st.tuples(*[st.sampled_from(sorted(PATTERNS))] * len(names)), st.integers(0, 99))
  mixed(check)()
