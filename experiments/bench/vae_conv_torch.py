"""The plain PyTorch loop of `vae_mlp_torch` with the convolutional networks.

Variant: "fused" takes the fused Adam.
"""

import math

import torch
from torch import nn

from experiments.bench import vae_mlp_torch


class ConvVAE(vae_mlp_torch.VAE):
  """Images of one channel, two halvings; a bias per pixel at the end, as on our side."""

  def __init__(self, dim: int, hidden: int, latent_dim: int) -> None:
    nn.Module.__init__(self)
    side = math.isqrt(dim)
    grid = (64, side // 4, side // 4)
    self.encoder = nn.Sequential(
      nn.Unflatten(1, (1, side, side)),
      nn.Conv2d(1, 32, 4, 2, 1),
      nn.ReLU(),
      nn.Conv2d(32, 64, 4, 2, 1),
      nn.ReLU(),
      nn.Flatten(),
      nn.Linear(math.prod(grid), hidden),
      nn.ReLU(),
      nn.Linear(hidden, 2 * latent_dim),
    )
    self.decoder = nn.Sequential(
      nn.Linear(latent_dim, hidden),
      nn.ReLU(),
      nn.Linear(hidden, math.prod(grid)),
      nn.ReLU(),
      nn.Unflatten(1, grid),
      nn.ConvTranspose2d(64, 32, 4, 2, 1),
      nn.ReLU(),
      nn.ConvTranspose2d(32, 1, 4, 2, 1, bias=False),
      nn.Flatten(),
      Bias(dim),
    )


class Bias(nn.Module):
  """One number for each pixel."""

  def __init__(self, dim: int) -> None:
    super().__init__()
    self.bias = nn.Parameter(torch.zeros(dim))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Rows (B, D) with it added."""
    return x + self.bias


if __name__ == "__main__":
  vae_mlp_torch.main(ConvVAE)
