"""Score matching without noise: the exact trace, unbiased projections, and what the minimum is."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel, fast_jit

from latentjax.losses import score

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 3)).astype(np.float32)
W = RNG.standard_normal((3, 3)).astype(np.float32)


def network(x, w):
  return jnp.tanh(x @ w)


def implicit(key, x, w, **kwargs):
  return score.implicit_score_matching_loss(key, lambda x: network(x, w), x, **kwargs)


def sliced(key, x, w, **kwargs):
  return score.sliced_score_matching_loss(key, lambda x: network(x, w), x, **kwargs)


def oracle(x, w):
  """The derivative of tanh, by hand."""
  s = np.tanh(x @ w)
  return ((1 - s**2) * np.diag(w)).sum(1) + 0.5 * (s**2).sum(1)


def test_implicit():
  check_kernel(
    implicit,
    [X, W],
    key=KEY,
    oracle=oracle,
    batch_axes=(0, None),
    bad_inputs=[
      ([X.astype(int), W], {}, TypeError, "x must be a floating"),
      ([X[0], W], {}, ValueError, "x must have shape"),
      ([X, W[:, :2]], {}, ValueError, "x and score must have the same shape"),
      ([X, W], {"projection": "sphere"}, ValueError, "projection must be one of"),
      ([X, W], {"num_projections": 0}, ValueError, "num_projections must be a positive"),
    ],
  )


def test_projections_estimate_the_trace():
  """Both projections, both forms: the mean is the exact loss; the reduced form varies less."""
  forms = [(kind, reduced) for kind in ("rademacher", "normal") for reduced in (True, False)]

  def estimates(keys):
    draw = lambda key: jnp.stack(
      [sliced(key, X, W, projection=kind, variance_reduced=reduced) for kind, reduced in forms]
    )
    return jax.vmap(draw)(keys)

  found = np.float64(fast_jit(estimates)(jax.random.split(KEY, 4000)))  # (draws, forms, B)
  error = found.std(0) / np.sqrt(4000)
  assert (np.abs(found.mean(0) - oracle(X, W)) < 4.5 * error + 1e-5).all()
  spread = found.std(0).mean(1)
  assert spread[0] < spread[1] and spread[2] < spread[3]


def test_minimum_is_the_score():
  """For normal data and s(x) = -a (x - m), the loss's slope vanishes at the sample's own moments."""
  x = 1.5 + 0.7 * RNG.standard_normal((512, 1))

  def mean_loss(theta):
    a, m = theta
    return jnp.mean(score.implicit_score_matching_loss(KEY, lambda x: -a * (x - m), x))

  with jax.enable_x64(True):
    best = jnp.array([1 / x.var(), x.mean()])
    slopes = fast_jit(jax.vmap(jax.grad(mean_loss)))(jnp.stack([best, best * 1.1]))
  np.testing.assert_allclose(slopes[0], 0, atol=1e-12)
  assert (np.abs(slopes[1]) > 1e-2).all()
