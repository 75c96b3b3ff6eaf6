"""AutoGen: a decoder that could do without z is made to use it by asking for reconstructions.

Claim (Mansbridge et al. 2018): training for m perfect reconstructions besides generation keeps the latent
variable in use where a VAE with an autoregressive decoder drops it, without annealing; more with larger m.
Command: python -m experiments autogen
Expected, set before measuring: mutual information of x and z with m = 1 at least 0.5 nats above that with
m = 0 (the VAE), with m = 4 at least that with m = 1; and the same order of the divergences.
Note: the paper's data are sentences; here binarised 8 x 8 digits, with a decoder that sees all pixels before.
Time: about a minute on two CPU cores, three seeds of three models.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, pictures, vae_report
from experiments.info_vae import AUTOREGRESSIVE, autoregressive, mutual_information
from latentjax import data, objectives
from latentjax.data.transforms import dynamic_binarize
from latentjax.training import train

PAPERS = {38: "Improving latent variable descriptiveness with AutoGen"}
FUNCTIONS = ("objectives.autogen", "losses.elbo.autogen_bound")
QUICK = {"steps": 50, "seeds": 2}
PAPER = "Mansbridge et al. 2018; margins ours"
RECONSTRUCTIONS = (0, 1, 4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 3000
  batch_size: int = 100
  seeds: int = 3
  latent_dim: int = 4
  """Dimensions of the latent space."""
  hidden: int = 100
  """Units of the hidden layers."""


def run(config: Config) -> Outcome:
  """Train with each number of reconstructions; compare information, divergence and the ELBO."""
  digits = data.load("digits", split="train", data_dir=config.data_dir)
  test = vae_report.binarized(data.load("digits", split="test", data_dir=config.data_dir))
  x = vae_report.binarized(digits)
  networks = autoregressive(x.shape[1:], config)
  found, curves = {}, {}
  for m in RECONSTRUCTIONS:
    model = objectives.autogen(
      networks.encode_fn,
      networks.decode_fn,
      latent_dim=config.latent_dim,
      likelihood=AUTOREGRESSIVE,
      num_reconstructions=m,
      axis_name=config.axis_name,
    )
    folder = config.folder / f"m_{m}"
    params = train(
      model.objective,
      lambda key: (networks.init_fn(key), ()),
      config.optimizer(),
      digits,
      config,
      folder,
      transform=dynamic_binarize,
      name=f"m = {m}",
    ).state.eval_params
    terms = config.each_seed(partial(model.bound, key=jax.random.key(9), x=test))(params)
    information = config.each_seed(lambda p: mutual_information(networks, p, x))(params)
    found[m] = {
      "mutual_information": np.asarray(information),
      "test_kl": np.asarray(jnp.mean(terms.kl, axis=-1)),
      "test_elbo": np.asarray(jnp.mean(terms.elbo, axis=-1)),
    }
    lines = vae_report.read_lines(folder / "metrics.jsonl")
    curves[f"m = {m}"] = tuple(np.array([line[key] for line in lines]) for key in ("step", "kl"))
  pictures.curves(
    config.folder / "kl.png",
    curves,
    title="Divergence of q(z|x) from the prior, autoregressive decoder",
    x_label="step",
    y_label="KL (nats)",
  )
  rise = lambda what, low, high: found[high][what] - found[low][what]
  table = [
    ("mutual information with m = 1 minus m = 0", 0.5, rise("mutual_information", 0, 1)),
    ("mutual information with m = 4 minus m = 1", 0.0, rise("mutual_information", 1, 4)),
    ("test divergence with m = 1 minus m = 0", 0.0, rise("test_kl", 0, 1)),
    ("test divergence with m = 4 minus m = 1", 0.0, rise("test_kl", 1, 4)),
  ]
  return Outcome(
    [Claim(*row, PAPER, "at least") for row in table],
    {f"m = {m}": {k: v.tolist() for k, v in values.items()} for m, values in found.items()},
  )
