"""Rows over devices; values and gradients of gathered kernels are in test_contract.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from latentjax.collectives import all_gather_rows, device_mean, draw_rows, local_rows, row_offset

B, D, COUNT = 24, 3, 8
AXIS = "devices"


@pytest.fixture(scope="module")
def mesh():
  return Mesh(np.array(jax.devices()[:COUNT]), (AXIS,))


def test_without_a_name_everything_is_here_already():
  x = jnp.arange(6.0).reshape(3, 2)
  assert all_gather_rows(x, None) is x and local_rows(x, None) is x and device_mean(x, None) is x
  assert row_offset(3, None) == 0


def test_gathered_rows_are_in_device_order_and_local_rows_invert_them(mesh):
  x = np.arange(B * D, dtype=np.float32).reshape(B, D)

  def local(x):
    rows = all_gather_rows(x, AXIS)
    offset = jnp.asarray(row_offset(x.shape[0], AXIS))[None]
    return rows[None], local_rows(rows, AXIS), offset, device_mean(x, AXIS)

  mapped = jax.shard_map(local, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS))
  gathered, back, offsets, means = jax.jit(mapped)(x)
  np.testing.assert_allclose(means, np.tile(x.reshape(COUNT, -1, D).mean(0), (COUNT, 1)), rtol=1e-6)
  np.testing.assert_array_equal(gathered, np.broadcast_to(x, (COUNT, B, D)))
  np.testing.assert_array_equal(back, x)
  np.testing.assert_array_equal(offsets, np.arange(COUNT) * (B // COUNT))


@pytest.mark.parametrize("axis", [0, 1])
def test_noise_of_a_row_is_the_same_on_one_device_and_on_many(key, mesh, axis):
  shape = (B, D) if axis == 0 else (D, B)

  def draw(axis_name=None, rows=B):
    local = (rows, D) if axis == 0 else (D, rows)
    return draw_rows(key, jax.random.normal, local, axis=axis, axis_name=axis_name)

  alone = draw()
  assert alone.shape == shape and len(np.unique(alone)) == B * D
  spec = P(AXIS) if axis == 0 else P(None, AXIS)
  mapped = jax.shard_map(lambda: draw(AXIS, B // COUNT), mesh=mesh, in_specs=(), out_specs=spec)
  np.testing.assert_array_equal(jax.jit(mapped)(), alone)


def test_a_device_makes_its_own_noise_alone(key, mesh):
  rows, dim = 4096, 64
  spec = NamedSharding(mesh, P(AXIS))
  mapped = jax.shard_map(
    lambda: draw_rows(key, jax.random.normal, (rows // COUNT, dim), axis_name=AXIS),
    mesh=mesh,
    in_specs=(),
    out_specs=P(AXIS),
  )
  sharded = jax.jit(lambda: draw_rows(key, jax.random.normal, (rows, dim)), out_shardings=spec)
  for program in (jax.jit(mapped), sharded):
    compiled = program.lower().compile()
    assert compiled.memory_analysis().temp_size_in_bytes < rows * dim * 4 / 2
    assert "all-gather" not in compiled.as_text() and "all-reduce" not in compiled.as_text()


def test_a_single_number(key):
  assert draw_rows(key, jax.random.normal, ()).shape == ()
