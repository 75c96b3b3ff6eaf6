"""The Jacobian's norm against the Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_kernel

from latentjax.losses.smoothness import jacobian_penalty

W = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
X = np.random.default_rng(1).standard_normal((8, 3)).astype(np.float32)


def network(x):
  return jnp.tanh(x @ W)


def test_contract(key):
  check_kernel(
    lambda key, x, **kwargs: jacobian_penalty(key, network, x, **kwargs),
    (X,),
    key=key,
    batch_coupled=True,
    bad_inputs=[
      ((X[0],), {}, ValueError, "x must have 2 axes"),
      ((X.astype(int),), {}, TypeError, "x must be a floating point array"),
    ],
  )


def test_mean_is_the_norm_of_the_jacobian(key):
  draw = jax.jit(jax.vmap(lambda key: jacobian_penalty(key, network, X)))
  draws = np.asarray(draw(jax.random.split(key, 2000)))
  exact = (jax.vmap(jax.jacobian(network))(X) ** 2).sum((1, 2))
  np.testing.assert_array_less(np.abs(draws.mean(0) - exact), 4.5 * draws.std(0) / 2000**0.5)
