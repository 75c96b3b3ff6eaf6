"""Guidance against exact mixtures: scores of tilted densities, exact classifiers; the contract."""

from functools import partial

import jax
import jax.numpy as jnp
import mixture_data as mixture
import numpy as np
import pytest
from contract import check_kernel, fast_jit

from latentjax.diffusion import processes, samplers
from latentjax.diffusion.guidance import (
  autoguidance,
  cfg_zero_star,
  classifier_free,
  classifier_guidance,
)
from latentjax.diffusion.processes import convert

B, W = 8, 2.5
RNG = np.random.default_rng(0)
X = 1.5 * RNG.standard_normal((B, 3))
LABELS = jnp.array([0, 1] * 4)
NONE = jnp.full(B, -1)
ALL = {
  "vp_cosine": processes.vp_cosine(),
  "edm": processes.edm(sigma_max=5.0),
  "rectified_flow": processes.rectified_flow(),
}


@pytest.mark.parametrize("name", ALL)
def test_scores_of_tilted_densities(name):
  """All guidance in one program, its score against the gradient of log densities."""
  process = ALL[name]
  denoise = partial(mixture.denoise, process)
  prior = lambda x, t: denoise(x, t, NONE)
  posterior = lambda x, t: (
    mixture.log_density(process, x, t, LABELS) - mixture.log_density(process, x, t, NONE)
  )

  def everything(x, t):
    score = lambda x0: convert(x0, x, t, process=process, source="x0", target="score")
    tilted = lambda x: jnp.sum(
      mixture.log_density(process, x, t, NONE) + W * posterior(x, t)  # log p(z) p(y | z)^w
    )
    guided = {
      "classifier_free": classifier_free(denoise, LABELS, -1, scale=W),
      "two calls": classifier_free(denoise, LABELS, -1, scale=W, together=False),
      "autoguidance": autoguidance(lambda x, t: denoise(x, t, LABELS), prior, scale=W),
      "classifier": classifier_guidance(prior, posterior, process=process, scale=W),
    }
    given = classifier_guidance(prior, posterior, process=process)(x, t)
    return (
      {name: score(fn(x, t)) for name, fn in guided.items()},
      jax.grad(tilted)(x),
      given,
      denoise(x, t, LABELS),
    )

  run = fast_jit(everything)
  for t in (0.05, 0.4, 0.9):
    with jax.enable_x64(True):
      found, expected, given, conditional = run(X, t)
    for side, score in found.items():
      np.testing.assert_allclose(score, expected, rtol=1e-7, atol=1e-7, err_msg=f"{side} {t}")
    np.testing.assert_allclose(given, conditional, rtol=1e-7, atol=1e-7)


TABLE = RNG.standard_normal((3, 3))


def everything_on(x):
  """Every function, of x alone, with a denoiser as simple as can be."""
  process = ALL["rectified_flow"]
  denoise = lambda x, t, y: t * jnp.tanh(x) + jnp.asarray(TABLE, x.dtype)[y]
  free = lambda **kwargs: classifier_free(denoise, LABELS, -1, scale=W, **kwargs)
  scaled = lambda x, t, y: (y[:, None] + 2.0) * jnp.tanh(x)
  star = lambda t, **kwargs: cfg_zero_star(
    denoise, LABELS, -1, process=process, **{"scale": W} | kwargs
  )(x, t)
  t, rescale = jnp.array(0.7, x.dtype), {"rescale": 0.4, "process": process}
  return {
    "guided": free()(x, t),
    "inside": free(interval=(0.2, 0.7))(x, t),
    "outside": free(interval=(0.2, 0.6))(x, t),
    "rescaled": free(rescale=0.4)(x, t),
    "rescaled, at 0 without deviation": classifier_free(scaled, LABELS, -1, scale=W, rescale=0.4)(
      x, t
    ),
    "rescaled v": free(prediction="v", **rescale)(x, t),
    "auto": autoguidance(lambda x, t: x / 2, lambda x, t: x / 3, scale=2.0, interval=(0, 0.6))(
      x, t
    ),
    "star": star(t),
    "star at scale 1": star(t, scale=1.0),
    "star at the start": star(jnp.ones_like(t)),
    "star without": star(jnp.ones_like(t), zero_from=None),
    "classifier at the start": classifier_guidance(
      lambda x, t: x, lambda x, t: jnp.sum(x, axis=1), process=process
    )(x, jnp.ones_like(t)),
  }


