"""Interpolants of two and more distributions, mean flows, flows as priors: exact answers for normal data."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.diffusion.samplers import velocity_flow
from latentjax.losses import score

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
MEANS, SCALES = np.array([1.5, -1.0, 0.5]), np.array([0.7, 1.3, 0.4])


def within(values, expected, deviations=4.0):
  """Whether a mean is what it should be."""
  values = np.float64(values)
  assert abs(values.mean() - expected) < deviations * values.std() / np.sqrt(values.size), (
    values.mean(),
    expected,
  )


def inner_times(key, *, batch_size, axis_name=None):
  return 0.05 + 0.9 * score.antithetic_times(key, batch_size=batch_size, axis_name=axis_name)


def parts(path, t):
  """(alpha, beta, gamma) and slopes by differences, in numpy."""
  values = lambda t: np.array([np.float64(fn(t)) for fn in path])
  with jax.enable_x64(True):
    return values(t), (values(t + 1e-5) - values(t - 1e-5)) / 2e-5


@pytest.mark.parametrize("name", ["linear", "trigonometric"])
def test_minima_for_normal_ends(name):
  """Of independent normal ends the velocity and the noise are linear in z; what is left is the variance."""
  path = getattr(score, f"{name}_interpolant")(scale=0.8)
  t = 0.3
  (a, b, c), (a_, b_, c_) = parts(path, t)
  variance = np.array([(a * SCALES[0]) ** 2 + (b * SCALES[1]) ** 2 + c**2])[0]
  mean, mean_slope = a * MEANS[0] + b * MEANS[1], a_ * MEANS[0] + b_ * MEANS[1]
  shared = a * a_ * SCALES[0] ** 2 + b * b_ * SCALES[1] ** 2 + c * c_
  total = (a_ * SCALES[0]) ** 2 + (b_ * SCALES[1]) ** 2 + c_**2
  fields = {
    "velocity": lambda z, t: mean_slope + shared / variance * (z - mean),
    "eps": lambda z, t: c / variance * (z - mean),
  }
  least = {"velocity": total - shared**2 / variance, "eps": 1 - c**2 / variance}
  ends = MEANS[:2] + SCALES[:2] * RNG.standard_normal((20_000, 2))
  x_0, x_1 = np.float32(ends[:, :1]), np.float32(ends[:, 1:])
  now = lambda key, *, batch_size, axis_name: jnp.full(batch_size, t)

  def losses(x_0, x_1):
    return [
      score.interpolant_loss(
        KEY, field, x_0, x_1, interpolant=path, prediction=kind, antithetic=both, time_sampler=now
      )
      for kind, field in fields.items()
      for both in (False, True)
    ]

  for loss, expected in zip(fast_jit(losses)(x_0, x_1), np.repeat(list(least.values()), 2)):
    within(loss, expected)


def test_bridges_between_points():
  """For one pair the fields are those of a Brownian bridge, as [SF]2M writes them: the losses vanish."""
  x_0, x_1 = RNG.standard_normal((2, 8, 3)).astype(np.float32)
  scale = 0.6
  middle = lambda t: (1 - t[:, None]) * x_0 + t[:, None] * x_1
  spread = lambda t: (t * (1 - t))[:, None]
  velocity = lambda z, t: (1 - 2 * t[:, None]) / (2 * spread(t)) * (z - middle(t)) + x_1 - x_0
  noise = lambda z, t: (z - middle(t)) / (scale * jnp.sqrt(spread(t)))
  loss = partial(
    score.interpolant_loss,
    KEY,
    x_0=x_0,
    x_1=x_1,
    interpolant=score.linear_interpolant(scale=scale),
    time_sampler=inner_times,
  )
  for value in fast_jit(lambda: [loss(velocity), loss(noise, prediction="eps")])():
    np.testing.assert_allclose(value, 0, atol=1e-8)


def test_drifts_keep_the_marginals():
  """The ODE, and the SDE either way, take one normal end to the other."""
  path, (m_0, m_1, _), (s_0, s_1, _) = score.linear_interpolant(scale=0.8), MEANS, SCALES

  def fields(z, t):
    a, b, c = (fn(t) for fn in path)
    variance = (a * s_0) ** 2 + (b * s_1) ** 2 + c**2
    slope = -a * s_0**2 + b * s_1**2 + 0.8**2 * (0.5 - t)
    centred = z - a * m_0 - b * m_1
    return m_1 - m_0 + slope / variance * centred, c / variance * centred

  def drift(z, t, backward):
    velocity, eps = fields(z, t)
    return score.interpolant_drift(velocity, eps, t, interpolant=path, scale=0.5, backward=backward)

  def ends(noise):
    start, end = m_0 + s_0 * noise, m_1 + s_1 * noise
    times = jnp.linspace(1e-4, 1 - 1e-4, 101)
    return (
      velocity_flow(KEY, lambda z, t: fields(z, t)[0], start, times=times),
      velocity_flow(KEY, partial(drift, backward=False), start, times=times, scale=0.5),
      velocity_flow(KEY, partial(drift, backward=True), end, times=times[::-1], scale=0.5),
    )

  noise = RNG.standard_normal((4096, 1)).astype(np.float32)
  flowed, forward, backward = fast_jit(ends)(noise)
  np.testing.assert_allclose(flowed, m_1 + s_1 * noise, atol=5e-3)  # quantiles stay themselves
  for z, mean, scale in ((forward, m_1, s_1), (backward, m_0, s_0)):
    assert abs(z.mean() - mean) < 4.5 * scale / 64 and abs(z.std() / scale - 1) < 0.06


def conditional_means(x, alpha):
  """E[x_k | barycentre] of three independent normals, (B, 3, 1)."""
  weighted = alpha * SCALES**2
  variance = jnp.sum(alpha * weighted, axis=1, keepdims=True)
  return (MEANS + weighted / variance * (x - jnp.sum(alpha * MEANS, axis=1, keepdims=True)))[
    ..., None
  ]


def test_multimarginal():
  """The least loss of normals, and flows along an edge and a path off the simplex, which end alike."""
  xs = np.float32(MEANS + SCALES * RNG.standard_normal((20_000, 3)))[..., None]
  alpha = jnp.array([0.5, 0.3, 0.2])
  fixed = lambda key, *, batch_size, num_marginals, axis_name: jnp.tile(alpha, (batch_size, 1))
  share = np.float64(alpha) * SCALES**2
  least = np.sum(SCALES**2) - np.sum(share**2) / np.sum(alpha * share)

  def edge(t):
    return jnp.stack([1 - t, t, 0 * t])

  def bent(t):
    third = t * (1 - t)  # off the simplex: the sum is not 1
    return jnp.stack([1 - t, t + 0.5 * third, third])

  def run(xs):
    flow = lambda path: velocity_flow(
      KEY,
      score.path_velocity(conditional_means, path),
      xs[:64, 0],
      times=jnp.linspace(0.0, 1.0, 65),
    )
    loss = score.multimarginal_loss(KEY, conditional_means, xs, weights_sampler=fixed)
    weights = score.simplex_weights(KEY, batch_size=20_000, num_marginals=3)
    return loss, weights, [flow(path) for path in (edge, bent)]

  loss, weights, ends = fast_jit(run)(xs)
  within(loss, least)
  np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
  within(weights[:, 2] ** 2, 2 / 12)  # of a flat Dirichlet distribution
  expected = MEANS[1] + SCALES[1] / SCALES[0] * (xs[:64, 0] - MEANS[0])
  for end in ends:
    np.testing.assert_allclose(end, expected, atol=2e-3)


def gaussian_flow(z, t, s, mean=1.5, scale=0.7):
  """Where the ODE of `rectified_flow` takes z_t = z at time s."""
  spread = lambda t: jnp.sqrt(((1 - t) * scale) ** 2 + t**2)
  return (1 - s) * mean + spread(s) / spread(t) * (z - (1 - t) * mean)


def test_mean_flow():
  """The exact average velocity is stationary: the loss's slope vanishes in the mean; of another not."""

  def slopes(x, wrong):
    def mean_velocity(z, s, t, theta):
      s, t = s[:, None], t[:, None]
      apart = jnp.where(t - s > 1e-3, t - s, 1e-3)
      exact = (z - gaussian_flow(z, t, t - apart)) / apart
      return exact + wrong * s + theta * jnp.sin(z)

    loss = lambda theta: score.mean_flow_loss(
      KEY,
      lambda z, s, t: mean_velocity(z, s, t, theta),
      x,
      power=0.0,
      share_apart=0.5,
      time_sampler=inner_times,
    )
    return jax.jacfwd(loss)(0.0)

  x = 1.5 + 0.7 * RNG.standard_normal((20_000, 1))
  with jax.enable_x64(True):
    run = fast_jit(slopes)
    exact, off = np.asarray(run(x, 0.0)), np.asarray(run(x, 1.0))
  within(exact, 0.0)
  assert abs(off.mean()) > 10 * off.std() / np.sqrt(off.size)


