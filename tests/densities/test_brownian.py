"""Brownian motion on compact manifolds against the exact heat kernels, by their series."""

from functools import partial
from typing import NamedTuple

import battery
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import special, stats

from latentjax.densities import brownian, manifolds

RNG = np.random.default_rng(0)
B = 8


class Case(NamedTuple):
  """A manifold with its heat kernel as a function of the angle from the starting point.

  The angle is uniformly distributed with density `area(angle)` on [0, end]; `kernel(angle, t)` is
  the density relative to the uniform one.
  """

  manifold: manifolds.Manifold
  end: float
  area: callable
  kernel: callable
  angle: callable


def circle_kernel(a, t):
  n = np.arange(1, 200)[:, None]
  return 1 + 2 * (np.exp(-0.5 * n**2 * t) * np.cos(n * a)).sum(0)


def sphere_kernel(a, t, even=False):
  terms = ((2 * n + 1) * np.exp(-0.5 * n * (n + 1) * t) * special.eval_legendre(n, np.cos(a))
           for n in range(0, 80, 2 if even else 1))  # fmt: skip
  return sum(terms)


def rotation_kernel(a, t):
  n = np.arange(80)[:, None]
  character = np.sin((2 * n + 1) * a / 2) / np.sin(a / 2)
  return ((2 * n + 1) * np.exp(-0.5 * n * (n + 1) * t) * character).sum(0)


def between(x, start):
  return np.arccos(np.clip(x @ start, -1, 1))


CASES = {
  "circle": Case(
    manifolds.torus(dim=1), np.pi, lambda a: 1 / np.pi + 0 * a, circle_kernel, between
  ),
  "sphere": Case(manifolds.sphere(dim=2), np.pi, lambda a: np.sin(a) / 2, sphere_kernel, between),
  "rotations": Case(
    manifolds.rotations(),
    np.pi,
    lambda a: (1 - np.cos(a)) / np.pi,
    rotation_kernel,
    lambda x, start: np.arccos(np.clip((x @ start - 1) / 2, -1, 1)),
  ),
  "lines": Case(
    manifolds.projective_space(dim=2),
    np.pi / 2,
    np.sin,
    partial(sphere_kernel, even=True),
    lambda x, start: np.arccos(np.sqrt(np.clip(x @ start, 0, 1))),
  ),
}
ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def nodes(case, count=400):
  x, w = np.polynomial.legendre.leggauss(count)
  angle = (x + 1) * case.end / 2
  return angle, w * case.end / 2 * case.area(angle)


def exact_kl(case, t):
  angle, weights = nodes(case)
  p = np.maximum(case.kernel(angle, t), 1e-300)
  np.testing.assert_allclose(weights @ p, 1, rtol=1e-8)
  return weights @ special.xlogy(p, p)


@ALL
def test_divergence_is_that_of_the_heat_kernel_up_to_the_square_of_the_time(case):
  times = np.array([0.2, 0.1, 0.05])
  got = brownian.kl_uniform(np.log(times), manifold=case.manifold)
  errors = np.abs(got - np.array([exact_kl(case, t) for t in times]))
  assert (errors < 0.15 * times**2).all()
  if case.manifold.scalar_curvature:
    assert 3 < errors[1] / errors[2] < 5
  else:
    assert errors[-1] < 1e-6


def test_kl_uniform():
  log_time = RNG.uniform(-4, -3, B)
  check_kernel(
    jax.jit(brownian.kl_uniform, static_argnames="manifold"),
    (log_time,),
    kwargs={"manifold": manifolds.sphere(dim=2)},
    oracle=np.array([exact_kl(CASES["sphere"], t) for t in np.exp(log_time)]),
    extreme=[(np.full(B, s),) for s in (40.0, -40.0)],
    bad_inputs=[
      ((np.zeros(B, int),), {"manifold": manifolds.sphere(dim=2)}, TypeError, "log_time")
    ],
    rtol=0,
    atol=4e-4,
  )


@ALL
def test_samples_follow_the_heat_kernel(case):
  t, count = 0.2, 4000
  start = case.manifold.project(jnp.asarray(RNG.standard_normal(case.manifold.ambient_dim)))
  draw = jax.jit(partial(brownian.sample, manifold=case.manifold, num_steps=50, num_samples=count))
  z = draw(jax.random.key(1), start[None], jnp.log(jnp.full(1, t)))[:, 0]
  np.testing.assert_allclose(case.manifold.project(z), z, atol=2e-5)
  grid = np.linspace(1e-6, case.end, 4000)
  cdf = np.cumsum(case.kernel(grid, t) * case.area(grid)) * (grid[1] - grid[0])
  angles = case.angle(np.asarray(z, float), np.asarray(start, float))
  assert stats.kstest(angles, lambda a: np.interp(a, grid, cdf)).pvalue > 1e-3
  # And the uniform ones the uniform density.
  z = brownian.sample_uniform(jax.random.key(2), manifold=case.manifold, num_samples=count)
  cdf = np.cumsum(case.area(grid)) * (grid[1] - grid[0])
  angles = case.angle(np.asarray(z, float), np.asarray(start, float))
  assert stats.kstest(angles, lambda a: np.interp(a, grid, cdf)).pvalue > 1e-3


