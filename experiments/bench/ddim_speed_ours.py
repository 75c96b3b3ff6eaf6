"""Our sides of `ddim_speed`: `samplers.ddim` compiled as one program, and a scan written by hand.

Variants: "ours", "plain".
"""

import json
import sys
import time
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import worker
from latentjax.diffusion.processes import vp_linear
from latentjax.diffusion.samplers import ddim
from latentjax.models.denoising import time_features
from latentjax.models.unet import UNet

PROCESS = vp_linear()


def mlp(w: dict[str, Any], x: jax.Array, t: jax.Array) -> jax.Array:
  """Dense layers "0", "1", ... on x (B, D) beside features of the time ()."""
  h = jnp.concatenate([x, jnp.broadcast_to(time_features(t[None], 32), (len(x), 32))], axis=1)
  for layer in sorted(w):
    h = h @ w[layer]["kernel"] + w[layer]["bias"]
    if layer != max(w):
      h = jax.nn.silu(h)
  return h


def unet(channels: tuple[int, ...], attention: tuple[int, ...]) -> UNet:
  """Of maps of one channel."""
  return UNet(channels=channels, attention=attention)


def times(num_steps: int) -> jax.Array:
  """Those of evenly spaced steps of a thousand, as PyTorch's library has them, and the end."""
  steps = [1000 - (i + 1) * 1000 // num_steps for i in range(num_steps)]
  return jnp.array([*((step + 1) / 1000 for step in steps), 0.0])


def sampler(asked: dict[str, Any], w: dict[str, Any], num_steps: int) -> Any:
  """Function of the start x."""
  if asked["network"] == "mlp":
    denoise = lambda x, t: mlp(w, x, t)
  else:
    network = unet(tuple(asked["channels"]), tuple(asked["attention"]))
    denoise = lambda x, t: network.apply({"params": w}, x, t)
  t = times(num_steps)
  if asked["variant"] == "ours":
    return lambda x: ddim(jax.random.key(0), denoise, x, process=PROCESS, times=t)

  def advance(x: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
    now, following = pair
    x0 = denoise(x, now)
    eps = (x - PROCESS.alpha(now) * x0) / PROCESS.sigma(now)
    return PROCESS.alpha(following) * x0 + PROCESS.sigma(following) * eps, None

  return lambda x: jax.lax.scan(advance, x, (t[:-1], t[1:]))[0]


def main() -> None:
  """Sample, and answer."""
  asked, channel = json.loads(sys.argv[1]), worker.Channel()
  arrays = np.load(asked["weights"])
  flat = {name: jnp.asarray(arrays[name]) for name in arrays.files if "/" in name}
  w = flax.traverse_util.unflatten_dict(flat, sep="/")
  x = jnp.asarray(arrays["x"])

  def memory(num_steps: int) -> int:
    program = jax.jit(sampler(asked, w, num_steps)).lower(x).compile()
    return program.memory_analysis().temp_size_in_bytes

  run = jax.jit(sampler(asked, w, asked["num_steps"]))
  begin = time.perf_counter()
  np.save(asked["answer"], run(x))
  first_seconds = time.perf_counter() - begin
  found = {n: memory(n) for n in (asked["num_steps"], 1000)}
  channel.send(
    first_seconds=first_seconds, temporary_bytes=found, versions={"jax": jax.__version__}
  )

  def step() -> int:
    jax.block_until_ready(run(x))
    return len(x)

  channel.serve(lambda seconds: worker.steps_for(seconds, step))


if __name__ == "__main__":
  main()
