"""iVAE and IDVAE: exact on linear-Gaussian models; a missing u by explicit enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import stats

from latentjax.densities import gaussian
from latentjax.objectives import conditional_vae, idvae, ivae

B, D, Z, U = 8, 4, 2, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, D)).astype(np.float32)
LABELS = np.array([0, 1, 2, 1, 0, 2, 2, 1])
PARAMS = {
  "encoder": {"x": RNG.standard_normal((D, Z)), "u": RNG.standard_normal((U, Z))},
  "decoder": RNG.standard_normal((Z, D)),
  "prior": {"mean": RNG.standard_normal((U, Z)), "log_scale": 0.3 * RNG.standard_normal((U, Z))},
  "aux": RNG.standard_normal((Z, U)),
  "classifier": RNG.standard_normal((D, U)),
}
PARAMS = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), PARAMS)


def encode_fn(params, x, u):
  mean = x @ params["encoder"]["x"] + params["encoder"]["u"][u]
  return mean, jnp.full_like(mean, -0.5)


def decode_fn(params, z):
  return z @ params["decoder"], jnp.float32(-0.3)


def prior_fn(params, u):
  return params["prior"]["mean"][u], params["prior"]["log_scale"][u]


def aux_decode_fn(params, z):
  return z @ params["aux"]


def classify_fn(params, x):
  return x @ params["classifier"]


def double(**kwargs):
  return idvae(encode_fn, decode_fn, prior_fn, aux_decode_fn, latent_dim=Z, **kwargs)


def test_ivae_is_the_conditional_vae_whose_decoder_does_not_see_u(key):
  got = ivae(encode_fn, decode_fn, prior_fn, latent_dim=Z)
  expected = conditional_vae(
    encode_fn, lambda p, z, u: decode_fn(p, z), latent_dim=Z, likelihood=gaussian, prior_fn=prior_fn
  )
  batch = {"image": X, "label": LABELS}
  assert got.objective(PARAMS, (), key, batch) == expected.objective(PARAMS, (), key, batch)


def test_exact_posteriors_give_the_joint_evidence(key):
  """u | z ~ N(b z, 0.6^2) and x | z ~ N(w z, 0.8^2): with exact p(z|u), q(z|x, u) it is log p(x, u)."""
  w, b = X[:1], 0.7
  u = RNG.standard_normal((B, 1)).astype(np.float32)
  prior_precision = 1 + (b / 0.6) ** 2
  precision = prior_precision + (w**2).sum() / 0.8**2
  constant = lambda like, precision: jnp.full_like(like, -0.5 * np.log(precision))

  def prior(params, u):
    mean = b * u / 0.6**2 / prior_precision
    return mean, constant(mean, prior_precision)

  def encode(params, x, u):
    mean = (x @ w.T / 0.8**2 + b * u / 0.6**2) / precision
    return mean, constant(mean, precision)

  model = idvae(
    encode,
    lambda p, z: (z @ w, np.log(0.8)),
    prior,
    lambda p, z: (b * z, np.log(0.6)),
    latent_dim=1,
    aux_likelihood=gaussian,
    num_samples=20_000,
  )
  loss = model.objective((), (), key, {"image": X, "label": u})[0]
  loading = np.append(w[0], b)
  covariance = np.outer(loading, loading) + np.diag([0.64] * D + [0.36])
  joint = stats.multivariate_normal(np.zeros(D + 1), covariance).logpdf(np.hstack([X, u]))
  np.testing.assert_allclose(-loss, joint.mean(), atol=0.02)


@pytest.mark.parametrize("known", [True, False])
def test_a_missing_u_is_enumerated_and_a_known_one_trains_the_classifier(key, known):
  model = double(classify_fn=classify_fn, classifier_weight=2.5, beta=lambda step: 0.7 * step)
  x, supervised = X[:1], double(beta=0.7)
  # A label that is not known is not read.
  batch = {"image": x, "label": np.array([1 if known else 99]), "labelled": np.array([known])}
  loss, (_, metrics) = jax.jit(model.objective)(PARAMS, 1, key, batch)
  run = jax.jit(supervised.objective)
  each = [
    run(PARAMS, (), jax.random.fold_in(key, c), {"image": x, "label": np.array([c])})
    for c in range(U)
  ]
  losses, elbos = (np.array(v) for v in zip(*[(e[0], e[1][1]["elbo"]) for e in each]))
  logits = (x @ PARAMS["classifier"])[0].astype(float)
  q = np.exp(logits) / np.exp(logits).sum()
  if known:
    expected, elbo = losses[1] - 2.5 * np.log(q[1]), elbos[1]
  else:
    expected, elbo = q @ losses - stats.entropy(q), q @ elbos
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  np.testing.assert_allclose(metrics["elbo"], elbo, rtol=1e-5)


def test_gradients_reach_every_network(key):
  batch = {"image": X, "label": LABELS, "labelled": np.arange(B) < 4}
  model = double(classify_fn=classify_fn)
  grads = jax.jit(jax.grad(lambda p: model.objective(p, (), key, batch)[0]))(PARAMS)
  for path, leaf in jax.tree.leaves_with_path(grads):
    assert np.any(leaf) and np.isfinite(leaf).all(), path
  grads = jax.jit(jax.grad(lambda p: double().objective(p, (), key, batch)[0]))(PARAMS)
  assert not np.any(grads["classifier"]) and np.any(grads["aux"])


def test_shard_map_gives_the_loss_of_one_device(key):
  batch = {"image": X, "label": LABELS, "labelled": np.arange(B) % 2 == 0}
  sharded = double(classify_fn=classify_fn, axis_name="devices")
  mapped = jax.shard_map(
    lambda batch: sharded.objective(PARAMS, (), key, batch)[0][None],
    mesh=Mesh(np.array(jax.devices()[:4]), ("devices",)),
    in_specs=P("devices"),
    out_specs=P("devices"),
  )
  alone = jax.jit(double(classify_fn=classify_fn).objective)(PARAMS, (), key, batch)[0]
  np.testing.assert_allclose(jax.jit(mapped)(batch).mean(), alone, rtol=1e-5)


def test_bad_arguments(key):
  with pytest.raises(ValueError, match="classifier_weight must be in"):
    double(classifier_weight=-1.0)
  with pytest.raises(KeyError, match=r"feature must be one of .* got 'labelled'"):
    double(classify_fn=classify_fn).objective(PARAMS, (), key, {"image": X, "label": LABELS})
