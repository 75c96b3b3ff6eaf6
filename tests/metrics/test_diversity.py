"""Vendi scores against singular values and scipy's entropy; sets of which the number is known."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from scipy import stats

from latentjax.metrics import kernel_vendi_score, vendi_score

RNG = np.random.default_rng(0)
ORDERS = (0.5, 1.0, 2.0, np.inf)
Z = RNG.standard_normal((16, 4)) * [0.3, 1.0, 1.0, 2.0] + 0.2


def scores(z, axis_name=None):
  return {str(q): vendi_score(z, order=q, axis_name=axis_name) for q in ORDERS}


def of_kernel(similarity):
  return {str(q): kernel_vendi_score(similarity, order=q) for q in ORDERS}


def oracle(p):
  """Of a distribution: Hill numbers."""
  numbers = {q: np.sum(p**q) ** (1 / (1 - q)) for q in (0.5, 2.0)}
  numbers |= {1.0: np.exp(stats.entropy(p)), np.inf: 1 / p.max()}
  return {str(q): numbers[q] for q in ORDERS}


def test_features():
  check_kernel(
    scores,
    (Z,),
    oracle=lambda z: oracle(
      np.linalg.svd(z / np.linalg.norm(z, axis=1, keepdims=True) / 4, compute_uv=False) ** 2
    ),
    batch_coupled=True,
    extreme=[(1e18 * Z,), (1e-18 * Z,)],
    bad_inputs=[
      ((Z.astype(int),), {}, TypeError, "z must be a floating point"),
      ((Z[0],), {}, ValueError, "z must have 2 axes"),
    ],
  )


def test_similarities():
  points = RNG.standard_normal((8, 3))
  kernel = np.exp(-np.sum((points[:, None] - points) ** 2, axis=-1) / 2)
  check_kernel(
    of_kernel,
    (kernel,),
    oracle=lambda k: oracle(np.linalg.svd(k / 8, compute_uv=False)),
    batch_axes=None,
    out_axes=None,
    bad_inputs=[
      ((kernel[:3],), {}, ValueError, r"similarity must be of shape \(B, B\)"),
      ((kernel.astype(int),), {}, TypeError, "similarity must be a floating point"),
    ],
    rtol=1e-4,
  )


def test_sets_whose_number_is_known():
  groups = np.eye(5)[np.arange(15) % 3]  # three kinds, equally common, whatever the order

  @fast_jit
  def run(z):
    score = functools.partial(vendi_score, z)
    return [score(order=q) for q in (0, 128.0, *ORDERS)], kernel_vendi_score(jnp.eye(7), order=0)

  found, different = run(jnp.asarray(groups))
  np.testing.assert_allclose(found, 3.0, rtol=1e-5)
  assert different == pytest.approx(7)
  assert np.isnan(run(np.where(np.arange(15)[:, None] == 3, np.nan, groups))[0]).all()
  with pytest.raises(ValueError, match="order must be in"):
    vendi_score(Z, order=-1.0)
  with pytest.raises(ValueError, match="order must be in"):
    kernel_vendi_score(np.eye(2), order=-1.0)


def test_orders_near_one():
  """1 / (1 - q) times the rounding of a sum of 1 would be left of the digits."""
  p = np.linalg.eigvalsh(Z.T @ (Z / np.square(np.linalg.norm(Z, axis=1, keepdims=True))) / len(Z))
  run = fast_jit(
    lambda z: [vendi_score(z, order=q) for q in (0.95, 0.9999, 1 - 1e-7, 1.00001, 1.08)]
  )
  expected = [
    np.exp(np.log(np.sum(p**q)) / (1 - q)) for q in (0.95, 0.9999, 1 - 1e-7, 1.00001, 1.08)
  ]
  np.testing.assert_allclose(run(np.float32(Z)), expected, rtol=2e-6)
