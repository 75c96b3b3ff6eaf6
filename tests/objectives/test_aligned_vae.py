"""CADA-VAE: what it reduces to, and its terms in numpy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.densities import bernoulli, gaussian, laplace
from latentjax.losses.annealing import linear_annealing
from latentjax.objectives import cada_vae, vae

B, D, A, Z = 8, 5, 3, 2
RNG = np.random.default_rng(0)
BATCH = {
  "image": RNG.uniform(size=(B, D)).astype(np.float32),
  "attributes": RNG.standard_normal((B, A)).astype(np.float32),
}
PARAMS = {
  name: jnp.asarray(RNG.standard_normal(shape), jnp.float32)
  for name, shape in {
    "e0": (D, Z), "e1": (A, Z), "s0": (D, Z), "s1": (A, Z), "d0": (Z, D), "d1": (Z, A)
  }.items()
}  # fmt: skip


def networks(i):
  encode = lambda p, x: (x @ p[f"e{i}"], 0.1 * x @ p[f"s{i}"] - 0.5)
  return encode, lambda p, z: (z @ p[f"d{i}"], 0.0)


ENCODE, DECODE = zip(networks(0), networks(1))
aligned = partial(cada_vae, ENCODE, DECODE, latent_dim=Z, features=("image", "attributes"))


@jax.jit
def value_and_grad(key, beta, gamma, delta):
  """Loss, metrics and gradient, the weights traced: one program for all."""
  objective = aligned(beta=beta, gamma=gamma, delta=delta).objective
  (loss, (_, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(PARAMS, 0, key, BATCH)
  return loss, metrics, grads


def test_terms(key):
  """The loss is linear in the weights; distance and divergence in closed form; L1 of all four."""
  base, shown, _ = value_and_grad(key, 0.0, 0.0, 0.0)
  laws = [[np.asarray(v, float) for v in ENCODE[i](PARAMS, BATCH[f])]
          for i, f in enumerate(BATCH)]  # fmt: skip
  (m0, s0), (m1, s1) = [(m, np.exp(log_s)) for m, log_s in laws]
  distance = np.sqrt(((m0 - m1) ** 2).sum(1) + ((s0 - s1) ** 2).sum(1)).mean()
  kl = sum(0.5 * (m**2 + s**2 - 1 - 2 * np.log(s)).sum(1).mean() for m, s in ((m0, s0), (m1, s1)))
  np.testing.assert_allclose([shown["distance"], shown["kl"]], [distance, kl], rtol=1e-5)
  for weights, expected in [
    ((2.0, 0.0, 0.0), 2 * kl), ((0.0, 0.0, 3.0), 3 * distance),
    ((0.0, 5.0, 0.0), -5 * shown["cross_log_likelihood"]),
  ]:  # fmt: skip
    loss, *_ = value_and_grad(key, *weights)
    np.testing.assert_allclose(loss - base, expected, rtol=1e-4)


def test_reconstructions_are_l1_distances_of_every_modality_from_every_latent(key):
  """With no posterior variance z is known; the constant of the Laplace density is log 2."""
  encode = [lambda p, x, f=f: (f(p, x)[0], jnp.full((len(x), Z), -40.0)) for f in ENCODE]
  model = cada_vae(encode, DECODE, latent_dim=Z, features=("image", "attributes"))
  _, (_, shown) = jax.jit(model.objective)(PARAMS, 0, key, BATCH)
  z = [np.asarray(f(PARAMS, BATCH[name])[0]) for f, name in zip(ENCODE, BATCH)]
  l1 = lambda i, j: np.abs(z[i] @ PARAMS[f"d{j}"] - list(BATCH.values())[j]).sum(1).mean()
  constant = (D + A) * np.log(2)
  np.testing.assert_allclose(shown["log_likelihood"], -l1(0, 0) - l1(1, 1) - constant, rtol=1e-5)
  np.testing.assert_allclose(
    shown["cross_log_likelihood"], -l1(0, 1) - l1(1, 0) - constant, rtol=1e-5
  )


def test_without_alignment_it_is_two_vaes(key):
  likelihoods = (bernoulli, gaussian)
  decode = (lambda p, z: DECODE[0](p, z)[0], DECODE[1])
  model = cada_vae(
    ENCODE, decode, latent_dim=Z, features=("image", "attributes"), likelihoods=likelihoods,
    beta=0.25, gamma=0.0, delta=0.0,
  )  # fmt: skip
  runs = [lambda key: model.objective(PARAMS, 0, key, BATCH)[0]]
  for i, feature in enumerate(BATCH):
    decode_i = (decode[0], lambda p, z: (DECODE[1](p, z)[0], jnp.zeros(())))[i]
    alone = vae(
      ENCODE[i], decode_i, latent_dim=Z, likelihood=likelihoods[i], beta=0.25, feature=feature
    )
    runs.append(lambda key, alone=alone: alone.objective(PARAMS, (), key, BATCH)[0])
  losses = jax.jit(lambda keys: [jax.vmap(run)(each) for run, each in zip(runs, keys)])
  both, first, second = losses(jax.random.split(key, (3, 4000)))
  np.testing.assert_allclose(
    both.mean(), first.mean() + second.mean(), atol=6 * both.std() / 4000**0.5
  )


def test_weights_follow_the_steps_that_model_state_counts(key):
  beta = lambda step: linear_annealing(step - 1, num_steps=2, end=4.0)
  model = aligned(beta=beta, gamma=0.0, delta=0.0)
  run = jax.jit(model.objective)
  losses, state = [], model.init_state
  for _ in range(5):
    loss, (state, shown) = run(PARAMS, state, key, BATCH)
    losses.append(float(loss))
  np.testing.assert_allclose(
    (np.array(losses) - losses[0]) / shown["kl"], [0, 0, 2, 4, 4], atol=1e-5
  )


def test_gradients_and_devices(key):
  alone, _, grads = value_and_grad(key, 1.0, 1.0, 1.0)
  assert all(np.any(leaf) and np.isfinite(leaf).all() for leaf in grads.values())
  # The distance does not read the decoders.
  none, distance = (value_and_grad(key, 0.0, 0.0, delta)[2] for delta in (0.0, 1.0))
  for name in PARAMS:
    assert np.allclose(none[name], distance[name], rtol=1e-5) == name.startswith("d"), name
  sharded = aligned(axis_name="devices")
  mapped = jax.shard_map(
    lambda batch: sharded.objective(PARAMS, 0, key, batch)[0][None],
    mesh=Mesh(np.array(jax.devices()[:4]), ("devices",)),
    in_specs=P("devices"),
    out_specs=P("devices"),
  )
  np.testing.assert_allclose(jax.jit(mapped)(BATCH).mean(), alone, rtol=1e-5)


def test_decode_is_the_mean_and_bad_arguments():
  z = np.ones((4, Z), np.float32)
  np.testing.assert_allclose(
    aligned(likelihoods=(bernoulli, laplace)).decode(PARAMS, 1, z), z @ PARAMS["d1"], rtol=1e-5
  )
  for kwargs, match in [
    ({"gamma": -1.0}, "gamma must be in"),
    ({"likelihoods": [laplace]}, "at least two modalities, got 2, 2, 1 and 2"),
    ({"latent_dim": 0}, "latent_dim must be a positive integer"),
  ]:
    with pytest.raises(ValueError, match=match):
      aligned(**kwargs)
