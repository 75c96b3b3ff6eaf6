"""The plain PyTorch loop with `torch.optim.Adam`: the data as one float tensor, a permutation per epoch.

Variant: "fused" takes the fused Adam.
"""

import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from experiments.bench import worker


class IWAE(nn.Module):
  """Encoder and decoder of two hidden layers each."""

  def __init__(self, dim: int, hidden: int, latent_dim: int, num_samples: int) -> None:
    super().__init__()
    self.num_samples = num_samples
    self.encoder = nn.Sequential(
      nn.Linear(dim, hidden),
      nn.Tanh(),
      nn.Linear(hidden, hidden),
      nn.Tanh(),
      nn.Linear(hidden, 2 * latent_dim),
    )
    self.decoder = nn.Sequential(
      nn.Linear(latent_dim, hidden),
      nn.Tanh(),
      nn.Linear(hidden, hidden),
      nn.Tanh(),
      nn.Linear(hidden, dim),
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Mean negative bound of the batch, nats."""
    mean, log_var = self.encoder(x).chunk(2, dim=1)
    eps = torch.randn(self.num_samples, *mean.shape)
    z = mean + torch.exp(0.5 * log_var) * eps
    logits = self.decoder(z)
    log_p_x = -F.binary_cross_entropy_with_logits(
      logits, x.expand_as(logits), reduction="none"
    ).sum(-1)
    log_w = log_p_x - 0.5 * (z.square() - eps.square() - log_var).sum(-1)
    return math.log(self.num_samples) - log_w.logsumexp(0).mean()


def glorot(model: nn.Module) -> None:
  """The initialisation of our side."""
  for layer in model.modules():
    if isinstance(layer, nn.Linear):
      nn.init.xavier_uniform_(layer.weight)
      nn.init.zeros_(layer.bias)


def main() -> None:
  """Train, and answer."""
  problem, channel = worker.start()
  torch.set_num_threads(worker.num_threads())
  torch.manual_seed(0)
  images = np.load(problem.data)
  x = torch.from_numpy(images).reshape(len(images), -1).float().div_(255)
  model = IWAE(x.shape[1], problem.hidden, problem.latent_dim, problem.num_samples)
  glorot(model)
  fused = True if problem.variant == "fused" else None  # None: Adam decides, and on CPU says no
  optimizer = torch.optim.Adam(model.parameters(), lr=problem.learning_rate, fused=fused)

  def epochs() -> Iterator[torch.Tensor]:
    while True:
      order = torch.randperm(len(x))
      for i in range(0, len(x), problem.batch_size):
        yield x[order[i : i + problem.batch_size]]

  batches = epochs()

  def step() -> int:
    batch = next(batches)
    loss = model(batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return len(batch)

  begin = time.perf_counter()
  step()
  first_seconds = time.perf_counter() - begin
  for _ in range(problem.check_steps - 1):
    step()
  with torch.no_grad():
    losses = [model(chunk).item() for chunk in x[: worker.CHECK_WEIGHTED].split(100)]
  channel.send(
    first_seconds=first_seconds,
    negative_elbo=sum(losses) / len(losses),
    num_params=sum(p.numel() for p in model.parameters()),
    versions={"torch": torch.__version__},
  )
  channel.serve(lambda seconds: worker.steps_for(seconds, step))


if __name__ == "__main__":
  main()
