"""OBoW: one step from its kernels, which parameters learn, and what becomes of the state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.losses.contrastive import bow_loss, bow_target, init_vocabulary
from latentjax.objectives import obow

B, P, D, F, N = 4, 3, 2, 5, 6
KEY = jax.random.key(2)
RNG = np.random.default_rng(0)
VIEWS = {name: RNG.standard_normal((B, P, D)).astype(np.float32) for name in "abc"}


def encode(params, x):
  """Local features by one matrix, that of the whole by another."""
  return x @ params["local"], jnp.mean(x, axis=1) @ params["whole"]


def test_a_step():
  shapes = {"local": (D, D), "whole": (D, F), "generator": (D, F)}
  params, old = (
    {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for _ in range(2)
  )
  vocabulary = init_vocabulary(KEY, num_words=N, dim=D)
  generate = lambda params, words: words @ params["generator"]
  model = obow(encode, generate, vocabulary, momentum=0.75, features="abc")
  run = jax.jit(jax.value_and_grad(model.objective, has_aux=True))
  (loss, (state, metrics)), grads = run(params, model.init_state(old), KEY, VIEWS)

  teacher = 0.75 * old["local"] + 0.25 * params["local"]
  local = VIEWS["a"] @ teacher
  squared = np.sum((local[:, :, None] - np.asarray(vocabulary.words)) ** 2, axis=-1)
  distance = 0.99 * 0.5 + 0.01 * squared.min(axis=2).mean()

  @jax.jit
  def of_a_view(view):
    target = bow_target(local, vocabulary.words, distance)
    weights = generate(params, vocabulary.words)
    return jnp.mean(bow_loss(encode(params, view)[1], weights, target))

  losses = [of_a_view(VIEWS[name]) for name in "bc"]
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
  assert 0 < metrics["image_entropy"] < metrics["word_entropy"] <= np.log(N)

  assert not np.any(grads["local"])  # only the teacher's are looked at
  assert np.any(grads["whole"]) and np.any(grads["generator"])
  np.testing.assert_allclose(state.teacher.params["local"], teacher, rtol=1e-6)
  np.testing.assert_allclose(state.vocabulary.distance, distance, rtol=1e-5)
  assert int(state.vocabulary.oldest) == B
  np.testing.assert_array_equal(state.vocabulary.words[B:], vocabulary.words[B:])
  for word, features in zip(state.vocabulary.words, local):
    assert np.isclose(word, features, atol=1e-5).all(axis=1).any()


def test_state_that_is_donated_leaves_the_vocabulary():
  model = obow(encode, encode, init_vocabulary(KEY, num_words=N, dim=D))
  step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
  runs = [step(model.init_state(jnp.zeros(1))).vocabulary.words for _ in range(2)]
  np.testing.assert_array_equal(*runs)


def test_the_student_needs_a_view():
  with pytest.raises(ValueError, match="at least two views"):
    obow(encode, encode, None, features=("a",))
