"""Densities on the sphere against quadrature over the angle, scipy, and exact moments."""

from functools import partial

import battery
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import integrate, special, stats

from latentjax.densities import power_spherical, von_mises_fisher
from latentjax.densities._bessel import log_bessel
from latentjax.densities._sphere import point_at_angle

B, D = 8, 5
RNG = np.random.default_rng(0)
X, MU, MU_P = (
  v / np.linalg.norm(v, axis=-1, keepdims=True) for v in RNG.standard_normal((3, B, D))
)
# Twenty dimensions, in which the Bessel functions need no recurrence: programs half as long.
WIDE_D = 20
TALL, TALL_P = (
  v / np.linalg.norm(v, axis=1, keepdims=True) for v in RNG.standard_normal((2, B, WIDE_D))
)
LOG_KAPPA, LOG_KAPPA_P = RNG.uniform(-2, 3, (2, B))
MODULES = pytest.mark.parametrize("module", [von_mises_fisher, power_spherical])
WIDE = [(X, MU, np.full(B, s)) for s in (40.0, -40.0)] + [(-MU, MU, LOG_KAPPA), (MU, MU, LOG_KAPPA)]


def exponent(module, t, kappa):
  """Log-density up to a constant, zero at t = mu . x = 1."""
  return kappa * (t - 1) if module is von_mises_fisher else kappa * np.log((1 + t) / 2)


def expectation(module, fn, kappa, dim):
  """(log of the integral of exp(exponent) over the sphere, E[fn(t)]), by the angle."""

  def integral(fn):
    def ring(angle):
      t = np.cos(angle)
      return fn(t) * np.exp(exponent(module, t, kappa)) * np.sin(angle) ** (dim - 2)

    return integrate.quad(ring, 0, np.pi, points=[0.1, 0.5], epsabs=0, epsrel=1e-9, limit=200)[0]

  ring_area = 2 * np.pi ** ((dim - 1) / 2) / special.gamma((dim - 1) / 2)
  total = integral(np.ones_like)
  return np.log(ring_area * total), integral(fn) / total


def entropies(module, log_kappa, dim):
  out = []
  for kappa in np.exp(log_kappa):
    log_norm, mean = expectation(module, partial(exponent, module, kappa=kappa), kappa, dim)
    out.append(log_norm - mean)
  return np.array(out)


def bad(*arrays, name="direction"):
  head, last = list(arrays[:-1]), arrays[-1]
  integers = [head[0].astype(int), *head[1:], last]
  return [
    (integers, {}, TypeError, "must be a floating point array, got int"),
    ((*head, last[:, None]), {}, ValueError, "log_concentration.* must have equal shapes"),
    ((head[0][:, :1], *head[1:], last), {}, ValueError, f"{name} must .*a last axis of at least 2"),
    ((*arrays,), {"event_ndim": 0}, ValueError, "event_ndim must be at least 1"),
  ]


@MODULES
def test_log_prob(module):
  def oracle(x, mu, log_kappa):
    norm = [expectation(module, np.ones_like, kappa, D)[0] for kappa in np.exp(log_kappa)]
    return exponent(module, (x * mu).sum(1), np.exp(log_kappa)) - norm

  check_kernel(
    jax.jit(module.log_prob, static_argnames="event_ndim"),
    (X, MU, LOG_KAPPA),
    oracle=oracle,
    extreme=WIDE,
    bad_inputs=bad(X, MU, LOG_KAPPA, name="x and direction"),
    rtol=2e-5,
  )


@pytest.mark.parametrize("dim", [2, 3, 50, 200])
def test_von_mises_fisher_against_scipy_in_all_dimensions(dim):
  x, mu = RNG.standard_normal((2, dim))
  x, mu = x / np.linalg.norm(x), mu / np.linalg.norm(mu)
  for kappa in (10.0, 1e4):
    expected = stats.vonmises_fisher(mu, kappa).logpdf(x)
    with jax.enable_x64(True):
      got = von_mises_fisher.log_prob(jnp.array(x), jnp.array(mu), jnp.log(jnp.float64(kappa)))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-8)


