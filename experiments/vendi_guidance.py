"""Contextualised Vendi guidance: samples one after another, each unlike those before and like real examples.

Claim (Askari Hemmat et al. 2024, abstract): guidance by the Vendi score with a memory bank of earlier samples
increases their diversity; with exemplars of real images, which constrain the variation, it does so while
maintaining or improving quality.
Command: python -m experiments vendi_guidance
Setting: clusters on the ten axes of a space of ten dimensions, an exact denoiser. Real data is five of them,
equally common; the model has 0.7 of its mass on one, 0.05 on each of the other four, and 0.02 on each of
five that are not real. A chain makes 40 samples, one at a time. Precision: share of samples within the
radius of a real cluster that has 99 % of it. Coverage: sum over the real clusters of their frequency among
the samples, of each no more than its own among real data.
Expected: the Vendi score of chains rises by at least 1.3 x with the memory alone and 1.1 x with exemplars;
the memory alone loses at least 0.1 of precision, with exemplars it is at least the unguided one's; the F1
of precision and coverage with exemplars is above both others' by at least 0.1.
Time: about a minute on one CPU core, three seeds of 24 chains for each of three samplers.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from latentjax.diffusion.guidance import vendi_guidance
from latentjax.diffusion.processes import vp_cosine
from latentjax.diffusion.samplers import ddim
from latentjax.losses.contrastive.queue import Queue, update_queue
from latentjax.metrics import vendi_score

PAPERS = {
  18: "Improving Geo-diversity of Generated Images with Contextualized Vendi Score Guidance"
}
FUNCTIONS = (
  "diffusion.guidance.vendi_guidance",
  "diffusion.guidance.log_vendi_with",
  "metrics.vendi_score",
)
QUICK = {"num_samples": 4, "chains": 2, "num_steps": 10}
PAPER = "Askari Hemmat et al. 2024, abstract; the number is set here"
DIM, REAL = 10, 5
SPREAD = 0.1  # of a cluster, at distance 1
WEIGHTS = jnp.array([0.7] + [0.05] * 4 + [0.02] * 5)
PROCESS = vp_cosine()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  seeds: int = 3
  num_samples: int = 40
  """Samples of a chain."""
  chains: int = 24
  """Chains of a seed."""
  num_steps: int = 50
  """Steps of DDIM."""
  scale: float = 50.0
  """Of the memory's term."""
  exemplar_scale: float = 150.0
  """Of the exemplars' term."""
  num_exemplars: int = 40
  """Real examples, in equal parts of the real clusters."""


def denoise(x: jax.Array, t: jax.Array) -> jax.Array:
  """The mean of the model's data given z_t (B, D), in closed form."""
  alpha, sigma = PROCESS.alpha(t), PROCESS.sigma(t)
  variance = (alpha * SPREAD) ** 2 + sigma**2
  means = jnp.eye(DIM)
  squares = jnp.sum((x[:, None] - alpha * means) ** 2, axis=-1)
  weights = jax.nn.softmax(jnp.log(WEIGHTS) - squares / (2 * variance), axis=1)
  centre = weights @ means
  return centre + alpha * SPREAD**2 / variance * (x - alpha * centre)


def draw_exemplars(key: jax.Array, count: int) -> jax.Array:
  """Real data."""
  noise = SPREAD * jax.random.normal(key, (count, DIM))
  return jnp.eye(DIM)[jnp.arange(count) % REAL] + noise


def chain(config: Config, scales: jax.Array, key: jax.Array) -> jax.Array:
  """Samples (chains, num_samples, D), with scales of the memory's and the exemplars' term."""
  key_exemplars, key_chain = jax.random.split(key)
  exemplars = draw_exemplars(key_exemplars, config.num_exemplars)
  times = jnp.linspace(1.0, 0.0, config.num_steps + 1)
  empty = Queue(jnp.zeros((config.num_samples, DIM)), jnp.int32(0))

  def advance(memory: Queue, key: jax.Array) -> tuple[Queue, jax.Array]:
    guided = vendi_guidance(
      denoise,
      lambda x0: x0,
      memory.rows,
      process=PROCESS,
      scale=scales[0],
      exemplars=exemplars,
      exemplar_scale=scales[1],
    )
    noise = jax.random.normal(key, (config.chains, DIM))
    x = ddim(key, guided, noise, process=PROCESS, times=times)
    return jax.vmap(update_queue)(memory, x[:, None]), x

  start = jax.tree.map(lambda a: jnp.repeat(a[None], config.chains, axis=0), empty)
  _, x = jax.lax.scan(advance, start, jax.random.split(key_chain, config.num_samples))
  return jnp.swapaxes(x, 0, 1)


