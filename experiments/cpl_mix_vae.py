"""Coupled mixture VAEs: arms that must agree on the cluster find more of the clusters.

Claims (Marghi et al. 2021): on a mixture with many components the accuracy of the categorical
variable of coupled mixture VAEs rises from one arm to three and exceeds that of a JointVAE; consensus of the
arms tells which runs are accurate.
Command: python -m experiments cpl_mix_vae
Expected: accuracy (clusters matched one to one with components, mean of arms): three arms minus one and minus
JointVAE at least 0.05, two arms minus one at least 0; over the runs with two and three arms, rank
correlation of consensus and accuracy at least 0.3.
Data: 20 components in 30 dimensions, centres N(0, 1), two directions of its own in each, noise 0.3, which the
models are told; 4,000 points. Every arm sees a copy with fresh noise of 0.3.
Time: about 4 minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from experiments import harness
from experiments.harness import Claim, Outcome, discrete, pictures
from latentjax import data
from latentjax.densities import gaussian
from latentjax.losses.annealing import linear_annealing
from latentjax.models.mlp import MLPDecoder, MLPEncoder
from latentjax.objectives import cpl_mix_vae, joint_vae

PAPERS = {68: "Mixture Representation Learning with Coupled Autoencoders"}
FUNCTIONS = ("objectives.cpl_mix_vae", "losses.elbo.simplex_distance", "objectives.joint_vae")
QUICK = {"steps": 100, "seeds": 2}
PAPER = "Marghi et al. 2021"
NUM_CLASSES, DIM, STATE, NOISE, EPS = 20, 30, 2, 0.3, 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 3000
  batch_size: int = 250
  seeds: int = 6
  coupling: float = 1.0
  """Weight of the distance between arms."""


classifier = MLPEncoder(NUM_CLASSES, (64,), "relu")
encoder = MLPEncoder(STATE, (64,), "relu")
decoder = MLPDecoder((DIM,), (64,), "relu", "gaussian")


def mixture(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Points and their components."""
  centres = rng.standard_normal((NUM_CLASSES, DIM))
  directions = rng.standard_normal((NUM_CLASSES, STATE, DIM)) / np.sqrt(DIM) * 3
  labels = rng.integers(NUM_CLASSES, size=size)
  within = np.einsum("ns,nsd->nd", rng.standard_normal((size, STATE)), directions[labels])
  x = centres[labels] + within + NOISE * rng.standard_normal((size, DIM))
  return x.astype(np.float32), labels


def init_arm(key: jax.Array) -> dict[str, Any]:
  """Parameters of one mixture VAE."""
  keys, x = jax.random.split(key, 3), jnp.zeros((1, DIM))
  return {
    "classifier": classifier.init(keys[0], x),
    "encoder": encoder.init(keys[1], jnp.zeros((1, DIM + NUM_CLASSES))),
    "decoder": decoder.init(keys[2], jnp.zeros((1, STATE + NUM_CLASSES))),
  }


def classify_fn(params: Any, x: jax.Array) -> jax.Array:
  """Logits of q(c|x)."""
  return classifier.apply(params["classifier"], x)[0]