def test_von_mises_fisher_keeps_its_digits_when_it_is_narrow():
  """At kappa = 1e6 and more it is a Gaussian in the tangent plane, with no digit lost to kappa."""
  for kappa in (1e6, 1e12):
    log_p = von_mises_fisher.log_prob(MU[0], MU[0], np.float32(np.log(kappa)))
    exact = 0.5 * (D - 1) * np.log(kappa / (2 * np.pi))
    np.testing.assert_allclose(log_p, exact, rtol=2e-6)


def test_von_mises_fisher_has_float64_digits():
  """At kappa = 1e9 in five dimensions the Gaussian in the tangent plane is off by 1e-9."""
  with jax.enable_x64(True):
    log_p = von_mises_fisher.log_prob(jnp.array(MU[0]), jnp.array(MU[0]), jnp.log(jnp.float64(1e9)))
  exact = 1.5 * np.log(1e9) - 2.5 * np.log(2 * np.pi) - np.log(special.ive(1.5, 1e9))
  np.testing.assert_allclose(log_p, exact, rtol=3e-11)


@pytest.mark.parametrize("order", [0, 0.5, 3, 11.5, 127, 499])
def test_bessel_functions(order):
  x = np.array([0.01, 1, 10, 80, 1e4])
  ratio = special.ive(order + 1, x) / np.maximum(special.ive(order, x), 1e-300) / x
  exact = np.log(np.maximum(special.ive(order, x), 1e-300)) - order * np.log(x)
  shown = special.ive(order, x) > 1e-290
  for dtype, tolerance in ((np.float32, 2e-6), (np.float64, 1e-9)):
    with jax.enable_x64(dtype is np.float64):
      value, got = log_bessel(order, jnp.array(x, dtype))
    np.testing.assert_allclose(value[shown], exact[shown], rtol=tolerance, atol=4 * tolerance)
    np.testing.assert_allclose(got[shown], ratio[shown], rtol=tolerance)


@MODULES
def test_entropy_and_divergence_from_uniform(module):
  entropy = entropies(module, LOG_KAPPA, WIDE_D)
  np.testing.assert_allclose(
    jax.jit(module.entropy)(TALL, np.float32(LOG_KAPPA)), entropy, rtol=1e-5
  )
  area = 2 * np.pi ** (WIDE_D / 2) / special.gamma(WIDE_D / 2)
  check_kernel(
    jax.jit(module.kl_uniform, static_argnames="event_ndim"),
    (TALL, LOG_KAPPA),
    detached=(0,),
    oracle=np.log(area) - entropy,
    extreme=[(TALL, np.full(B, s)) for s in (40.0, -40.0)],
    bad_inputs=bad(TALL, LOG_KAPPA),
    rtol=5e-5,
    atol=5e-6,
  )


def test_kl_of_two_von_mises_fisher_densities():
  """By the mean of q: E_q[log q - log p] is linear in E_q[x] = E_q[t] mu_q."""

  def oracle(mu_q, log_kappa_q, mu_p, log_kappa_p):
    out = []
    for q, kappa_q, p, kappa_p in zip(mu_q, np.exp(log_kappa_q), mu_p, np.exp(log_kappa_p)):
      norm_q, t = expectation(von_mises_fisher, lambda t: t, kappa_q, WIDE_D)
      norm_p, _ = expectation(von_mises_fisher, np.ones_like, kappa_p, WIDE_D)
      out.append(kappa_q * (t - 1) - norm_q - kappa_p * (t * q @ p - 1) + norm_p)
    return np.array(out)

  check_kernel(
    jax.jit(von_mises_fisher.kl, static_argnames="event_ndim"),
    (TALL, LOG_KAPPA, TALL_P, LOG_KAPPA_P),
    oracle=oracle,
    extreme=[
      (TALL, np.full(B, a), TALL_P, np.full(B, b)) for a in (40.0, -40.0) for b in (40.0, -40.0)
    ],
    bad_inputs=[
      (
        (TALL, LOG_KAPPA, TALL_P[:, :2], LOG_KAPPA_P),
        {},
        ValueError,
        "direction_q and direction_p must",
      )
    ],
    rtol=2e-5,
    atol=2e-6,
  )


