"""Our side: `latentjax.training.train` as a user calls it, on `objectives.iwae`; see `vae_mlp_ours`.

A round has no checkpoint in it: one comes every 1,000 steps, 100,000 images. Variant "at_once" decodes all
samples together, without blocks.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import vae_mlp_ours, worker
from latentjax import objectives
from latentjax.losses.importance import iwae_bound
from latentjax.models import Networks, mlp_vae


class Side(vae_mlp_ours.Side):
  """The model, and runs of it."""

  def __init__(self, problem: worker.Problem, scratch: Path) -> None:
    super().__init__(problem, scratch)
    self.unit = self.mark_every

  def build(self, **kwargs: Any) -> tuple[Networks, objectives.LatentModel]:
    """What is trained."""
    problem = self.problem
    kwargs = {"block_size": None} | kwargs if problem.variant == "at_once" else kwargs
    hidden = (problem.hidden, problem.hidden)
    networks = mlp_vae(self.images.shape[1:], problem.latent_dim, hidden=hidden, activation="tanh")
    return networks, objectives.iwae(
      networks.encode_fn,
      networks.decode_fn,
      latent_dim=problem.latent_dim,
      num_samples=problem.num_samples,
      **kwargs,
    )

  def warm_up(self) -> dict[str, Any]:
    """The first run of the process, and the memory of a step with and without blocks."""
    temp_mib = {"blocks": self.temp_mib(), "naive": self.temp_mib(block_size=None)}
    return {**super().warm_up(), "temp_mib": temp_mib}

  def temp_mib(self, **kwargs: Any) -> float:
    """Temporary memory of value and gradient for one batch."""
    networks, model = self.build(**kwargs)
    loss = lambda params, key, x: model.objective(params, (), key, {"image": x})
    arrays = (networks.init_fn(jax.random.key(0)), jax.random.key(0))
    x = jnp.zeros((self.problem.batch_size, *self.images.shape[1:]))
    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(*arrays, x).compile()
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
