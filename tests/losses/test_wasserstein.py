"""The Wasserstein dependency against optimal transport, the gradient penalty against closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial import distance

from latentjax.losses.information import gradient_penalty, wasserstein_dependency

B, D, E = 8, 3, 2
RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((B, B))
X, Y, W = RNG.standard_normal((B, D)), RNG.standard_normal((B, E)), RNG.standard_normal((D, E))


def test_wasserstein_dependency():
  check_kernel(
    wasserstein_dependency,
    [SCORES],
    oracle=lambda s: np.array([s[i, i] - np.delete(s[i], i).mean() for i in range(B)]),
    batch_coupled=True,
    extreme=[[1e4 * SCORES], [0 * SCORES]],
    bad_inputs=[
      ([SCORES.astype(int)], {}, TypeError, "scores must be a floating point"),
      ([SCORES[:, :7]], {}, ValueError, "one column for each of the 8 rows"),
      ([SCORES[:1, :1]], {}, ValueError, "at least 2 rows"),
    ],
  )


def test_best_critic_reaches_the_cost_of_transport():
  """The dual by linear programming, evaluated as scores, is the primal by assignment."""
  size = 4
  x, y = RNG.standard_normal((2, size, 2))
  pairs = np.array([np.concatenate([x[i], y[j]]) for i in range(size) for j in range(size)])
  cost = distance.cdist(pairs, pairs)
  is_joint = np.eye(size, dtype=bool).ravel()
  joint, product = np.repeat(np.flatnonzero(is_joint), size - 1), np.flatnonzero(~is_joint)
  transport = cost[joint, :][:, product]
  expected = transport[linear_sum_assignment(transport)].mean()
  weights = np.where(is_joint, 1 / size, -1 / (size * (size - 1)))
  i, j = np.nonzero(~np.eye(size**2, dtype=bool))
  slopes = np.zeros((len(i), size**2))
  slopes[range(len(i)), i], slopes[range(len(i)), j] = 1, -1
  critic = linprog(-weights, A_ub=slopes, b_ub=cost[i, j], bounds=(None, None)).x
  found = wasserstein_dependency(critic.reshape(size, size)).mean()
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def penalty(x, y, w, **kwargs):
  """Of the critic x' W y + |y|^2, whose gradients are W y and W' x + 2 y."""
  return gradient_penalty(x, y, lambda x, y: jnp.sum((x @ w + y) * y, axis=1), **kwargs)


def oracle(x, y, w, slope=1.0, one_sided=False):
  norms = np.sqrt([np.sum((w @ b) ** 2) + np.sum((w.T @ a + 2 * b) ** 2) for a, b in zip(x, y)])
  return (np.maximum(norms - slope, 0) if one_sided else norms - slope) ** 2


def test_gradient_penalty():
  args = (X, Y, W)
  check_kernel(
    penalty,
    args,
    oracle=oracle,
    kwargs={"slope": 3.0},
    batch_axes=(0, 0, None),
    extreme=[(0 * X, 0 * Y, W), (1e4 * X, -1e4 * Y, W)],
    bad_inputs=[
      ((X.astype(int), Y, W), {}, TypeError, "x must be a floating point"),
      ((X[:4], Y, W), {}, ValueError, "x and y must have the same number of rows"),
      (args, {"slope": -1.0}, ValueError, "slope must be in"),
    ],
  )
  one_sided = jax.jit(partial(penalty, slope=3.0, one_sided=True))(*args)
  expected = oracle(*args, slope=3.0, one_sided=True)
  assert 0 < np.count_nonzero(expected) < B
  np.testing.assert_allclose(one_sided, expected, rtol=1e-4, atol=1e-6)
  with pytest.raises(ValueError, match="critic_fn must return shape"):
    gradient_penalty(X, Y, lambda x, y: jnp.sum(x))
