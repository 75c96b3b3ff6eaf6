"""Gumbel-softmax gradients for categorical latent variables, against the score function.

Claims (Jang et al. 2017, table 1): the relaxed gradient has less variance than the score
function's, and a bias that shrinks as the temperature falls; a categorical VAE trained with it (20 variables
of 10 classes) reaches a better bound than one trained with the score function and a running-mean baseline, at
equal steps. Published on MNIST, with the best of a grid of learning rates and annealing rates: -ELBO 101.5
against 110.6 nats.
Command: python -m experiments gumbel_softmax [--mnist --data_dir=DIRECTORY_OF_TFDS_MNIST]
Expected: on the toy a ratio of variances, temperature 1 over score function, below 1, and of the biases'
norms, temperatures 0.2 over 1, below 0.5 (a bias of first order gives 0.2); on test data a -ELBO that is
lower by more than 0. All bounds are at exact one-hot samples. On the 8 x 8 digits the networks are linear;
--mnist has a tanh layer of 200 units each way and no grid, so that only the sign is claimed there too.
Note: the last claim fails on the digits, where the relaxed samples that training saw (temperature 0.7 at the
end) are not those of the bound; straight-through samples, in the details, beat the score function.
Time: about 2 minutes on two CPU cores.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, discrete, pictures, vae_report
from latentjax import data
from latentjax.data.transforms import dynamic_binarize
from latentjax.densities import categorical, gumbel_softmax
from latentjax.losses.annealing import exponential_annealing
from latentjax.losses.score_function import reinforce_loss
from latentjax.models import mlp_vae
from latentjax.objectives import categorical_vae

PAPERS = {165: "Categorical Reparameterization with Gumbel-Softmax"}
FUNCTIONS = (
  "objectives.categorical_vae",
  "densities.gumbel_softmax.sample",
  "losses.score_function.reinforce_loss",
  "losses.annealing.exponential_annealing",
)
QUICK = {"steps": 100, "seeds": 2}
NUM_VARIABLES, NUM_CLASSES = 20, 10
PAPER = "Jang et al. 2017"
ESTIMATORS = ("gumbel_softmax", "straight_through", "reinforce", "leave_one_out")
RATIOS = (
  ("variance of the gradient: temperature 1 over score function", "variance", 1.0, "score", 1.0),
  ("norm of the gradient's bias: temperature 0.2 over temperature 1", "bias", 0.2, 1.0, 0.5),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 4000
  batch_size: int = 100
  seeds: int = 4
  annealing_rate: float = 1e-4  # of the temperature, per step, from 1 down to 0.5
  mnist: bool = False
  """MNIST in place of the 8 x 8 digits."""


def run(config: Config) -> Outcome:
  """Compare gradients on a toy, then train the categorical VAE with every estimator."""
  name = "mnist" if config.mnist else "digits"
  images = data.load(name, split="train", data_dir=config.data_dir)
  test = data.load(name, split="test", data_dir=config.data_dir)
  x, shape = vae_report.binarized(test), (NUM_VARIABLES, NUM_CLASSES)
  networks = mlp_vae(
    x.shape[1:],
    NUM_VARIABLES * NUM_CLASSES,
    hidden=(200,) if config.mnist else (),
    data_mean=images.arrays["image"].mean(axis=0) / 255,
  )
  bounds: dict[str, np.ndarray] = {}
  for estimator in ESTIMATORS:
    model = categorical_vae(
      lambda params, x: networks.encode_fn(params, x)[0].reshape(-1, *shape),
      networks.decode_fn,
      num_variables=NUM_VARIABLES,
      num_classes=NUM_CLASSES,
      estimator=estimator,
      num_samples=2 if estimator == "leave_one_out" else 1,
      temperature=partial(exponential_annealing, rate=config.annealing_rate, interval=500),
      axis_name=config.axis_name,
    )
    training = {"model_state": model.init_state, "transform": dynamic_binarize}
    params = discrete.fit(config, estimator, model.objective, networks.init_fn, images, **training)
    bound_of = config.each_seed(partial(vae_report.test_bound, model, x))
    bounds[estimator] = np.asarray(bound_of(params))
    if estimator == "gumbel_softmax":
      images_of = partial(model.sample, config.first_seed(params))
      rows = np.asarray(images_of(jax.random.key(3), 72)).reshape(6, 12, *x.shape[1:])
      pictures.image_grid(config.folder / "samples.png", list(rows), title="Mean of p(x|z)")
  vae_report.draw_curves(config.folder, {name: config.folder / name for name in ESTIMATORS})
  toy = toy_gradients()
  return Outcome(
    claims=[
      Claim(
        f"on a toy, {what}",
        expected=expected,
        measured=[toy[kind][numerator] / toy[kind][denominator]],
        published=PAPER,
        relation="at most",
        unit="",
      )
      for what, kind, numerator, denominator, expected in RATIOS
    ]
    + [
      Claim(
        f"test -ELBO on {name}: score function minus Gumbel-softmax",
        expected=0.0,
        measured=bounds["gumbel_softmax"] - bounds["reinforce"],
        published=PAPER,
        relation="at least",
      ),
    ],
    details={
      "test_negative_elbo": {name: (-bound).tolist() for name, bound in bounds.items()},
      "toy": toy,
    },
  )


def toy_gradients(num_draws: int = 200_000) -> dict[str, dict[Any, float]]:
  """Bias and variance of gradients of E[|z - a|^2] for one variable of four classes, which is known."""
  target, logits = jnp.array([0.1, 0.6, 0.2, 0.4]), jnp.array([0.5, -0.3, 0.0, 0.8])
  cost = lambda z: jnp.sum((z - target) ** 2, axis=-1)
  exact = jax.grad(lambda logits: jax.nn.softmax(logits) @ cost(jnp.eye(4)))(logits)

  def score(key: jax.Array, logits: jax.Array) -> jax.Array:
    z = categorical.sample(key, logits)
    baseline = jax.nn.softmax(logits) @ cost(jnp.eye(4))
    return reinforce_loss(cost(jnp.eye(4)[z]), jax.nn.log_softmax(logits)[z], baseline=baseline)

  estimators: dict[Any, Any] = {"score": score}
  for t in (0.2, 0.5, 1.0, 2.0):
    draw = partial(gumbel_softmax.sample, temperature=t)
    estimators[t] = lambda key, logits, draw=draw: cost(draw(key, logits))
  out: dict[str, dict[Any, float]] = {"bias": {}, "variance": {}}
  for name, estimator in estimators.items():
    draws = jax.jit(jax.vmap(jax.grad(estimator, argnums=1), (0, None)))
    grads = draws(jax.random.split(jax.random.key(1), num_draws), logits)
    out["bias"][name] = float(jnp.linalg.norm(jnp.mean(grads, axis=0) - exact))
    out["variance"][name] = float(jnp.sum(jnp.var(grads, axis=0)))
  return out
