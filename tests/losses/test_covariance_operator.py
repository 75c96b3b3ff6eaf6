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
Z_1, Z_2 = 1 + RNG.standard_normal((2, B, 3))
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


def test_simple_contrastive_loss():
  check_kernel(
    simple_contrastive_loss,
    (Z_1, Z_2),
    oracle=pairs,
    batch_coupled=True,
    extreme=[(1e4 * Z_1, 1e4 * Z_2), (0 * Z_1, 0 * Z_2)],
    bad_inputs=[
      ((Z_1.astype(int), Z_2), {}, TypeError, "z_1 must be a floating point"),
      ((Z_1, Z_2[:4]), {}, ValueError, "z_1 and z_2 must have the same shape"),
      ((Z_1[:1], Z_2[:1]), {}, ValueError, "z_1 must have at least 2 rows"),
    ],
  )


def test_covariance_operator():
  weigh = lambda operator: (SHARES * operator).sum()  # an output that devices share is a scalar
  scalar = lambda views: covariance_operator(W_1, views, lambda w, x: jnp.sum(w @ x))
  check_kernel(
    lambda *args, **kwargs: weigh(of_first_layer(*args, **kwargs)),
    (VIEWS, W_1, W_2),
    oracle=lambda *args: weigh(connections(*args)),
    detached=[1],  # piecewise constant in the layer's own weights
    batch_axes=(0, None, None),
    batch_coupled=True,
    extreme=[(1e4 * VIEWS, W_1, W_2), (0 * VIEWS, W_1, W_2)],
    bad_inputs=[
      ((VIEWS.astype(int), W_1, W_2), {}, TypeError, "views must be a floating point"),
      ((VIEWS[0, :, 0], W_1, W_2), {}, ValueError, r"views must have shape \(B, A, ...\)"),
    ],
  )
  with pytest.raises(ValueError, match="apply_fn must return a vector"):
    jax.eval_shape(scalar, VIEWS)
  with pytest.raises(ValueError, match=r"operator must have shape \(12, 12\), got \(3, 3\)"):
    predicted_update(np.eye(3), W_1)


def test_gradient_of_the_loss_is_the_predicted_update():
  """For both layers, in the mean over all pairs of views."""

  def loss(w_1, w_2):
    z = jax.vmap(jax.vmap(lambda x: network(w_1, w_2, x)))(VIEWS)
    losses = [simple_contrastive_loss(z[:, a], z[:, b]) for a in range(A) for b in range(A)]
    return jnp.mean(jnp.stack(losses))

  @jax.jit
  def run():
    grads = jax.grad(loss, argnums=(0, 1))(W_1, W_2)
    second = covariance_operator(W_2, VIEWS, lambda w, x: network(W_1, w, x))
    return grads, (
      predicted_update(of_first_layer(VIEWS, W_1, W_2), W_1),
      predicted_update(second, W_2),
    )

  with jax.enable_x64(True):
    grads, updates = run()
  for grad, update in zip(*jax.device_get((grads, updates))):
    np.testing.assert_allclose(-grad, 2 * B / (B - 1) * update, rtol=1e-10)