def exact_answers(x):
  """In numpy, from two estimates; the velocity of a rectified flow is (z_t - x) / t."""
  t = 0.7
  estimates = lambda t: [t * np.tanh(x) + TABLE[np.asarray(y)] for y in (LABELS, NONE)]
  c, u = estimates(t)
  w = u + W * (c - u)

  def rescaled(of, back, c=c, w=w):
    share = np.std(of(c), axis=1, keepdims=True) / np.std(of(w), axis=1, keepdims=True)
    return back((0.4 * share + 0.6) * of(w))

  def star(c, u, t):
    """What lies along the unconditional velocity stays, what is across grows."""
    c, u = (x - c) / t, (x - u) / t
    unit = u / np.linalg.norm(u, axis=1, keepdims=True)
    along = np.sum(c * unit, axis=1, keepdims=True) * unit
    return x - t * (along + W * (c - along))

  a, s = 1 - t, t
  c_2, u_2 = ((np.asarray(y)[:, None] + 2) * np.tanh(x) for y in (LABELS, NONE))
  return {
    "guided": w,
    "inside": w,
    "outside": c,
    "rescaled": rescaled(lambda x0: x0, lambda p: p),
    "rescaled, at 0 without deviation": rescaled(
      lambda x0: x0, lambda p: p, c_2, u_2 + W * (c_2 - u_2)
    ),
    "rescaled v": rescaled(
      lambda x0: a * (x - a * x0) / s - s * x0, lambda v: (a * x - s * v) / (a * a + s * s)
    ),
    "auto": x / 2,
    "star": star(c, u, t),
    "star at scale 1": c,
    "star at the start": x,
    "star without": star(*estimates(1.0), 1.0),
    "classifier at the start": x,
  }


def test_contract():
  free = partial(classifier_free, lambda x, t, y: x, NONE, -1, scale=W)
  bad = [
    (lambda x, **k: free(**k), {"interval": (0.5, 0.2)}, "interval must be"),
    (lambda x, **k: free(**k), {"rescale": 2.0}, "rescale must be in"),
    (lambda x, **k: free(**k), {"prediction": "noise"}, "prediction must be one of"),
    (lambda x, **k: free(**k), {"prediction": "v", "rescale": 0.5}, "process must be given"),
  ]

  def fn(x, bad=None, **kwargs):
    return everything_on(x) if bad is None else bad(x, **kwargs)

  check_kernel(
    fn,
    (X,),
    oracle=exact_answers,
    extreme=[(1e4 * X,), (0 * X,)],
    bad_inputs=[((X,), {"bad": make, **kwargs}, ValueError, text) for make, kwargs, text in bad],
    rtol=2e-5,
    atol=2e-5,
  )


def test_steps_without_velocity_stay():
  process = ALL["rectified_flow"]
  guided = cfg_zero_star(
    partial(mixture.denoise, process), LABELS, -1, process=process, scale=W, zero_from=0.75
  )
  run = lambda x, times: samplers.euler(jax.random.key(0), guided, x, process=process, times=times)
  two = fast_jit(lambda x: (run(x, jnp.array([1, 0.8, 0.6])), run(x, jnp.array([0.7, 0.6]))))
  late, early = two(jnp.float32(X))
  np.testing.assert_allclose(late, X, rtol=1e-5)
  assert np.min(np.linalg.norm(early - X, axis=1)) > 1e-2
