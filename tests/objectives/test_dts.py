"""DTS: the adversary's gradients, and what the weights reduce the objective to."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import special

from latentjax.densities import gaussian
from latentjax.losses.elbo import group_adversary_loss
from latentjax.models import GRUDecoder
from latentjax.objectives import dts

B, T, Z, N = 8, 5, 3, 4
RNG = np.random.default_rng(0)
INFORMED, INVARIANT = RNG.standard_normal((B, 2)), RNG.standard_normal((B, 3))
LABELS = RNG.integers(N, size=B)
HEADS = RNG.standard_normal((2, N)), RNG.standard_normal((3, N))


def logits(head):
  return lambda z: z @ jnp.asarray(HEADS[head], z.dtype)


def entropy(z, head):
  scores = z @ HEADS[head]
  return special.logsumexp(scores, axis=1) - scores[np.arange(B), LABELS]


def test_group_adversary_loss():
  loss = lambda s, d, labels, **kwargs: group_adversary_loss(
    s, d, labels, logits(0), logits(1), **kwargs
  )

  def surrogate(s, d, labels, **_):
    pick = lambda z, head: -jax.nn.log_softmax(logits(head)(z))[jnp.arange(B), labels]
    return pick(s, 0) - 0.5 * pick(d, 1)

  check_kernel(
    loss,
    (INFORMED, INVARIANT, LABELS),
    kwargs={"strength": 0.5},
    oracle=lambda s, d, labels, **_: entropy(s, 0) + entropy(d, 1),
    surrogate=surrogate,
    extreme=[(1e4 * INFORMED, 1e4 * INVARIANT, LABELS)],
    bad_inputs=[
      ((INFORMED, INVARIANT, LABELS * 1.0), {}, TypeError, "labels must be integers"),
      ((INFORMED[:2], INVARIANT, LABELS), {}, ValueError, "must have equally many rows"),
      ((INFORMED, INVARIANT, LABELS), {"strength": -1.0}, ValueError, "strength must be in"),
    ],
  )


X = RNG.standard_normal((B, T, 1)).astype(np.float32)
BATCH = {"x": X, "label": LABELS}
PARAMS = {
  "encoder": RNG.standard_normal((T, 2 * Z)).astype(np.float32),
  "decoder": RNG.standard_normal((Z, T)).astype(np.float32),
  "informed": HEADS[0][:1].astype(np.float32),
  "invariant": HEADS[0].astype(np.float32),
}


def encode_fn(params, x):
  mean, log_scale = jnp.split(x[..., 0] @ params["encoder"], 2, axis=1)
  return mean, jnp.tanh(log_scale) - 1


def decode_fn(params, z, x):
  past = jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
  return past + (z @ params["decoder"])[..., None], jnp.float32(-0.5)


make = partial(dts, encode_fn, decode_fn, latent_dim=Z, dataset_size=100)
groups = partial(
  make,
  lambda params, z: z @ params["informed"],
  lambda params, z: z @ params["invariant"],
  informed_dim=1,
)


def test_with_unit_weights_it_is_the_sampled_elbo_of_a_model_that_sees_the_past(key):
  ones = dict.fromkeys(
    ("mutual_information_weight", "total_correlation_weight", "dimension_wise_weight"), 1.0
  )

  @jax.jit
  def run(params):
    loss, (_, metrics) = make(**ones).objective(params, (), key, BATCH)
    mean, log_scale = encode_fn(params, X)
    z = gaussian.sample(key, mean, log_scale)
    x_mean = decode_fn(params, z, jnp.asarray(X))[0]
    log_p = gaussian.log_prob(X, x_mean, jnp.full_like(X, -0.5), event_ndim=2)
    ratio = gaussian.log_prob(z, mean, log_scale) - gaussian.standard_log_prob(z)
    return loss, metrics, log_p, ratio

  loss, metrics, log_p, ratio = run(PARAMS)
  np.testing.assert_allclose(loss, (ratio - log_p).mean(), rtol=1e-4)
  np.testing.assert_allclose(metrics["log_likelihood"], log_p.mean(), rtol=1e-4)


def test_the_decoder_sees_the_past_alone(key):
  decoder, z = GRUDecoder(2, hidden=4), jnp.zeros((B, Z))
  changed = np.array(X)
  changed[:, 2] += 1.0
  run = jax.jit(lambda x: decoder.init_with_output(key, z, x)[0])
  before, after = run(X), run(changed)
  np.testing.assert_array_equal(before[:, :3], after[:, :3])
  assert (np.abs(before - after)[:, 3:] > 1e-6).all()


def test_the_adversary_pulls_the_segments_apart_by_class(key):
  def gradient(params, weight):
    run = groups(adversary_weight=weight).objective
    return jax.grad(lambda p: run(p, (), key, BATCH)[0])(params)

  def entropies(params):
    z = gaussian.sample(key, *encode_fn(params, X))
    pick = lambda logits: -jax.nn.log_softmax(logits)[jnp.arange(B), LABELS].mean()
    return pick(z[:, :1] @ params["informed"]), pick(z[:, 1:] @ params["invariant"])

  @jax.jit
  def run(params):
    with_and_without = jax.vmap(gradient, (None, 0))(params, jnp.array([1.0, 0.0]))
    return jax.tree.map(lambda g: g[0] - g[1], with_and_without), jax.jacrev(entropies)(params)

  more, slopes = run(PARAMS)
  for got, up, down in zip(*(jax.tree.leaves(tree["encoder"]) for tree in (more, *slopes))):
    np.testing.assert_allclose(got, up - down, atol=1e-5)
  for name, i in (("informed", 0), ("invariant", 1)):
    np.testing.assert_allclose(more[name], slopes[i][name], atol=1e-5)


def test_bad_arguments():
  with pytest.raises(ValueError, match="informed_fn and invariant_fn must both be given"):
    make(lambda params, z: z)
  with pytest.raises(ValueError, match=r"informed_dim must be in \(0, 3\) with groups, got 3"):
    groups(informed_dim=3)
