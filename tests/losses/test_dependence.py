"""HSIC and Cauchy-Schwarz measures against Gram matrices, sums over tuples and closed forms."""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats
from scipy.spatial import distance
from split import check_split

from latentjax.losses.information import (
  cs_conditional_divergence,
  cs_divergence,
  cs_information,
  hsic,
  hsic_bottleneck_loss,
  normalized_hsic,
)

B, D, E = 8, 3, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D)) + 5
Y = X[:, :E] + 0.5 * RNG.standard_normal((B, E))
H = 1.5


def gram(a, b, h):
  return np.exp(-distance.cdist(a, b, "sqeuclidean") / h / 2)


def unbiased(x, y, **_):
  """Song et al.: means over tuples of different rows."""
  k, values = gram(x, x, 2 * D), gram(y, y, H)
  tuples = lambda count: np.array(list(permutations(range(len(x)), count))).T
  pairs, triples, quadruples = (tuples(count) for count in (2, 3, 4))
  return (
    np.mean(k[tuple(pairs)] * values[tuple(pairs)])
    + np.mean(k[tuple(quadruples[:2])] * values[tuple(quadruples[2:])])
    - 2 * np.mean(k[tuple(triples[:2])] * values[tuple(triples[[0, 2]])])
  )


def test_hsic():
  args = (X, Y)
  check_kernel(
    hsic,
    args,
    kwargs={"bandwidth_y": H, "estimator": "unbiased"},
    oracle=unbiased,
    batch_coupled=True,
    rtol=1e-4,
    atol=2e-6,
    extreme=[(1e3 * X, -1e3 * Y), (0 * X, 0 * Y)],
    bad_inputs=[
      ((X.astype(int), Y), {}, TypeError, "x must be a floating point"),
      ((X[0], Y), {}, ValueError, "x must have 2 axes"),
      ((X[:4], Y), {}, ValueError, "x and y must have the same number of rows"),
      ((X[:3], Y[:3]), {}, ValueError, "'unbiased' must have at least 4 rows"),
      (args, {"block_size": 0}, ValueError, "block_size must be a positive integer"),
      (args, {"bandwidth_x": 0.0}, ValueError, "bandwidth_x must be in"),
      (args, {"estimator": "exact"}, ValueError, "estimator must be one of"),
    ],
  )


def shared_directions(x, y, h_x, h_y, epsilon):
  """Cosines of the eigenvectors of the centred Gram matrices, weighted by the eigenvalues."""
  centring = np.eye(len(x)) - 1 / len(x)
  pairs = [np.linalg.eigh(centring @ gram(a, a, h) @ centring) for a, h in ((x, h_x), (y, h_y))]
  share_x, share_y = (values / (values + epsilon * len(x)) for values, _ in pairs)
  return share_x @ (pairs[0][1].T @ pairs[1][1]) ** 2 @ share_y


def test_hsic_bottleneck():
  z = np.tanh(X[:, ::-1] - 5)
  args = (z, X, Y)
  check_kernel(
    hsic_bottleneck_loss,
    args,
    kwargs={"beta": 2.0, "bandwidth_x": H, "epsilon": 1e-2},
    oracle=lambda z, x, y, **_: (
      shared_directions(z, x, 25 * D, H, 1e-2) - 2 * shared_directions(z, y, 25 * D, 25 * E, 1e-2)
    ),
    batch_coupled=True,
    rtol=1e-4,
    atol=1e-5,
    extreme=[(1e3 * z, -1e3 * X, Y), (0 * z, 0 * X, 0 * Y)],
    bad_inputs=[
      ((z.astype(int), X, Y), {}, TypeError, "z must be a floating point"),
      ((z[:4], X, Y), {}, ValueError, "z and x and y must have the same number of rows"),
      (args, {"beta": -1.0}, ValueError, "beta must be in"),
      (args, {"bandwidth_z": 0.0}, ValueError, "bandwidth_z must be in"),
      (args, {"epsilon": 0.0}, ValueError, "epsilon must be in"),
    ],
  )


