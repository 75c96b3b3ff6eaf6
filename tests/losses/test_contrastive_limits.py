"""Contrastive losses at their limits, in blocks, in memory, and where one is another."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contrastive_oracles import (
  BLOCK,
  RNG,
  B,
  D,
  X,
  Y,
  Z,
  clip_oracle,
  info_nce_oracle,
  siglip_oracle,
  views_oracle,
)
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.losses.contrastive import (
  clip_loss,
  dcl_loss,
  info_nce,
  nt_xent,
  siglip_loss,
  sup_con,
  uniformity,
)


def four_losses(x, y, temperature=0.2, **kwargs):
  """One program for all that promise not to hold a (B, B) array."""
  scale = 1 / temperature
  return jnp.stack(
    [
      info_nce(x, y, temperature=temperature, **kwargs),
      nt_xent(x, y, temperature=temperature, **kwargs),
      clip_loss(x, y, logit_scale=scale, **kwargs),
      siglip_loss(x, y, logit_scale=scale, logit_bias=-1.0, **kwargs),
    ],
    axis=1,
  )


def four_oracles(x, y, temperature=0.2):
  return np.stack(
    [
      info_nce_oracle(x, y, temperature),
      views_oracle(x, y, temperature),
      clip_oracle(x, y, 1 / temperature),
      siglip_oracle(x, y, 1 / temperature, -1.0),
    ],
    axis=1,
  )


WEIGHTS = RNG.uniform(0.5, 1.5, (B, 4))


def total(x, y, temperature, **kwargs):
  losses = four_losses(x, y, temperature, **kwargs)
  return jnp.sum(jnp.asarray(WEIGHTS[: len(x)], losses.dtype) * losses), losses


GRADIENTS = jax.jit(jax.grad(partial(total, **BLOCK), argnums=(0, 1, 2), has_aux=True))


def test_gradients_in_blocks_are_the_slope_of_the_loops():
  grads, _ = GRADIENTS(X.astype(np.float32), Y.astype(np.float32), 0.2)
  directions = RNG.standard_normal((B, D)), RNG.standard_normal((B, D)), 0.1
  ends = [
    np.sum(WEIGHTS * four_oracles(*(a + sign * 1e-5 * d for a, d in zip((X, Y, 0.2), directions))))
    for sign in (1, -1)
  ]
  slope = sum(np.sum(np.asarray(grad) * d) for grad, d in zip(grads, directions))
  np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1e-3, 0.03, 0.2, 1e3])
def test_temperatures_in_float32(temperature):
  """At 1e-3 the scores are a thousand; at 0.03 the loss of equal views is tiny, and keeps its digits."""
  x = X.astype(np.float32)
  y = x if temperature == 0.03 else Y.astype(np.float32)
  grads, losses = GRADIENTS(x, y, temperature)
  expected = four_oracles(x.astype(np.float64), y.astype(np.float64), temperature)
  np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-20)
  assert all(np.isfinite(grad).all() for grad in grads)
  assert temperature != 0.03 or losses[:, 0].min() < 1e-4


def test_identical_rows():
  same = np.tile(X[:1], (B, 1)).astype(np.float32)
  grads, losses = GRADIENTS(same, same, 0.2)
  sigmoid = np.logaddexp(0, -4) + (B - 1) * np.logaddexp(0, 4)
  expected = [np.log(B), np.log(2 * B - 1), np.log(B), sigmoid]
  np.testing.assert_allclose(losses, np.tile(expected, (B, 1)), rtol=1e-5)
  assert all(np.isfinite(grad).all() for grad in grads)


def test_a_single_example_has_no_negative():
  one = X[:1].astype(np.float32), Y[:1].astype(np.float32)
  run = jax.jit(jax.value_and_grad(lambda x, y: jnp.sum(nt_xent(x, y) + info_nce(x, y))))
  value, grad = run(*one)
  assert value == 0 and not np.any(grad)


def test_memory_on_a_device_is_that_of_blocks():
  """The gradient of one loss of either kind, for 1,024 rows on 4 devices in blocks of 32."""

  def loss(x, y):
    kwargs = {"axis_name": "i", "block_size": 32}
    return nt_xent(x, y, **kwargs) + siglip_loss(x, y, logit_scale=5.0, logit_bias=-5.0, **kwargs)

  mesh, rows = Mesh(np.array(jax.devices()[:4]), "i"), P("i")
  mapped = jax.shard_map(loss, mesh=mesh, in_specs=(rows, rows), out_specs=rows)
  run = jax.jit(jax.grad(lambda x, y: jnp.mean(mapped(x, y)), argnums=(0, 1)))
  shapes = [jax.ShapeDtypeStruct((1024, 4), jnp.float32)] * 2
  temporary = run.lower(*shapes).compile().memory_analysis().temp_size_in_bytes
  scores = 4 * 1024**2 / 4  # this device's, of one product of two views
  assert temporary < scores / 4


def test_pairs_of_labels_make_sup_con_the_nt_xent():
  views = np.concatenate([X, Y])
  labels = np.tile(RNG.permutation(B), 2)
  losses = jax.jit(partial(sup_con, temperature=0.3))(views, labels)
  expected = views_oracle(X, Y, temperature=0.3)
  np.testing.assert_allclose((losses[:B] + losses[B:]) / 2, expected, rtol=1e-5)


def test_dclw_weighs_the_far_pairs_more_and_takes_no_gradient_through_it():
  similarity = np.exp(np.sum(X * Y, axis=1) / 0.5)
  weights = 2 - similarity / similarity.mean()
  run = jax.jit(jax.value_and_grad(lambda x, y, w: jnp.sum(w * weighted(x, y)), argnums=0))
  weighted = partial(dcl_loss, temperature=0.3, weight_temperature=0.5)
  with jax.enable_x64(True):
    value, grad = run(X, Y, WEIGHTS[:, 0])
    oracle = lambda x: WEIGHTS[:, 0] @ views_oracle(x, Y, 0.3, decoupled=True, weights=weights)
    np.testing.assert_allclose(value, oracle(X), rtol=1e-9)
    ends = [oracle(X + sign * 1e-6 * Z) for sign in (1, -1)]
    np.testing.assert_allclose(np.sum(grad * Z), (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


def test_uniformity_is_least_where_points_are_spread():
  """Four points on the circle; a square against a cluster, and all in one place."""
  angles = np.array([[0, 1, 2, 3], [0, 0.3, 0.6, 0.9], [0, 0, 0, 0]]) * np.pi / 2
  spread, cluster, one = jax.jit(jax.vmap(uniformity))(
    np.stack([np.cos(angles), np.sin(angles)], axis=-1)
  )
  np.testing.assert_allclose(spread, np.log((2 * np.exp(-4) + np.exp(-8)) / 3), rtol=1e-5)
  np.testing.assert_allclose(one, 0, atol=1e-5)
  assert spread < cluster < one
