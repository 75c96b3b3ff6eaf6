"""Independent Bernoulli variables against scipy, enumeration and known moments."""

import battery
import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel
from scipy import special, stats

from latentjax.densities import bernoulli

K, B, D = 3, 8, 5
RNG = np.random.default_rng(0)
X = RNG.integers(0, 2, (B, D)).astype(np.float32)
LOGITS, LOGITS_P = 2 * RNG.standard_normal((2, B, D))
SURE = np.where(RNG.integers(0, 2, (B, D)), 1e4, -1e4)

BAD_SHAPES = [
  ((X, LOGITS[:, :1]), {}, ValueError, "must have equal shapes.*got .*\\(8, 1\\)"),
  ((X, LOGITS), {"event_ndim": -1}, ValueError, "event_ndim must be in \\[0, 2\\]"),
]


def test_log_prob():
  check_kernel(
    battery.jit(bernoulli.log_prob),
    (X, LOGITS),
    oracle=lambda x, logits: stats.bernoulli.logpmf(x, special.expit(logits)).sum(1),
    extreme=[(X, SURE), (X, -SURE), (0.5 * X, SURE)],
    bad_inputs=[((X.astype(int), LOGITS), {}, TypeError, "x must"), *BAD_SHAPES],
  )


def test_log_prob_of_grey_values_under_many_logits_is_the_cross_entropy():
  grey, logits = RNG.uniform(size=(B, D)), RNG.standard_normal((K, B, D))
  exact = -(
    special.rel_entr(grey, special.expit(logits))
    + special.rel_entr(1 - grey, special.expit(-logits))
    + special.entr(grey)
    + special.entr(1 - grey)
  ).sum(-1)
  np.testing.assert_allclose(jax.jit(bernoulli.log_prob)(grey, logits), exact, rtol=1e-5)


def test_log_prob_sums_to_one_over_all_outcomes():
  outcomes = jnp.array(list(np.ndindex(2, 2, 2)), jnp.float32)
  log_p = bernoulli.log_prob(outcomes, jnp.array([0.3, -2.0, 30.0]))
  np.testing.assert_allclose(jnp.exp(log_p).sum(), 1, rtol=1e-6)


def test_log_prob_keeps_its_digits_and_its_gradient_at_the_corners():
  # A right and confident logit: log p = -log(1 + e^-l) = -e^-l to first order.
  log_p = bernoulli.log_prob(jnp.ones(()), jnp.array(20.0), event_ndim=0)
  np.testing.assert_allclose(log_p, -np.exp(-20.0), rtol=1e-5)
  # d log p / dl = x - sigmoid(l), also at the kinks of |l| and max(l, 0).
  slope = jax.jit(jax.grad(bernoulli.log_prob, argnums=1))
  for x in (0.0, 1.0):
    assert slope(jnp.array([x]), jnp.zeros(1))[0] == x - 0.5
    assert slope(jnp.array([x]), jnp.array([1e4]))[0] == x - 1


def test_mean():
  check_kernel(
    battery.jit(bernoulli.mean),
    (LOGITS,),
    oracle=special.expit,
    extreme=[(SURE,)],
    bad_inputs=[((X.astype(int),), {}, TypeError, "logits must")],
  )


def test_entropy():
  check_kernel(
    battery.jit(bernoulli.entropy),
    (LOGITS,),
    oracle=lambda logits: stats.bernoulli(special.expit(logits)).entropy().sum(1),
    extreme=[(SURE,), (0 * SURE,)],
    bad_inputs=[
      ((X.astype(int),), {}, TypeError, "logits must"),
      ((LOGITS,), {"event_ndim": 3}, ValueError, "event_ndim"),
    ],
  )


def test_entropy_keeps_its_digits_where_it_is_small():
  p = special.expit(-25.0)
  small = bernoulli.entropy(jnp.array([25.0, -25.0]), event_ndim=0)
  np.testing.assert_allclose(small, special.entr(p) + p, rtol=1e-5)


def test_kl():
  def enumerated(q, p):
    q, p = special.expit(q), special.expit(p)
    return (special.rel_entr(q, p) + special.rel_entr(1 - q, 1 - p)).sum(1)

  check_kernel(
    battery.jit(bernoulli.kl),
    (LOGITS, LOGITS_P),
    oracle=enumerated,
    extreme=[(SURE, -SURE), (SURE, SURE), (SURE, LOGITS)],
    bad_inputs=[((X.astype(int), LOGITS), {}, TypeError, "logits_q must"), *BAD_SHAPES],
  )


def test_sample():
  check_kernel(
    battery.jit(bernoulli.sample),
    (LOGITS,),
    key=jax.random.key(0),
    kwargs={"num_samples": K},
    detached=(0,),
    out_axes=1,
    batch_coupled=True,
    extreme=[(SURE,)],
    bad_inputs=[
      ((X.astype(int),), {}, TypeError, "logits must"),
      ((LOGITS,), {"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
    ],
  )


def test_one_sample_without_its_axis(key):
  x = bernoulli.sample(key, LOGITS)
  np.testing.assert_array_equal(x, bernoulli.sample(key, LOGITS, num_samples=1)[0])


def test_samples_follow_the_distribution(key):
  draw = jax.jit(bernoulli.sample, static_argnames="num_samples")
  x = draw(key, LOGITS.astype(np.float32), num_samples=4000)
  assert set(np.unique(x)) == {0.0, 1.0}
  p = special.expit(LOGITS)
  z_scores = (np.asarray(x).mean(0) - p) / np.sqrt(p * (1 - p) / 4000)
  assert np.abs(z_scores).max() < 4.5
  certain = draw(key, SURE.astype(np.float32), num_samples=4000)
  np.testing.assert_array_equal(certain, np.broadcast_to(SURE > 0, certain.shape))
  assert bernoulli.sample(key, jnp.zeros(3, jnp.bfloat16)).dtype == jnp.bfloat16
