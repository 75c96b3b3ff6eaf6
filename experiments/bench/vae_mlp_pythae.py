"""The usual VAE library: pythae's `VAE` trained by its `BaseTrainer` through its `TrainingPipeline`.

Rounds are whole epochs inside one call of the trainer, the first one not among them: a callback holds the
trainer between two epochs. The networks are given as pythae asks, its default MLP being larger.
"""

import importlib.metadata
import tempfile
import time
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import DatasetOutput
from pythae.models import (
  INFOVAE_MMD,
  IWAE,
  VAE,
  BetaTCVAE,
  BetaTCVAEConfig,
  BetaVAE,
  BetaVAEConfig,
  DisentangledBetaVAE,
  DisentangledBetaVAEConfig,
  INFOVAE_MMD_Config,
  IWAEConfig,
  VAEConfig,
)
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import nn

from experiments.bench import worker

# As in vae_mlp_ours: the weight of the MMD is alpha + lbd - 1 here.
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
  "": (VAE, VAEConfig, {}),
  "beta_vae": (BetaVAE, BetaVAEConfig, {"beta": 4.0}),
  "capacity": (
    DisentangledBetaVAE,
    DisentangledBetaVAEConfig,
    {"beta": 10.0, "C": 25.0, "warmup_epoch": 0},
  ),
  "tc_vae": (BetaTCVAE, BetaTCVAEConfig, {"beta": 6.0, "use_mss": False}),
  "info_vae": (INFOVAE_MMD, INFOVAE_MMD_Config, {"alpha": 0.5, "lbd": 10.0}),
  "iwae": (IWAE, IWAEConfig, {"number_samples": 5}),
}


class Encoder(BaseEncoder):
  """One hidden layer, then mean and log-variance, as the library's own encoder has them."""

  def __init__(self, dim: int, hidden: int, latent_dim: int) -> None:
    super().__init__()
    self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU())
    self.embedding = nn.Linear(hidden, latent_dim)
    self.log_var = nn.Linear(hidden, latent_dim)

  def forward(self, x: torch.Tensor) -> ModelOutput:
    """Parameters of q(z|x)."""
    h = self.hidden(x.flatten(1))
    return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
  """One hidden layer, then pixel means, as the library's own decoder gives them."""

  def __init__(self, shape: tuple[int, ...], hidden: int, latent_dim: int) -> None:
    super().__init__()
    dim = int(np.prod(shape))
    self.layers = nn.Sequential(
      nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, dim), nn.Sigmoid()
    )
    self.shape = shape

  def forward(self, z: torch.Tensor) -> ModelOutput:
    """Parameters of p(x|z)."""
    return ModelOutput(reconstruction=self.layers(z).reshape(len(z), *self.shape))


class Rounds(TrainingCallback):
  """Counts steps and epochs, and holds the trainer between rounds."""

  def __init__(self, model: VAE, x: np.ndarray, problem: worker.Problem, channel: worker.Channel):
    self.model, self.x, self.problem, self.channel = model, x, problem, channel
    self.rounds = channel.rounds()
    self.step = self.epoch = 0
    self.report: dict[str, Any] | None = {}

  def on_train_step_end(self, *args: Any, **kwargs: Any) -> None:
    """The first step's time, and the loss at the step agreed on."""
    self.step += 1
    if self.step == 1:
      self.first_seconds = time.perf_counter() - self.begin
    if self.step == self.problem.check_steps:
      self.negative_elbo = self.evaluate()

  def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
    """The end of a round where its time is over; then the wait for the next one."""
    now = time.perf_counter()
    if self.step == 0:
      self.begin = now
      return
    if self.step < self.problem.check_steps:  # still warming up
      return
    if self.epoch == 0:
      self.channel.send(
        first_seconds=self.first_seconds,
        negative_elbo=self.negative_elbo,
        num_params=sum(p.numel() for p in self.model.parameters()),
        versions={name: importlib.metadata.version(name) for name in ("torch", "pythae")},
      )
    elif now - self.begin < self.seconds:
      self.epoch += 1
      return
    else:
      images = (self.epoch - self.first_epoch) * len(self.x)
      self.channel.send(images=images, seconds=now - self.begin)
    self.wait()

  def wait(self) -> None:
    """Sleep until the next round; the process ends with its input."""
    self.seconds = next(self.rounds, None)
    if self.seconds is None:
      raise SystemExit(0)
    self.first_epoch = self.epoch
    self.epoch += 1
    self.begin = time.perf_counter()

  def evaluate(self) -> float:
    """Mean negative bound of the images agreed on, or their reconstruction error, nats."""
    with torch.no_grad():
      chunks = torch.from_numpy(self.x[: worker.CHECK_IMAGES]).split(1000)
      loss = self.error if self.problem.objective else self.loss
      losses = [len(c) * loss(c).item() for c in chunks]
    return sum(losses) / sum(map(len, chunks))

  def loss(self, x: torch.Tensor) -> torch.Tensor:
    """The model's own."""
    return self.model(DatasetOutput(data=x)).loss

  def error(self, x: torch.Tensor) -> torch.Tensor:
    """Of the reconstruction from q's mean."""
    found = self.model.decoder(self.model.encoder(x).embedding).reconstruction
    return nn.functional.binary_cross_entropy(found, x, reduction="sum") / len(x)


def main() -> None:
  """Train, and answer."""
  problem, channel = worker.start()
  torch.set_num_threads(worker.num_threads())
  x = np.load(problem.data).astype(np.float32) / 255
  shape = x.shape[1:]
  make, make_config, settings = MODELS[problem.objective]
  model = make(
    make_config(
      input_dim=shape, latent_dim=problem.latent_dim, reconstruction_loss="bce", **settings
    ),
    encoder=Encoder(int(np.prod(shape)), problem.hidden, problem.latent_dim),
    decoder=Decoder(shape, problem.hidden, problem.latent_dim),
  )
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