def test_flow_alignment():
  """For the exact flow of normal data: quadratic in the latent, by quadrature over time."""
  mean, scale, y = 1.5, 0.7, np.array([1.5, 0.0, 4.0])

  def velocity(z, t):
    t = t[:, None]
    gain = (1 - t) * scale**2 / (((1 - t) * scale) ** 2 + t**2)
    return (z - mean - gain * (z - (1 - t) * mean)) / t

  def loss(y):
    rows = jnp.repeat(y, 20_000)[:, None]
    # Every latent has its own times.
    uniform = score.uniform_times
    return score.flow_alignment_loss(KEY, velocity, rows, time_sampler=uniform).reshape(len(y), -1)

  found = np.float64(fast_jit(loss)(np.float32(y)))
  t = (np.arange(20_000) + 0.5) / 20_000
  variance = ((1 - t) * scale) ** 2 + t**2
  for row, latent in zip(found, y):
    expected = np.mean((t**2 * (latent - mean) ** 2 + (1 - t) ** 2 * scale**4) / variance**2)
    within(row, expected)


def test_rows_have_the_same_noise_on_several_devices():
  x = RNG.standard_normal((8, 3)).astype(np.float32)

  def losses(x, axis_name=None):
    predict = lambda z, t: jnp.sin(z) + t[:, None]
    given = {"axis_name": axis_name}
    path = score.linear_interpolant()
    means = lambda z, alpha: z[:, None] * alpha[..., None]
    return [
      score.interpolant_loss(KEY, predict, x, 2 * x, interpolant=path, **given),
      score.multimarginal_loss(KEY, means, jnp.stack([x, 2 * x], axis=1), **given),
      score.mean_flow_loss(KEY, lambda z, s, t: predict(z, t) * s[:, None], x, **given),
      score.flow_alignment_loss(KEY, predict, x, **given),
      score.sliced_score_matching_loss(KEY, jnp.tanh, x, projection="normal", **given),
    ]

  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  mapped = jax.shard_map(
    partial(losses, axis_name=AXIS), mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS)
  )
  for one, many in zip(fast_jit(losses)(x), fast_jit(mapped)(x)):
    np.testing.assert_allclose(many, one, rtol=1e-5)


