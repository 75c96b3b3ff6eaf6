"""Last layers shared by all networks: the parameters of q(z|x) and of p(x|z), in float32."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from latentjax.checks import check_choice

__all__ = ["LikelihoodHead", "PosteriorHead"]

glorot = nn.initializers.glorot_uniform()


def activation_fn(activation: str | Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
  """The function of that name in `flax.linen`, or the function itself."""
  if not isinstance(activation, str):
    return activation
  function = getattr(nn, activation, None)
  if function is None or not callable(function):
    raise ValueError(f"activation must be the name of a function in flax.linen, got {activation!r}")
  return function


class PosteriorHead(nn.Module):
  """Features (B, F) to the mean and log_scale of q(z|x), each (B, latent_dim)."""

  latent_dim: int
  dtype: Any

  @nn.compact
  def __call__(self, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    h = nn.Dense(2 * self.latent_dim, dtype=self.dtype, kernel_init=glorot)(h)
    mean, log_scale = jnp.split(h.astype(jnp.float32), 2, axis=-1)
    return mean, log_scale


class LikelihoodHead(nn.Module):
  """Outputs (B, *data_shape) to the parameters of p(x|z): adds the bias and a Gaussian's log_scale."""

  data_shape: tuple[int, ...]
  likelihood: str
  output_bias: Any

  @nn.compact
  def __call__(self, h: jax.Array) -> tuple[jax.Array, ...]:
    check_choice(("bernoulli", "gaussian"), likelihood=self.likelihood)
    bias = self.param(
      "bias",
      lambda key: jnp.array(jnp.broadcast_to(self.output_bias, self.data_shape), jnp.float32),
    )
    h = h.astype(jnp.float32) + bias
    if self.likelihood == "bernoulli":
      return (h,)
    return h, self.param("log_scale", nn.initializers.zeros, ())
