"""Coding rates against singular values, memberships against alternating normalisation."""

import jax
import numpy as np
import pytest
from contract import check_kernel
from split import check_split

from latentjax.losses.contrastive import (
  coding_rate,
  coding_rate_reduction,
  doubly_stochastic_membership,
  l2_normalize,
)

RNG = np.random.default_rng(0)
B, D, J = 8, 3, 5
Z = np.array(l2_normalize(RNG.standard_normal((B, D)).astype(np.float32)))
WIDE = np.array(l2_normalize(RNG.standard_normal((B, 11)).astype(np.float32)))
SHARES = RNG.dirichlet(np.ones(J), B).astype(np.float32)


def rate(z, count, eps):
  return np.sum(np.log1p(z.shape[1] / (count * eps**2) * np.linalg.svd(z)[1] ** 2)) / 2


def reduction(z, shares, eps=0.5):
  sizes = shares.sum(0)
  parts = [n * rate(np.sqrt(s)[:, None] * z, n, eps) for n, s in zip(sizes, shares.T)]
  return rate(z, len(z), eps) - sum(parts) / len(z)


def membership_oracle(c, eta=0.1):
  gamma = np.exp((c @ c.T - 1) / eta)
  for _ in range(20_000):
    gamma /= gamma.sum(1, keepdims=True)
    gamma /= gamma.sum(0)
  return gamma


def test_coding_rate_reduction():
  """Five clusters over four and eight devices: some have none, and some a cluster with no example."""
  check_kernel(
    coding_rate_reduction,
    (Z, SHARES),
    oracle=lambda z, shares, **_: reduction(z, shares),
    batch_coupled=True,
    extreme=[(30 * Z, SHARES), (0 * Z + 1, SHARES), (Z, np.eye(B, J, dtype=np.float32))],
    bad_inputs=[
      ((Z.astype(int), SHARES), {}, TypeError, "z must be a floating point"),
      ((Z[0], SHARES), {}, ValueError, "z must have 2 axes"),
      ((Z, SHARES[:4]), {}, ValueError, "membership must have 8 rows"),
      ((Z, SHARES), {"eps": 0.0}, ValueError, "eps must be in"),
      ((Z, SHARES), {"block_size": 0}, ValueError, "block_size must be a positive integer"),
    ],
  )


def test_more_dimensions_than_rows():
  def fn(z, shares, axis_name):
    return {
      "rate": coding_rate(z, axis_name=axis_name),
      "reduction": coding_rate_reduction(z, shares, eps=0.3, axis_name=axis_name, block_size=1),
    }

  expected = lambda z, shares: {"rate": rate(z, B, 0.5), "reduction": reduction(z, shares, 0.3)}
  check_split(fn, [WIDE.astype(np.float64), SHARES.astype(np.float64)], expected)


def test_doubly_stochastic_membership():
  check_kernel(
    doubly_stochastic_membership,
    (Z,),
    oracle=lambda c, **_: membership_oracle(c),
    kwargs={"num_iterations": 60},
    batch_coupled=True,
    extreme=[(30 * Z,), (0 * Z,)],
    rtol=1e-4,
    bad_inputs=[
      ((Z.astype(int),), {}, TypeError, "c must be a floating point"),
      ((Z[0],), {}, ValueError, "c must have 2 axes"),
      ((Z,), {"eta": 0.0}, ValueError, "eta must be in"),
      ((Z,), {"num_iterations": 0}, ValueError, "num_iterations must be a positive integer"),
    ],
  )


def test_orthogonal_subspaces_are_the_optimum():
  """Two clusters that fill two planes against the same points with the planes turned together."""

  plane = np.concatenate([np.eye(2), -np.eye(2)])
  first = lambda angle: np.concatenate([np.cos(angle) * plane, np.sin(angle) * plane], axis=1)
  run = jax.jit(lambda z: coding_rate_reduction(z, np.repeat(np.eye(2), 4, axis=0)))
  angles = np.linspace(np.pi / 2, 0, 4)
  values = [float(run(np.concatenate([first(0), first(angle)]))) for angle in angles]
  assert np.all(np.diff(values) < -1e-3)
  np.testing.assert_allclose(values[-1], 0, atol=1e-5)  # both fill the same plane: nothing is saved


@pytest.mark.parametrize("eta", [0.05, 1.0])
def test_default_iterations_suffice(eta):
  gamma = np.asarray(jax.jit(lambda c: doubly_stochastic_membership(c, eta=eta))(Z))
  np.testing.assert_allclose(gamma, gamma.T, rtol=1e-5)
  np.testing.assert_allclose(gamma.sum(0), 1, atol=1e-3)
