"""Small Flax networks, and the functions that bind them to parameters."""

from latentjax.models.conv import ConvDecoder, ConvEncoder
from latentjax.models.mlp import MLP, MLPDecoder, MLPEncoder
from latentjax.models.networks import Networks, conv_vae, mlp_vae

__all__ = [
  "MLP",
  "ConvDecoder",
  "ConvEncoder",
  "MLPDecoder",
  "MLPEncoder",
  "Networks",
  "conv_vae",
  "mlp_vae",
]
