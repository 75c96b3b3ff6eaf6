"""Fingerprints of arrays."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from latentjax.training import make_mesh
from latentjax.training.checkpoint import fingerprints


def oracle(x: np.ndarray) -> int:
  """Sum of the words times 1, 3, 5, ... modulo 2**32, with Python's integers."""
  words = np.ascontiguousarray(x).view(f"u{min(x.dtype.itemsize, 4)}").ravel().tolist()
  return sum(w * (2 * i + 1) for i, w in enumerate(words)) % 2**32


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int32, np.uint8, np.float16])
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 3, 4), (0, 3)])
def test_against_python_integers(dtype, shape):
  x = (100 * np.random.default_rng(0).random(shape)).astype(dtype)
  assert int(fingerprints({"x": jnp.asarray(x)})[0]) == oracle(np.asarray(x))


def test_every_single_bit_counts():
  x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
  before = int(fingerprints([jnp.asarray(x)])[0])
  for element in range(x.size):
    for bit in range(32):
      flipped = x.copy()
      flipped.view(np.uint32).ravel()[element] ^= np.uint32(1 << bit)
      if not np.isnan(flipped).any():  # a NaN's payload may change on its way to the device
        assert int(fingerprints([jnp.asarray(flipped)])[0]) != before


def test_order_counts_and_sharding_does_not():
  x = jnp.arange(64.0).reshape(16, 4)
  assert int(fingerprints([x])[0]) != int(fingerprints([x[::-1]])[0])
  mesh = make_mesh(num_replicas=2)
  split = jax.device_put(x, NamedSharding(mesh, P("data", "replica")))
  np.testing.assert_array_equal(fingerprints([split, x > 3]), fingerprints([x, x > 3]))
