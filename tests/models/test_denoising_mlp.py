"""The denoiser of vectors: 0 at first, and then dependent on data, time and class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax.models import ConditionEmbedding, DenoisingMLP, time_features

B, SHAPE, CLASSES = 4, (3, 2), 5


def params_of(model, *args):
  """Parameters none of which is near to zero."""
  shapes = jax.eval_shape(model.init, jax.random.key(0), *args)
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda a: 0.7 * rng.standard_normal(a.shape, np.float32), shapes)


def test_time_features_tell_times_apart_at_every_scale():
  t = jnp.array([0.0, 1e-4, 0.5, 1.0])
  h = np.asarray(time_features(t, 8))
  frequency = 1000.0 * 1e-4 ** (np.arange(4) / 3)
  angle = np.asarray(t, np.float64)[:, None] * frequency
  np.testing.assert_allclose(h, np.hstack([np.sin(angle), np.cos(angle)]), atol=1e-4)
  with pytest.raises(ValueError, match="width must be even and at least 4, got 5"):
    time_features(t, 5)


def test_what_the_prediction_depends_on():
  model = DenoisingMLP(width=8, depth=2, num_classes=CLASSES)
  x = np.random.default_rng(1).standard_normal((B, *SHAPE)).astype(np.float32)
  t, labels = np.linspace(0.2, 0.9, B, dtype=np.float32), np.arange(B)
  run = fast_jit(model.apply)
  first = fast_jit(model.init)(jax.random.key(0), x, t, labels)
  np.testing.assert_array_equal(run(first, x, t, labels), np.zeros_like(x))

  params = params_of(model, x, t, labels)
  out = np.asarray(run(params, x, t, labels))
  changes = lambda *args: (
    np.abs(np.asarray(run(params, *args)) - out).reshape(B, -1).max(axis=1) > 1e-6
  )
  row = np.arange(B) == 2  # a row sees itself alone
  np.testing.assert_array_equal(changes(np.where(row[:, None, None], x + 1, x), t, labels), row)
  np.testing.assert_array_equal(changes(x, np.where(row, 0.1, t).astype(np.float32), labels), row)
  np.testing.assert_array_equal(changes(x, t, np.where(row, CLASSES, labels)), row)
  no_class = fast_jit(lambda p, x, t: model.apply(p, x, t))(params, x, t)
  np.testing.assert_allclose(no_class, run(params, x, t, np.full(B, CLASSES)), atol=1e-6)


def test_conditions_are_checked():
  with pytest.raises(ValueError, match="condition must be integer labels of shape"):
    embed = ConditionEmbedding(8, CLASSES)
    jax.eval_shape(embed.init, jax.random.key(0), jnp.zeros(B), jnp.zeros((B, 2)))
