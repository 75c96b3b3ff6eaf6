"""The categorical criteria tell product maps from others, and from each other, as the paper does."""

import itertools
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from scipy.stats import entropy

from latentjax.metrics import (
  equivariance_defect,
  modularity_defect,
  monomorphism_defect,
  product_morphism_defect,
  relation_defect,
  stochastic_defect,
)

SIZES = (8, 3, 4)
RNG = np.random.default_rng(0)
GRID = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), axis=-1).astype(np.float32)
CODES = RNG.standard_normal((*SIZES, 2)).astype(np.float32)


def open_variance(codes, assignment):
  """Total variance minus that between the values of the factor."""
  shares = []
  for j, factor in enumerate(assignment):
    z = codes[..., j]
    others = tuple(i for i in range(z.ndim) if i != factor)
    shares.append(1 - z.mean(others).var() / z.var())
  return np.array(shares)


def test_modularity_of_grids():
  check_kernel(
    modularity_defect,
    (CODES,),
    oracle=open_variance,
    kwargs={"assignment": (2, 0)},
    batch_axes=0,
    extreme=[(0 * CODES,), (1e15 * CODES,)],
    rtol=1e-4,
    bad_inputs=[
      ((CODES,), {"assignment": None}, ValueError, "assignment must be 2 of the factors"),
      ((CODES,), {"assignment": (0, 3)}, ValueError, "of the factors 0 to 2"),
      ((GRID.astype(int),), {"assignment": (0, 1, 2)}, TypeError, "codes_grid must be a floating"),
    ],
  )
  run = fast_jit(modularity_defect)
  np.testing.assert_allclose(run(np.sin(GRID) * np.array([1, -2, 0], np.float32)), 0, atol=1e-6)
  broken = np.where(np.arange(3) == 1, np.float32(np.nan), GRID)
  np.testing.assert_array_equal(run(broken), [0, np.nan, 0])
  # A rotation by an angle leaves open the share sin^2 that comes from the other, for equal variances.
  angle = 0.3
  y = GRID / GRID.std((0, 1, 2))
  y[..., :2] = y[..., :2] @ np.array(
    [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32
  )
  np.testing.assert_allclose(run(y), [np.sin(angle) ** 2] * 2 + [0], atol=1e-5)


def test_functions_and_equivariant_maps_differ():
  """A rotated code is equivariant under the rotated action, and no product; it is not ambiguous."""
  rows = np.random.default_rng(1).permutation(GRID.reshape(-1, 3))
  angles = (2 * np.pi * rows[:, :2] / SIZES[:2]).astype(np.float32)
  rotation = np.linalg.qr(RNG.standard_normal((4, 4)))[0].astype(np.float32)
  turn = lambda t: np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
  action = np.eye(4, dtype=np.float32)
  action[::2, ::2] = turn(2 * np.pi / SIZES[0])  # of the first angle alone, on its cosine and sine

  def circles(y):
    return jnp.concatenate([jnp.cos(y), jnp.sin(y)], axis=1)

  @fast_jit
  def defects(y):
    move = lambda y: y + jnp.array([2 * np.pi / SIZES[0], 0.0])
    rotated = lambda y: circles(y) @ rotation
    own = equivariance_defect(y, circles, move, lambda z: z @ action)
    of_rotated = equivariance_defect(y, rotated, move, lambda z: z @ rotation.T @ action @ rotation)
    same_action = equivariance_defect(y, rotated, move, lambda z: z @ action)
    return own, of_rotated, same_action

  own, of_rotated, same_action = defects(angles)
  np.testing.assert_allclose([own, of_rotated], 0, atol=1e-5)
  assert float(same_action) > 0.05
  grid = (GRID - GRID.mean((0, 1, 2))) / GRID.std((0, 1, 2))
  mixing = np.linalg.qr(RNG.standard_normal((3, 3)))[0].astype(np.float32)
  mixed = fast_jit(lambda y: product_morphism_defect(y, lambda y: jnp.asarray(y) @ mixing))
  many = grid.reshape(-1, 3)[RNG.integers(grid.size // 3, size=20000)]
  np.testing.assert_allclose(mixed(many), 1 - np.diag(mixing) ** 2, atol=0.03)
  np.testing.assert_allclose(mixed(many), open_variance(grid @ mixing, (0, 1, 2)), atol=0.03)
  product = fast_jit(lambda y: product_morphism_defect(y, lambda y: jnp.sin(y) * jnp.arange(3)))
  np.testing.assert_array_equal(product(many), 0)
  many[0, 1] = np.inf  # of which the sine is nan
  assert np.isnan(product(many)[1])


def test_modular_codes_that_cannot_be_decoded():
  run = fast_jit(partial(monomorphism_defect, block_size=16))
  codes = GRID.reshape(-1, 3)
  assert float(run(codes)) == 0
  assert float(run(codes @ np.linalg.qr(RNG.standard_normal((3, 3)))[0].astype(np.float32))) == 0
  assert float(run(codes, tolerance=1.0)) == 1
  assert np.isnan(run(np.where(codes == 5, np.float32(np.nan), codes)))
  folded = codes.copy()
  folded[:, 0] = np.minimum(folded[:, 0], 6)  # two of eight values fall together
  assert float(run(folded)) == 0.25


def product_closure(relation):
  """Pairs of tuples that are related factor by factor, by enumeration."""
  n = relation.ndim // 2
  related = [{(i[k], i[n + k]) for i in np.argwhere(relation)} for k in range(n)]
  indices = itertools.product(*map(range, relation.shape))
  return sum(all((i[k], i[n + k]) in related[k] for k in range(n)) for i in indices)


def test_relations():
  run = fast_jit(relation_defect)
  for density in (0.05, 0.3, 1.0):
    relation = RNG.uniform(size=(2, 3, 3, 2)) < density
    expected = 1 - relation.sum() / product_closure(relation)
    assert float(run(relation)) == pytest.approx(expected, abs=1e-6)
  parts = [RNG.uniform(size=(2, 3)) < 0.5, RNG.uniform(size=(3, 2)) < 0.5]
  assert float(run(np.einsum("ac,bd->abcd", *parts))) == 0
  assert float(run(np.zeros((2, 3, 3, 2), bool))) == 0


def divergences(kernel, prior):
  """E KL(p(z|y) || prod p(z_i|y_i)) and E KL(p(z|y) || prod p(z_i|y)), over tuples one by one."""
  total, dependence = 0, 0
  joint = prior[:, :, None, None] * kernel
  first = joint.sum((1, 3)) / joint.sum((1, 2, 3))[:, None]
  second = joint.sum((0, 2)) / joint.sum((0, 2, 3))[:, None]
  for a, b in np.ndindex(*prior.shape):
    p = kernel[a, b]
    total += prior[a, b] * entropy(p.ravel(), np.outer(first[a], second[b]).ravel())
    dependence += prior[a, b] * entropy(p.ravel(), np.outer(p.sum(1), p.sum(0)).ravel())
  return total, dependence


def test_stochastic_maps():
  run = fast_jit(stochastic_defect)
  kernel = RNG.dirichlet(np.ones(6), size=(2, 3)).reshape(2, 3, 3, 2)
  prior = RNG.dirichlet(np.ones(6)).reshape(2, 3)
  found = run(kernel.astype(np.float32), prior=prior)
  np.testing.assert_allclose([found.total, found.dependence], divergences(kernel, prior), rtol=1e-4)
  np.testing.assert_allclose(found.total, found.dependence + found.leakage.sum(), rtol=1e-5)
  parts = [RNG.dirichlet(np.ones(m), size=n) for n, m in ((2, 3), (3, 2))]
  product = run(np.einsum("ac,bd->abcd", *parts).astype(np.float32), prior=prior)
  np.testing.assert_allclose(product.total, 0, atol=1e-5)
  # A function that swaps its factors is independent given all of them, and follows the wrong one.
  swap = np.einsum("ad,bc->abcd", np.eye(2), np.eye(2)).astype(np.float32)
  found = run(swap, prior=np.ones((2, 2)))
  np.testing.assert_allclose(found.leakage, np.log(2), rtol=1e-5)
  assert float(found.dependence) == 0


@pytest.mark.parametrize(
  ("call", "error", "match"),
  [
    (lambda: product_morphism_defect(GRID, jnp.sin), ValueError, "factors must have 2 axes"),
    (lambda: product_morphism_defect(GRID[0, 0, :1], jnp.sin), ValueError, "at least 2 rows"),
    (lambda: product_morphism_defect(GRID[0, 0], lambda y: y[:, :1]), ValueError, "codes of shape"),
    (
      lambda: equivariance_defect(GRID[0, 0], lambda y: y, lambda y: y, lambda z: z[:, :1]),
      ValueError,
      "must have the same shape",
    ),
    (lambda: equivariance_defect(1.0, *[lambda y: y] * 3), ValueError, "factors must have a batch"),
    (lambda: equivariance_defect(GRID, *[lambda y: y] * 3), ValueError, "encode_fn must return"),
    (lambda: modularity_defect(1.0), ValueError, "codes_grid must have shape"),
    (lambda: modularity_defect(GRID[:0]), ValueError, "codes_grid must have shape"),
    (lambda: monomorphism_defect(GRID), ValueError, "codes must have 2 axes"),
    (lambda: monomorphism_defect(GRID[0, 0], tolerance=-1.0), ValueError, "tolerance must be"),
    (lambda: relation_defect(np.ones((2, 2))), TypeError, "relation must be boolean"),
    (lambda: relation_defect(np.ones((2, 2, 2), bool)), ValueError, "one axis for each factor"),
    (lambda: stochastic_defect(np.ones((2, 2), int)), TypeError, "kernel must be a floating"),
    (lambda: stochastic_defect(np.ones((2, 2)), prior=np.ones(3)), ValueError, "prior must have"),
  ],
)
def test_refusals(call, error, match):
  with pytest.raises(error, match=match):
    call()
