"""Maximum mean discrepancy and the density-ratio total correlation against dense and exact answers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy.spatial import distance

from latentjax.losses.elbo import mmd, permute_dims, tc_density_ratio, tc_discriminator_loss

B, N, D = 8, 16, 3
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((B, D)) + 5, 1.5 * RNG.standard_normal((N, D)) + 5
LOGITS, PERMUTED = RNG.standard_normal((2, B, 2))


def mmd_oracle(x, y, kernel="imq", bandwidths=(2 * D,), estimator="unbiased", **_):
  def k(a, b):
    squared = distance.cdist(a, b, "sqeuclidean")
    fns = {"rbf": lambda h: np.exp(-squared / h / 2), "imq": lambda h: h / (h + squared)}
    return sum(fns[kernel](h) for h in bandwidths)

  def within(a):
    values = k(a, a)
    if estimator == "unbiased":
      return values[~np.eye(len(a), dtype=bool)].mean()
    return values.mean()

  return within(x) + within(y) - 2 * k(x, y).mean()


def test_mmd():
  args = (X, Y)
  check_kernel(
    mmd,
    args,
    kwargs={"kernel": "rbf", "bandwidths": (0.5, 4.0)},
    oracle=mmd_oracle,
    batch_coupled=True,
    extreme=[(1e4 * X, -1e4 * Y), (0 * X, 0 * Y)],
    bad_inputs=[
      ((X.astype(int), Y), {}, TypeError, "x must be a floating point"),
      ((X, Y[0]), {}, ValueError, "y must have 2 axes"),
      ((X, Y[:, :2]), {}, ValueError, "x and y must have the same last axis"),
      (args, {"kernel": "linear"}, ValueError, "kernel must be one of 'rbf', 'imq'"),
      (args, {"estimator": "exact"}, ValueError, "estimator must be one of"),
      (args, {"bandwidths": (1.0, 0.0)}, ValueError, "bandwidths must be in"),
      (args, {"block_size": 0}, ValueError, "block_size must be a positive integer"),
      ((X[:1], Y), {}, ValueError, "'unbiased' must have at least 2 rows of x and y, got 1"),
    ],
  )


PULL = RNG.standard_normal((N, D))


@partial(jax.jit, static_argnames=("kernel", "estimator", "block_size"))
def gradients(x, y, **settings):
  return jax.value_and_grad(mmd, argnums=(0, 1))(x, y, **settings)


@pytest.mark.parametrize(
  ("kernel", "estimator", "block_size"), [("rbf", "biased", 5), ("imq", "unbiased", 5)]
)
def test_mmd_against_dense_sums(kernel, estimator, block_size):
  settings = {"kernel": kernel, "estimator": estimator}
  with jax.enable_x64(True):
    value, grads = gradients(X, Y, **settings, block_size=block_size)
  np.testing.assert_allclose(value, mmd_oracle(X, Y, **settings), rtol=1e-10)
  for grad, other in zip(map(np.asarray, grads), (X, Y)):
    step = 1e-6 * np.ones_like(other)
    ends = [[X, Y], [X, Y]]
    for end, sign in zip(ends, (1, -1)):
      end[0 if other is X else 1] = other + sign * step * PULL[: len(other)]
    slope = np.subtract(*(mmd_oracle(*end, **settings) for end in ends)) / 2e-6
    np.testing.assert_allclose((grad * PULL[: len(other)]).sum(), slope, rtol=1e-5, atol=1e-8)


def test_mmd_far_from_the_origin():
  np.testing.assert_allclose(jax.jit(mmd)(X + 1000, Y + 1000), mmd_oracle(X, Y), rtol=1e-3)


def test_v_statistic_is_a_distance_and_u_statistic_is_unbiased(key):
  assert mmd(X, X, estimator="biased") == pytest.approx(0, abs=1e-6)
  x, y = jax.random.normal(key, (2, 2000, B, 1))
  runs = {kind: jax.jit(jax.vmap(partial(mmd, estimator=kind))) for kind in ("biased", "unbiased")}
  draws = {kind: run(x, y) for kind, run in runs.items()}
  assert draws["biased"].min() >= 0 and draws["biased"].mean() > 0.05
  error = draws["unbiased"].std() / np.sqrt(2000)
  assert abs(draws["unbiased"].mean()) < 4 * error and error < 0.005
  # N(0, 1) against N(2, 1) with the Gaussian kernel: 2 sqrt(h / (h + 2)) (1 - exp(-m^2 / (2 (h + 2)))).
  shifted = jax.jit(jax.vmap(partial(mmd, kernel="rbf", bandwidths=[1.5])))(x, y + 2)
  expected = 2 * np.sqrt(1.5 / 3.5) * (1 - np.exp(-4 / 7))
  np.testing.assert_allclose(shifted.mean(), expected, atol=4 * shifted.std() / np.sqrt(2000))


def test_mmd_memory_is_that_of_a_block():
  def temporary_bytes(block_size):
    shapes = [jax.ShapeDtypeStruct((1024, 4), jnp.float32)] * 2
    run = jax.jit(jax.grad(lambda x, y: mmd(x, y, block_size=block_size), argnums=(0, 1)))
    return run.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

  slab = 4 * 1024**2
  assert temporary_bytes(None) > slab and temporary_bytes(32) < slab / 4


def test_permute_dims(key):
  check_kernel(
    permute_dims,
    (X,),
    key=key,
    batch_coupled=True,
    bad_inputs=[
      ((X.astype(int),), {}, TypeError, "z must be a floating point"),
      ((X[0],), {}, ValueError, "z must have 2 axes"),
    ],
  )


def test_permuted_dims_keep_the_marginals_and_lose_the_dependence(key):
  z = np.repeat(RNG.standard_normal((2000, 1)), 2, axis=1).astype(np.float32)
  shuffled = np.asarray(permute_dims(key, z))
  np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(z, axis=0))
  assert abs(np.corrcoef(shuffled.T)[0, 1]) < 0.1
  assert (shuffled != z).mean() > 0.99


def test_tc_density_ratio():
  check_kernel(
    tc_density_ratio,
    (LOGITS,),
    oracle=lambda logits: np.log(np.divide(*np.exp(logits).T)),
    extreme=[(1e4 * LOGITS,)],
    bad_inputs=[
      ((LOGITS.astype(int),), {}, TypeError, "logits must be a floating point"),
      ((LOGITS[0],), {}, ValueError, "logits must have 2 axes"),
      ((LOGITS[:, :1],), {}, ValueError, "logits must have shape \\(B, 2\\), got \\(8, 1\\)"),
    ],
  )


def test_tc_discriminator_loss():
  check_kernel(
    tc_discriminator_loss,
    (LOGITS, PERMUTED),
    oracle=lambda a, b: (
      0.5 * (np.log(1 + np.exp(a[:, 1] - a[:, 0])) + np.log(1 + np.exp(b[:, 0] - b[:, 1])))
    ),
    extreme=[(1e4 * LOGITS, 1e4 * PERMUTED)],
    bad_inputs=[
      ((LOGITS, PERMUTED[:2]), {}, ValueError, "must have the same shape"),
      ((LOGITS, PERMUTED.astype(int)), {}, TypeError, "logits_permuted must be a floating point"),
      ((X, X), {}, ValueError, "logits must have shape \\(B, 2\\)"),
    ],
  )


def test_optimal_discriminator_knows_the_total_correlation(key):
  """A quadratic discriminator on two Gaussians with correlation r has the density ratio in reach."""
  correlation = 0.8
  factor = np.linalg.cholesky([[1, correlation], [correlation, 1]])
  z = jax.random.normal(key, (10_000, 2)) @ jnp.asarray(factor, jnp.float32).T
  permuted = permute_dims(jax.random.fold_in(key, 1), z)

  def logits(weights, z):
    logit = weights[0] + weights[1] * z[:, 0] * z[:, 1] + weights[2] * jnp.sum(z**2, 1)
    return jnp.stack([logit, jnp.zeros_like(logit)], axis=1)

  def loss(weights):
    return tc_discriminator_loss(logits(weights, z), logits(weights, permuted)).mean()

  @jax.jit
  def train():
    def newton(_, weights):
      return weights - jnp.linalg.solve(jax.hessian(loss)(weights), jax.grad(loss)(weights))

    return jax.lax.fori_loop(0, 8, newton, jnp.zeros(3))

  estimate = tc_density_ratio(logits(train(), z)).mean()
  np.testing.assert_allclose(estimate, -0.5 * np.log(1 - correlation**2), atol=0.03)
