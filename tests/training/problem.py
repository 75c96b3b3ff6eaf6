"""A small regression with noise in it, cheap to compile: for tests of what is around an objective."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from latentjax import data, training

DIM = 5


def dataset(num_examples: int = 40) -> data.Dataset:
  """Inputs and noisy linear answers."""
  random = np.random.default_rng(1)
  x = random.normal(size=(num_examples, DIM)).astype(np.float32)
  y = (x @ np.arange(DIM) + 0.1 * random.normal(size=num_examples)).astype(np.float32)
  return data.load({"x": x, "y": y})


def init(key: jax.Array) -> tuple[dict, tuple]:
  """Parameters and no model state."""
  return {"w": jax.random.normal(key, (DIM,)), "b": jnp.zeros(())}, ()


def objective(params, model_state, key, batch):
  """Squared error of every row, with a little noise from the key."""
  noise = 0.01 * jax.random.normal(key)
  error = batch["x"] @ params["w"] + params["b"] + noise - batch["y"]
  return jnp.mean(error**2), (model_state, {"error": jnp.mean(jnp.abs(error))})


def failing_at(step: int):
  """An objective whose gradient is not finite at one step."""

  def fail(params, count, key, batch):
    loss, (_, metrics) = objective(params, (), key, batch)
    bad = jnp.where(count == step - 1, jnp.inf, 0.0) * params["b"]
    return loss + bad, (count + 1, metrics)

  return fail


def config(**fields) -> training.TrainConfig:
  """40 steps with a checkpoint every 10."""
  fields = {"steps": 40, "batch_size": 8, "fused_steps": 5, "checkpoint_every": 10} | fields
  return training.TrainConfig(**fields)


def run(folder, *, objective=objective, init=init, optimizer=None, rows=None, **fields):
  """Train in this process."""
  return training.train(
    objective,
    init,
    optimizer or optax.adam(1e-2),
    rows or dataset(),
    config(**fields),
    folder,
    progress=False,
  )
