"""What the machine gives: 50 steps per call by `lax.scan` in plain JAX, data resident as floats.

Nothing is logged, checked or saved: a ceiling for the training loop, not a peer.
"""

import importlib.metadata
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.bench import worker

STEPS = 50
Params = dict[str, jax.Array]


def init(key: jax.Array, dim: int, hidden: int, latent_dim: int) -> Params:
  """Parameters, in the initialisation of our networks."""
  shapes = {"w1": (dim, hidden), "w2": (hidden, 2 * latent_dim), "w3": (latent_dim, hidden)}
  shapes["w4"] = (hidden, dim)
  glorot = jax.nn.initializers.glorot_uniform()
  keys = jax.random.split(key, len(shapes))
  weights = {name: glorot(k, shape) for k, (name, shape) in zip(keys, shapes.items())}
  return weights | {f"b{name[1]}": jnp.zeros(shape[1]) for name, shape in shapes.items()}


def negative_elbo(params: Params, key: jax.Array, x: jax.Array) -> jax.Array:
  """Mean over the batch, nats."""
  h = jax.nn.relu(x @ params["w1"] + params["b1"])
  mean, log_scale = jnp.split(h @ params["w2"] + params["b2"], 2, axis=1)
  z = mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape)
  logits = jax.nn.relu(z @ params["w3"] + params["b3"]) @ params["w4"] + params["b4"]
  nll = jnp.sum(jax.nn.softplus(logits) - x * logits)
  kl = 0.5 * jnp.sum(mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale)
  return (nll + kl) / len(x)


def main() -> None:
  """Train, and answer."""
  problem, channel = worker.start()
  images = np.load(problem.data)
  data = jnp.asarray(images.reshape(len(images), -1), jnp.float32) / 255
  params = init(jax.random.key(0), data.shape[1], problem.hidden, problem.latent_dim)
  optimizer = optax.adam(problem.learning_rate)
  rng, key = np.random.default_rng(0), jax.random.key(1)
  order = np.empty(0, np.int32)

  @partial(jax.jit, donate_argnums=0)
  def call(carry: Any, data: jax.Array, keys: jax.Array, rows: jax.Array) -> tuple[Any, jax.Array]:
    def step(carry: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
      params, opt_state = carry
      key, rows = inputs
      loss, grads = jax.value_and_grad(negative_elbo)(params, key, data[rows])
      updates, opt_state = optimizer.update(grads, opt_state, params)
      return (optax.apply_updates(params, updates), opt_state), loss

    return jax.lax.scan(step, carry, (keys, rows))

  carry = (params, optimizer.init(params))

  def take() -> int:
    nonlocal carry, key, order
    size = STEPS * problem.batch_size
    while len(order) < size:
      order = np.concatenate([order, rng.permutation(len(data)).astype(np.int32)])
    rows, order = order[:size].reshape(STEPS, -1), order[size:]
    key, key_call = jax.random.split(key)
    carry, losses = call(carry, data, jax.random.split(key_call, STEPS), rows)
    losses.block_until_ready()
    return size

  begin = time.perf_counter()
  take()
  first_seconds = time.perf_counter() - begin
  for _ in range(-(-problem.check_steps // STEPS) - 1):
    take()
  check = data[: worker.CHECK_IMAGES]
  chunks = jnp.split(check, list(range(1000, len(check), 1000)))
  losses = [negative_elbo(carry[0], jax.random.key(i), c) * len(c) for i, c in enumerate(chunks)]
  channel.send(
    first_seconds=first_seconds,
    negative_elbo=float(sum(losses)) / sum(map(len, chunks)),
    num_params=sum(p.size for p in jax.tree.leaves(carry[0])),
    versions={"jax": importlib.metadata.version("jax")},
  )
  channel.serve(lambda seconds: worker.steps_for(seconds, take))


if __name__ == "__main__":
  main()