def judge(x: jax.Array) -> dict[str, jax.Array]:
  """Diversity and quality of chains (chains, num_samples, D), means over the chains."""
  distance = jnp.linalg.norm(x[:, :, None] - jnp.eye(DIM), axis=-1)
  nearest = jnp.argmin(distance, axis=-1)
  radius = SPREAD * float(np.sqrt(stats.chi2.ppf(0.99, DIM)))
  real = (nearest < REAL) & (jnp.min(distance, axis=-1) <= radius)
  share = jnp.mean(real[..., None] & (nearest[..., None] == jnp.arange(REAL)), axis=1)
  coverage = jnp.sum(jnp.minimum(share, 1 / REAL), axis=1)
  precision = jnp.mean(real, axis=1)
  both = jnp.maximum(precision + coverage, 1e-9)
  found = {
    "vendi": jax.lax.map(vendi_score, x),
    "precision": precision,
    "coverage": coverage,
    "f1": 2 * precision * coverage / both,
    "off every cluster": jnp.mean(jnp.min(distance, axis=-1) > radius, axis=1),
  }
  return jax.tree.map(jnp.mean, found)


def run(config: Config) -> Outcome:
  """Chains without guidance, with the memory, with memory and exemplars."""
  settings = {
    "unguided": (0.0, 0.0),
    "memory": (config.scale, 0.0),
    "memory and exemplars": (config.scale, config.exemplar_scale),
  }
  keys = jax.random.split(jax.random.key(config.seed), config.seeds)
  draw = jax.jit(partial(chain, config))
  found: dict[str, Any] = {}
  samples = {}
  for name, scales in settings.items():
    x = [draw(jnp.array(scales), key) for key in keys]
    each = [jax.jit(judge)(part) for part in x]
    found[name] = {what: np.array([float(row[what]) for row in each]) for what in each[0]}
    samples[name] = np.asarray(x[0][0])
    print(name, {what: values.mean().round(3) for what, values in found[name].items()})
  config.folder.mkdir(parents=True, exist_ok=True)
  pictures.scatter(
    config.folder / "samples.png",
    {name: clusters(x) for name, x in samples.items()},
    title="The first chain's samples, by their nearest cluster (0 to 4 are real)",
    x_label="number of the sample",
    y_label="along the nearest axis",
  )
  details = {name: {k: v.tolist() for k, v in values.items()} for name, values in found.items()}
  return Outcome(claims(found), details)


def clusters(x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Samples (num_samples, D) as named points."""
  nearest = np.argmin(np.linalg.norm(x[:, None] - np.eye(DIM), axis=-1), axis=1)
  rows = {k: np.flatnonzero(nearest == k) for k in range(DIM)}
  return {str(k): (at, x[at, k]) for k, at in rows.items() if at.size}


def claims(found: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
  """The paper's."""
  none, memory, both = found.values()
  least = lambda what, expected, measured: Claim(
    what, expected, measured, PAPER, "at least", unit=""
  )
  return [
    least("Vendi score with the memory over unguided", 1.3, memory["vendi"] / none["vendi"]),
    least("Vendi score with exemplars too over unguided", 1.1, both["vendi"] / none["vendi"]),
    least("precision unguided less with the memory", 0.1, none["precision"] - memory["precision"]),
    least("precision with exemplars less unguided", 0.0, both["precision"] - none["precision"]),
    least(
      "F1 of precision and coverage with exemplars less the better of the others",
      0.1,
      both["f1"] - np.maximum(none["f1"], memory["f1"]),
    ),
  ]