def encode_fn(params: Any, x: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and log_scale of q(s|x, c)."""
  return encoder.apply(params["encoder"], jnp.concatenate([x, c], axis=-1))


def decode_fn(params: Any, s: jax.Array, c: jax.Array) -> tuple[jax.Array, ...]:
  """Mean and log_scale of p(x|s, c); the scale is that of the data, not learned."""
  mean, _ = decoder.apply(params["decoder"], jnp.concatenate([s, c], axis=-1))
  return mean, jnp.full(DIM, np.log(NOISE), jnp.float32)


def joint_encode_fn(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """JointVAE's q(s|x) does not see the class."""
  blind = encode_fn(params, x, jnp.zeros((len(x), NUM_CLASSES)))
  return *blind, classify_fn(params, x)[:, None]


def joint(config: Config) -> Any:
  """JointVAE with the capacities that the mixture has: log 20 for c, two free directions for s."""
  schedule = partial(linear_annealing, num_steps=max(1, config.steps // 2))
  sizes = {"latent_dim": STATE, "num_variables": 1, "num_classes": NUM_CLASSES}
  caps = {"capacity_z": 4.0, "capacity_c": float(np.log(NUM_CLASSES))}
  caps = {name: partial(schedule, end=end) for name, end in caps.items()}
  decode = lambda params, sc: decode_fn(params, sc[:, :STATE], sc[:, STATE:])
  return joint_vae(joint_encode_fn, decode, likelihood=gaussian, temperature=1.0, **sizes, **caps)


def run(config: Config) -> Outcome:
  """Train a JointVAE and one, two and three arms; match their classes with the components."""
  x, labels = mixture(np.random.default_rng(0), 4000)
  dataset = data.load({"image": x}, split="train")
  noisy = lambda key, x: x + NOISE * jax.random.normal(key, x.shape)
  arms_of = lambda params: jax.vmap(lambda p: jnp.argmax(classify_fn(p, x), axis=-1))(params)
  matched = lambda classes: discrete.hungarian_accuracy(labels, np.asarray(classes))
  accuracy, consensus = {}, {}
  model = joint(config)
  settings = {"model_state": model.init_state}
  params = discrete.fit(config, "joint_vae", model.objective, init_arm, dataset, **settings)
  found = config.each_seed(lambda p: jnp.argmax(classify_fn(p, x), axis=-1))(params)
  accuracy["joint_vae"] = np.array([matched(c) for c in found])
  for arms in (1, 2, 3):
    objective = cpl_mix_vae(
      classify_fn,
      encode_fn,
      decode_fn,
      num_arms=arms,
      augment_fn=noisy,
      coupling=config.coupling,
    )
    init = lambda key, arms=arms: jax.vmap(init_arm)(jax.random.split(key, arms))
    params = discrete.fit(config, f"arms_{arms}", objective, init, dataset)
    found = np.asarray(config.each_seed(arms_of)(params))
    accuracy[f"arms_{arms}"] = np.array([np.mean([matched(c) for c in arm]) for arm in found])
    pairs = list(zip(*np.triu_indices(arms, 1)))
    consensus[f"arms_{arms}"] = np.array(
      [np.mean([np.mean(c[a] == c[b]) for a, b in pairs] or 1.0) for c in found]
    )
  lines = {"coupled": (np.arange(1, 4), np.stack([accuracy[f"arms_{a}"] for a in (1, 2, 3)]))}
  text = {"title": "Clusters found", "x_label": "arms", "y_label": "accuracy"}
  pictures.curves(config.folder / "accuracy.png", lines, **text)
  several = ("arms_2", "arms_3")
  tracks = spearmanr(
    np.concatenate([consensus[a] for a in several]), np.concatenate([accuracy[a] for a in several])
  ).statistic
  claim = partial(Claim, published=PAPER, relation="at least", unit="")
  one, three = accuracy["arms_1"], accuracy["arms_3"]
  return Outcome(
    claims=[
      claim("accuracy: three arms minus one", expected=0.05, measured=three - one),
      claim("accuracy: two arms minus one", expected=0.0, measured=accuracy["arms_2"] - one),
      claim(
        "accuracy: three arms minus JointVAE", expected=0.05, measured=three - accuracy["joint_vae"]
      ),
      claim("rank correlation of consensus and accuracy", expected=0.3, measured=[tracks]),
    ],
    details={
      "accuracy": {name: a.tolist() for name, a in accuracy.items()},
      "consensus": {name: c.tolist() for name, c in consensus.items()},
      "kmeans": discrete.kmeans_accuracy(labels, x, num_clusters=NUM_CLASSES),
    },
  )
