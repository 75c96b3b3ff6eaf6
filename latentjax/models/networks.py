"""Networks bound to one parameter tree {"encoder": ..., "decoder": ...}, as plain functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.models.conv import ConvDecoder, ConvEncoder
from latentjax.models.mlp import MLPDecoder, MLPEncoder

__all__ = ["Networks", "conv_vae", "mlp_vae"]

Activation = str | Callable[[jax.Array], jax.Array]
Encoder = MLPEncoder | ConvEncoder
Decoder = MLPDecoder | ConvDecoder


class Networks(NamedTuple):
  """Encoder and decoder as functions of one parameter tree.

  Attributes:
    init_fn: `(key) -> params`.
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, a tuple of arrays.
  """

  init_fn: Callable[[jax.Array], Any]
  encode_fn: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]
  decode_fn: Callable[[Any, jax.Array], tuple[jax.Array, ...]]


def mlp_vae(
  data_shape: tuple[int, ...],
  latent_dim: int,
  *,
  hidden: tuple[int, ...] = (200, 200),
  activation: Activation = "tanh",
  likelihood: str = "bernoulli",
  data_mean: ArrayLike | None = None,
  dtype: Any = jnp.float32,
) -> Networks:
  """Fully connected VAE; by default two tanh layers of 200 units each way (Burda et al., 2016).

  Args:
    data_shape: shape of one example.
    latent_dim: Z.
    hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
    activation: name of a function in `flax.linen`, or a function.
    likelihood: "bernoulli" or "gaussian".
    data_mean: mean of the training data, of shape `data_shape`; the decoder's output starts there.
    dtype: dtype of the computation; parameters and outputs are float32.

  Returns:
    The networks as functions.

  Raises:
    ValueError: if the likelihood or the activation is unknown, or data_mean is not of shape
      `data_shape`.
  """
  bias = output_bias(data_mean, data_shape, likelihood)
  encoder = MLPEncoder(latent_dim, hidden, activation, dtype)
  decoder = MLPDecoder(data_shape, hidden[::-1], activation, likelihood, bias, dtype)
  return bind(encoder, decoder, data_shape, latent_dim)


def conv_vae(
  data_shape: tuple[int, int, int],
  latent_dim: int,
  *,
  channels: tuple[int, ...] = (32, 64),
  hidden: int = 256,
  activation: Activation = "relu",
  likelihood: str = "bernoulli",
  data_mean: ArrayLike | None = None,
  dtype: Any = jnp.float32,
) -> Networks:
  """Convolutional VAE for images of any size.

  Args:
    data_shape: (H, W, C).
    latent_dim: Z.
    channels: channels of the encoder's strided convolutions; the decoder has them in reverse.
    hidden: width of the fully connected layers.
    activation: name of a function in `flax.linen`, or a function.
    likelihood: "bernoulli" or "gaussian".
    data_mean: mean of the training data, of shape `data_shape`; the decoder's output starts there.
    dtype: dtype of the computation; parameters and outputs are float32.

  Returns:
    The networks as functions.

  Raises:
    ValueError: if the likelihood or the activation is unknown, or a shape is wrong.
  """
  if len(data_shape) != 3:
    raise ValueError(f"data_shape must be (H, W, C), got {data_shape}")
  bias = output_bias(data_mean, data_shape, likelihood)
  encoder = ConvEncoder(latent_dim, channels, hidden, activation, dtype)
  decoder = ConvDecoder(data_shape, channels, hidden, activation, likelihood, bias, dtype)
  return bind(encoder, decoder, data_shape, latent_dim)


def output_bias(
  data_mean: ArrayLike | None, data_shape: tuple[int, ...], likelihood: str
) -> np.ndarray | float:
  """Bias with which the decoder starts at the data mean; finite for pixels that never change."""
  if data_mean is None:
    return 0.0
  mean = np.asarray(data_mean, np.float32)
  if mean.shape != tuple(data_shape):
    raise ValueError(f"data_mean must have shape {tuple(data_shape)}, got {mean.shape}")
  if likelihood != "bernoulli":
    return mean
  mean = np.clip(mean, 1e-3, 1 - 1e-3)
  return np.log(mean) - np.log1p(-mean)


def bind(
  encoder: Encoder, decoder: Decoder, data_shape: tuple[int, ...], latent_dim: int
) -> Networks:
  """Functions of {"encoder": ..., "decoder": ...} from two modules without mutable state."""

  def init_fn(key: jax.Array) -> dict[str, Any]:
    key_encoder, key_decoder = jax.random.split(key)
    return {
      "encoder": encoder.init(key_encoder, jnp.zeros((1, *data_shape)))["params"],
      "decoder": decoder.init(key_decoder, jnp.zeros((1, latent_dim)))["params"],
    }

  def encode_fn(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    outputs: Any = encoder.apply({"params": params["encoder"]}, x)
    return outputs

  def decode_fn(params: Any, z: jax.Array) -> tuple[jax.Array, ...]:
    outputs: Any = decoder.apply({"params": params["decoder"]}, z)
    return outputs

  return Networks(jax.jit(init_fn), encode_fn, decode_fn)
