"""The categorical VAE on a model whose 9 latent states can be enumerated."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.losses.annealing import exponential_annealing
from latentjax.losses.importance import iwae_bound
from latentjax.objectives import categorical_vae

B, D, N, C = 8, 4, 2, 3
RNG = np.random.default_rng(0)
X = RNG.integers(0, 2, (B, D)).astype(np.float32)
BATCH = {"image": X}
PARAMS = {
  "encoder": RNG.standard_normal((D, N * C)).astype(np.float32),
  "decoder": RNG.standard_normal((N * C, D)).astype(np.float32),
}
STATES = np.array([np.eye(C)[list(z)].ravel() for z in product(range(C), repeat=N)])

encode_fn = lambda params, x: (x @ params["encoder"]).reshape(-1, N, C)
decode_fn = lambda params, z: z @ params["decoder"]
make = partial(categorical_vae, encode_fn, decode_fn, num_variables=N, num_classes=C)


def exact_elbo(params):
  """Mean ELBO by the sum over all states; also log p(x) per example."""
  log_q = jax.nn.log_softmax(encode_fn(params, X)).reshape(B, -1) @ STATES.T
  logits = STATES @ params["decoder"]
  log_joint = X @ logits.T - jnp.logaddexp(0, logits).sum(1) - N * np.log(C)
  elbo = jnp.sum(jnp.exp(log_q) * (log_joint - log_q), axis=1)
  return jnp.mean(elbo), jax.nn.logsumexp(log_joint, axis=1)


exact_gradient = jax.jit(jax.grad(lambda params: -exact_elbo(params)[0]))


def gradient(model, key):
  return jax.grad(lambda p: model.objective(p, model.init_state, key, BATCH)[0])(PARAMS)


def test_bound_and_log_weights_against_enumeration(key):
  model = make(num_samples=4000)
  params = PARAMS | {"encoder": 0.2 * PARAMS["encoder"]}  # a proposal that misses no state
  exact, evidence = jax.jit(exact_elbo)(params)
  bound = jax.jit(model.bound)(params, key, X)
  np.testing.assert_allclose(bound.elbo.mean(), exact, rtol=0.01)
  log_w = jax.jit(partial(model.log_weights, num_samples=4000))(params, key, X)
  np.testing.assert_allclose(jax.jit(iwae_bound)(log_w), evidence, rtol=0.02)


@pytest.mark.parametrize("estimator", ["reinforce", "leave_one_out"])
def test_score_function_gradients_are_those_of_the_exact_bound(key, estimator):
  model = make(estimator=estimator, num_samples=2)
  exact = exact_gradient(PARAMS)
  draws = jax.jit(jax.vmap(partial(gradient, model)))(jax.random.split(key, 10_000))
  for got, reference in zip(jax.tree.leaves(draws), jax.tree.leaves(exact)):
    assert (np.abs(got.mean(0) - reference) < 5 * got.std(0) / 100).all()


def test_relaxed_gradient_is_quieter_and_its_bias_falls_with_the_temperature(key):
  exact = exact_gradient(PARAMS)["encoder"]
  keys, bias, variance = jax.random.split(key, 10_000), {}, {}
  relaxed = jax.jit(lambda tau: jax.vmap(partial(gradient, make(temperature=tau)))(keys)["encoder"])
  for temperature in (0.3, 3.0):
    draws = relaxed(temperature)
    bias[temperature] = np.linalg.norm(draws.mean(0) - exact)
    variance[temperature] = draws.var(0).sum()
  score = jax.jit(jax.vmap(partial(gradient, make(estimator="reinforce"))))(keys)["encoder"]
  assert bias[0.3] < 0.5 * bias[3.0]
  assert variance[3.0] < 0.1 * score.var(0).sum()


def test_straight_through_decodes_the_samples_of_the_score_function(key):
  values = {}
  for estimator in ("straight_through", "reinforce", "gumbel_softmax"):
    model = make(estimator=estimator, num_samples=2)
    run = jax.jit(model.objective)
    _, (_, values[estimator]) = run(PARAMS, model.init_state, key, BATCH)
  np.testing.assert_allclose(
    values["straight_through"]["elbo"], values["reinforce"]["elbo"], rtol=1e-5
  )
  assert abs(values["gumbel_softmax"]["elbo"] - values["reinforce"]["elbo"]) > 1e-3


def test_state_counts_steps_anneals_and_averages_the_cost(key):
  schedule = partial(exponential_annealing, rate=0.5, minimum=0.1)
  model = make(temperature=schedule, estimator="reinforce", baseline_decay=0.5)
  state, costs, run = model.init_state, [], jax.jit(model.objective)
  for step in range(3):
    loss, (state, metrics) = run(PARAMS, state, jax.random.fold_in(key, step), BATCH)
    costs.append(-metrics["log_likelihood"])
    np.testing.assert_allclose(metrics["temperature"], np.exp(-0.5 * step), rtol=1e-6)
    np.testing.assert_allclose(loss, -metrics["elbo"], rtol=1e-5)
  assert state.step == 3
  np.testing.assert_allclose(state.cost, np.dot([0.125, 0.25, 0.5], costs), rtol=1e-5)


@pytest.mark.parametrize("estimator", ["gumbel_softmax", "reinforce"])
def test_devices_share_noise_and_state(key, estimator):
  alone = make(estimator=estimator)
  state = alone.init_state._replace(cost=jnp.float32(2.0), step=jnp.int32(300))
  local = make(estimator=estimator, axis_name="devices").objective

  def step(objective, x):
    value = lambda p: objective(p, state, key, {"image": x})
    (loss, (new_state, _)), grads = jax.value_and_grad(value, has_aux=True)(PARAMS)
    return loss, new_state.cost, grads

  mean = lambda x: jax.lax.pmean(step(local, x), "devices")
  split = jax.pmap(mean, "devices", devices=jax.devices()[:4])(X.reshape(4, 2, D))
  expected = jax.jit(partial(step, alone.objective))(X)
  jax.tree.map(
    lambda got, want: np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-6),
    split,
    expected,
  )


def test_use_after_training_and_bad_arguments(key):
  model = make()
  assert model.encode(PARAMS, X).shape == (B, N, C)
  samples = jax.jit(lambda key: model.sample(PARAMS, key, 500))(key)
  means = 1 / (1 + np.exp(-STATES @ PARAMS["decoder"]))
  np.testing.assert_allclose(samples.mean(0), means.mean(0), atol=0.06)
  for kwargs, match in [
    ({"estimator": "arm"}, "estimator must be one of"),
    ({"estimator": "leave_one_out"}, "num_samples must be at least 2"),
    ({"baseline_decay": 1.0}, "baseline_decay must be in"),
    ({"temperature": 0.0}, "temperature must be in"),
  ]:
    with pytest.raises(ValueError, match=match):
      make(**kwargs)
  with pytest.raises(ValueError, match=r"encode_fn must return shape \(8, 3, 2\), got \(8, 2, 3\)"):
    make(num_variables=C, num_classes=N).bound(PARAMS, key, X)