@MODULES
def test_mean(module):
  length = [expectation(module, lambda t: t, kappa, D)[1] for kappa in np.exp(LOG_KAPPA)]
  mean = jax.jit(module.mean)(MU, np.float32(LOG_KAPPA))
  np.testing.assert_allclose(mean, np.array(length)[:, None] * MU, rtol=1e-4, atol=1e-6)
  slope = jax.jit(jax.vmap(jax.grad(lambda s: module.mean(MU[0], s).sum())))
  assert np.isfinite(slope(jnp.array([40.0, -40.0]))).all()


@pytest.mark.parametrize(
  "module, dim", [(von_mises_fisher, 4), (power_spherical, 3)], ids=["vmf", "power"]
)
def test_samples_and_their_gradient(module, dim):
  """1 - t and its derivative by log kappa against E[t] from the density, from wide to 1e4."""
  rows, kappas = 400, np.array([0.3, 5.0, 300.0, 1e4, np.exp(40), np.exp(-40)])
  mu = np.eye(dim)[1].astype(np.float32)
  directions = jnp.tile(mu, (len(kappas) * rows, 1))
  log_kappas = jnp.repeat(jnp.log(kappas.astype(np.float32)), rows)

  def total(directions, log_kappas):
    x = module.sample(jax.random.key(1), directions, log_kappas, num_samples=2)
    gap = jnp.square(x - mu).sum(-1) / 2
    return gap.sum() / 2, (x, gap)

  slopes, (x, gap) = jax.jit(jax.grad(total, 1, has_aux=True))(directions, log_kappas)
  np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 1, rtol=1e-5)
  tangents = np.delete(np.asarray(x), 1, -1).reshape(2, len(kappas), rows, -1)
  assert np.abs(tangents.mean((0, 2))).max() < 0.12  # no side is preferred
  for values, fn in ((gap, lambda k: k), (slopes[None], None)):
    assert np.isfinite(values).all()
    for i, kappa in enumerate(kappas[:4]):
      block = np.asarray(values).reshape(len(values), len(kappas), rows)[:, i].ravel()
      mean_gap = lambda k: float(1 - expectation(module, lambda t: t, k, dim)[1])
      h = 1e-3
      ends = (mean_gap(kappa * np.exp(h)), mean_gap(kappa * np.exp(-h)))
      exact = mean_gap(kappa) if fn else (ends[0] - ends[1]) / (2 * h)
      assert abs(block.mean() - exact) < 4.5 * block.std() / block.size**0.5, (kappa, fn)
  some = slice(0, 2 * rows, rows // 8)  # both of the first kappas
  few = directions[some], log_kappas[some]
  once = jax.jit(partial(module.sample, num_samples=2))(jax.random.key(1), *few)
  battery.check_rows(module.sample, few, once)


def test_samples_on_the_circle_where_the_noise_is_parallel_to_the_direction():
  mu = np.array([0.6, 0.8], np.float32)
  angle = jnp.linspace(0, 3, 5)
  noise = jnp.array([1.0, -2.0, 0.0, 3.0, 1e-9])[:, None] * mu

  def point(mu):
    return point_at_angle(jnp.broadcast_to(mu, (5, 2)), angle, noise)

  np.testing.assert_allclose(np.linalg.norm(point(mu), axis=1), 1, rtol=1e-6)
  np.testing.assert_allclose(point(mu) @ mu, np.cos(angle), atol=1e-6)
  assert np.isfinite(jax.jit(jax.jacobian(point))(mu)).all()
  rows = jnp.broadcast_to(mu, (4000, 2)), jnp.full(4000, 1.0)
  x = np.asarray(jax.jit(von_mises_fisher.sample)(jax.random.key(0), *rows), float)
  across = x @ [-0.8, 0.6]
  assert abs(across.mean()) < 4 * across.std() / 4000**0.5
  length = expectation(von_mises_fisher, lambda t: t, np.e, 2)[1]
  assert abs((x @ mu).mean() - length) < 4 * (x @ mu).std() / 4000**0.5
