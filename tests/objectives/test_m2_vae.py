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
  labels = np.stack([np.full(B, -1), Y, half])
  run = lambda key, labels: make()(PARAMS, (), key, batch(labels))[1][1]["bound"]
  bounds = jax.jit(jax.vmap(jax.vmap(run, (0, None)), (None, 0)))(keys, labels)
  exact = np.mean([log_p_x, log_p_xy, mixed], axis=1)
  np.testing.assert_allclose(bounds.mean(axis=1), exact, atol=0.02)


def test_labels_train_the_classifier_by_the_weighted_term_alone(key):
  # Labels and weight are arguments, so that all are one program.
  loss = lambda p, labels, weight: make(label_weight=weight)(p, (), key, batch(labels))[0]
  grad = jax.jit(jax.grad(loss))
  weighted = grad(PARAMS, Y, 3.0)["logits"]
  q = np.exp(PER_CLASS - np.logaddexp.reduce(PER_CLASS, axis=1, keepdims=True))
  np.testing.assert_allclose(weighted, 3 / B * (q - np.eye(C)[Y]), atol=1e-6)
  assert not np.any(grad(PARAMS, Y, 0.0)["logits"])
  assert np.any(grad(PARAMS, np.full(B, -1), 0.0)["logits"])


def test_devices_with_different_numbers_of_labels_agree(key):
  labels = np.where(np.arange(B) < 3, Y, -1)  # two, one, none and none
  classify = lambda params, x: x @ params["centres"].T
  kwargs = {"num_classes": C, "likelihood": gaussian}
  alone, local = (
    m2_vae(classify, encode_fn, decode_fn, axis_name=name, **kwargs) for name in (None, "devices")
  )
  loss, (state, metrics) = jax.jit(alone)(PARAMS, 5, key, batch(labels))
  assert state == 5
  logits = X @ CENTRES.T
  np.testing.assert_allclose(metrics["accuracy"], np.mean(logits[:3].argmax(1) == Y[:3]))
  nll = -np.log(np.exp(logits[:3, Y[:3]]).diagonal() / np.exp(logits[:3]).sum(1))
  np.testing.assert_allclose(metrics["label_nll"], nll.mean(), rtol=1e-4)
  split = {"image": X.reshape(4, 2, D), "label": labels.reshape(4, 2)}
  run = lambda b: local(PARAMS, 5, key, b)
  losses, (_, parts) = jax.pmap(run, "devices", devices=jax.devices()[:4])(split)
  np.testing.assert_allclose(losses.mean(), loss, rtol=1e-5)
  for name, value in metrics.items():
    np.testing.assert_allclose(parts[name].mean(), value, rtol=1e-5, err_msg=name)


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="label_weight must be in"):
    make(label_weight=-1.0)
  with pytest.raises(ValueError, match=r"classify_fn must return shape \(8, 2\), got \(8, 3\)"):
    jax.eval_shape(make(num_classes=2), PARAMS, (), key, batch(Y))
  with pytest.raises(KeyError, match="feature must be one of"):
    jax.eval_shape(make(label="y"), PARAMS, (), key, batch(Y))
