"""Programs of random choices: every mix of strategies against the enumerated or analytic gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.densities import bernoulli, categorical, gaussian
from latentjax.losses.importance import iwae_bound
from latentjax.losses.programmable import expectation, sample

CONTINUOUS = ["reparam", "reinforce", "measure_valued"]
ARGS = (0.3, -0.2, np.float32([0.5, -0.4]))  # logit, log_scale, weight
RUNS = 20_000


def make_program(discrete, continuous):
  """x decides where z lies, and both pairs of z decide a second x; weight enters directly."""

  def second(logit, z):
    y = yield sample(bernoulli, (logit + z,), strategy=discrete, baseline=0.1)
    return y

  def program(logit, log_scale, weight):
    x = yield sample(bernoulli, (logit,), strategy=discrete)
    mean = jnp.stack([x, 1 - 2 * x])
    z = yield sample(gaussian, (mean, jnp.full(2, log_scale)), strategy=continuous)
    y = yield from second(logit, z)
    return jnp.sum(weight * y * jnp.sin(z)) + x * jnp.prod(z) + 0.5 * y[0] * y[1]

  return program


def analytic(logit, log_scale, weight, degree=40):
  """Sum over all x and y, Gauss-Hermite quadrature over z."""
  nodes, weights = np.polynomial.hermite_e.hermegauss(degree)
  weights = weights / weights.sum()
  total = 0.0
  for x in (0.0, 1.0):
    p_x = jax.nn.sigmoid(logit) if x else 1 - jax.nn.sigmoid(logit)
    mean = jnp.array([x, 1 - 2 * x])
    z = jnp.stack(jnp.meshgrid(nodes, nodes, indexing="ij")) * jnp.exp(log_scale)
    z = z + mean[:, None, None]
    p = jax.nn.sigmoid(logit + z)
    for y in itertools.product((0.0, 1.0), repeat=2):
      y = jnp.array(y)[:, None, None]
      p_y = jnp.prod(jnp.where(y == 1, p, 1 - p), axis=0)
      f = (weight[:, None, None] * y * jnp.sin(z)).sum(0) + x * z[0] * z[1] + 0.5 * y[0] * y[1]
      total += p_x * jnp.einsum("i,j,ij->", weights, weights, p_y * f)[..., None].squeeze()
  return total


@pytest.fixture(scope="module")
def exact():
  return jax.jit(jax.value_and_grad(lambda args: analytic(*args)))(ARGS)


# The nine mixes are an experiment (programmable_vi); here every strategy meets another one.
@pytest.mark.parametrize(
  ("discrete", "continuous"),
  [
    ("reinforce", "reparam"),
    ("enumerate", "reinforce"),
    ("measure_valued", "measure_valued"),
  ],
)
def test_a_mix_has_the_analytic_value_and_gradient(discrete, continuous, exact):
  estimator = expectation(make_program(discrete, continuous))
  run = jax.jit(jax.vmap(lambda key: jax.value_and_grad(lambda args: estimator(key, *args))(ARGS)))
  draws = run(jax.random.split(jax.random.key(0), RUNS))
  for draw, expected in zip(jax.tree.leaves(draws), jax.tree.leaves(exact)):
    draw = np.asarray(draw, np.float64)
    standard_error = draw.std(0) / RUNS**0.5
    assert (np.abs(draw.mean(0) - expected) <= 3.5 * standard_error + 1e-5).all(), (
      draw.mean(0),
      expected,
      standard_error,
    )
    assert (standard_error < 0.05 * (1 + np.abs(expected))).all()


def test_enumeration_has_no_variance_and_reaches_all_labels():
  def program(logits, payoff):
    label = yield sample(categorical, (logits,), strategy="enumerate")
    return payoff[0, label[0]] * payoff[1, label[1]]

  logits, payoff = np.random.default_rng(0).standard_normal((2, 2, 3))
  probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  means = (probs * payoff).sum(1)
  estimate = jax.jit(jax.value_and_grad(expectation(program), argnums=(1, 2)))
  for seed in (0, 1):
    value, (_, grad) = estimate(jax.random.key(seed), logits, payoff)
    np.testing.assert_allclose(value, means.prod(), rtol=1e-5)
    np.testing.assert_allclose(grad, probs * means[::-1, None], rtol=1e-5)


def test_a_program_of_the_importance_weighted_bound_is_the_bound(key):
  """The same value and gradient as `iwae_bound` at the site's samples, bit for bit."""
  x = np.float32([0.5, -1.0, 2.0])

  def log_w(z, mean, log_scale):
    log_p = gaussian.standard_log_prob(z) + gaussian.log_prob(x, z * jnp.ones(3), jnp.zeros(()))
    return log_p - gaussian.log_prob(z, mean, log_scale)

  def program(mean, log_scale):
    q = (jnp.tile(mean, (5, 1)), jnp.tile(log_scale, (5, 1)))
    z = yield sample(gaussian, q, strategy="reparam")
    return iwae_bound(log_w(z, mean, log_scale)[:, None])[0]

  def direct(key, mean, log_scale):
    q = (jnp.tile(mean, (5, 1)), jnp.tile(log_scale, (5, 1)))
    z = gaussian.sample(jax.random.fold_in(key, 0), *q)
    return iwae_bound(log_w(z, mean, log_scale)[:, None])[0]

  args = (np.float32([0.3]), np.float32([-0.4]))
  ours, theirs = (
    jax.jit(jax.value_and_grad(fn, argnums=(1, 2)))(key, *args)
    for fn in (expectation(program), direct)
  )
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_measure_valued_derivatives_do_without_a_derivative():
  """A step function of a Gaussian, whose reparameterised gradient is zero everywhere."""

  def program(strategy, mean):
    z = yield sample(gaussian, (mean, jnp.zeros(())), strategy=strategy)
    return jnp.where(z > 0, 1.0, 0.0)

  keys = jax.random.split(jax.random.key(1), RUNS)
  density = np.exp(-0.5 * 0.3**2) / np.sqrt(2 * np.pi)
  variances = {}
  for strategy in CONTINUOUS:
    estimator = expectation(lambda mean, strategy=strategy: program(strategy, mean))
    grads = np.asarray(jax.jit(jax.vmap(jax.grad(estimator, argnums=1), (0, None)))(keys, 0.3))
    variances[strategy] = grads.var()
    expected = 0.0 if strategy == "reparam" else density
    np.testing.assert_allclose(grads.mean(), expected, atol=4 * grads.std() / RUNS**0.5)
  assert 0 < variances["measure_valued"] < variances["reinforce"]


def test_bad_programs(key):
  def yields_a_number():
    yield 1.0
    return 0.0

  def returns_a_vector():
    x = yield sample(bernoulli, (jnp.zeros(2),), strategy="reinforce")
    return x

  with pytest.raises(TypeError, match="program must yield sites made by sample, got float"):
    expectation(yields_a_number)(key)
  with pytest.raises(ValueError, match="program must return a scalar, got shape \\(2,\\)"):
    expectation(returns_a_vector)(key)
  for family, size, strategy, match in [
    (bernoulli, 2, "exact", "strategy must be one of"),
    (bernoulli, 2, "reparam", "family must have differentiable samples for strategy 'reparam'"),
    (gaussian, 2, "enumerate", "family must be bernoulli or categorical for strategy 'enumerate'"),
    (categorical, 2, "measure_valued", "family must be gaussian or bernoulli"),
    (bernoulli, 13, "enumerate", "must have at most 4096 outcomes, got 2\\*\\*13"),
  ]:
    with pytest.raises(ValueError, match=match):
      sample(family, (jnp.zeros(size),), strategy=strategy)
