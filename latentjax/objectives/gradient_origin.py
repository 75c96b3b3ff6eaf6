"""Gradient Origin Networks (Bond-Taylor & Willcocks, 2021): auto-encoding without an encoder."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentjax.checks import check_positive_int, check_range
from latentjax.densities import bernoulli
from latentjax.objectives.latent_model import (
  Batch,
  DecodeFn,
  Metrics,
  Objective,
  Params,
  as_tuple,
  log_likelihood,
  take_feature,
)

__all__ = ["GradientOrigin", "gradient_origin"]


class GradientOrigin(NamedTuple):
  """A training objective and the two directions of the model it trains.

  Attributes:
    objective: `(params, model_state, key, batch) -> (loss, (model_state, metrics))`.
    encode: `(params, x) -> z`, shape (B, Z).
    decode: `(params, z) -> mean of p(x|z)`, shape (B, ...).
  """

  objective: Objective
  encode: Callable[[Params, jax.Array], jax.Array]
  decode: Callable[[Params, jax.Array], jax.Array]


def gradient_origin(
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  step_size: float = 1.0,
  feature: str = "image",
) -> GradientOrigin:
  r"""Auto-encoder whose latents are the gradient of its own loss at the origin.

  .. math:: \ell(x, z) = -\log p(x|z), \qquad
     z(x) = -\eta \, \nabla_{z_0} \ell(x, z_0) \big|_{z_0 = 0}, \qquad
     \min_\theta \frac1B \sum_b \ell(x_b, z(x_b))

  The training gradient passes through the inner one, so the network must be twice differentiable: with
  piecewise linear activations the curvature is lost, ELU, SiLU or sine keep it. With a Gaussian of
  unit variance z = eta J^T (x - f(0)), J the Jacobian of the network f at the origin: whatever the
  network, z is linear in x. So it is with Bernoulli logits.

  Args:
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays whose batch axis
      comes first; parameters with fewer axes are shared by all examples. With `gaussian` and a
      log_scale of 0 the loss is half the squared error, up to a constant.
    latent_dim: Z.
    likelihood: density family of p(x|z), a module such as `latentjax.densities.bernoulli`.
    step_size: eta; 1 in the paper.
    feature: name of the batch's array to model, shape (B, ...), floating point.

  Returns:
    GradientOrigin. `objective` uses no randomness and passes model_state through unchanged; its
    metrics are log_likelihood, and log_likelihood_origin at z = 0, means in nats.

  Raises:
    TypeError: if latent_dim is not an integer.
    ValueError: if latent_dim is below 1 or the step size is not positive.

  Example:
    >>> model = gradient_origin(lambda w, z: z @ w.T, latent_dim=2)
    >>> model.encode(jnp.eye(2), jnp.array([[1.0, 0.0]])).tolist()  # W^T (x - 1/2)
    [[0.5, -0.5]]

  References:
    Bond-Taylor & Willcocks, Gradient Origin Networks, 2021. arXiv:2007.02798
  """
  check_positive_int(latent_dim=latent_dim)
  check_range(low=0.0, strict=True, step_size=step_size)

  def log_p(params: Params, x: jax.Array, z: jax.Array) -> jax.Array:
    return log_likelihood(decode_fn, likelihood, params, x, z[None])[0]

  def encode_and_value(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    origin = jnp.zeros((x.shape[0], latent_dim), x.dtype)
    value, pullback = jax.vjp(lambda z: log_p(params, x, z), origin)
    # Every example by itself: the gradient of the sum.
    (ascent,) = pullback(jnp.ones_like(value))
    return step_size * ascent, value

  def objective(
    params: Params, model_state: Any, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    x = take_feature(batch, feature)
    z, at_origin = encode_and_value(params, x)
    value = log_p(params, x, z)
    metrics = {"log_likelihood": value, "log_likelihood_origin": at_origin}
    means = {n: jnp.mean(v).astype(jnp.float32) for n, v in metrics.items()}
    return -jnp.mean(value), (model_state, means)

  def encode(params: Params, x: jax.Array) -> jax.Array:
    return encode_and_value(params, x)[0]

  def decode(params: Params, z: jax.Array) -> jax.Array:
    return likelihood.mean(*as_tuple(decode_fn(params, z)))

  return GradientOrigin(objective, encode, decode)
