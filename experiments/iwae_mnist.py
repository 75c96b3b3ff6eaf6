"""Importance weighted auto-encoders on MNIST: table 1 of Burda et al., and MIWAE, PIWAE, CIWAE.

Claim (Burda et al. 2016, table 1): the test log-likelihood rises with the number k of samples
in training, with one stochastic layer and with two, and more latent units are active.
Command: python -m experiments iwae_mnist --data_dir=DIRECTORY_OF_TFDS_MNIST
Expected: the default, 12,000 steps with batches of 20 (4 epochs), is held to the order alone: NLL falls with
k, and at least one more unit is active for k = 50 than for k = 1. (After 1,200 steps with batches of 100 the
NLL had the order, 113.8, 111.9, 110.8, and no unit had been given up yet.) --full is the published protocol
(3,280 epochs, batches of 20, 5,000 importance samples, Adam with epsilon 1e-4, eight learning rates) and is
held to the published NLL within 0.5 nats: VAE 86.76, 86.47, 86.35 and IWAE 86.76, 85.54, 84.78 for k = 1,
5, 50 with one layer, IWAE 82.90 for k = 50 with two; MIWAE 84.97, PIWAE 84.46, CIWAE 84.57 (k = 64 as 8 x 8;
Rainforth et al. 2018). --models chooses: KIND_K_LAYERS with KIND vae, iwae, miwae, piwae or ciwae.
Time: 10 minutes on two CPU cores; a model of --full takes a day or more there.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

from experiments import harness
from experiments.harness import Claim, Outcome, pictures, vae_report
from experiments.harness.iwae_models import build
from experiments.vae_mnist import EPOCHS, STAGES
from latentjax import data
from latentjax.data.transforms import dynamic_binarize
from latentjax.metrics import active_units
from latentjax.training import make_optimizer, train

PAPERS = {133: "Importance Weighted Autoencoders"}
FUNCTIONS = (
  "objectives.iwae",
  "objectives.hierarchical_iwae",
  "losses.importance.iwae_bound",
  "metrics.active_units",
)
QUICK = {"steps": 40, "test_examples": 100, "nll_samples": 20, "models": "vae_1_1,iwae_5_2"}
SHORT = "vae_1_1,iwae_5_1,iwae_50_1,vae_1_2,iwae_5_2"
TABLE = "vae_1_1,vae_5_1,vae_50_1,iwae_5_1,iwae_50_1,iwae_50_2"
PUBLISHED = {"vae_1_1": 86.76, "vae_5_1": 86.47, "vae_50_1": 86.35, "iwae_5_1": 85.54}
PUBLISHED |= {"iwae_50_1": 84.78, "iwae_50_2": 82.90}
PUBLISHED |= {"miwae_64_1": 84.97, "piwae_64_1": 84.46, "ciwae_64_1": 84.57}
BURDA = "Burda et al. 2016, table 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 12_000
  batch_size: int = 20
  models: str = ""
  """Which models, as KIND_K_LAYERS; default those that the claims need."""
  full: bool = False
  """The published protocol, whatever --steps and --batch_size say."""
  nll_samples: int = 500
  """Importance samples per test example."""
  test_examples: int = 1000
  """Test examples that are evaluated."""

  def __post_init__(self) -> None:
    if self.full:
      protocol = {"batch_size": 20, "nll_samples": 5000, "test_examples": 10_000}
      for name, value in (protocol | {"steps": sum(EPOCHS) * 3000}).items():
        object.__setattr__(self, name, value)
    super().__post_init__()

  @property
  def names(self) -> list[str]:
    """The models to train."""
    return (self.models or (TABLE if self.full else SHORT)).split(",")

  def optimizer(self) -> optax.GradientTransformation:
    """Adam with the published stages of the learning rate; the short run is all in the first."""
    rates = [optax.constant_schedule(self.learning_rate * 10 ** (-i / 7)) for i in range(STAGES)]
    ends = np.cumsum(EPOCHS)[:-1] * 3000 if self.full else [self.steps] * (STAGES - 1)
    return make_optimizer(optax.join_schedules(rates, list(ends)), eps=1e-4)


def run(config: Config) -> Outcome:
  """Train every model, estimate its test log-likelihood, count its active units."""
  mnist = data.load("mnist", split="train", data_dir=config.data_dir)
  test = data.load("mnist", split="test", data_dir=config.data_dir)
  x = vae_report.binarized(test)[: config.test_examples]
  nll, active, table, curves, samples = {}, {}, {}, {}, []
  for name in config.names:
    init, model, means = build(name, mnist.arrays["image"].mean(axis=0) / 255, config.axis_name)
    result = train(
      model.objective,
      lambda key, init=init: (init(key), ()),
      config.optimizer(),
      mnist,
      config,
      config.folder / name,
      transform=dynamic_binarize,
      name=name,
    )
    params = result.state.eval_params
    test_nll = partial(vae_report.test_nll, model, x, num_samples=config.nll_samples)
    nll[name] = np.asarray(config.each_seed(test_nll)(params))
    units = [active_units(m) for m in means(config.first_seed(params), x)]
    active[name] = [int(u.num_active) for u in units]
    variance = np.sort(np.asarray(units[0].variance))[::-1]
    curves[name] = (np.arange(len(variance)), np.log10(variance + 1e-9))
    samples.append(np.asarray(model.sample(config.first_seed(params), jax.random.key(3), 12)))
    table[name] = {"test_nll": nll[name].tolist(), "published": PUBLISHED.get(name)}
    table[name] |= {"active_units": active[name], "images_per_second": result.examples_per_second}
    print(
      f"{name:10} NLL {nll[name].mean():7.2f}  active {active[name]}  published {PUBLISHED.get(name)}"
    )
  labels = list(nll)
  pictures.image_grid(config.folder / "samples.png", samples, labels=labels, title="Samples")
  pictures.curves(
    config.folder / "active_units.png",
    curves,
    title="Variance of posterior means, first stochastic layer",
    x_label="unit, sorted",
    y_label="log10 Var_x E[z|x]",
    reference={"active above": -2.0},
  )
  return Outcome(claims(config, nll, active), {"models": table, "test_examples": len(x)})


def claims(config: Config, nll: dict[str, Any], active: dict[str, list[int]]) -> list[Claim]:
  """The published values for --full, the order for less."""
  if config.full:
    where = lambda name: BURDA if name.split("_")[0] in ("vae", "iwae") else "Rainforth et al. 2018"
    return [
      Claim(f"test NLL of {name}", PUBLISHED[name], nll[name], where(name), tolerance=0.5)
      for name in nll
      if name in PUBLISHED
    ]
  falls = [("vae_1_1", "iwae_5_1"), ("iwae_5_1", "iwae_50_1"), ("vae_1_2", "iwae_5_2")]
  order = [
    Claim(f"test NLL of {a} minus that of {b}", 0.0, nll[a] - nll[b], BURDA, relation="at least")
    for a, b in falls
    if a in nll and b in nll
  ]
  if {"vae_1_1", "iwae_50_1"} <= set(active):
    more = [active["iwae_50_1"][0] - active["vae_1_1"][0]]
    what = "active units for k = 50 more than for k = 1, one layer"
    order.append(Claim(what, 1.0, more, BURDA, relation="at least", unit="units"))
  return order or [Claim(f"test NLL of {n}", 100.0, nll[n], BURDA, relation="at most") for n in nll]
