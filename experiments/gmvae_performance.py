"""Gaussian-mixture VAE per frame: steer one style of a performance and leave the other alone.

Claims (Tan et al. 2020): with a latent of its own for articulation and for dynamics in each frame,
each with a mixture prior over the style's classes, and the notes given to the decoder, moving one latent over
the course of a piece changes that style of the synthesised sound and not the other.
Command: python -m experiments gmvae_performance
Expected: over a traversal from one component's mean to the other's, note by note, the correlation of the
latent's path with its own measured statistic (onset energy; decay) is at least 0.9, that with the other
statistic at most 0.3 in absolute value, for both styles; the most probable component is the frame's style
class in at least 0.9 of test frames. A tenth of the pieces have labels.
Data: procedural; four notes of four frames, loudness and decay per note drawn around two classes each.
Time: under a minute on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, discrete, pictures, sounds
from latentjax import data
from latentjax.densities.mixture_em import GaussianMixture
from latentjax.models.mlp import MLPDecoder, MLPEncoder
from latentjax.objectives import gmvae
from latentjax.objectives.gmvae import component_logits

PAPERS = {
  156: "Generative Modelling for Controllable Audio Synthesis of Expressive Piano Performance"
}
FUNCTIONS = ("objectives.gmvae", "losses.elbo.mixture_kl")
QUICK = {"steps": 200, "seeds": 2}
PAPER = "Tan et al. 2020"
STYLES = ("dynamics", "articulation")
LATENT_DIM, NUM_CLASSES = 1, 2
NUM_FRAMES = sounds.NOTES_PER_PIECE * sounds.FRAMES_PER_NOTE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 2500
  batch_size: int = 64
  seeds: int = 3
  label_weight: float = 10.0
  """Weight of the labels' cross-entropy."""


# Both see one note at a time, as a network with a receptive field of a note would.
encoder = MLPEncoder(2 * LATENT_DIM * sounds.FRAMES_PER_NOTE, (128,), "relu")
decoder = MLPDecoder((sounds.FRAMES_PER_NOTE, sounds.NUM_BANDS), (128,), "relu", "gaussian")


def init_fn(key: jax.Array) -> dict[str, Any]:
  """Encoder, decoder and two components for either style."""
  key_encoder, key_decoder = jax.random.split(key)
  roll = jnp.zeros((1, NUM_FRAMES, sounds.NUM_BANDS + 1))
  x, z = jnp.zeros((1, NUM_FRAMES, sounds.NUM_BANDS)), jnp.zeros((1, NUM_FRAMES, 2 * LATENT_DIM))
  mixture = {"mean": jnp.array([[-1.0], [1.0]]), "log_scale": jnp.full((2, 1), -0.7)}
  return {
    "encoder": encoder.init(key_encoder, by_note(x, roll)),
    "decoder": decoder.init(key_decoder, by_note(z, roll)),
    "mixture": [mixture, mixture],
  }


def by_note(*frames: jax.Array) -> jax.Array:
  """Features of the frames of a note as one vector, (B * notes, F)."""
  joined = jnp.concatenate(frames, axis=-1)
  return joined.reshape(-1, sounds.FRAMES_PER_NOTE * joined.shape[-1])


def encode_fn(params: Any, x: jax.Array, roll: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
  """Mean and log_scale of both styles in every frame, (B, T, 1) each."""
  outputs = encoder.apply(params["encoder"], by_note(x, roll))
  mean, log_scale = (a.reshape(len(x), NUM_FRAMES, 2, LATENT_DIM) for a in outputs)
  return [(mean[:, :, i], log_scale[:, :, i]) for i in range(2)]


def decode_fn(params: Any, zs: tuple[jax.Array, ...], roll: jax.Array) -> tuple[jax.Array, ...]:
  """Mean and log_scale of the energies of a piece."""
  mean, log_scale = decoder.apply(params["decoder"], by_note(*zs, roll))
  return mean.reshape(len(roll), NUM_FRAMES, -1), log_scale


def mixtures_fn(params: Any) -> list[GaussianMixture]:
  """Priors with equal weights of their components."""
  return [GaussianMixture(jnp.zeros(NUM_CLASSES), **mixture) for mixture in params["mixture"]]


def steer(batch: dict[str, np.ndarray], path: np.ndarray, params: Any) -> dict[str, Any]:
  """Test pieces with one style's latent put on a path between its components; all frames' classes."""
  x, roll = jnp.asarray(batch["image"]), jnp.asarray(batch["roll"])
  means = [mean for mean, _ in encode_fn(params, x, roll)]
  mixtures, out = mixtures_fn(params), {}
  for index, style in enumerate(STYLES):
    low, high = mixtures[index].mean
    steered = low + jnp.repeat(path, sounds.FRAMES_PER_NOTE, axis=1)[..., None] * (high - low)
    zs = tuple(steered if i == index else mean for i, mean in enumerate(means))
    out[style] = decode_fn(params, zs, roll)[0]
  logits = [component_logits(mean, mixture) for mean, mixture in zip(means, mixtures)]
  return out | {"classes": jnp.stack([jnp.argmax(each, axis=-1) for each in logits])}


def run(config: Config) -> Outcome:
  """Train, put one latent on a path, and measure both styles of what is decoded."""
  rng = np.random.default_rng(0)
  train, test = sounds.performances(rng, 3000), sounds.performances(rng, 300)
  few = np.arange(3000)[:, None] % 10 == 0
  train |= {style: np.where(few, train[style], -1) for style in STYLES}
  settings = {"condition": "roll", "label_weight": config.label_weight}
  objective = gmvae(
    encode_fn, decode_fn, mixtures_fn, labels=STYLES, axis_name=config.axis_name, **settings
  )
  params = discrete.fit(config, "gmvae", objective, init_fn, data.load(train, split="train"))
  path = rng.uniform(size=(300, sounds.NOTES_PER_PIECE)).astype(np.float32)
  out = jax.tree.map(np.asarray, config.each_seed(partial(steer, test, path))(params))

  def correlation(steered: str, measured: str) -> list[float]:
    statistics = [sounds.style_statistics(x)[measured] for x in out[steered]]
    return [float(np.corrcoef(path.ravel(), s.ravel())[0, 1]) for s in statistics]

  claim = partial(Claim, published=PAPER, unit="")
  claims, other = [], dict(zip(STYLES, STYLES[::-1]))
  for index, style in enumerate(STYLES):
    own, cross = correlation(style, style), np.abs(correlation(style, other[style]))
    right = [np.mean(classes[index] == test[style]) for classes in out["classes"]]
    what = f"correlation of the {style} latent with measured "
    claims += [
      claim(what + style, expected=0.9, measured=np.abs(own), relation="at least"),
      claim(what + other[style], expected=0.3, measured=cross, relation="at most"),
      claim(
        f"frames in their {style} component", expected=0.9, measured=right, relation="at least"
      ),
    ]
  rows = [np.clip(out[s][0, :8].transpose(0, 2, 1)[..., None] / 1.5, 0, 1) for s in STYLES]
  original = np.clip(test["image"][:8].transpose(0, 2, 1)[..., None] / 1.5, 0, 1)
  pictures.image_grid(
    config.folder / "steered.png",
    [original, *rows],
    title="Time to the right",
    labels=["test", *STYLES],
  )
  return Outcome(claims=claims, details={"label_share": 0.1})
