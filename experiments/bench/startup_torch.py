"""The other side of `startup_speed`: a plain PyTorch script up to its first step."""

import json
import sys

import numpy as np
import torch

from experiments.bench.vae_mlp_torch import VAE


def main() -> None:
  """Train one batch."""
  problem = json.loads(sys.argv[1])
  images = np.load(problem["data"])
  x = torch.from_numpy(images).reshape(len(images), -1).float().div_(255)
  model = VAE(x.shape[1], problem["hidden"], 20)
  optimizer = torch.optim.Adam(model.parameters(), lr=problem["learning_rate"])
  loss = model(x[torch.randperm(len(x))[: problem["batch_size"]]])
  loss.backward()
  optimizer.step()
  loss.item()
  print("stepped", flush=True)


if __name__ == "__main__":
  main()
