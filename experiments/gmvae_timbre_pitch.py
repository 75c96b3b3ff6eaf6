"""Gaussian-mixture VAE with a timbre and a pitch factor: exchange the timbre of sounds.

Claims (Luo et al. 2019): with one mixture prior for the instrument and one for the pitch,
all pitches and 10 % of the instruments labelled, decoding the timbre of one sound with the pitch of another
gives a sound that classifiers trained on the data recognise as that instrument at that pitch.
Command: python -m experiments gmvae_timbre_pitch
Expected: on exchanged test sounds the timbre classifier names the new instrument in at least 0.9 of cases and
the pitch classifier keeps the old pitch in at least 0.9 (chance 1/6 and 1/12), at 100 % and at 10 % of
instrument labels; components classify test timbres at least as well (0.9) with 10 %.
Data: 3,000 procedural spectra, 12 pitches x 6 instruments, 96 bins of log frequency, harmonics' amplitudes
jittered by 15 %. Classifiers: five nearest neighbours among the training sounds.
Time: about 1 minute on two CPU cores.
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

PAPERS = {94: "Learning Disentangled Representations of Timbre and Pitch (GM-VAE)"}
FUNCTIONS = ("objectives.gmvae", "losses.elbo.mixture_kl")
QUICK = {"steps": 200, "seeds": 2}
PAPER = "Luo et al. 2019"
LATENT_DIM, FACTORS = 8, {"timbre": sounds.NUM_TIMBRES, "pitch": sounds.NUM_PITCHES}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 4000
  batch_size: int = 100
  seeds: int = 3
  label_weight: float = 20.0
  """Weight of the labels' cross-entropy."""


def init_fn(key: jax.Array) -> dict[str, Any]:
  """An encoder and a mixture for every factor, and one decoder."""
  keys = jax.random.split(key, 5)
  x, z = jnp.zeros((1, sounds.NUM_BINS)), jnp.zeros((1, 2 * LATENT_DIM))
  params = {"decoder": decoder.init(keys[0], z), "encoder": {}, "mixture": {}}
  for (name, classes), k in zip(FACTORS.items(), keys[1:].reshape(2, 2)):
    params["encoder"][name] = encoder.init(k[0], x)
    means = jax.random.normal(k[1], (classes, LATENT_DIM))
    params["mixture"][name] = {"mean": 2 * means, "log_scale": 0 * means - 0.5}
  return params


encoder = MLPEncoder(LATENT_DIM, (128,), "relu")
decoder = MLPDecoder((sounds.NUM_BINS,), (128,), "relu", "gaussian")


def encode_fn(params: Any, x: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
  """Mean and log_scale of both factors."""
  return [encoder.apply(params["encoder"][name], x) for name in FACTORS]


def decode_fn(params: Any, zs: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
  """Mean and log_scale of a spectrum."""
  return decoder.apply(params["decoder"], jnp.concatenate(zs, axis=-1))


def mixtures_fn(params: Any) -> list[GaussianMixture]:
  """Priors with equal weights of their components."""
  return [
    GaussianMixture(jnp.zeros(classes), **params["mixture"][name])
    for name, classes in FACTORS.items()
  ]


def exchange(x: jax.Array, params: Any) -> dict[str, jax.Array]:
  """Every sound with the timbre of the next one; the most probable timbre of every sound."""
  (timbre, _), (pitch, _) = encode_fn(params, x)
  logits = component_logits(timbre, mixtures_fn(params)[0])
  return {
    "x": decode_fn(params, (jnp.roll(timbre, -1, axis=0), pitch))[0],
    "timbre": jnp.argmax(logits, axis=-1),
  }


def run(config: Config) -> Outcome:
  """Train with all and with a tenth of the instrument labels, then exchange timbres."""
  from sklearn.neighbors import KNeighborsClassifier

  rng = np.random.default_rng(0)
  train, test = sounds.notes(rng, 3000), sounds.notes(rng, 600)
  classifiers = {name: KNeighborsClassifier().fit(train["image"], train[name]) for name in FACTORS}
  wanted = {"timbre": np.roll(test["timbre"], -1), "pitch": test["pitch"]}
  objective = gmvae(
    encode_fn,
    decode_fn,
    mixtures_fn,
    labels=list(FACTORS),
    label_weight=config.label_weight,
    axis_name=config.axis_name,
  )
  scores: dict[str, Any] = {
    "classifiers on test sounds": {
      n: c.score(test["image"], test[n]) for n, c in classifiers.items()
    }
  }
  claims = []
  for share in (100, 10):
    kept = train | {"timbre": np.where(np.arange(3000) % 100 < share, train["timbre"], -1)}
    dataset = data.load(kept, split="train")
    params = discrete.fit(config, f"labels_{share}", objective, init_fn, dataset)
    out = jax.tree.map(np.asarray, config.each_seed(partial(exchange, test["image"]))(params))
    found = {n: [c.score(x, wanted[n]) for x in out["x"]] for n, c in classifiers.items()}
    found["component"] = [np.mean(t == test["timbre"]) for t in out["timbre"]]
    claims += [
      Claim(
        f"{what}, {share} % of instrument labels",
        expected=0.9,
        measured=found[name],
        published=PAPER,
        relation="at least",
        unit="",
      )
      for name, what in {
        "timbre": "exchanged sounds recognised as the new instrument",
        "pitch": "exchanged sounds recognised at their old pitch",
        "component": "test sounds whose most probable component is their instrument",
      }.items()
    ]
    draw(config, f"exchange_{share}.png", test["image"], out["x"][0])
  return Outcome(claims=claims, details=scores)


def draw(config: Config, name: str, x: np.ndarray, exchanged: np.ndarray) -> None:
  """Save sounds, those that lend their timbre, and the result as strips of spectra."""
  strips = [
    np.clip(a[:12, ::-1, None, None], 0, 1).repeat(24, 2) for a in (x, np.roll(x, -1, 0), exchanged)
  ]
  labels = ["pitch of", "timbre of", "decoded"]
  pictures.image_grid(
    config.folder / name, strips, title="Spectra, low at the bottom", labels=labels
  )
