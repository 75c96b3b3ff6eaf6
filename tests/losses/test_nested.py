"""The loss on all depths and widths against numpy, and what it draws."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy.spatial import distance
from scipy.special import rel_entr, softmax
from split import check_split

from latentjax.collectives import device_mean
from latentjax.losses.contrastive import matryoshka_2d

L, B, D = 2, 8, 4
RNG = np.random.default_rng(0)
A = RNG.standard_normal((B, L, D))
Z = A + 0.5 * RNG.standard_normal((B, L, D))
KEY = jax.random.key(0)


def apart(a, b):
  return ((a - b) ** 2).sum(-1)


def cosines(a, b):
  return 1 - distance.cdist(a, b, "cosine")


TEACHER = softmax(cosines(A[:, 1], Z[:, 1]) / 0.3, axis=1)  # for the gradient, numbers


def two_layers(a, b, axis_name):
  """One layer below the last and one shorter prefix: nothing is left to chance."""
  layers = (jnp.moveaxis(z, 1, 0) for z in (a, b))
  loss = matryoshka_2d(apart, [3], axis_name=axis_name)(KEY, *layers)
  return {"loss": device_mean(jnp.mean(loss), axis_name)}


def oracle(a, b):
  total = sum(
    2 - 2 * np.diag(cosines(a[:, n, :d], b[:, n, :d])) for n, d in itertools.product((0, 1), (3, D))
  )
  student = softmax(cosines(a[:, 0], b[:, 0]) / 0.3, axis=1)
  return {"loss": np.mean(total + rel_entr(TEACHER, student).sum(1))}


def test_matryoshka_2d():
  check_split(two_layers, (A, Z), oracle)


def test_a_scalar_loss_is_the_same_on_every_device():
  layers = [np.moveaxis(z, 1, 0).astype(np.float32) for z in (A, Z)]

  def run(a, b, axis_name=None):
    total = lambda a, b: device_mean(jnp.mean(apart(a, b)), axis_name)
    return matryoshka_2d(total, [3], axis_name=axis_name)(KEY, a, b)[None]

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  split = partial(jax.shard_map, mesh=mesh, in_specs=P(None, AXIS), out_specs=P(AXIS))
  here, there = jax.jit(lambda *z: (run(*z), split(partial(run, axis_name=AXIS))(*z)))(*layers)
  np.testing.assert_allclose(there, np.repeat(here, 4), rtol=1e-5)


def test_blocks_of_rows_and_extreme_magnitudes():
  def run(z, block_size):
    return jnp.sum(matryoshka_2d(apart, [3], block_size=block_size)(KEY, z, -2 * z[:, ::-1]))

  grads = jax.jit(lambda z: [jax.value_and_grad(run)(z, size) for size in (None, 3)])
  (value, grad), (blocks, grad_of_blocks) = grads(A.swapaxes(0, 1).astype(np.float32))
  np.testing.assert_allclose(blocks, value, rtol=1e-6)
  np.testing.assert_allclose(grad_of_blocks, grad, atol=1e-5)
  for scale in (0.0, 1e4):
    assert np.isfinite(grads(np.float32(scale * A.swapaxes(0, 1)))[0][1]).all()


def test_every_depth_and_width_is_drawn():
  """Layers and lengths of ones: the loss of a pair tells both."""
  z = np.arange(1, 5)[:, None, None] * np.ones((4, 1, 8))
  code = lambda a, b: a[..., 0] * 10 ** np.log2(a.shape[-1])
  loss = matryoshka_2d(code, [1, 2, 4], kl_weight=0.0, normalize=False)
  keys = jax.random.split(KEY, 200)
  values, counts = np.unique(jax.jit(jax.vmap(lambda k: loss(k, z, z)))(keys), return_counts=True)
  expected = sorted((4 + n) * (1000 + 10**d) for n in (1, 2, 3) for d in (0, 1, 2))
  np.testing.assert_allclose(values, expected)
  assert counts.min() > 5  # of 22 expected


@pytest.mark.parametrize(
  ("kwargs", "match"),
  [
    ({"dims": []}, "dims must have at least one"),
    ({"dims": [0]}, "dims must be a positive integer"),
    ({"dims": [2], "kl_weight": -1.0}, "kl_weight must be in"),
    ({"dims": [2], "kl_temperature": 0.0}, "kl_temperature must be in"),
    ({"dims": [2], "block_size": 0}, "block_size must be a positive integer"),
  ],
)
def test_bad_settings(kwargs, match):
  with pytest.raises(ValueError, match=match):
    matryoshka_2d(apart, **kwargs)


@pytest.mark.parametrize(
  ("layers", "other", "dims", "match"),
  [
    (L, L, [D], "D above 4, got"),
    (1, 1, [3], "L at least 2"),
    (L, 1, [3], r"embeddings must both have shape \(L, B, D\)"),
  ],
)
def test_bad_embeddings(layers, other, dims, match):
  z = np.ones((L, B, D), np.float32)
  with pytest.raises(ValueError, match=match):
    matryoshka_2d(apart, dims)(KEY, z[:layers], z[:other])
