"""Small Flax networks, and the functions that bind them to parameters."""

from latentjax.models.conv import ConvDecoder, ConvEncoder
from latentjax.models.denoising import ConditionEmbedding, DenoisingMLP, time_features
from latentjax.models.dit import DIT_SIZES, DiT, dit
from latentjax.models.mlp import MLP, BatchNormMLP, MLPDecoder, MLPEncoder
from latentjax.models.networks import Networks, conv_vae, mlp_vae
from latentjax.models.recurrent import GRUDecoder, GRUEncoder
from latentjax.models.transformer import PatchPredictor, PatchTransformer, TokenTransformer
from latentjax.models.unet import UNet

__all__ = [
  "DIT_SIZES",
  "MLP",
  "BatchNormMLP",
  "ConditionEmbedding",
  "ConvDecoder",
  "ConvEncoder",
  "DenoisingMLP",
  "DiT",
  "GRUDecoder",
  "GRUEncoder",
  "MLPDecoder",
  "MLPEncoder",
  "Networks",
  "PatchPredictor",
  "PatchTransformer",
  "TokenTransformer",
  "UNet",
  "conv_vae",
  "dit",
  "mlp_vae",
  "time_features",
]