def test_normalized_hsic_counts_directions():
  """Of points far apart all but one, whatever the scales; of a constant none."""
  run = jax.jit(normalized_hsic)
  far = 100 * np.arange(B, dtype=np.float32)[:, None]
  np.testing.assert_allclose(run(far, far[::-1] ** 2), B - 1, rtol=1e-3)
  np.testing.assert_allclose(run(far, 0 * far), 0, atol=1e-6)
  # Two of them equal, thousands from the rest: one direction less, and a factorisation that exists.
  far = np.float32(
    [
      [0, 0, -1e4, -1e-4],
      [0, 0, -1e-4, -1e-4],
      [-1e4, -1e-4, -1e-4, 0],
      [0, 1e4, 1, -1e4],
      [0, -1e-4, 0, 0],
      [1, -1e4, 0, -1e-4],
    ]
  )
  for call in (run, normalized_hsic):
    np.testing.assert_allclose(call(far, far), len(far) - 2, rtol=1e-3)
  assert np.isfinite(jax.grad(run)(far, far)).all()


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(cs_information, X, Y, bandwidth_y=-1.0), "bandwidth_y must be in"),
    (partial(cs_conditional_divergence, X, Y, Y[:, :1]), "y and y_hat must have the same shape"),
    (partial(cs_divergence, X, X, bandwidth=-1.0), "bandwidth must be in"),
    (partial(cs_divergence, X, Y), "x and y must have the same last axis"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_blocks_over_devices():
  """Blocks that do not divide a device's three rows."""

  def fn(x, y, axis_name):
    run = {"axis_name": axis_name, "block_size": 2}
    return {
      "biased": hsic(x, y, bandwidth_x=H, **run),
      "conditional": cs_conditional_divergence(x, y, x[:, :E], bandwidth_x=H, **run),
      "divergence": cs_divergence(x[:, :E], y, bandwidth=H, **run),
      "information": cs_information(x, y, bandwidth_y=H, **run),
    }

  def expected(x, y):
    k, values, z = gram(x, x, 2 * D), gram(y, y, H), x[:, :E]
    centring = np.eye(len(x)) - 1 / len(x)
    overlap = gram(z, y, H).mean() ** 2 / (gram(z, z, H).mean() * values.mean())
    crossed = np.mean(k.mean(1) * values.mean(1))
    narrow = gram(x, x, H)
    conditional = [
      np.log(sum((narrow[j] @ m[j]) / narrow[j].sum() ** 2 for j in range(len(x))))
      for m in (gram(y, y, 2 * E), gram(z, z, 2 * E), gram(z, y, 2 * E))
    ]
    squares = np.trace(gram(x, x, H) @ centring @ gram(y, y, 2 * E) @ centring)
    return {
      "biased": squares / len(x) ** 2,
      "conditional": conditional[0] + conditional[1] - 2 * conditional[2],
      "divergence": -np.log(overlap),
      "information": np.log((k * values).mean() * k.mean() * values.mean() / crossed**2),
    }

  check_split(fn, [np.concatenate([array, 1.1 * array, 0.9 * array]) for array in (X, Y)], expected)


def test_zeros_and_closed_forms():
  """Quantiles of Gaussians, whose kernel means are Gaussian densities; a grid is independent."""
  x = stats.norm.ppf((np.arange(400) + 0.5) / 400)[:, None]
  grid = np.stack(np.meshgrid(x[::20, 0], x[::25, 0]), axis=-1).reshape(-1, 2)
  run = jax.jit(
    lambda x, a, b: (
      cs_divergence(x, x + 2, bandwidth=0.7),
      cs_divergence(x, x),
      cs_information(a, b),
      hsic(a, b),
      cs_conditional_divergence(a, b, b),
    )
  )
  divergence, *zeros = run(x, grid[:, :1], grid[:, 1:])
  # N(0, 1) and N(m, 1), each blurred to variance 1 + h / 2: D = m^2 / (2 + h).
  np.testing.assert_allclose(divergence, 2**2 / (2 + 0.7), rtol=0.02)
  np.testing.assert_allclose(zeros, 0, atol=1e-5)


def test_far_and_equal_samples_stay_finite():
  def total(x, y):
    values = (cs_divergence(x, y), cs_information(x, y), cs_conditional_divergence(x, x, y))
    return sum(values)

  run = jax.jit(jax.value_and_grad(total))
  for x, y in ((1e3 * X, -1e3 * X), (0 * X, 0 * X)):
    value, grad = run(x.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
    assert np.isfinite(value) and np.isfinite(np.asarray(grad, np.float32)).all()
