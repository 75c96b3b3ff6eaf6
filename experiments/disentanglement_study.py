"""Six methods, five strengths, five seeds, every score: the large study of disentanglement, scaled down.

Claims (Locatello et al. 2019, arXiv 1811.12359): of the variance of the scores the method explains 37 % and
method and strength together 59 %, the rest is the seed's; a good run at a bad strength beats a bad run at a
good one; the scores agree in their ranking of models, save modularity; more strength lowers the total
correlation of samples of q(z|x), but not that of its means, except in DIP-VAE-I, which acts on the means;
neither reconstruction nor bounds tell which model is disentangled. Duan et al. 2020: the agreement of models
that differ in their seed (UDR) does.
Command: python -m experiments disentanglement_study [--methods=beta_vae,dip_vae_i]
Expected, set before measuring: shares within 0.15 (method) and 0.2 (method and strength) of the paper's, as
the mean over its six scores; the best of a method's worst strength above the worst of its best in at least
half of the cases; rank correlations as stated, none of a bound with the scores above 0.5 in the mean.
Protocol: upright sprites of 16 x 16 pixels from the step's key (1,152 combinations of shape, scale, x and y);
every pixel counts as 64 / 16, since edges, which tell the place, are longer by that in the paper's images, so
that five of the paper's six strengths of every method carry over; ten latents; scores of means, on the same
1,800 examples. Strengths are ordered from weak to strong, for AnnealedVAE from the largest capacity down.
Shares of variance are without the bias of few seeds. A killed run goes on in the group of seeds it was at,
and processes that share a workdir can be given a part of the methods each.
(With turned sprites and 64 / 16 squared, first scores were hardly above those of untrained networks.)
Found: confirmed but for the shares: the seed has 77 % of the variance, the method 7 %. On one data set 1,500
steps of a small fully connected network, for 300,000 of a convolutional one, barely disentangle (MIG 0.04 to
0.09 by method, untrained 0.02; the best model 0.33). Two claims hold as means of opposites: UDR correlates by
0.35 with DCI and by -0.35 with the BetaVAE score, KL by -0.33 with MIG and by 0.56 with the BetaVAE score.
Time: 35 minutes of a busy core, four of the thirty groups by a second process.
"""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments import harness
from experiments.harness import Claim, Outcome, disentanglement
from experiments.harness.disentangling_methods import (
  LATENT_DIM,
  SIDE,
  STRENGTHS,
  fit,
  make_model,
  upright_sprites,
)
from latentjax.metrics import udr
from latentjax.models import mlp_vae
from latentjax.training import workdir
from latentjax.training.config import free

PAPERS = {}  # a study of methods that have rows of their own
FUNCTIONS = (
  *(f"objectives.{name}" for name in ("vae", "capacity_vae", "factor_vae", "tc_vae", "dip_vae")),
  *(f"metrics.{name}" for name in ("disentanglement_report", "omes", "udr")),
  "metrics.mean_sampled_correlations",
  "metrics.mean_correlation_coefficient",
  "data.factors.sprites",
)
QUICK = {"steps": 20, "seeds": 2, "strengths": 2, "hidden": 16, "num_examples": 400}
QUICK |= {"methods": "factor_vae,dip_vae_i"}
AGREEING = ("beta_vae_score", "factor_vae_score", "mig", "dci_disentanglement", "sap")
PAPERS_SIX = (*AGREEING, "modularity")
BLIND = ("log_likelihood", "elbo", "kl", "tc_sampled", "tc_mean")
NOT_SCORES = ("active_units", *BLIND)
SHOWN = ("factor_vae_score", "mig", "dci_disentanglement", "modularity", "tc_mean", "tc_sampled")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  steps: int = 1500
  batch_size: int = 64
  seeds: int = 5
  learning_rate: float = 2e-3
  schedule: str = "cosine"
  checkpoint_every: int = free(100_000)
  hidden: int = 128
  """Units of each of two hidden layers each way."""
  strengths: int = 5
  """How many of a method's strengths, the least and the largest among them."""
  methods: str = free(",".join(STRENGTHS))
  """Some of the methods."""
  num_examples: int = 1800
  """Examples that models are measured on."""


