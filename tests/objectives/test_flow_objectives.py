"""Consistency models, flows between distributions and flows as priors: what the losses' means become."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax.densities import bernoulli
from latentjax.diffusion import processes
from latentjax.losses import score
from latentjax.objectives import (
  consistency_model,
  flow_prior_autoencoder,
  interpolant_flow,
  multimarginal_flow,
)

KEY = jax.random.key(0)
X, Y = np.random.default_rng(0).standard_normal((2, 8, 3)).astype(np.float32)


def field(w, z, t):
  return jnp.tanh(w * z) + t[:, None]


def test_consistency_model():
  """The state counts steps, the discretisation follows, and the function keeps its boundary."""
  model = consistency_model(
    lambda w, x, noise: jnp.sin(w * x) + noise[..., None],
    process=processes.edm(),
    total_steps=4,
    initial=5,
    final=10,
    metric_fn=lambda n: partial(score.cauchy_loss, c=score.cauchy_scale(n)),
    matched_noise=True,
    denoising_weight=1.0,
    feature="x",
  )
  run = fast_jit(jax.value_and_grad(model.objective, has_aux=True))
  state, seen = model.init_state, []
  for _ in range(4):
    (loss, (state, metrics)), grad = run(jnp.float32(0.5), state, KEY, {"x": X})
    assert np.isfinite(loss) and np.abs(grad) > 0
    seen.append(float(metrics["num_steps"]))
  assert seen == [5, 5, 10, 10] and int(state.step) == 4
  same = fast_jit(model.consistency)(0.5, X, jnp.zeros(8))
  np.testing.assert_allclose(same, X, rtol=1e-6)


def test_flows():
  """Pairs of one point and its copy: matched, they have no velocity; independent ones do."""
  batch = {"x_0": X, "x_1": X[::-1], "xs": np.stack([X, Y], axis=1)}
  zero = lambda params, z, t: jnp.zeros_like(z)
  corners = lambda params, x, alpha: jnp.stack([x, 2 * x], axis=1)

  def losses():
    flow = lambda **kwargs: interpolant_flow(zero, end="x_1", **kwargs)((), (), KEY, batch)[0]
    drawn = interpolant_flow(zero, eps_fn=field)(jnp.ones(3), 7, KEY, batch)
    # The little epsilon of 8 points far apart leaves no choice.
    matched = flow(coupling="entropic", epsilon=1e-3)
    several = multimarginal_flow(corners)((), (), KEY, batch)[0]
    expected = jnp.mean(score.multimarginal_loss(KEY, partial(corners, ()), batch["xs"]))
    return matched, flow(), drawn, (several, expected)

  matched, independent, drawn, (several, expected) = fast_jit(losses)()
  np.testing.assert_allclose(matched, 0, atol=1e-6)
  np.testing.assert_allclose(independent, np.mean(np.sum((X[::-1] - X) ** 2, axis=1)), rtol=1e-5)
  loss, (state, metrics) = drawn
  assert state == 7 and set(metrics) == {"velocity", "eps"}
  np.testing.assert_allclose(loss, sum(metrics.values()), rtol=1e-6)
  np.testing.assert_allclose(several, expected, rtol=1e-6)


def test_flow_prior_autoencoder():
  """Its loss is the reconstruction's and the weighted alignment's; the gradient reaches the encoder."""
  image = np.float32(np.random.default_rng(1).uniform(size=(8, 6)))
  encode = lambda w, x: x @ w
  decode = lambda w, z: z @ w.T
  towards = lambda z, t: z - 1.0

  def run(w, weight):
    model = flow_prior_autoencoder(encode, decode, towards, weight=weight)
    return model.objective(w, (), KEY, {"image": image})

  w = np.float32(np.random.default_rng(2).standard_normal((6, 2)))
  aligned = lambda w: jnp.mean(score.flow_alignment_loss(KEY, towards, image @ w))

  def parts(w):
    log_p = jnp.sum(bernoulli.log_prob(image, encode(w, image) @ w.T)) / 8
    slopes = [jax.grad(lambda w, a=a: run(w, a)[0])(w) for a in (0.0, 0.3)]
    return run(w, 0.3), (log_p, aligned(w)), slopes, jax.grad(aligned)(w)

  (loss, (_, metrics)), (log_p, alignment), slopes, slope = fast_jit(parts)(w)
  np.testing.assert_allclose(metrics["log_likelihood"], log_p, rtol=1e-5)
  np.testing.assert_allclose(metrics["alignment"], alignment, rtol=1e-5)
  np.testing.assert_allclose(loss, 0.3 * alignment - log_p, rtol=1e-5)
  np.testing.assert_allclose(slopes[1] - slopes[0], 0.3 * slope, atol=1e-4)


def test_bad_input():
  with pytest.raises(ValueError, match="coupling must be one of"):
    interpolant_flow(field, coupling="sinkhorn")
  with pytest.raises(ValueError, match="total_steps must"):
    consistency_model(field, process=processes.edm(), total_steps=2)
  with pytest.raises(ValueError, match="weight must be in"):
    flow_prior_autoencoder(field, field, field, weight=-1.0)
