"""Discrete diffusion and CrossFlow as objectives: parts, weights, conditions, estimates for samplers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax import objectives
from latentjax.diffusion import discrete, processes, samplers
from latentjax.losses.contrastive import clip_loss, l2_normalize
from latentjax.losses.score import cross_flow_loss, discrete_loss

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def test_discrete_diffusion():
  process, tokens = discrete.absorbing(num_tokens=3), RNG.integers(0, 3, (8, 2, 2))
  shift = RNG.standard_normal(8).astype(np.float32)

  def predict(params, x_t, t, condition):
    return params * jnp.cos(x_t[..., None] + jnp.arange(3.0)) + condition[:, None, None, None]

  weights = {"bound_weight": 2.0, "auxiliary_weight": 0.3}
  objective = objectives.discrete_diffusion(
    predict, process=process, num_steps=5, condition="shift", **weights
  )

  def both(params):
    loss, (_, metrics) = objective(params, (), KEY, {"tokens": tokens, "shift": shift})
    given = lambda x_t, t: predict(params, x_t, t, shift)
    return loss, metrics, discrete_loss(KEY, given, tokens, process=process, num_steps=5)

  loss, metrics, parts = jax.tree.map(np.asarray, fast_jit(both)(1.5))
  expected = {name: float(np.mean(part)) / 4 for name, part in parts._asdict().items()}
  assert {k: float(v) for k, v in metrics.items()} == pytest.approx(expected, rel=1e-5)
  assert loss == pytest.approx(2 * expected["bound"] + 0.3 * expected["cross_entropy"], rel=1e-5)
  with pytest.raises(KeyError, match="feature must be one of 'x'"):
    objective(1.0, (), KEY, {"x": tokens})
  with pytest.raises(ValueError, match="auxiliary_weight must be in"):
    objectives.discrete_diffusion(predict, process=process, auxiliary_weight=-1.0)


def test_cross_flow():
  x, y = RNG.standard_normal((2, 8, 3)).astype(np.float32)
  encode = lambda params, y: (params * y, 0.1 * y)
  velocity = lambda params, z, t, c: params * z + (c * t)[:, None]
  align = lambda params, x: params * x
  model = objectives.cross_flow(encode, velocity, align_fn=align, kl_weight=0.5, align_weight=2.0)

  def everything(params):
    loss, (_, metrics) = model.objective(params, (), KEY, {"image": x, "text": y})
    mean, log_scale = encode(params, y)
    fn = lambda *args: velocity(params, *args)
    parts = cross_flow_loss(KEY, fn, x, mean, log_scale=log_scale)
    pair = l2_normalize(params * x), l2_normalize(parts.source)
    aligned = jnp.mean(clip_loss(*pair, logit_scale=10.0))
    # The velocity -1 from the source: Euler's method arrives at z + 1.
    still = objectives.cross_flow(encode, lambda p, z, t, c: -jnp.ones_like(z) * c[:, None])
    end = samplers.euler(
      KEY,
      lambda z, t: still.denoise(params, z, t),
      jnp.asarray(y),
      process=processes.rectified_flow(),
      times=jnp.linspace(1.0, 0.0, 4),
    )
    return loss, metrics, parts, aligned, end

  loss, metrics, parts, aligned, end = jax.tree.map(np.asarray, fast_jit(everything)(0.7))
  flow, kl = np.mean(parts.flow) / 3, np.mean(parts.kl)
  expected = {"flow": flow, "kl": kl, "align": float(aligned)}
  assert {k: float(v) for k, v in metrics.items()} == pytest.approx(expected, rel=1e-5)
  assert loss == pytest.approx(flow + 0.5 * kl + 2 * aligned, rel=1e-5)
  np.testing.assert_allclose(end, y + 1, rtol=1e-5)
  with pytest.raises(ValueError, match="kl_weight must be in"):
    objectives.cross_flow(encode, velocity, kl_weight=-1.0)