def run(config: Config) -> Outcome:
  """Train and measure every group of seeds that has no scores yet; compare, draw, judge."""
  if unknown := set(config.methods.split(",")) - set(STRENGTHS):
    raise ValueError(f"methods: got {sorted(unknown)}, wanted some of {', '.join(STRENGTHS)}")
  if config.seeds < 2 or not 2 <= config.strengths <= 5:
    raise ValueError(
      f"seeds, strengths: got {config.seeds}, {config.strengths}, wanted at least 2, and 2 to 5"
    )
  workdir.claim(config.folder, config.identity(), {})
  made = upright_sprites()
  examples = disentanglement.draw_examples(jax.random.key(7), made, config.num_examples)
  networks = mlp_vae(
    (SIDE, SIDE, 1),
    LATENT_DIM,
    hidden=(config.hidden, config.hidden),
    activation="relu",
    data_mean=np.asarray(examples.images.mean(axis=0)),
  )
  plain = make_model(config, networks, made, "beta_vae", 1.0)
  of_model = partial(disentanglement.encoder_scores, plain.encode, plain.bound, made)
  of_seeds = jax.jit(jax.vmap(of_model, (None, 0)))
  agreement = jax.jit(lambda means, kl: udr(means, kl=kl).scores)

  def measure(params: Any) -> dict[str, list[float]]:
    found, means, kl = of_seeds(examples, jax.device_get(params))  # off the mesh: one program
    found |= {"udr": agreement(means, kl)}
    return {name: np.round(np.asarray(v, np.float64), 5).tolist() for name, v in found.items()}

  keys = jax.random.split(jax.random.key(config.seed), config.seeds)
  untrained = measure(jax.vmap(networks.init_fn)(keys))
  chosen = np.linspace(0, 4, config.strengths).round().astype(int)
  groups: dict[str, list[dict[str, list[float]]]] = {}
  for method in config.methods.split(","):
    groups[method] = []
    for strength in np.array(STRENGTHS[method])[chosen]:
      folder = config.folder / f"{method}_{strength:g}"
      path = folder / "scores.json"
      if not path.exists():
        params = fit(config, networks, made, method, float(strength), folder)
        params = {name: params[name] for name in ("encoder", "decoder")}
        workdir.write_atomically(path, json.dumps(measure(params)))
      groups[method].append(json.loads(path.read_text()))
  scores = {
    name: np.array([[group[name] for group in row] for row in groups.values()])
    for name in untrained
  }
  return report(config, scores, untrained)


def report(
  config: Config, scores: dict[str, np.ndarray], untrained: dict[str, list[float]]
) -> Outcome:
  """Table, picture and claims of scores (methods, strengths, seeds)."""
  methods = config.methods.split(",")
  order = [n for n in scores if n not in NOT_SCORES] + [n for n in NOT_SCORES if n in scores]
  correlations = disentanglement.rank_correlations({name: scores[name] for name in order})
  print(table := show(methods, scores, untrained))
  (config.folder / "table.md").write_text(table)
  disentanglement.draw_study(
    config.folder / "study.png",
    correlations,
    order,
    {n: {m: scores[n][i] for i, m in enumerate(methods)} for n in SHOWN},
    title="Six methods, five strengths, five seeds: how scores agree, and what they say",
  )
  details = {
    "table": table.splitlines(),
    "explained": {name: explained(scores[name]) for name in order},
    "rank_correlations": dict(zip(order, correlations.round(3).tolist())),
    "untrained": untrained,
    "scores": {m: {n: scores[n][i].tolist() for n in order} for i, m in enumerate(methods)},
  }
  whole = methods == list(STRENGTHS) and config.strengths == 5
  whole |= config.quick and "dip_vae_i" in methods
  return Outcome(claims(scores, methods) if whole else [], details)


def explained(score: np.ndarray) -> dict[str, float]:
  """Shares of the variance of (methods, strengths, seeds)."""
  shares = {"method": (1, 2), "method_and_strength": (2,)}
  return {
    name: round(disentanglement.explained_variance(score, axes=axes), 4)
    for name, axes in shares.items()
  }


