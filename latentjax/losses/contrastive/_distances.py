"""Squared distances of the rows of two arrays, through their products."""

import jax
import jax.numpy as jnp


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
  """|x_i - y_j|^2 of x (..., P, D) and y (..., N, D), shape (..., P, N)."""
  centre = jnp.mean(y, axis=-2, keepdims=True)  # what all have in common would cost digits
  x, y = x - centre, y - centre
  products = jnp.matmul(x, jnp.swapaxes(y, -1, -2), precision="highest")
  norms = [jnp.sum(jnp.square(rows), axis=-1) for rows in (x, y)]
  return jnp.maximum(norms[0][..., None] + norms[1][..., None, :] - 2 * products, 0)
