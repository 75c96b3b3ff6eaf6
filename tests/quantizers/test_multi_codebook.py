"""Cascaded multi-codebooks against loops over levels, parts and codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, check_kernel, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy.special import softmax

from latentjax.quantizers.multi_codebook import (
  codes_from_indices,
  multi_codebook_logits,
  multi_codebook_mode,
  multi_codebook_quantize,
)

B, T, L, M, K, W = 8, 2, 3, 2, 5, 3
D = M * W
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
Z = 2 * RNG.standard_normal((B, T, D))
CODES = RNG.standard_normal((L, M, K, W)) * 0.6 ** np.arange(L)[:, None, None, None]
SCALE = RNG.uniform(0.5, 2, (L, M))
AXES = (0, None, None)


def test_logits():
  def oracle(z, codes, scale):
    logits = np.zeros((B, T, M, K))
    for m in range(M):
      part = z[..., m * W : (m + 1) * W]
      squared = np.stack([np.square(part - code).sum(axis=-1) for code in codes[m]], axis=-1)
      logits[:, :, m] = -scale[m] * (squared - squared.min(axis=-1, keepdims=True))
    return logits

  nearest = oracle(Z, CODES[0], SCALE[0]) == 0

  def surrogate(z, codes, scale):
    """The distance of the nearest code is a constant."""
    parts = z.reshape(B, T, M, 1, W)
    squared = jnp.sum(jnp.square(parts - codes), axis=-1)
    at_start = np.square(Z.reshape(B, T, M, 1, W) - CODES[0]).sum(axis=-1)
    least = np.min(np.where(nearest, at_start, np.inf), axis=-1, keepdims=True)
    return -scale[:, None] * (squared - least)

  check_kernel(
    lambda z, codes, scale: multi_codebook_logits(z, codes, scale=scale),
    (Z, CODES[0], SCALE[0]),
    oracle=oracle,
    surrogate=surrogate,
    batch_axes=AXES,
    extreme=[(1e4 * Z, CODES[0], 1e3 * SCALE[0]), (0 * Z, 0 * CODES[0], SCALE[0])],
    bad_inputs=[
      ((Z[..., :5], CODES[0], SCALE[0]), {}, ValueError, "z must have 2 x 3 along its last axis"),
      ((Z, CODES[0, 0], SCALE[0]), {}, ValueError, "codebooks must have 3 axes"),
      ((Z, CODES[0], SCALE), {}, ValueError, "scale must be a number or of shape"),
      ((Z, CODES[0, :, :0], SCALE[0]), {}, ValueError, "codebooks must not be empty"),
    ],
  )


def level_by_level(z, codebooks):
  """Nearest codes and what they sum to."""
  residual, z_q, indices = z.copy(), np.zeros_like(z), []
  for codes in codebooks:
    drawn = np.zeros_like(z)
    for m in range(M):
      part = slice(m * W, (m + 1) * W)
      squared = [np.square(residual[..., part] - code).sum(axis=-1) for code in codes[m]]
      indices.append(np.argmin(squared, axis=0))
      drawn[..., part] = codes[m][indices[-1]]
    residual, z_q = residual - drawn, z_q + drawn
  return z_q, np.stack(indices, axis=-1)


def test_nearest_codes():
  z_q, indices = level_by_level(Z, CODES)
  shift = z_q - Z
  check_kernel(
    lambda z, codes: multi_codebook_mode(z, codes)._asdict(),
    (Z, CODES),
    oracle={"indices": indices, "loss": np.zeros((B, T)), "z_q": z_q},
    surrogate=lambda z, codes: {
      "indices": jnp.asarray(indices),
      "loss": jnp.zeros((B, T)),
      "z_q": z + jnp.asarray(shift, z.dtype),
    },
    detached=(1,),
    batch_axes=(0, None),
    extreme=[(1e4 * Z, CODES)],
    bad_inputs=[
      ((Z, CODES[0]), {}, ValueError, "codebooks must have 4 axes"),
      ((Z.astype(int), CODES), {}, TypeError, "z must be a floating point"),
    ],
    bfloat16=False,  # rounded vectors have other nearest codes
  )


def test_drawn_codes():
  """One-hot weights, straight-through; the same rows over devices; and frequencies."""
  draw = lambda z, codes, scale, axis_name=None: multi_codebook_quantize(
    KEY, z, codes, scale=scale, temperature=0.7, axis_name=axis_name
  )
  weights = RNG.standard_normal(Z.shape)

  def run(z, codes, scale):
    total = lambda z, codes, scale: jnp.sum(draw(z, codes, scale).z_q * weights)
    return draw(z, codes, scale), jax.grad(total, argnums=(0, 1, 2))(z, codes, scale)

  out, grads = fast_jit(run)(*map(np.float32, (Z, CODES, SCALE)))
  codes = np.float32(CODES)
  np.testing.assert_array_equal(out.z_q, codes_from_indices(out.indices, codes))  # bit for bit
  assert not out.loss.any() and out.indices.dtype == np.int32
  assert all(np.isfinite(grad).all() and np.any(grad, axis=-1).any() for grad in grads)
  assert all(np.any(grads[1], axis=(-1, -2)).ravel())  # every level and part is trained
  local = lambda z: draw(z, jnp.asarray(codes), np.float32(SCALE), AXIS).indices
  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  split = fast_jit(jax.shard_map(local, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)))
  np.testing.assert_array_equal(split(np.float32(Z)), out.indices)

  many = np.broadcast_to(np.float32(Z[:1, :1]), (4000, 1, D))
  first = np.asarray(fast_jit(lambda z: draw(z, codes, np.float32(SCALE)).indices)(many))[:, 0, :M]
  p = softmax(multi_codebook_logits(np.float32(Z[0, 0]), codes[0], scale=np.float32(SCALE[0])), -1)
  for m in range(M):
    np.testing.assert_allclose(np.bincount(first[:, m], minlength=K) / 4000, p[m], atol=0.03)


def test_gradient_is_that_of_the_relaxed_sample():
  """One level: d z_q = sum_k c_k d softmax((l + g) / tau)_k + sum_k 1[k = b] d c_k."""
  from latentjax.densities import gumbel_softmax

  z, codes = np.float32(Z), np.float32(CODES[:1])

  def relaxed(z, codes):
    key = jax.random.fold_in(KEY, 0)
    logits = multi_codebook_logits(z, codes[0])
    y = gumbel_softmax.sample(key, logits, temperature=0.7)
    hard = jax.nn.one_hot(jnp.argmax(y, axis=-1), K)
    fixed = jax.lax.stop_gradient(codes[0])
    values = jnp.einsum("btmk,mkd->btmd", y, fixed) + jnp.einsum("btmk,mkd->btmd", hard, codes[0])
    return jnp.sum(jnp.sin(jnp.arange(Z.size)).reshape(Z.shape) * values.reshape(Z.shape))

  def actual(z, codes):
    z_q = multi_codebook_quantize(KEY, z, codes, temperature=0.7).z_q
    return jnp.sum(jnp.sin(jnp.arange(Z.size)).reshape(Z.shape) * z_q)

  got, expected = fast_jit(
    lambda *args: tuple(jax.grad(f, argnums=(0, 1))(*args) for f in (actual, relaxed))
  )(z, codes)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


def test_bad_arguments_and_lost_codes():
  lost = np.zeros((1, L * M), int)
  lost[0, 0] = K
  found = codes_from_indices(lost, CODES)
  assert np.isnan(found[0, :W]).all() and np.isfinite(found[0, W:]).all()
  for call, match in {
    lambda: codes_from_indices(lost[:, :5], CODES): "indices must have 3 x 2",
    lambda: multi_codebook_quantize(KEY, Z, CODES, scale=np.ones(3)): "scale must be a number or",
    lambda: multi_codebook_quantize(KEY, Z, CODES, temperature=0.0): "temperature must be in",
  }.items():
    with pytest.raises(ValueError, match=match):
      call()
