"""Samples of a class-conditional diffusion model: any sampler and number of steps, with guidance or not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from latentjax.diffusion import samplers
from latentjax.diffusion.guidance import classifier_free
from latentjax.diffusion.processes import Process

NUM_CLASSES = 10
LAST_TIME = 0.99  # where sampling starts: at 1 there is no signal, of which eps would have to tell
SAMPLERS: dict[str, Callable[..., jax.Array]] = {
  "ddpm": samplers.ddpm,
  "ddim": samplers.ddim,
  "ddim, eta 1": partial(samplers.ddim, eta=1.0),
  "dpm++ 2m": samplers.dpmpp_2m,
}


class Setting(NamedTuple):
  """How to sample.

  Attributes:
    sampler: one of SAMPLERS.
    steps: evaluations of the denoiser, twice as many of the network with guidance.
    scale: of classifier-free guidance; 1 is none.
  """

  sampler: str = "ddim"
  steps: int = 50
  scale: float = 1.0


def generator(
  denoise: Callable[..., jax.Array],
  shape: tuple[int, ...],
  process: Process,
  *,
  bound: float | None = 1.0,
) -> jax.stages.Wrapped:
  """`generate(params, key, labels, setting)`, compiled once for each setting.

  Args:
    denoise: `(params, x_t, t, labels) -> x0_hat`, of `objectives.diffusion` with the null condition 10.
    shape: of one example.
    process: that it was trained with.
    bound: largest magnitude of the data, at which estimates of it are clipped; None: not clipped.
  """

  @partial(jax.jit, static_argnums=3)
  def generate(params: Any, key: jax.Array, labels: Any, setting: Setting) -> jax.Array:
    key_start, key_steps = jax.random.split(key)
    labels = jnp.asarray(labels, jnp.int32)
    conditional = partial(denoise, params)
    if setting.scale == 1:
      estimate = lambda x, t: conditional(x, t, labels)
    else:
      estimate = classifier_free(conditional, labels, NUM_CLASSES, scale=setting.scale)

    def denoise_fn(x: jax.Array, t: jax.Array) -> jax.Array:
      return estimate(x, t) if bound is None else jnp.clip(estimate(x, t), -bound, bound)

    return SAMPLERS[setting.sampler](
      key_steps,
      denoise_fn,
      jax.random.normal(key_start, (len(labels), *shape)),
      process=process,
      times=jnp.linspace(LAST_TIME, 0.0, setting.steps + 1),
    )

  return generate


def balanced(count: int) -> np.ndarray:
  """Labels of so many samples, all classes in turn."""
  return np.arange(count, dtype=np.int32) % NUM_CLASSES