def test_bad_input():
  x = jnp.ones((4, 2))
  zeros = lambda z, t: jnp.zeros_like(z)
  path = score.linear_interpolant()
  for call, error, message in [
    (lambda: score.linear_interpolant(scale=-1.0), ValueError, "scale must be in"),
    (
      lambda: score.interpolant_loss(KEY, zeros, x, x, interpolant=path, prediction="score"),
      ValueError,
      "prediction must be one of",
    ),
    (
      lambda: score.interpolant_loss(KEY, zeros, x, x[:2], interpolant=path),
      ValueError,
      "x_0 and x_1 must have",
    ),
    (lambda: score.multimarginal_loss(KEY, zeros, x), ValueError, "xs must have shape"),
    (lambda: score.simplex_interpolant(x[0, :1], x), ValueError, "alpha must have shape"),
    (lambda: score.mean_flow_loss(KEY, zeros, x, offset=0.0), ValueError, "offset must be in"),
    (lambda: score.flow_alignment_loss(KEY, zeros, x.astype(int)), TypeError, "y must be a fl"),
    (
      lambda: velocity_flow(KEY, zeros, x, times=jnp.array([0.0, 1.0, 0.5])),
      ValueError,
      "times must fall or rise",
    ),
  ]:
    with pytest.raises(error, match=message):
      call()
