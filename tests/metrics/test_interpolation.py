"""Paths between noises against rotations; their unevenness against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit

from latentjax.metrics import interpolation_deviation, slerp

B, D = 8, 4
RNG = np.random.default_rng(0)
A, C = RNG.standard_normal((2, B, D))


def test_paths():
  def oracle(a, c, share):
    """Turn a's direction towards c's, in the plane of both; the lengths are mixed by themselves."""
    out = []
    for x, y in zip(a, c):
      lengths = np.linalg.norm(x), np.linalg.norm(y)
      u, v = x / lengths[0], y / lengths[1]
      omega = np.arccos(u @ v)
      across = (v - (u @ v) * u) / np.sin(omega)
      # sin((1 - s) w) u + sin(s w) v over sin w is the turn when both are of length 1
      turned = np.cos(share * omega) * u + np.sin(share * omega) * across
      extra = (lengths[1] - lengths[0]) * np.sin(share * omega) / np.sin(omega) * v
      out.append(lengths[0] * turned + extra)
    return np.array(out)

  check_kernel(
    slerp,
    (A, C, 0.3),
    oracle=oracle,
    batch_axes=(0, 0, None),
    extreme=[(A, A, 0.5), (0 * A, C, 0.5)],
    bad_inputs=[((A, C[:3], 0.3), {}, ValueError, "z_0 and z_1 must have the same")],
  )


def test_deviation():
  decode = lambda z: jnp.tanh(2 * z)
  found = fast_jit(
    lambda a, c: (
      interpolation_deviation(decode, a, c, num_frames=6),
      interpolation_deviation(lambda z: z, a, c / jnp.linalg.norm(c, axis=1, keepdims=True)),
      slerp(a, a, 0.4),
    )
  )
  a = A / np.linalg.norm(A, axis=1, keepdims=True)
  uneven, even, still = found(jnp.float32(a), jnp.float32(C))
  frames = np.tanh(2 * np.stack([np.asarray(slerp(a, C, s)) for s in np.linspace(0, 1, 6)]))
  expected = np.std(np.linalg.norm(np.diff(frames, axis=0), axis=-1), axis=0)
  np.testing.assert_allclose(uneven, expected, rtol=1e-4)
  np.testing.assert_allclose(even, 0, atol=1e-5)  # a great circle at constant speed
  np.testing.assert_allclose(still, a, rtol=1e-5)


def test_even_paths_have_a_gradient():
  """There the deviation and every distance may be 0, where a root has no slope."""
  total = lambda a, c: jnp.sum(interpolation_deviation(lambda z: 0.5 * z, a, c))
  run = fast_jit(jax.grad(total, argnums=(0, 1)))
  a = np.float32(np.eye(4))
  for pair in ((a, a), (a, np.roll(a, 1, axis=1)), (0 * a, 0 * a)):
    assert all(np.isfinite(grad).all() for grad in run(*pair))


def test_refusals():
  with pytest.raises(ValueError, match="share must be a scalar"):
    slerp(A, C, np.zeros(1))
  with pytest.raises(ValueError, match="z_0 must have a batch axis"):
    interpolation_deviation(lambda z: z, 1.0, 1.0)
