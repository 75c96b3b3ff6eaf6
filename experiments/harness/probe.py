"""A classifier that asks what an array reveals about a label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax


def fit_classifier(
  key: jax.Array,
  x: jax.Array,
  labels: jax.Array,
  *,
  num_classes: int,
  hidden: int = 0,
  steps: int = 1000,
  batch_size: int = 256,
  learning_rate: float = 3e-3,
) -> Callable[[jax.Array], jax.Array]:
  """Train a softmax classifier; returns `(x) -> log-probabilities`, shape (N, num_classes).

  Args:
    key: random key.
    x: inputs, shape (N, ...); standardised first.
    labels: shape (N,), int.
    num_classes: number of classes.
    hidden: units of one hidden layer; 0 for a linear classifier.
    steps: Adam steps, the learning rate decaying to 0.
    batch_size: rows of a batch.
    learning_rate: at the first step.
  """
  flat = x.reshape(len(x), -1)
  mean, scale = jnp.mean(flat, axis=0), jnp.std(flat, axis=0) + 1e-3
  widths = [flat.shape[1], *([hidden] if hidden else []), num_classes]
  key_init, key_rows = jax.random.split(key)
  params = [
    (jax.random.normal(k, (m, n)) * (2 / m) ** 0.5 * (n != num_classes), jnp.zeros(n))
    for k, m, n in zip(jax.random.split(key_init, len(widths)), widths, widths[1:])
  ]

  def log_probs(params: Any, x: jax.Array) -> jax.Array:
    h = (x.reshape(len(x), -1) - mean) / scale
    for w, b in params[:-1]:
      h = jax.nn.relu(h @ w + b)
    return jax.nn.log_softmax(h @ params[-1][0] + params[-1][1])

  def loss(params: Any, rows: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.take_along_axis(log_probs(params, flat[rows]), labels[rows, None], 1))

  optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

  def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
    params, state = carry
    grads = jax.grad(loss)(params, jax.random.randint(key, (batch_size,), 0, len(flat)))
    updates, state = optimizer.update(grads, state)
    return (optax.apply_updates(params, updates), state), None

  carry = (params, optimizer.init(params))
  (params, _), _ = jax.lax.scan(step, carry, jax.random.split(key_rows, steps))
  return lambda x: log_probs(params, x)


def fit_attributes(
  key: jax.Array, x: jax.Array, attributes: jax.Array, *, num_values: Sequence[int], **kwargs: Any
) -> Callable[[jax.Array], jax.Array]:
  """One classifier for each column of attributes (N, A); returns `(x) -> attributes`, shape (A, N)."""
  fits = [
    fit_classifier(jax.random.fold_in(key, i), x, attributes[:, i], num_classes=n, **kwargs)
    for i, n in enumerate(num_values)
  ]
  return lambda x: jnp.stack([jnp.argmax(fit(x), axis=1) for fit in fits])


def above_chance(
  x: jax.Array,
  attributes: np.ndarray,
  x_test: jax.Array,
  attributes_test: np.ndarray,
  *,
  num_values: Sequence[int],
) -> jax.Array:
  """Test accuracy of a linear classifier minus 1 / (number of values), for each attribute."""
  key = jax.random.key(6)
  read = fit_attributes(key, x, jnp.asarray(attributes), num_values=num_values)
  return jnp.mean(read(x_test) == attributes_test.T, axis=1) - 1 / np.array(num_values)
