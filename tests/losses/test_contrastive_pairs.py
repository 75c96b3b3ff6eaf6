"""Batch-coupled contrastive losses against loops over pairs, over devices, in blocks, at their limits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy.spatial import distance
from scipy.special import log_expit, logsumexp

from latentjax.losses.contrastive import (
  alignment,
  clip_loss,
  dcl_loss,
  info_nce,
  l2_normalize,
  nt_xent,
  siglip_loss,
  spectral_contrastive_loss,
  sup_con,
  triplet_loss,
  uniformity,
)

B, D = 24, 3
RNG = np.random.default_rng(0)
X, Y, Z = RNG.standard_normal((3, B, D))
X, Y = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (X, Y))
LABELS = RNG.integers(-5, 5, B) * 1000
LABELS[0] = 7  # without a positive
BLOCK = {
  "block_size": 5
}  # of 24 rows the last is filled up; 4 devices have two even ones, 8 have one
EXTREME = [(1e3 * X, -1e3 * Y), (0 * X, 0 * Y)]


def bad_inputs(name, other, block=True, **required):
  """What every loss of two arrays of the same shape refuses."""
  one = [
    ((X, Y), {**required, "block_size": 0}, ValueError, "block_size must be a positive integer")
  ]
  return [
    ((X.astype(int), Y), required, TypeError, f"{name} must be a floating point"),
    ((X[0], Y[0]), required, ValueError, f"{name} must have 2 axes"),
    ((X, Y[:5]), required, ValueError, f"{name} and {other} must have the same shape"),
    *(one if block else []),
  ]


def cross_entropy(scores, target):
  """log sum_j exp(s_j - s_target), with the digits of a small one."""
  rest = np.delete(scores, target) - scores[target]
  return np.logaddexp(0, logsumexp(rest)) if len(rest) else 0.0


def info_nce_oracle(a, p, temperature=0.1, **_):
  rows = range(len(a))
  return np.array([cross_entropy([a[i] @ q / temperature for q in p], i) for i in rows])


def views_oracle(z_1, z_2, temperature=0.1, decoupled=False, weights=None, **_):
  """Over every anchor, the list of the scores of all others, one by one."""
  z, size = np.concatenate([z_1, z_2]), len(z_1)
  losses = np.zeros(2 * size)
  for i in range(2 * size):
    positive = z[i] @ z[(i + size) % (2 * size)] / temperature
    others = [z[i] @ z[k] / temperature for k in range(2 * size) if k % size != i % size]
    weight = 1 if weights is None else weights[i % size]
    if decoupled:
      losses[i] = logsumexp(others) - weight * positive
    else:
      losses[i] = cross_entropy([positive, *others], 0)
  return (losses[:size] + losses[size:]) / 2


def clip_oracle(u, v, logit_scale, label_smoothing=0.0, **_):
  """Smoothed targets, spelled out: each of the B partners is the label with its probability."""
  scores = np.array([[logit_scale * a @ b for b in v] for a in u])
  losses = np.zeros(len(u))
  for i in range(len(u)):
    for of_one in (scores[i], scores[:, i]):
      losses[i] += (1 - label_smoothing) * cross_entropy(of_one, i) / 2
      if label_smoothing:
        every = np.mean([cross_entropy(of_one, j) for j in range(len(u))])
        losses[i] += label_smoothing * every / 2
  return losses


def siglip_oracle(u, v, logit_scale, logit_bias, **_):
  losses = np.zeros(len(u))
  for i, a in enumerate(u):
    for j, b in enumerate(v):
      losses[i] -= log_expit((1 if i == j else -1) * (logit_scale * a @ b + logit_bias))
  return losses


def sup_con_oracle(z, labels, temperature=0.1, **_):
  losses = np.zeros(len(z))
  for i in range(len(z)):
    others = [a for a in range(len(z)) if a != i]
    positives = [p for p in others if labels[p] == labels[i]]
    denominator = logsumexp([z[i] @ z[a] / temperature for a in others])
    terms = [denominator - z[i] @ z[p] / temperature for p in positives]
    losses[i] = np.mean(terms) if terms else 0
  return losses


def test_info_nce():
  check_kernel(
    info_nce,
    (X, Y),
    kwargs={"temperature": 0.3},
    oracle=info_nce_oracle,
    batch_coupled=True,
    extreme=EXTREME,
    bad_inputs=[
      *bad_inputs("anchors", "positives"),
      ((X, Y), {"temperature": 0.0}, ValueError, "temperature must be in"),
    ],
  )


def test_nt_xent():
  check_kernel(
    nt_xent,
    (X, Y),
    kwargs={"temperature": 0.3, **BLOCK},
    oracle=views_oracle,
    batch_coupled=True,
    extreme=EXTREME,
    bad_inputs=[
      *bad_inputs("z_1", "z_2"),
      ((X, Y), {"temperature": -1.0}, ValueError, "temperature must be in"),
    ],
  )


def test_dcl_loss():
  check_kernel(
    dcl_loss,
    (X, Y),
    kwargs={"temperature": 0.3},
    oracle=partial(views_oracle, decoupled=True),
    batch_coupled=True,
    extreme=EXTREME,
    bad_inputs=[
      *bad_inputs("z_1", "z_2"),
      ((X, Y), {"weight_temperature": 0.0}, ValueError, "weight_temperature must be in"),
      ((X[:1], Y[:1]), {}, ValueError, "z_1 must have at least 2 rows"),
    ],
  )


def test_clip_loss():
  def loss(u, v, logit_scale, **kwargs):
    return clip_loss(u, v, logit_scale=logit_scale, **kwargs)

  scale = np.float32(5)
  check_kernel(
    loss,
    (X, Y, scale),
    kwargs={"label_smoothing": 0.1},
    oracle=clip_oracle,
    batch_axes=(0, 0, None),
    batch_coupled=True,
    extreme=[(*point, scale) for point in EXTREME],
    bad_inputs=[
      *[((*args, 5.0), *rest) for args, *rest in bad_inputs("image", "text")],
      ((X, Y, 0.0), {}, ValueError, "logit_scale must be in"),
      ((X, Y, 5.0), {"label_smoothing": 2.0}, ValueError, "label_smoothing must be in"),
    ],
  )


def test_siglip_loss():
  def loss(u, v, logit_scale, logit_bias, **kwargs):
    return siglip_loss(u, v, logit_scale=logit_scale, logit_bias=logit_bias, **kwargs)

  scalars = np.float32(5), np.float32(-3)
  check_kernel(
    loss,
    (X, Y, *scalars),
    kwargs=BLOCK,
    oracle=siglip_oracle,
    batch_axes=(0, 0, None, None),
    batch_coupled=True,
    extreme=[(*point, *scalars) for point in EXTREME],
    bad_inputs=[
      *[((*args, 5.0, 0.0), *rest) for args, *rest in bad_inputs("image", "text")],
      ((X, Y, -1.0, 0.0), {}, ValueError, "logit_scale must be in"),
      ((X, Y, 5.0, np.inf), {}, ValueError, "logit_bias must be in"),
    ],
  )


def test_sup_con():
  check_kernel(
    sup_con,
    (X, LABELS),
    kwargs={"temperature": 0.3},
    oracle=sup_con_oracle,
    batch_coupled=True,
    extreme=[(1e3 * X, LABELS), (0 * X, LABELS)],
    bad_inputs=[
      ((X.astype(int), LABELS), {}, TypeError, "z must be a floating point"),
      ((X[0], LABELS), {}, ValueError, "z must have 2 axes"),
      ((X, X[:, 0]), {}, TypeError, "labels must be integers"),
      ((X, LABELS[:5]), {}, ValueError, "labels must have shape"),
      ((X, LABELS), {"temperature": 0.0}, ValueError, "temperature must be in"),
    ],
  )


def test_uniformity():
  check_kernel(
    uniformity,
    (X,),
    kwargs={"t": 3.0},
    oracle=lambda z, t, **_: np.log(np.mean(np.exp(-t * distance.pdist(z) ** 2))),
    batch_coupled=True,
    extreme=[(1e3 * X,), (0 * X,)],
    bad_inputs=[
      ((X.astype(int),), {}, TypeError, "z must be a floating point"),
      ((X[0],), {}, ValueError, "z must have 2 axes"),
      ((X[:1],), {}, ValueError, "z must have at least 2 rows"),
      ((X,), {"t": 0.0}, ValueError, "t must be in"),
    ],
  )


def test_spectral_contrastive_loss():
  def oracle(z_1, z_2):
    rows = range(len(z_1))
    squares = [np.mean([(z_1[i] @ z_2[j]) ** 2 for j in rows if j != i]) for i in rows]
    return np.array([-2 * z_1[i] @ z_2[i] + squares[i] for i in rows])

  check_kernel(
    spectral_contrastive_loss,
    (X, Z),
    oracle=oracle,
    batch_coupled=True,
    extreme=EXTREME,
    bad_inputs=[
      *bad_inputs("z_1", "z_2", block=False),
      ((X[:1], Y[:1]), {}, ValueError, "z_1 must have at least 2 rows"),
    ],
  )


def test_alignment():
  check_kernel(
    alignment,
    (X, Y),
    kwargs={"alpha": 1.0},
    oracle=lambda a, b, alpha: np.array([distance.euclidean(u, v) for u, v in zip(a, b)]),
    extreme=[(X, X), (1e4 * X, Y)],
    bad_inputs=[
      *bad_inputs("z_1", "z_2", block=False),
      ((X, Y), {"alpha": 0.0}, ValueError, "alpha must be in"),
    ],
  )


def test_triplet_loss():
  def oracle(a, p, n, margin):
    squared = distance.sqeuclidean
    gaps = [squared(u, v) - squared(u, w) for u, v, w in zip(a, p, n)]
    return np.maximum(np.array(gaps) + margin, 0)

  check_kernel(
    triplet_loss,
    (X, Y, Z),
    kwargs={"margin": 0.5},
    oracle=oracle,
    extreme=[(1e4 * X, -1e4 * Y, Z), (X, X, X)],
    bad_inputs=[
      ((X, Y.astype(int), Z), {}, TypeError, "positive must be a floating point"),
      ((X[0], Y[0], Z[0]), {}, ValueError, "anchor must have 2 axes"),
      ((X, Y, Z[:5]), {}, ValueError, "anchor and positive and negative must have the same shape"),
      ((X, Y, Z), {"margin": -1.0}, ValueError, "margin must be in"),
    ],
  )


def test_l2_normalize():
  check_kernel(
    l2_normalize,
    (Z,),
    oracle=lambda z: np.stack([row / np.linalg.norm(row) for row in z]),
    extreme=[(1e30 * Z,), (1e-30 * Z,), (0 * Z,)],
    bad_inputs=[((Z.astype(int),), {}, TypeError, "z must be a floating point")],
  )
  norms = np.linalg.norm(l2_normalize(1e-30 * Z), axis=1)
  np.testing.assert_allclose(norms, 1, rtol=1e-6)


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
