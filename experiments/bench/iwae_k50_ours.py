"""Our side: `latentjax.training.train` as a user calls it, on `objectives.iwae`; see `vae_mlp_ours`.

A round has no checkpoint in it: one comes every 1,000 steps, 100,000 images. Three ways to hold k times the
activations of a VAE: all rows and samples at once, a few rows at a time, a few samples at a time.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.bench import vae_mlp_ours, worker
from latentjax import objectives
from latentjax.data.transforms import to_float
from latentjax.losses.importance import iwae_bound
from latentjax.models import Networks, mlp_vae
from latentjax.training import TrainConfig, make_optimizer
from latentjax.training.program import abstract_program

# Of a variant: micro-batches of the training loop, samples that the objective decodes at a time.
WAYS: dict[str, tuple[int, int | None]] = {"": (5, None), "blocks": (1, 10), "at_once": (1, None)}


class Side(vae_mlp_ours.Side):
  """The model, and runs of it."""

  def __init__(self, problem: worker.Problem, scratch: Path) -> None:
    super().__init__(problem, scratch)
    self.unit = self.mark_every
    self.accumulate, _ = WAYS[problem.variant]

  def build(self) -> tuple[Networks, objectives.LatentModel]:
    """What is trained."""
    problem = self.problem
    hidden = (problem.hidden, problem.hidden)
    networks = mlp_vae(self.images.shape[1:], problem.latent_dim, hidden=hidden, activation="tanh")
    return networks, objectives.iwae(
      networks.encode_fn,
      networks.decode_fn,
      latent_dim=problem.latent_dim,
      num_samples=problem.num_samples,
      block_size=WAYS[problem.variant][1],
    )

  def warm_up(self) -> dict[str, Any]:
    """The first run of the process, and the memory of a step."""
    return {**super().warm_up(), "temp_mib": self.temp_mib()}

  def temp_mib(self) -> float:
    """Temporary memory of a step as `train` compiles it, beyond its state and its batch."""
    program = abstract_program(
      self.model.objective,
      lambda key: (self.networks.init_fn(key), ()),
      make_optimizer(self.problem.learning_rate),
      self.dataset,
      TrainConfig(batch_size=self.problem.batch_size, accumulate=self.accumulate),
      transform=to_float,
    )
    compiled = program.call.lower(*program.args).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20

  def negative_elbo(self, params: Any) -> float:
    """Mean negative bound of the images agreed on, nats."""
    bound = jax.jit(
      lambda key, x: iwae_bound(
        self.model.log_weights(params, key, x, num_samples=self.problem.num_samples)
      )
    )
    images = np.asarray(self.images[: worker.CHECK_WEIGHTED], np.float32) / 255
    chunks = np.split(images, range(100, len(images), 100))
    bounds = [np.asarray(bound(jax.random.key(i), chunk)) for i, chunk in enumerate(chunks)]
    return -float(np.mean(np.concatenate(bounds)))


if __name__ == "__main__":
  vae_mlp_ours.main(Side)
