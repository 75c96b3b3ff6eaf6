"""The loss on all depths and widths against numpy, and what it draws."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy.spatial import distance
from scipy.special import rel_entr, softmax

from latentjax.losses.contrastive import matryoshka_2d

L, B, D = 2, 8, 4
RNG = np.random.default_rng(0)
A = RNG.standard_normal((L, B, D)).astype(np.float32)
Z = (A + 0.5 * RNG.standard_normal((L, B, D))).astype(np.float32)
KEY = jax.random.key(0)


def apart(a, b):
  return ((a - b) ** 2).sum(-1)


def two_layers(key, a, b, axis_name=None, block_size=None):
  """One layer below the last and one shorter prefix: nothing is left to chance."""
  return matryoshka_2d(apart, [3], axis_name=axis_name, block_size=block_size)(key, a, b)


def cosines(a, b):
  return 1 - distance.cdist(a, b, "cosine")


def oracle(a, b):
  total = sum(
    2 - 2 * np.diag(cosines(a[n][:, :d], b[n][:, :d])) for n, d in itertools.product((0, 1), (3, D))
  )
  student, teacher = (softmax(cosines(a[n], b[n]) / 0.3, axis=1) for n in (0, 1))
  return total + rel_entr(teacher, student).sum(1)


def surrogate(key, a, b):
  """The gradient takes the teacher's probabilities for numbers."""
  loss = matryoshka_2d(apart, [3], kl_weight=0.0)(key, a, b)
  unit = lambda z: z / jnp.linalg.norm(z, axis=1, keepdims=True)
  log_q = jax.nn.log_softmax(unit(a[0]) @ unit(b[0]).T / 0.3)
  teacher = softmax(cosines(A[1], Z[1]) / 0.3, axis=1)
  return loss - jnp.sum(teacher * log_q, axis=1)


def test_matryoshka_2d():
  check_kernel(
    two_layers,
    (A, Z),
    key=KEY,
    oracle=oracle,
    surrogate=surrogate,
    batch_axes=1,
    batch_coupled=True,
    extreme=[(1e4 * A, -1e4 * Z), (0 * A, 0 * Z)],
    bad_inputs=[
      ((A, Z[:, :4]), {}, ValueError, r"embeddings must both have shape \(L, B, D\)"),
      ((A[:1], Z[:1]), {}, ValueError, "L at least 2"),
      ((A[..., :3], Z[..., :3]), {}, ValueError, "D above 3"),
    ],
  )


def test_blocks_of_rows():
  value = jax.jit(partial(two_layers, block_size=3))(KEY, A, Z)
  np.testing.assert_allclose(value, oracle(A, Z), rtol=1e-5)


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