def show(
  methods: list[str], scores: dict[str, np.ndarray], untrained: dict[str, list[float]]
) -> str:
  """A row for each score: mean over a method's models, and shares of variance, in markdown."""
  head = ["score", "untrained", *methods, "method", "method and strength"]
  lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
  for name, values in scores.items():
    cells = [f"{np.mean(untrained[name]):.3g}"]
    cells += [f"{np.mean(v):.3g} ± {np.std(v):.2g}" for v in values]
    cells += [f"{share:.0%}" for share in explained(values).values()]
    lines.append(f"| {' | '.join([name, *cells])} |")
  return "\n".join(lines) + "\n"


def claims(scores: dict[str, np.ndarray], methods: list[str]) -> list[Claim]:
  """What the papers say of (methods, strengths, seeds)."""
  paper = "Locatello et al. 2019"
  shares = [explained(scores[name]) for name in PAPERS_SIX]
  mean_share = lambda name: float(np.mean([share[name] for share in shares]))
  six = disentanglement.rank_correlations({name: scores[name] for name in PAPERS_SIX})
  pairs = six[:5, :5][np.triu_indices(5, 1)]
  others = [i for i, method in enumerate(methods) if method != "dip_vae_i"]
  with_strength = {name: of_strength(scores[name]) for name in ("tc_sampled", "tc_mean")}
  dip = methods.index("dip_vae_i")
  tc_mean = scores["tc_mean"].mean(axis=1)
  blind = {name: with_scores(scores, name) for name in BLIND}
  limits = partial(Claim, published=f"{paper}; limit ours", unit="")
  return [
    Claim("share of the scores' variance that the method explains", 0.37, [mean_share("method")],
      paper, tolerance=0.15, unit=""),
    Claim("share that method and strength explain", 0.59, [mean_share("method_and_strength")],
      paper, tolerance=0.2, unit=""),
    limits("share of methods and scores whose best run at the worst strength beats the worst run at "
      "the best", 0.5, [overlap(scores)], relation="at least"),
    limits("rank correlation of scores other than modularity, mean", 0.3, [pairs.mean()],
      relation="at least"),
    limits("rank correlation of scores other than modularity, least", 0.0, [pairs.min()],
      relation="at least"),
    limits("rank correlation of modularity with the others less theirs, mean", 0.0,
      [six[5, :5].mean() - pairs.mean()], relation="at most"),
    Claim("rank correlation of strength with TC of samples, mean but for DIP-VAE-I", 0.0,
      with_strength["tc_sampled"][others].mean(axis=0), paper, "at most", unit=""),
    Claim("rank correlation of strength with TC of means, mean but for DIP-VAE-I", 0.0,
      with_strength["tc_mean"][others].mean(axis=0), paper, "at least", 0.1, unit=""),
    Claim("TC of means, DIP-VAE-I minus the least of the other methods", 0.0,
      tc_mean[dip] - np.delete(tc_mean, dip, axis=0).min(axis=0), paper, "at most"),
    limits("rank correlation with five scores of reconstruction, ELBO, KL or TC, mean, the strongest",
      0.5, [max(map(abs, blind.values()))], relation="at most"),
    Claim("rank correlation of UDR with five scores, mean", 0.0, [with_scores(scores, "udr")],
      "Duan et al. 2020", "at least", unit=""),
  ]  # fmt: skip


def of_strength(score: np.ndarray) -> np.ndarray:
  """Rank correlation of a score with the strength, for every method and seed, (methods, seeds)."""
  rank = np.arange(score.shape[1])
  each = lambda values: disentanglement.rank_correlations({"a": rank, "b": values})[0, 1]
  return np.array([[each(values) for values in method.T] for method in score])


def with_scores(scores: dict[str, np.ndarray], name: str) -> float:
  """Mean rank correlation of something known without labels with the five scores that agree."""
  table = {n: scores[n] for n in (name, *AGREEING)}
  return float(disentanglement.rank_correlations(table)[0, 1:].mean())


def overlap(scores: dict[str, np.ndarray]) -> float:
  """How often a method's best seed at the strength of the least mean beats the worst at the largest."""
  beaten = []
  for name in PAPERS_SIX:
    for method in scores[name]:
      order = np.argsort(method.mean(axis=1))
      beaten.append(method[order[0]].max() > method[order[-1]].min())
  return float(np.mean(beaten))
