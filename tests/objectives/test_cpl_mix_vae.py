"""Coupled mixture VAEs: what couples the arms, and what does not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.losses.elbo import simplex_distance
from latentjax.objectives import cpl_mix_vae

A, B, D, S, C = 3, 8, 5, 2, 4
RNG = np.random.default_rng(0)
draw = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
X = draw(B, D)
BATCH = {"image": X}
PARAMS = {"classify": draw(A, D, C), "encode": 0.3 * draw(A, D + C, S), "decode": draw(A, S + C, D)}


def encode_fn(params, x, c):
  mean = jnp.concatenate([x, c], axis=-1) @ params["encode"]
  return mean, 0 * mean - 0.5


def decode_fn(params, s, c):
  return jnp.concatenate([s, c], axis=-1) @ params["decode"], jnp.float32(0.0)


make = partial(cpl_mix_vae, lambda p, x: x @ p["classify"], encode_fn, decode_fn, num_arms=A)


def test_without_coupling_no_arm_knows_of_the_others(key):
  other = jax.tree.map(lambda p: p.copy(), PARAMS)
  other["classify"][2] *= -1
  # The weight is an argument, so that both are one program.
  loss = lambda params, weight: make(coupling=weight)(params, (), key, BATCH)[0]
  grad = jax.jit(jax.grad(loss))
  grads = [grad(params, weight) for weight in (0.0, 1.0) for params in (PARAMS, other)]
  first = [np.asarray(grad["classify"][0]) for grad in grads]
  np.testing.assert_allclose(first[0], first[1], rtol=1e-5)
  assert np.abs(first[2] - first[3]).max() > 1e-2
  assert all(np.any(leaf[a]) for leaf in jax.tree.leaves(grads[0]) for a in range(A))


def test_bound_of_arms_that_decode_nothing_is_exact(key):
  """Without a decoder the likelihood is known; a state that does not see c has a known divergence."""
  params = {name: value.copy() for name, value in PARAMS.items()}
  params["encode"][:, D:] = 0
  params["decode"] *= 0
  loss, (_, metrics) = jax.jit(make(coupling=0.0, beta=2.0))(params, (), key, BATCH)
  log_p = stats.norm.logpdf(X).sum(1).mean()
  mean = np.einsum("bd,ads->abs", X, params["encode"][:, :D])
  kl_s = 0.5 * (mean**2 + np.exp(-1.0) - 1 + 1.0).sum(2).mean()
  q = np.exp(np.einsum("bd,adc->abc", X, params["classify"]))
  kl_c = np.log(C) - stats.entropy(q, axis=2).mean()
  np.testing.assert_allclose(metrics["elbo"], log_p - kl_s - kl_c, rtol=1e-5)
  np.testing.assert_allclose(loss, A * (2 * kl_s + kl_c - log_p), rtol=1e-5)


def test_loss_is_the_arms_bounds_and_the_pairs_distances(key):
  run = jax.jit(lambda weight: make(coupling=weight)(PARAMS, 3, key, BATCH))
  (zero, _), (loss, (state, metrics)) = run(0.0), run(2.0)
  logits = [X @ w for w in PARAMS["classify"]]
  pairs = [(0, 1), (0, 2), (1, 2)]
  distance = [simplex_distance(logits[a], logits[b]).mean() for a, b in pairs]
  agree = [np.mean(logits[a].argmax(1) == logits[b].argmax(1)) for a, b in pairs]
  np.testing.assert_allclose(zero, -A * metrics["elbo"], rtol=1e-5)
  np.testing.assert_allclose(loss - zero, 2 / (A - 1) * np.sum(distance), rtol=1e-4)
  np.testing.assert_allclose(metrics["distance"], np.mean(distance), rtol=1e-4)
  np.testing.assert_allclose(metrics["consensus"], np.mean(agree), rtol=1e-6)
  assert state == 3


def test_augmentation_gives_every_arm_and_row_its_own_copy(key):
  """With logits that are the data, distances of identical arms come from the copies alone."""
  same = jax.tree.map(lambda p: np.stack([p[0]] * 2), PARAMS)
  noise = lambda key, x: x + jax.random.normal(key, x.shape)
  pair = partial(make, num_arms=2, distance="aitchison")
  run = lambda **kw: jax.jit(pair(**kw))(same, (), key, BATCH)[1][1]
  assert run()["distance"] < 1e-8 and run()["consensus"] == 1
  assert run(augment_fn=noise)["distance"] > 0.1


def test_devices_agree(key):
  noise = lambda key, x: x + jax.random.normal(key, x.shape)
  params = {name: value[:2] for name, value in PARAMS.items()}
  alone, local = (make(num_arms=2, augment_fn=noise, axis_name=name) for name in (None, "devices"))
  value = lambda objective, x: jax.value_and_grad(lambda p: objective(p, (), key, {"image": x})[0])(
    params
  )
  mean = lambda x: jax.lax.pmean(value(local, x), "devices")
  split = jax.pmap(mean, "devices", devices=jax.devices()[:4])(X.reshape(4, 2, D))
  expected = jax.jit(partial(value, alone))(X)
  close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
  jax.tree.map(lambda got, want: close(got[0], want), split, expected)


def test_bad_arguments():
  with pytest.raises(ValueError, match="num_arms must be a positive integer"):
    make(num_arms=0)
  with pytest.raises(ValueError, match="coupling must be in"):
    make(coupling=-1.0)
  with pytest.raises(ValueError, match="temperature must be in"):
    make(temperature=-1.0)
