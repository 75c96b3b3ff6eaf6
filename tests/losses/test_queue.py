"""Losses with a queue against numpy loops, and the queue against a deque, on devices too."""

from collections import deque
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, check_kernel
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy.special import log_softmax

from latentjax.losses.contrastive import (
  Queue,
  init_queue,
  moco_loss,
  nearest_rows,
  nnclr_loss,
  update_queue,
)

B, D, Q = 8, 3, 5
RNG = np.random.default_rng(0)
P_1, P_2, Z_1, Z_2 = RNG.standard_normal((4, B, D))
SUPPORT = RNG.standard_normal((Q, D))


def losses(p_1, p_2, z_1, z_2, support, axis_name=None):
  return {
    "moco": moco_loss(p_1, z_2, support, temperature=0.7),
    "nnclr": nnclr_loss(p_1, p_2, z_1, z_2, support, temperature=0.3, axis_name=axis_name),
  }


def unit(z):
  return z / np.linalg.norm(z, axis=-1, keepdims=True)


def oracle(p_1, p_2, z_1, z_2, support):
  moco = [-log_softmax([q @ k, *(support @ q)] / np.float64(0.7))[0] for q, k in zip(p_1, z_2)]
  nnclr = np.zeros(len(p_1))
  for z, p in ((z_1, p_2), (z_2, p_1)):
    for i, row in enumerate(z):
      nearest = min(unit(support), key=lambda s: np.linalg.norm(s - unit(row)))
      nnclr[i] -= log_softmax(unit(p) @ nearest / 0.3)[i] / 2
  return {"moco": np.array(moco), "nnclr": nnclr}


def test_losses():
  args = (P_1, P_2, Z_1, Z_2, SUPPORT)
  check_kernel(
    losses,
    args,
    oracle=oracle,
    batch_coupled=True,
    batch_axes=(0, 0, 0, 0, None),
    detached=(2, 3, 4),
    extreme=[(1e4 * P_1, P_2, 0 * Z_1, -1e4 * Z_2, SUPPORT), (P_1, P_1, P_1, P_1, 0 * SUPPORT)],
    bad_inputs=[
      ((P_1.astype(int), *args[1:]), {}, TypeError, "queries must be a floating point"),
      ((*args[:2], Z_1, Z_2[:4], SUPPORT), {}, ValueError, "queries and keys must have the same"),
      ((*args[:4], SUPPORT[0]), {}, ValueError, "negatives must have 2 axes"),
      ((*args[:4], SUPPORT[:, :2]), {}, ValueError, "negatives must have rows of width 3"),
    ],
  )
  with pytest.raises(ValueError, match=r"temperature must be in \(0.0"):
    moco_loss(P_1, Z_1, SUPPORT, temperature=0.0)
  with pytest.raises(ValueError, match="support must have rows of width 3"):
    nearest_rows(Z_1, SUPPORT[:, :1])


def test_neighbours_of_bfloat16_rows_are_compared_in_float32():
  rows = jnp.asarray([[1.0, 0.0], [1.0, 0.03125]], jnp.bfloat16)
  nearest = nearest_rows(rows[1:], rows)  # cosines 0.9995 and 1, the same in bfloat16
  assert nearest.dtype == jnp.bfloat16 and nearest.tolist() == rows[1:].tolist()


def test_the_queue_holds_the_last_rows_on_every_device(key):
  keys = RNG.standard_normal((3, B, D)).astype(np.float32)
  start = init_queue(key, size=11, dim=D)
  np.testing.assert_allclose(np.linalg.norm(start.rows, axis=1), 1, rtol=1e-6)
  expected = deque(np.asarray(start.rows), maxlen=11)
  for row in keys.reshape(-1, D):
    expected.append(row)

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  split = partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False)
  for update in (update_queue, split(partial(update_queue, axis_name=AXIS))):
    queue = start
    update = jax.jit(update)
    for batch in keys:
      queue = update(queue, batch)
    oldest_first = np.roll(queue.rows, -int(queue.oldest), axis=0)
    np.testing.assert_array_equal(oldest_first, np.stack(expected))

  grad = jax.grad(lambda rows: jnp.sum(update_queue(Queue(rows, start.oldest), rows[:2]).rows))
  assert not np.any(grad(start.rows))
  for bad in (keys[0, :, :2], np.ones((12, D))):
    with pytest.raises(ValueError, match="keys must have at most 11 rows of width 3"):
      update_queue(start, bad)
