"""Our side: `latentjax.training.train` as a user calls it, its metrics log and checkpoints included.

A round is one call of `train` in a folder of its own. Three rates come out of it:
  images / seconds: wall time from the end of the second compiled call to the last step, with everything
    that the loop does meanwhile: batches, metrics log, progress bar, checkpoints at the default
    interval (the window is a multiple of it). This is the one to compare.
  loop_images_per_second: what `train` itself reports, without saving.
  call_images_per_second: all steps over the whole call, with tracing, set-up and the last checkpoint.
"""

import importlib.metadata
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.bench import worker
from latentjax import data, objectives
from latentjax.data.transforms import to_float
from latentjax.densities import bernoulli
from latentjax.models import Networks, mlp_vae
from latentjax.training import TrainConfig, TrainState, make_optimizer, train
from latentjax.training.call import default_fusion

# The VAE, and `vae_objectives.OBJECTIVES` with the settings of vae_mlp_pythae.
FACTORIES: dict[str, Callable[..., objectives.LatentModel]] = {
  "": objectives.vae,
  "beta_vae": partial(objectives.vae, beta=4.0),
  "capacity": partial(objectives.capacity_vae, capacity=25.0, gamma=10.0),
  "tc_vae": partial(objectives.tc_vae, dataset_size=60_000, beta=6.0),
  "info_vae": partial(
    objectives.info_vae,
    alpha=0.5,
    reg_weight=10.0,
    kernel="imq",
    bandwidths=[40 * scale for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)],
  ),
  "iwae": partial(objectives.iwae, num_samples=5),
}


class Side:
  """The model, and runs of it."""

  accumulate = 1

  def __init__(self, problem: worker.Problem, scratch: Path) -> None:
    self.problem = problem
    self.folders: Iterator[Path] = (scratch / str(i) for i in itertools.count())
    self.images = np.load(problem.data, mmap_mode="r")
    self.dataset = data.load({"image": self.images})
    self.networks, self.model = self.build()
    fused = problem.fused_steps
    if fused is None:
      fused, _ = default_fusion(jax.default_backend(), convolution=False, resident=True)
    self.mark_every = 2 * fused
    self.unit = math.lcm(self.mark_every, TrainConfig().checkpoint_every)
    self.rate = math.nan

  def build(self) -> tuple[Networks, objectives.LatentModel]:
    """What is trained."""
    shape, latent_dim, hidden = self.images.shape[1:], self.problem.latent_dim, self.problem.hidden
    networks = mlp_vae(shape, latent_dim, hidden=(hidden,), activation="relu")
    make = FACTORIES[self.problem.objective]
    return networks, make(networks.encode_fn, networks.decode_fn, latent_dim=latent_dim)

  def train(self, steps: int, **kwargs: Any) -> tuple[Any, float]:
    """One run in a fresh folder, and the seconds it took in all."""
    config = TrainConfig(
      steps=steps,
      batch_size=self.problem.batch_size,
      fused_steps=self.problem.fused_steps,
      accumulate=self.accumulate,
      eval_every=self.mark_every if kwargs else None,
    )
    begin = time.perf_counter()
    result = train(
      self.model.objective,
      lambda key: (self.networks.init_fn(key), ()),
      make_optimizer(self.problem.learning_rate),
      self.dataset,
      config,
      next(self.folders),
      transform=to_float,
      **kwargs,
    )
    return result, time.perf_counter() - begin

  def warm_up(self) -> dict[str, Any]:
    """The first run of the process, that compiles."""
    result, _ = self.train(self.problem.check_steps)
    self.rate = result.examples_per_second
    return {
      "first_seconds": result.first_call_seconds,
      "negative_elbo": self.negative_elbo(result.state.params),
      "num_params": sum(p.size for p in jax.tree.leaves(result.state.params)),
      "versions": {name: importlib.metadata.version(name) for name in ("latentjax", "jax")},
    }

  def negative_elbo(self, params: Any) -> float:
    """Mean negative bound of the images agreed on, or their reconstruction error, nats."""

    def error(key: jax.Array, x: jax.Array) -> jax.Array:
      mean, _ = self.model.encode(params, x)
      return bernoulli.log_prob(x, *self.networks.decode_fn(params, mean), event_ndim=3)

    bound = jax.jit(
      error if self.problem.objective else lambda key, x: self.model.bound(params, key, x).elbo
    )
    images = np.asarray(self.images[: worker.CHECK_IMAGES], np.float32) / 255
    chunks = np.split(images, range(1000, len(images), 1000))
    elbo = [np.asarray(bound(jax.random.key(i), chunk)) for i, chunk in enumerate(chunks)]
    return -float(np.mean(np.concatenate(elbo)))

  def run(self, seconds: float) -> dict[str, float]:
    """One round."""
    units = round(seconds * self.rate / self.problem.batch_size / self.unit)
    window = self.unit * max(1, units)
    marks: list[tuple[int, float]] = []

    def mark(state: TrainState) -> dict[str, float]:
      marks.append((int(state.step), time.perf_counter()))  # reading the step waits for the device
      return {}

    result, wall = self.train(self.mark_every + window, evaluate=mark)
    (first_step, begin), (last_step, end) = marks[0], marks[-1]
    self.rate = result.examples_per_second
    return {
      "images": (last_step - first_step) * self.problem.batch_size,
      "seconds": end - begin,
      "loop_images_per_second": result.examples_per_second,
      "call_images_per_second": result.steps_run * self.problem.batch_size / wall,
      "first_call_seconds": result.first_call_seconds,
      "outside_seconds": wall - (end - begin) - result.first_call_seconds,
    }


def main(make_side: type[Side] = Side) -> None:
  """Train, and answer."""
  problem, channel = worker.start()
  with tempfile.TemporaryDirectory() as scratch:
    # Empty at the start: the first run pays for compilation, the rounds find it there.
    jax.config.update("jax_compilation_cache_dir", f"{scratch}/xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    side = make_side(problem, Path(scratch))
    channel.send(**side.warm_up())
    channel.serve(side.run)


if __name__ == "__main__":
  main()
