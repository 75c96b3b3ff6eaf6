"""The Gaussian-mixture VAE: its limits, what a label trains, and time as one more axis."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.densities import gaussian
from latentjax.densities.mixture_em import GaussianMixture
from latentjax.objectives import gmvae
from latentjax.objectives.gmvae import component_logits

B, D, Z, M = 8, 5, 2, 3
RNG = np.random.default_rng(0)
draw = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
X, LABEL = draw(B, D), np.array([0, 1, 1, 0, -1, -1, -1, -1])
BATCH = {"image": X, "label": LABEL}
PARAMS = {
  "encoder": 0.3 * draw(D, 2 * Z),
  "decoder": draw(2 * Z, D),
  "mean": draw(2, M, Z),
  "log_scale": 0.1 * draw(2, M, Z),
}


def encode_fn(params, x):
  first, second = jnp.split(x @ params["encoder"], 2, axis=-1)
  return [(first, 0 * first - 0.5), (second, 0 * second - 0.5)]


def decode_fn(params, zs):
  return jnp.concatenate(zs, axis=-1) @ params["decoder"], jnp.float32(0.0)


def mixtures_fn(params):
  return [GaussianMixture(jnp.zeros(M), m, s) for m, s in zip(params["mean"], params["log_scale"])]


make = partial(gmvae, encode_fn, decode_fn, mixtures_fn, labels=["label", None])


def test_components_that_agree_are_one_gaussian(key):
  """The divergence is then that of a plain VAE, whatever q(y|x)."""
  params = PARAMS | {"mean": np.zeros((2, M, Z)), "log_scale": np.zeros((2, M, Z))}
  objective = make(labels=[None, None])
  loss, (state, metrics) = jax.jit(objective)(params, 7, key, BATCH)
  kl = sum(gaussian.kl_standard(*q) for q in encode_fn(params, X)).mean()
  np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
  np.testing.assert_allclose(loss, kl - metrics["log_likelihood"], rtol=1e-5)
  assert state == 7 and metrics["label_nll"] == 0


def test_divergence_is_the_sum_over_the_components(key):
  """One factor and one component after the other, with hardly any noise; labels take their own."""
  quiet = lambda params, x: [(mean, 0 * mean - 6.0) for mean, _ in encode_fn(params, x)]
  objective = gmvae(quiet, decode_fn, mixtures_fn, labels=["label", None], likelihood=gaussian)
  _, (_, metrics) = jax.jit(objective)(PARAMS, (), key, BATCH)
  expected = 0.0
  for factor, (mean, _) in enumerate(encode_fn(PARAMS, X)):
    centres, scales = PARAMS["mean"][factor], np.exp(PARAMS["log_scale"][factor])
    z, s = np.asarray(mean)[:, None], np.exp(-6.0)
    log_p = stats.norm.logpdf(z, centres, scales).sum(2)
    q = np.exp(log_p) / np.exp(log_p).sum(1, keepdims=True)
    if factor == 0:
      q = np.where(LABEL[:, None] >= 0, np.eye(M)[LABEL], q)
    each = np.log(scales / s) + (s**2 + (z - centres) ** 2) / (2 * scales**2) - 0.5
    expected += (q * each.sum(2)).sum(1) + np.log(M) - stats.entropy(q, axis=1)
  np.testing.assert_allclose(metrics["kl"], expected.mean(), rtol=1e-3)


def test_component_logits_are_the_responsibilities():
  prior, z = mixtures_fn(PARAMS)[0], draw(4, 3, Z)
  logits, mean, log_scale = (np.asarray(a, np.float64) for a in prior)
  joint = logits + stats.norm.logpdf(z[..., None, :], mean, np.exp(log_scale)).sum(-1)
  expected = np.exp(joint) / np.exp(joint).sum(-1, keepdims=True)
  found = jax.jit(lambda z: jnp.exp(component_logits(z, prior)))(z)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_label_trains_its_own_component_and_the_weight_the_others(key):
  labelled = {"image": X[:4], "label": LABEL[:4]}
  # The weights are arguments, so that all are one program.
  loss = lambda p, beta, weight: make(beta=beta, label_weight=weight)(p, (), key, labelled)[0]
  grad = jax.jit(jax.grad(loss))
  plain, weighted, none = grad(PARAMS, 1.0, 0.0), grad(PARAMS, 1.0, 1.0), grad(PARAMS, 0.0, 0.0)
  assert np.any(plain["mean"][0, :2]) and not np.any(plain["mean"][0, 2])
  assert np.any(plain["mean"][1, 2]), "the second factor has no labels"
  assert np.any(weighted["mean"][0, 2])
  assert not np.any(none["mean"]) and np.any(none["encoder"]) and np.any(none["decoder"])


def test_labels_enter_the_loss(key):
  run = jax.jit(lambda weight: make(label_weight=weight)(PARAMS, (), key, BATCH))
  (plain, _), (weighted, (_, metrics)) = run(0.0), run(3.0)
  np.testing.assert_allclose(weighted - plain, 3 * 4 / B * metrics["label_nll"], rtol=1e-3)
  np.testing.assert_allclose(plain, -metrics["elbo"], rtol=1e-5)


def test_frames_of_a_sequence_add_up(key):
  """Frames are independent here, so a sequence is the sum of its frames; the condition is handed on."""
  frames, labels = draw(2, 4, D), np.array([[0, 1, -1, 2], [-1, -1, 2, 2]])
  seen = []

  def encode(params, x, notes):
    seen.append(notes.shape)
    return [(mean, 0 * mean - 20.0) for mean, _ in encode_fn(params, x)]  # hardly any noise

  decode = lambda params, zs, notes: decode_fn(params, zs)
  objective = gmvae(encode, decode, mixtures_fn, labels=["y", None], condition="notes")
  batch = {"image": frames, "y": labels, "notes": np.ones((2, 4, 1))}
  long, _ = jax.jit(objective)(PARAMS, (), key, batch)
  flat, _ = jax.jit(objective)(
    PARAMS, (), key, {k: v.reshape(8, *v.shape[2:]) for k, v in batch.items()}
  )
  np.testing.assert_allclose(long, 4 * flat, rtol=1e-5)
  assert seen == [(2, 4, 1), (8, 1)]


def test_devices_with_different_numbers_of_labels_agree(key):
  batch = BATCH | {"label": np.where(np.arange(B) < 3, LABEL, -1)}  # two, one, none and none
  split = {name: value.reshape(4, 2, *value.shape[1:]) for name, value in batch.items()}
  run = lambda objective, batch: objective(PARAMS, (), key, batch)
  local = partial(run, make(axis_name="devices"))
  losses, (_, parts) = jax.pmap(local, "devices", devices=jax.devices()[:4])(split)
  loss, (_, metrics) = jax.jit(partial(run, make()))(batch)
  np.testing.assert_allclose(losses.mean(), loss, rtol=1e-5)
  for name, value in metrics.items():
    np.testing.assert_allclose(parts[name].mean(), value, rtol=1e-5, err_msg=name)


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="beta must be in"):
    make(beta=-1.0)
  with pytest.raises(ValueError, match="labels must have one entry for each factor, got 1 for 2"):
    jax.eval_shape(make(labels=[None]), PARAMS, (), key, BATCH)
  with pytest.raises(KeyError, match="feature must be one of"):
    jax.eval_shape(make(labels=["pitch", None]), PARAMS, (), key, BATCH)
