"""Coding rates against singular values, memberships against alternating normalisation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from split import check_split

from latentjax.collectives import device_mean
from latentjax.losses.contrastive import (
  coding_rate,
  coding_rate_reduction,
  doubly_stochastic_membership,
  l2_normalize,
)

RNG = np.random.default_rng(0)
B, D, J = 8, 3, 5
Z = np.array(l2_normalize(RNG.standard_normal((B, D)).astype(np.float32)))
COLUMNS = RNG.standard_normal(B).astype(np.float32)
SHARES = RNG.dirichlet(np.ones(J), B).astype(np.float32)


def rate(z, count, eps):
  return np.sum(np.log1p(z.shape[1] / (count * eps**2) * np.linalg.svd(z)[1] ** 2)) / 2


def reduction(z, shares, eps=0.5):
  sizes = shares.sum(0)
  parts = [n * rate(np.sqrt(s)[:, None] * z, n, eps) for n, s in zip(sizes, shares.T)]
  return rate(z, len(z), eps) - sum(parts) / len(z)


def membership_oracle(c, eta=0.1):
  gamma = np.exp((c @ c.T - 1) / eta)
  for _ in range(50_000):
    gamma /= gamma.sum(1, keepdims=True)
    gamma /= gamma.sum(0)
  return gamma


def widen(z):
  """More dimensions than rows."""
  numpy = np if isinstance(z, np.ndarray) else jnp
  return numpy.concatenate([z, *(numpy.sin(k * z + k) for k in (1, 2, 3))], axis=1)


def kernels(z, shares, axis_name):
  """Five clusters over four and eight devices: some have none."""
  run = {"axis_name": axis_name}
  gamma = doubly_stochastic_membership(z, num_iterations=60, **run)
  return {
    "rate": coding_rate(z, **run),
    "wide": coding_rate(widen(z), **run),
    "reduction": coding_rate_reduction(z, shares, **run),
    "membership": device_mean(jnp.mean(z[:, :1] * gamma * COLUMNS), axis_name),
  }


def oracle(z, shares):
  return {
    "rate": rate(z, B, 0.5),
    "wide": rate(widen(z), B, 0.5),
    "reduction": reduction(z, shares),
    "membership": np.mean(z[:, :1] * membership_oracle(z) * COLUMNS),
  }


def test_kernels():
  check_split(kernels, (Z.astype(np.float64), SHARES.astype(np.float64)), oracle)


def test_blocks_of_clusters_and_more_dimensions_than_rows():
  """Zeros for dimensions, made up for in eps: the other determinant."""

  def run(z, pad, block_size):
    z = jnp.pad(z, ((0, 0), (0, pad)))
    eps = 0.5 * (1 + pad / D) ** 0.5
    return coding_rate_reduction(z, SHARES, eps=eps, block_size=block_size)

  cases = ((0, None), (0, 2), (8, None))
  grads = jax.jit(lambda z: [jax.value_and_grad(run)(z, *case) for case in cases])
  (value, grad), *others = grads(Z)
  np.testing.assert_allclose(value, reduction(Z, SHARES), rtol=1e-5)
  for other, other_grad in others:
    np.testing.assert_allclose(other, value, rtol=1e-5)
    np.testing.assert_allclose(other_grad, grad, rtol=1e-3, atol=1e-5)
  for z in (0 * Z, 30 * Z, 0 * Z + 1):
    assert all(np.isfinite(part).all() for part in jax.tree.leaves(grads(z)))


def test_memberships_of_extreme_heads():
  run = jax.jit(jax.value_and_grad(lambda c: doubly_stochastic_membership(c, eta=0.01)[0, 1]))
  for c in (0 * Z, 30 * Z, 0 * Z + 1):
    assert all(np.isfinite(part).all() for part in run(c))


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(coding_rate, Z[0]), "z must have 2 axes"),
    (partial(coding_rate_reduction, Z, SHARES[:4]), "membership must have 8 rows"),
    (partial(coding_rate_reduction, Z, SHARES[0]), "membership must have 2 axes"),
    (partial(coding_rate_reduction, Z, SHARES, block_size=0), "block_size must be a positive"),
    (partial(coding_rate, Z, eps=-1.0), "eps must be in"),
    (partial(doubly_stochastic_membership, Z, eta=0.0), "eta must be in"),
    (
      partial(doubly_stochastic_membership, Z, num_iterations=0),
      "num_iterations must be a positive",
    ),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_orthogonal_subspaces_are_the_optimum():
  """Two clusters that fill two planes against the same points with the planes turned together."""

  plane = np.concatenate([np.eye(2), -np.eye(2)])
  first = lambda angle: np.concatenate([np.cos(angle) * plane, np.sin(angle) * plane], axis=1)
  run = jax.jit(lambda z: coding_rate_reduction(z, np.repeat(np.eye(2), 4, axis=0)))
  angles = np.linspace(np.pi / 2, 0, 4)
  values = [float(run(np.concatenate([first(0), first(angle)]))) for angle in angles]
  assert np.all(np.diff(values) < -1e-3)
  np.testing.assert_allclose(values[-1], 0, atol=1e-5)  # both fill the same plane: nothing is saved


def test_default_iterations_suffice():
  gamma = np.asarray(jax.jit(partial(doubly_stochastic_membership, eta=0.05))(Z))
  np.testing.assert_allclose(gamma, gamma.T, rtol=1e-5)
  np.testing.assert_allclose(gamma.sum(0), 1, atol=1e-3)
