"""Group VAEs on linear-Gaussian models: exact losses, and the limits in which they are a plain VAE."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.densities import gaussian
from latentjax.objectives import ada_gvae, group_vae, vae

B, D, Z, K = 8, 5, 3, 4000
RNG = np.random.default_rng(0)
W = RNG.standard_normal((D, Z)).astype(np.float32)
X, X_PAIR = RNG.standard_normal((2, B, D)).astype(np.float32)
GROUP = np.array([70, 1, 70, -2, -2, 70, 1, 3])
PARAMS = {"encoder": 0.3 * W, "log_scale": np.float32([-0.7, -0.3, 0.1]), "decoder": W}
BATCH = {"image": X, "image_pair": X_PAIR, "group": GROUP}


def encode_fn(params, x):
  mean = x @ params["encoder"]
  return mean, jnp.broadcast_to(params["log_scale"], mean.shape) + 0.1 * jnp.sin(mean)


def decode_fn(params, z):
  return z @ params["decoder"].T, jnp.float32(0.0)


shared = {"latent_dim": Z, "likelihood": gaussian}


def q(x):
  mean = x.astype(float) @ PARAMS["encoder"]
  return mean, np.exp(PARAMS["log_scale"] + 0.1 * np.sin(mean))


def exact(x, mean, scale):
  """E_q[log p(x|z)] per row and KL(q || p) per row and latent."""
  spread = (scale**2) @ (W.astype(float) ** 2).sum(0)
  log_p = stats.norm.logpdf(x, mean @ W.T, 1.0).sum(1) - 0.5 * spread
  return log_p, 0.5 * (mean**2 + scale**2 - 1) - np.log(scale)


def aggregate(mean, scale, kind):
  """One Gaussian from the members, first axis, as a textbook has it."""
  if kind == "average":
    return mean.mean(0), np.sqrt((scale**2).mean(0))
  total = (scale**-2).sum(0)
  return (mean * scale**-2).sum(0) / total, total**-0.5


@pytest.mark.parametrize("kind", ["product", "average"])
def test_group_loss_is_exact(kind):
  model = group_vae(
    encode_fn, decode_fn, shared_dim=2, aggregate=kind, beta=2.0, num_samples=K, **shared
  )
  loss, (_, metrics) = jax.jit(model.objective)(PARAMS, (), jax.random.key(0), BATCH)
  mean, scale = q(X)
  total_log_p, total_kl = 0.0, 0.0
  for g in set(GROUP):
    rows = np.flatnonzero(np.equal(GROUP, g))
    m, s = mean[rows].copy(), scale[rows].copy()
    m[:, :2], s[:, :2] = aggregate(mean[rows, :2], scale[rows, :2], kind)
    log_p, kl = exact(X[rows], m, s)
    total_log_p += log_p.sum()
    total_kl += kl[0, :2].sum() + kl[:, 2].sum()  # the group's own divergence counts once
  np.testing.assert_allclose(metrics["kl"], total_kl / B, rtol=1e-4)
  np.testing.assert_allclose(metrics["log_likelihood"], total_log_p / B, rtol=0.02)
  np.testing.assert_allclose(loss, 2 * metrics["kl"] - metrics["log_likelihood"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["product", "average"])
def test_pair_loss_is_exact(kind):
  model = ada_gvae(encode_fn, decode_fn, aggregate=kind, beta=2.0, num_samples=K, **shared)
  loss, (_, metrics) = jax.jit(model.objective)(PARAMS, (), jax.random.key(0), BATCH)
  (mean_a, scale_a), (mean_b, scale_b) = q(X), q(X_PAIR)
  delta = np.log(scale_b / scale_a) + (scale_a**2 + (mean_a - mean_b) ** 2) / (2 * scale_b**2)
  common = delta < (delta.max(1, keepdims=True) + delta.min(1, keepdims=True)) / 2
  m, s = aggregate(np.stack([mean_a, mean_b]), np.stack([scale_a, scale_b]), kind)
  terms = [
    exact(x, np.where(common, m, mean), np.where(common, s, scale))
    for x, mean, scale in ((X, mean_a, scale_a), (X_PAIR, mean_b, scale_b))
  ]
  np.testing.assert_allclose(metrics["shared"], common.sum(1).mean())
  np.testing.assert_allclose(metrics["kl"], np.mean([kl.sum(1) for _, kl in terms]), rtol=1e-4)
  np.testing.assert_allclose(metrics["log_likelihood"], np.mean([t[0] for t in terms]), rtol=0.02)
  np.testing.assert_allclose(loss, 2 * metrics["kl"] - metrics["log_likelihood"], rtol=1e-5)


def test_limits_are_the_plain_vae():
  """Groups of one, with the bits of the VAE; pairs that share nothing, up to their own noise."""
  key, plain = jax.random.key(1), vae(encode_fn, decode_fn, **shared)
  run = lambda model, batch: jax.jit(
    jax.value_and_grad(lambda params: model.objective(params, (), key, batch)[0])
  )(PARAMS)
  grouped = group_vae(encode_fn, decode_fn, shared_dim=2, **shared)
  same = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(same, run(grouped, BATCH | {"group": np.arange(B)}), run(plain, BATCH))
  paired = ada_gvae(encode_fn, decode_fn, threshold=0.0, **shared)
  bound = jax.jit(plain.bound)
  halves = [bound(PARAMS, jax.random.fold_in(key, i), x).elbo for i, x in enumerate((X, X_PAIR))]
  loss, grads = run(paired, BATCH)
  np.testing.assert_allclose(loss, -np.mean(halves), rtol=1e-5)
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("factory", [partial(group_vae, shared_dim=2), ada_gvae])
def test_a_split_batch_trains_as_a_whole_one(factory):
  """Groups lie across the devices; the noise of a row is its own."""
  key = jax.random.key(2)

  def run(axis_name, batch):
    model = factory(encode_fn, decode_fn, axis_name=axis_name, **shared)
    return jax.value_and_grad(lambda p: model.objective(p, (), key, batch)[0])(PARAMS)

  halves = {name: x.reshape(2, B // 2, *x.shape[1:]) for name, x in BATCH.items()}
  local = lambda batch: jax.lax.pmean(run("devices", batch), "devices")
  split = jax.jit(jax.vmap(local, axis_name="devices"))(halves)
  same = lambda got, want: np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)
  jax.tree.map(same, split, jax.jit(partial(run, None))(BATCH))


def test_pairs_stay_on_their_device():
  """Of a sharded batch only sums over the devices travel, such as the loss."""
  mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  batch = {name: jax.device_put(BATCH[name], rows) for name in ("image", "image_pair")}
  model = ada_gvae(encode_fn, decode_fn, **shared)
  value = lambda batch: model.objective(PARAMS, (), jax.random.key(0), batch)[0]
  program = jax.jit(value).lower(batch).compile().as_text()
  assert "all-reduce" in program
  assert not re.findall("all-gather|all-to-all|collective-permute", program)


def test_bad_arguments():
  for factory, kwargs, match in [
    (group_vae, {"shared_dim": 4}, "shared_dim must be in"),
    (group_vae, {"shared_dim": 1, "aggregate": "sum"}, "aggregate must be one of"),
    (ada_gvae, {"threshold": -0.1}, "threshold must be in"),
    (ada_gvae, {"beta": -1.0}, "beta must be in"),
  ]:
    with pytest.raises(ValueError, match=match):
      factory(encode_fn, decode_fn, latent_dim=Z, **kwargs)
