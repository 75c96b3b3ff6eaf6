"""The plain PyTorch loop with `torch.optim.Adam`: the data as one float tensor, a permutation per epoch.

Variants: "fused" takes the fused Adam, "loader" a `DataLoader` over the tensor, as most scripts do.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from experiments.bench import worker


class VAE(nn.Module):
  """Encoder and decoder of one hidden layer each."""

  def __init__(self, dim: int, hidden: int, latent_dim: int) -> None:
    super().__init__()
    self.encoder = nn.Sequential(
      nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent_dim)
    )
    self.decoder = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Mean negative bound of the batch, nats."""
    mean, log_var = self.encoder(x).chunk(2, dim=1)
    z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
    nll = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
    kl = 0.5 * torch.sum(mean.square() + log_var.exp() - 1 - log_var)
    return (nll + kl) / len(x)


def main(make_model: Callable[[int, int, int], nn.Module] = VAE) -> None:
  """Train, and answer."""
  problem, channel = worker.start()
  torch.set_num_threads(worker.num_threads())
  torch.manual_seed(0)
  images = np.load(problem.data)
  x = torch.from_numpy(images).reshape(len(images), -1).float().div_(255)
  model = make_model(x.shape[1], problem.hidden, problem.latent_dim)
  fused = True if problem.variant == "fused" else None  # None: Adam decides, and on CPU says no
  optimizer = torch.optim.Adam(model.parameters(), lr=problem.learning_rate, fused=fused)

  def epochs() -> Iterator[torch.Tensor]:
    while problem.variant == "loader":
      loader = DataLoader(TensorDataset(x), batch_size=problem.batch_size, shuffle=True)
      for (batch,) in loader:
        yield batch
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
    chunks = x[: worker.CHECK_IMAGES].split(1000)
    negative_elbo = sum(len(chunk) * model(chunk).item() for chunk in chunks)
  channel.send(
    first_seconds=first_seconds,
    negative_elbo=negative_elbo / sum(map(len, chunks)),
    num_params=sum(p.numel() for p in model.parameters()),
    versions={"torch": torch.__version__},
  )
  channel.serve(lambda seconds: worker.steps_for(seconds, step))


if __name__ == "__main__":
  main()
