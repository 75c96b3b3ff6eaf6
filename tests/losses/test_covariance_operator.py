"""The covariance operator of contrastive learning against explicit connections and against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel

from latentjax.losses.contrastive import (
  covariance_operator,
  predicted_update,
  simple_contrastive_loss,
)

RNG = np.random.default_rng(0)
B, A, IN, HIDDEN, OUT = 8, 2, 3, 4, 2
VIEWS = RNG.standard_normal((B, A, IN)) + RNG.standard_normal((B, 1, IN))
W_1, W_2 = RNG.standard_normal((HIDDEN, IN)), RNG.standard_normal((OUT, HIDDEN))

SHARES = RNG.uniform(size=(W_1.size, W_1.size)).astype(np.float32)


def network(w_1, w_2, x):
  return w_2 @ jax.nn.relu(w_1 @ x)


def of_first_layer(views, w_1, w_2, **kwargs):
  return covariance_operator(w_1, views, lambda w, x: network(w, w_2, x), **kwargs)


def pairs(z_1, z_2):
  rows = range(len(z_1))
  half = lambda i, j: np.sum((z_1[i] - z_2[j]) ** 2) / 2
  return np.array([half(i, i) - np.mean([half(i, j) for j in rows if j != i]) for i in rows])


def connections(views, w_1, w_2):
  """f_{l-1} (x) J_l, written out, and the covariance of its columns summed."""
  averaged = []
  for example in views:
    each = []
    for x in example:
      gates = w_1 @ x > 0
      each.append(
        [
          [w_2[k, i] * gates[i] * x[j] for k in range(OUT)]
          for i in range(HIDDEN)
          for j in range(IN)
        ]
      )
    averaged.append(np.mean(each, axis=0))
  return sum(np.cov(np.stack(averaged)[:, :, k].T, bias=True) for k in range(OUT))


def kernels(views, w_1, w_2, axis_name=None):
  """The loss per example and, weighted, the operator, which devices share."""
  operator = of_first_layer(views, w_1, w_2, axis_name=axis_name)
  loss = simple_contrastive_loss(views[:, 0], views[:, 1], axis_name=axis_name)
  return loss, (SHARES * operator).sum()


def oracle(views, w_1, w_2):
  return pairs(views[:, 0], views[:, 1]), (SHARES * connections(views, w_1, w_2)).sum()


def test_kernels():
  check_kernel(
    kernels,
    (VIEWS, W_1, W_2),
    oracle=oracle,
    detached=[1],  # the operator is piecewise constant in the layer's own weights
    batch_axes=(0, None, None),
    batch_coupled=True,
    extreme=[(1e4 * VIEWS, W_1, W_2), (0 * VIEWS, W_1, W_2)],
    bad_inputs=[
      ((VIEWS.astype(int), W_1, W_2), {}, TypeError, "views must be a floating point"),
      ((VIEWS[:1], W_1, W_2), {}, ValueError, "z_1 must have at least 2 rows"),
    ],
  )


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (lambda: of_first_layer(VIEWS[0, :, 0], W_1, W_2), r"views must have shape \(B, A, ...\)"),
    (lambda: covariance_operator(W_1, VIEWS, lambda w, x: jnp.sum(w @ x)), "must return a vector"),
    (lambda: predicted_update(np.eye(3), W_1), r"operator must have shape \(12, 12\), got"),
    (lambda: simple_contrastive_loss(VIEWS[:, 0], VIEWS[:4, 1]), "z_1 and z_2 must have the same"),
  ],
)
def test_bad_shapes(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_gradient_of_the_loss_is_the_predicted_update():
  """For both layers, in the mean over all pairs of views."""

  def loss(w_1, w_2, views):
    z = jax.vmap(jax.vmap(lambda x: network(w_1, w_2, x)))(views)
    losses = [simple_contrastive_loss(z[:, a], z[:, b]) for a in range(A) for b in range(A)]
    return jnp.mean(jnp.stack(losses))

  @jax.jit
  def run(w_1, w_2, views):
    grads = jax.grad(loss, argnums=(0, 1))(w_1, w_2, views)
    first = of_first_layer(views, w_1, w_2)
    second = covariance_operator(w_2, views, lambda w, x: network(w_1, w, x))
    return grads, (predicted_update(first, w_1), predicted_update(second, w_2))

  with jax.enable_x64(True):
    grads, updates = run(*(array + 0 for array in (W_1, W_2, VIEWS)))
  for grad, update in zip(*jax.device_get((grads, updates))):
    np.testing.assert_allclose(-grad, 2 * B / (B - 1) * update, rtol=1e-10)
