"""M2 on a model with one latent and three classes, where log p(x, y) and log p(x) are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.densities import gaussian
from latentjax.objectives import m2_vae

B, D, C = 8, 4, 3
RNG = np.random.default_rng(0)
draw = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
W, CENTRES, X = draw(D, 1), draw(C, D), draw(B, D)
PRECISION = 1 + (W**2).sum()
Y = np.array([0, 2, 1, 1, 0, 2, 0, 1])
PER_CLASS = np.stack(  # log p(x, y)
  [stats.multivariate_normal(m, W @ W.T + np.eye(D)).logpdf(X) - np.log(C) for m in CENTRES], 1
)
PARAMS = {"w": W, "centres": CENTRES, "logits": PER_CLASS.astype(np.float32)}


def encode_fn(params, x, y):
  """The exact posterior given the class."""
  mean = (x - y @ params["centres"]) @ params["w"] / PRECISION
  return mean, jnp.full_like(mean, -0.5 * np.log(PRECISION))


def decode_fn(params, zy):
  return zy[:, :1] @ params["w"].T + zy[:, 1:] @ params["centres"], jnp.float32(0.0)


make = partial(
  m2_vae,
  lambda p, x: p["logits"],
  encode_fn,
  decode_fn,
  num_classes=C,
  likelihood=gaussian,
)
batch = lambda y: {"image": X, "label": y}


def test_bounds_are_tight_for_exact_posteriors(key):
  """log p(x) where no class is known, log p(x, y) where all are, the share of each in between."""
  keys = jax.random.split(key, 4000)
  log_p_x = np.logaddexp.reduce(PER_CLASS, axis=1)
  log_p_xy = np.take_along_axis(PER_CLASS, Y[:, None], 1)[:, 0]
  half = np.where(np.arange(B) < 4, Y, -1)
  mixed = np.where(half >= 0, log_p_xy, log_p_x)
  for labels, exact in [(np.full(B, -1), log_p_x), (Y, log_p_xy), (half, mixed)]:
    run = lambda key, labels=labels: make()(PARAMS, (), key, batch(labels))[1][1]["bound"]
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(keys).mean(), exact.mean(), atol=0.02)


def test_labels_train_the_classifier_by_the_weighted_term_alone(key):
  def logits_gradient(labels, **kwargs):
    loss = lambda p: make(**kwargs)(p, (), key, batch(labels))[0]
    return jax.jit(jax.grad(loss))(PARAMS)["logits"]

  weighted = logits_gradient(Y, label_weight=3.0)
  q = np.exp(PER_CLASS - np.logaddexp.reduce(PER_CLASS, axis=1, keepdims=True))
  np.testing.assert_allclose(weighted, 3 / B * (q - np.eye(C)[Y]), atol=1e-6)
  assert not np.any(logits_gradient(Y, label_weight=0.0))
  assert np.any(logits_gradient(np.full(B, -1), label_weight=0.0))


def test_metrics_and_devices(key):
  labels = np.where(np.arange(B) % 2, -1, Y)
  _, (state, metrics) = make()(PARAMS, 5, key, batch(labels))
  known = labels >= 0
  assert state == 5
  np.testing.assert_allclose(metrics["accuracy"], np.mean(PER_CLASS.argmax(1)[known] == Y[known]))
  pair = [make_linear(axis_name) for axis_name in ("devices", None)]
  value = lambda objective, b: objective(PARAMS, (), key, b)[0]
  split = {"image": X.reshape(4, 2, D), "label": labels.reshape(4, 2)}
  losses = jax.pmap(partial(value, pair[0]), "devices", devices=jax.devices()[:4])(split)
  np.testing.assert_allclose(losses.mean(), value(pair[1], batch(labels)), rtol=1e-5)


def make_linear(axis_name):
  classify = lambda params, x: x @ params["centres"].T
  return m2_vae(
    classify, encode_fn, decode_fn, num_classes=C, likelihood=gaussian, axis_name=axis_name
  )


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="label_weight must be in"):
    make(label_weight=-1.0)
  with pytest.raises(ValueError, match=r"classify_fn must return shape \(8, 2\), got \(8, 3\)"):
    make(num_classes=2)(PARAMS, (), key, batch(Y))
  with pytest.raises(KeyError, match="feature must be one of"):
    make(label="y")(PARAMS, (), key, batch(Y))