def test_one_step_on_the_sphere_shortens_the_mean_as_its_quadrature_says():
  """The walk is isotropic, so E[z] = a^N m with a of one step; its slope by log t is then known too."""
  dim, steps, count = 3, 4, 20_000
  start = np.array([0.0, 0.6, 0.0, 0.8], np.float32)

  def shrink(log_time):
    h = np.exp(log_time) / steps
    x, w = special.roots_hermitenorm(80)
    r, v = special.roots_genlaguerre(60, dim / 2 - 1)  # chi-squared / 2
    along = 1 + np.sqrt(h) * x[:, None]
    cosine = along / np.sqrt(along**2 + 2 * h * r)
    return ((w @ cosine @ v) / (w.sum() * v.sum())) ** steps

  def total(log_time):
    times = jnp.full((count,), log_time)
    means = jnp.broadcast_to(start, (count, 4))
    z = brownian.sample(
      jax.random.key(3), means, times, manifold=manifolds.sphere(dim=dim), num_steps=steps
    )
    return z @ start

  cosine, slope = jax.jit(lambda s: jax.jvp(total, (s,), (jnp.ones_like(s),)))(jnp.float32(-1.0))
  expected = (shrink(-1.0), (shrink(-1 + 1e-4) - shrink(-1 - 1e-4)) / 2e-4)
  for values, exact in zip((cosine, slope), expected):
    values = np.asarray(values, float)
    assert abs(values.mean() - exact) < 4 * values.std() / count**0.5


def test_sample_rows_extremes_and_bad_arguments():
  space = manifolds.sphere(dim=2)
  start = np.asarray(space.project(RNG.standard_normal((2 * B, 3)).astype(np.float32)))
  log_time = jnp.linspace(-40, 40, 2 * B)
  sample = partial(brownian.sample, manifold=space, num_steps=2)

  def total(start, log_time):
    z = sample(jax.random.key(1), start, log_time, num_samples=2)
    return (z * np.arange(3)).sum(), z

  slopes, z = jax.jit(jax.grad(total, (0, 1), has_aux=True))(start, log_time)
  np.testing.assert_allclose(np.linalg.norm(z, axis=2), 1, rtol=1e-5)
  np.testing.assert_allclose(z[:, 0], start[None, 0] + 0 * z[:, 0], atol=1e-6)
  assert all(np.isfinite(slope).all() and np.any(slope) for slope in slopes)
  battery.check_rows(sample, (start, log_time), z)
  for args, kwargs, error, match in [
    ((start[:, :2], log_time), {}, ValueError, "mean must have 3 numbers on its last axis"),
    ((start, log_time[:, None]), {}, ValueError, "mean without its last axis.*equal shapes"),
    ((start, log_time), {"num_steps": 0}, ValueError, "num_steps must be a positive integer"),
  ]:
    with pytest.raises(error, match=match):
      sample(jax.random.key(0), *args, **kwargs)


@ALL
def test_projection_is_the_nearest_point_and_its_gradient_is_bounded(case):
  """Among many points of the manifold none is nearer; finite differences in float64."""
  size = case.manifold.ambient_dim
  x, direction = np.random.default_rng(1).standard_normal((2, 5, size))
  run = jax.jit(lambda x, v: jax.jvp(case.manifold.project, (x,), (v,)))
  with jax.enable_x64(True):
    got, slope = map(np.asarray, run(x, direction))
    ends = [np.asarray(run(x + s * direction, direction)[0]) for s in (1e-6, -1e-6)]
  np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-6)
  others = brownian.sample_uniform(jax.random.key(0), manifold=case.manifold, num_samples=5000)
  distance = np.linalg.norm(x[:, None] - np.asarray(others)[None], axis=2).min(1)
  assert (np.linalg.norm(x - got, axis=1) <= distance).all()
  for point in (0 * x, x * 1e-15, x * 1e15, got, np.tile(np.eye(1, size), (5, 1))):
    for leaf in run(np.float32(point), np.float32(direction)):
      assert np.isfinite(leaf).all()


def test_a_torus_of_several_circles_walks_on_each():
  z = brownian.sample(
    jax.random.key(0), jnp.tile(jnp.eye(1, 2), (4000, 3)), jnp.full(4000, -1.5),
    manifold=manifolds.torus(dim=3), num_steps=20,
  )  # fmt: skip
  pairs = np.asarray(z, float).reshape(-1, 3, 2)
  np.testing.assert_allclose(np.linalg.norm(pairs, axis=2), 1, rtol=1e-5)
  angles = np.arctan2(pairs[..., 1], pairs[..., 0])
  assert np.abs(np.corrcoef(angles.T) - np.eye(3)).max() < 0.06
  np.testing.assert_allclose(pairs[..., 0].mean(0), np.exp(-0.5 * np.exp(-1.5)), atol=0.015)
  with pytest.raises(ValueError, match="dim must be a positive integer"):
    manifolds.torus(dim=0)
