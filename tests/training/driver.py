"""A whole run in a process of its own, so that tests can kill it or give it other devices.

Usage: driver.py FOLDER CONFIG_JSON. The last line it prints is a JSON object with the fingerprints of the
final state. Which examples a batch held shows in its metrics, so the log is also the data's order.
"""

import json
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from latentjax import data, training
from latentjax.data.transforms import dynamic_binarize
from latentjax.models import conv_vae, mlp_vae
from latentjax.objectives import vae
from latentjax.training.checkpoint import fingerprints


def dataset(num_examples: int, *, stream: bool) -> data.Dataset:
  """Random images, with each example's number beside it."""
  random = np.random.default_rng(0)
  image = random.integers(0, 256, (num_examples, 6, 6, 1), dtype=np.uint8)
  arrays = {"image": image, "index": np.arange(num_examples, dtype=np.int32)}
  return data.load(arrays, memory_limit=0 if stream else None)


def objective_of(networks, config, nan_at):
  """A VAE's, which also reports the examples it saw and can be made to fail at a step."""
  model = vae(
    networks.encode_fn, networks.decode_fn, latent_dim=3, axis_name=config.axis_name
  ).objective

  def objective(params, count, key, batch):
    loss, (_, metrics) = model(params, (), key, batch)
    loss = jnp.where(count == nan_at, jnp.nan, loss)
    index = batch["index"].astype(jnp.float32)
    return loss, (count + 1, metrics | {"index": jnp.mean(index), "square": jnp.mean(index**2)})

  return objective


def main(argv: list[str]) -> int:
  folder, arguments = argv[0], json.loads(argv[1])
  distributed = arguments.pop("distributed", None)
  network = {"mlp": mlp_vae, "conv": conv_vae}[arguments.pop("network", "mlp")]
  stream = arguments.pop("stream", False)
  nan_at = arguments.pop("nan_at", -1)
  num_examples = arguments.pop("num_examples", 37)
  jax.config.update("jax_compilation_cache_dir", os.environ.get("DRIVER_CACHE"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  if distributed:
    training.initialize_distributed(**distributed)
  config = training.TrainConfig(**arguments)
  norm = jax.jit(jax.vmap(optax.tree.norm) if config.stacked else optax.tree.norm)
  networks = network((6, 6, 1), 3, hidden=(16,) if network is mlp_vae else 16)
  result = training.train(
    objective_of(networks, config, nan_at),
    lambda key: (networks.init_fn(key), jnp.int32(0)),
    training.make_optimizer(optax.constant_schedule(1e-3), clip_norm=10.0),
    dataset(num_examples, stream=stream),
    config,
    folder,
    transform=dynamic_binarize,
    evaluate=lambda state: {"norm": norm(state.params)},
    progress=False,
  )
  if jax.process_index() == 0:
    print(
      json.dumps(
        {
          "fingerprints": np.asarray(fingerprints(result.state)).tolist(),
          "steps_run": result.steps_run,
        }
      )
    )
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
