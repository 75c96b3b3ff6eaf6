"""Diagonal Gaussian against scipy, quadrature and known moments."""

from functools import partial

import battery
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import integrate, stats

from latentjax.densities import gaussian

K, B, D = 3, 8, 5
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D))
MEAN, MEAN_P = RNG.standard_normal((2, B, D))
LOG_SCALE, LOG_SCALE_P = 0.5 * RNG.standard_normal((2, B, D))

# The signs of log_scale at which one of exp(s) and exp(-s) is near the end of float32.
WIDE, NARROW = np.full((B, D), 40.0), np.full((B, D), -40.0)


def bad(*shapes, name):
  """Arguments of one wrong dtype, of shapes that would stretch silently, and a wrong event_ndim."""
  arrays = [np.zeros(shape) for shape in shapes]
  integers = [np.zeros(shapes[0], int), *arrays[1:]]
  stretched = [*arrays[:-1], np.zeros((B, 1))]
  return [
    (integers, {}, TypeError, f"{name} must be a floating point array, got int"),
    (stretched, {}, ValueError, f"{name}.* must have equal shapes.*got .*\\(8, 1\\)"),
    (arrays, {"event_ndim": 3}, ValueError, "event_ndim must be in"),
  ]


def test_log_prob():
  check_kernel(
    battery.jit(gaussian.log_prob),
    (X, MEAN, LOG_SCALE),
    oracle=lambda x, m, s: stats.norm.logpdf(x, m, np.exp(s)).sum(1),
    extreme=[(X, MEAN, WIDE), (X, MEAN, NARROW), (1e4 * X, MEAN, LOG_SCALE)],
    bad_inputs=bad((B, D), (B, D), (B, D), name="x"),
  )


def test_log_prob_of_one_x_under_many_means_with_a_shared_scale():
  means = RNG.standard_normal((K, B, D))
  got = jax.jit(gaussian.log_prob)(X, means, LOG_SCALE[0])
  expected = [stats.norm.logpdf(X, row, np.exp(LOG_SCALE[0])).sum(1) for row in means]
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_standard_log_prob():
  check_kernel(
    battery.jit(gaussian.standard_log_prob),
    (X,),
    oracle=lambda x: stats.multivariate_normal(np.zeros(D)).logpdf(x),
    extreme=[(1e4 * X,)],
    bad_inputs=[
      ((X.astype(int),), {}, TypeError, "x must"),
      ((X,), {"event_ndim": 3}, ValueError, "event_ndim"),
    ],
  )


def test_entropy():
  check_kernel(
    battery.jit(gaussian.entropy),
    (MEAN, LOG_SCALE),
    detached=(0,),
    oracle=lambda m, s: stats.norm.entropy(m, np.exp(s)).sum(1),
    extreme=[(MEAN, WIDE), (MEAN, NARROW)],
    bad_inputs=bad((B, D), (B, D), name="mean"),
  )


def test_entropy_counts_every_element_of_a_shared_scale():
  np.testing.assert_allclose(
    gaussian.entropy(jnp.zeros((B, D)), jnp.zeros(())),
    np.full(B, D * stats.norm.entropy()),
    rtol=1e-6,
  )


def element_kl(x, q, p):
  return stats.norm.pdf(x, *q) * (stats.norm.logpdf(x, *q) - stats.norm.logpdf(x, *p))


def quadrature_kl(mean_q, log_scale_q, mean_p, log_scale_p):
  """The defining integral of q log(q / p), one element at a time."""
  out = np.zeros(mean_q.shape)
  for i in np.ndindex(mean_q.shape):
    q, p = ((mean_q[i], np.exp(log_scale_q[i])), (mean_p[i], np.exp(log_scale_p[i])))
    out[i] = integrate.quad(element_kl, q[0] - 12 * q[1], q[0] + 12 * q[1], args=(q, p))[0]
  return out.sum(1)


def test_kl():
  args = (MEAN, LOG_SCALE, MEAN_P, LOG_SCALE_P)
  check_kernel(
    battery.jit(gaussian.kl),
    args,
    oracle=quadrature_kl(*args),
    extreme=[
      (MEAN, NARROW, MEAN_P, WIDE),
      (MEAN, WIDE, MEAN_P, WIDE),
      (MEAN, NARROW, MEAN_P, NARROW),
    ],
    bad_inputs=bad((B, D), (B, D), (B, D), (B, D), name="mean_q"),
  )


def test_kl_standard():
  check_kernel(
    battery.jit(gaussian.kl_standard),
    (MEAN, LOG_SCALE),
    oracle=quadrature_kl(MEAN, LOG_SCALE, 0 * MEAN, 0 * MEAN),
    extreme=[(MEAN, WIDE), (MEAN, NARROW), (1e4 * MEAN, LOG_SCALE)],
    bad_inputs=bad((B, D), (B, D), name="mean"),
  )


