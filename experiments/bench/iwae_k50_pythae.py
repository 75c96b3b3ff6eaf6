"""The usual VAE library: pythae's `IWAE` trained by its `BaseTrainer`; see `vae_mlp_pythae`.

Rounds are steps inside one call of the trainer, which a callback holds between two of them.
"""

import importlib.metadata
import math
import tempfile
import time
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import DatasetOutput
from pythae.models import IWAE, IWAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import nn
from torch.nn import functional as F

from experiments.bench import worker
from experiments.bench.iwae_k50_torch import glorot


class Encoder(BaseEncoder):
  """Two hidden layers, then mean and log-variance."""

  def __init__(self, dim: int, hidden: int, latent_dim: int) -> None:
    super().__init__()
    self.hidden = nn.Sequential(
      nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()
    )
    self.embedding = nn.Linear(hidden, latent_dim)
    self.log_var = nn.Linear(hidden, latent_dim)

  def forward(self, x: torch.Tensor) -> ModelOutput:
    """Parameters of q(z|x)."""
    h = self.hidden(x.flatten(1))
    return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
  """Two hidden layers, then pixel means, as the library's own decoder gives them."""

  def __init__(self, shape: tuple[int, ...], hidden: int, latent_dim: int) -> None:
    super().__init__()
    self.layers = nn.Sequential(
      nn.Linear(latent_dim, hidden),
      nn.Tanh(),
      nn.Linear(hidden, hidden),
      nn.Tanh(),
      nn.Linear(hidden, math.prod(shape)),
      nn.Sigmoid(),
    )
    self.shape = shape

  def forward(self, z: torch.Tensor) -> ModelOutput:
    """Parameters of p(x|z)."""
    return ModelOutput(reconstruction=self.layers(z).reshape(len(z), *self.shape))


def negative_bound(model: IWAE, x: torch.Tensor, num_samples: int) -> torch.Tensor:
  """The paper's bound with the library's networks, negative, mean over the batch."""
  q = model.encoder(x)
  eps = torch.randn(num_samples, *q.embedding.shape)
  z = q.embedding + torch.exp(0.5 * q.log_covariance) * eps
  x_hat = model.decoder(z.flatten(0, 1)).reconstruction.reshape(num_samples, *x.shape)
  log_p_x = -F.binary_cross_entropy(x_hat, x.expand_as(x_hat), reduction="none").flatten(2).sum(-1)
  log_w = log_p_x - 0.5 * (z.square() - eps.square() - q.log_covariance).sum(-1)
  return math.log(num_samples) - log_w.logsumexp(0).mean()


class Rounds(TrainingCallback):
  """Counts steps, and holds the trainer between rounds."""

  def __init__(self, model: IWAE, x: np.ndarray, problem: worker.Problem, channel: worker.Channel):
    self.model, self.problem, self.channel = model, problem, channel
    self.check = torch.from_numpy(x[: worker.CHECK_WEIGHTED])
    self.rounds = channel.rounds()
    self.step, self.first_step, self.seconds = 0, 0, math.inf

  def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
    """The clock of the first step."""
    if self.step == 0:
      self.begin = time.perf_counter()

  def on_train_step_end(self, *args: Any, **kwargs: Any) -> None:
    """The end of a round where its time is over; then the wait for the next one."""
    self.step += 1
    elapsed = time.perf_counter() - self.begin
    if self.step == 1:
      self.first_seconds = elapsed
    if self.step == self.problem.check_steps:
      self.channel.send(**self.warm())
    elif elapsed < self.seconds:
      return
    else:
      images = (self.step - self.first_step) * self.problem.batch_size
      self.channel.send(images=images, seconds=elapsed)
    seconds = next(self.rounds, None)
    if seconds is None:
      raise SystemExit(0)
    self.first_step, self.seconds, self.begin = self.step, seconds, time.perf_counter()

  def warm(self) -> dict[str, Any]:
    """What is sent after the steps agreed on."""
    with torch.no_grad():
      chunks = self.check.split(100)
      bounds = [negative_bound(self.model, c, self.problem.num_samples).item() for c in chunks]
      reported = [self.model(DatasetOutput(data=c)).loss.item() for c in chunks]
    return {
      "first_seconds": self.first_seconds,
      "negative_elbo": sum(bounds) / len(bounds),
      "reported_loss": sum(reported) / len(reported),
      "num_params": sum(p.numel() for p in self.model.parameters()),
      "versions": {name: importlib.metadata.version(name) for name in ("torch", "pythae")},
    }


def main() -> None:
  """Train, and answer."""
  problem, channel = worker.start()
  torch.set_num_threads(worker.num_threads())
  x = np.load(problem.data).astype(np.float32) / 255
  shape = x.shape[1:]
  model = IWAE(
    IWAEConfig(
      input_dim=shape,
      latent_dim=problem.latent_dim,
      reconstruction_loss="bce",
      number_samples=problem.num_samples,
    ),
    encoder=Encoder(math.prod(shape), problem.hidden, problem.latent_dim),
    decoder=Decoder(shape, problem.hidden, problem.latent_dim),
  )
  glorot(model)
  with tempfile.TemporaryDirectory() as folder:
    config = BaseTrainerConfig(
      output_dir=folder,
      per_device_train_batch_size=problem.batch_size,
      num_epochs=1_000_000,
      learning_rate=problem.learning_rate,
      no_cuda=True,
    )
    pipeline = TrainingPipeline(model=model, training_config=config)
    pipeline(train_data=x, callbacks=[Rounds(model, x, problem, channel)])


if __name__ == "__main__":
  main()
