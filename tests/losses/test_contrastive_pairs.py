"""Batch-coupled contrastive losses against loops over pairs, over devices, in blocks, at their limits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel, fast_jit
from contrastive_oracles import (
  BLOCK,
  EXTREME,
  LABELS,
  X,
  Y,
  Z,
  clip_oracle,
  info_nce_oracle,
  siglip_oracle,
  sup_con_oracle,
  views_oracle,
)
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy.spatial import distance

from latentjax.losses.contrastive import (
  alignment,
  clip_loss,
  cross_uniformity,
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
    kwargs={"label_smoothing": 0.1, "block_size": 2},
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
    kwargs={"block_size": 2},  # 8 devices: the second of two blocks is filled up
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


def test_uniformity_of_one_set_and_of_two():
  def losses(u, v, **kwargs):
    return uniformity(u, **kwargs), cross_uniformity(u, v, **BLOCK, **kwargs)

  def oracle(u, v, t):
    apart = [distance.euclidean(u[i], v[j]) for i in range(len(u)) for j in range(len(u)) if i != j]
    means = np.mean(np.exp(-t * distance.pdist(u) ** 2)), np.mean(np.exp(-t * np.square(apart)))
    return tuple(np.log(means))

  check_kernel(
    losses,
    (X, Y),
    kwargs={"t": 3.0},
    oracle=oracle,
    batch_coupled=True,
    extreme=EXTREME,
    bad_inputs=[
      ((X.astype(int), Y), {}, TypeError, "z must be a floating point"),
      ((X, Y.astype(int)), {}, TypeError, "text must be a floating point"),
      ((X[0], Y), {}, ValueError, "z must have 2 axes"),
      ((X, Y[:5]), {}, ValueError, "image and text must have the same shape"),
      ((X[:1], Y[:1]), {}, ValueError, "z must have at least 2 rows"),
      ((X, Y), {"t": 0.0}, ValueError, "t must be in"),
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


def test_on_a_mesh_of_explicit_axes():
  """As on one device, in a ring and where the compiler is left to split."""
  views = l2_normalize(np.random.default_rng(3).standard_normal((2, 16, 4)).astype(np.float32))
  run = lambda fn: fast_jit(jax.value_and_grad(lambda *z: jnp.mean(fn(*z)), argnums=(0, 1)))
  expected = jax.device_get(run(nt_xent)(*views))
  mesh, rows = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,)), P("data")
  with jax.set_mesh(mesh):
    split = [jax.device_put(z, NamedSharding(mesh, rows)) for z in np.asarray(views)]
    around = partial(nt_xent, axis_name="data", block_size=2)
    ring = jax.shard_map(around, in_specs=rows, out_specs=rows)
    for fn in (ring, jax.sharding.auto_axes(nt_xent, out_sharding=rows)):
      found = jax.device_get(run(fn)(*split))
      jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, expected)