def test_kl_keeps_its_digits_near_zero():
  # For p = q with log_scale off by r the divergence is r^2 + O(r^3) in every dimension.
  tiny = gaussian.kl(*jnp.array([0.0, 1e-4, 0.0, 0.0])[:, None], event_ndim=1)
  np.testing.assert_allclose(tiny, 1e-8, rtol=1e-3)


def test_sample():
  check_kernel(
    battery.jit(gaussian.sample),
    (MEAN, LOG_SCALE),
    key=jax.random.key(0),
    kwargs={"num_samples": K},
    out_axes=1,
    batch_coupled=True,
    extreme=[(MEAN, WIDE), (MEAN, NARROW)],
    bad_inputs=[
      ((MEAN.astype(int), LOG_SCALE), {}, TypeError, "mean must"),
      ((MEAN, LOG_SCALE[:, :1]), {}, ValueError, "log_scale"),
      ((MEAN, LOG_SCALE), {"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
      (
        (MEAN, LOG_SCALE),
        {"num_samples": 2.0},
        TypeError,
        "num_samples must be a positive integer",
      ),
    ],
  )


def test_one_sample_without_its_axis(key):
  z = gaussian.sample(key, MEAN, LOG_SCALE)
  np.testing.assert_array_equal(z, gaussian.sample(key, MEAN, LOG_SCALE, num_samples=1)[0])


def test_samples_follow_the_distribution(key):
  mean, log_scale = jnp.array([[-2.0, 3.0]]), jnp.array([[-1.0, 0.5]])
  x = gaussian.sample(key, mean, log_scale, num_samples=20_000)
  for d in range(2):
    cdf = stats.norm(float(mean[0, d]), float(jnp.exp(log_scale[0, d]))).cdf
    assert stats.kstest(np.asarray(x[:, 0, d]), cdf).pvalue > 1e-3
  assert abs(np.corrcoef(x[:, 0].T)[0, 1]) < 0.03


def test_rows_have_different_noise_that_does_not_depend_on_the_batch_size(key):
  z = gaussian.sample(key, jnp.zeros((4, 3)), jnp.zeros(()), num_samples=2)
  assert len(np.unique(z)) == z.size
  few = gaussian.sample(key, jnp.zeros((2, 3)), jnp.zeros(()), num_samples=2)
  np.testing.assert_array_equal(z[:, :2], few)


def test_shapes_without_a_batch_axis(key):
  assert gaussian.sample(key, 0.0, 0.0).shape == ()
  assert len(np.unique(gaussian.sample(key, 0.0, 0.0, num_samples=4))) == 4
  assert gaussian.sample(key, jnp.zeros(3), jnp.zeros(3), num_samples=4).shape == (4, 3)
  assert gaussian.log_prob(0.0, 0.0, 0.0, event_ndim=0) == pytest.approx(stats.norm.logpdf(0))


def test_pairs_of_rows_by_axes_of_size_one():
  centres = MEAN[:4]
  pairs = gaussian.log_prob(X[:, None], centres[None], LOG_SCALE[0])
  expected = [[stats.norm.logpdf(x, c, np.exp(LOG_SCALE[0])).sum() for c in centres] for x in X]
  np.testing.assert_allclose(pairs, expected, rtol=1e-5)


@pytest.mark.parametrize(
  "shapes",
  [((B,), (B, 1)), ((B, 1, D), (4, D)), ((B, D), (B, 1, 1)), ((B, D), (D + 1,)), ((B, D), (1, 1))],
)
def test_silent_stretching_is_refused(shapes):
  log_prob = partial(gaussian.log_prob, event_ndim=min(1, len(shapes[0]) - 1))
  with pytest.raises(ValueError, match="x and mean and log_scale must have equal shapes"):
    log_prob(*map(jnp.zeros, shapes), jnp.zeros(()))


def test_dtypes():
  low = jnp.zeros((B, D), jnp.bfloat16)
  assert gaussian.log_prob(low, low, low).dtype == jnp.float32
  assert gaussian.sample(jax.random.key(0), low, low).dtype == jnp.bfloat16
  # 4,096 elements of log-density -0.92 would stop growing at 256 if they were summed in bfloat16.
  total = gaussian.standard_log_prob(jnp.zeros((4096,), jnp.bfloat16))
  np.testing.assert_allclose(total, 4096 * stats.norm.logpdf(0), rtol=1e-5)


def test_mean():
  check_kernel(
    battery.jit(gaussian.mean),
    (MEAN, LOG_SCALE),
    detached=(1,),
    oracle=lambda m, s: m,
    bad_inputs=bad((B, D), (B, D), name="mean")[:2],
  )
