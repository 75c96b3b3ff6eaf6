"""The losses of pythae, the most used PyTorch VAE library, beside ours: values on the same arrays.

A third column is the paper's equation, written out in float64 NumPy with no shared code: it says who is
right where the two differ. Expected: ours equals the equation everywhere.
Command: python -m experiments.bench vae_losses --torch_python=PYTHON
Time: under a minute.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, ive, loggamma, logsumexp

from experiments.bench.peer_values import ask
from experiments.harness.cli import EXPERIMENTS
from latentjax import objectives
from latentjax.densities import bernoulli, gaussian, von_mises_fisher
from latentjax.losses import elbo as elbo_losses
from latentjax.losses import importance

RESULT = EXPERIMENTS / "results" / "bench" / "vae_losses.json"
B, D, Z, N, M, K = 32, 12, 4, 500, 3, 5
BANDWIDTHS = [2.0 * Z * scale for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]  # pythae's
# Why pythae differs, where it does.
REASONS = {
  "VAE, Gaussian": "pythae leaves the normalising constant out (D/2 log 2 pi); gradients agree",
  "WAE-MMD": "pythae's squared error has no factor 1/2: its reg_weight counts half as much",
  "beta-TCVAE, stratified": (
    "pythae puts the weight 1/N of an example's own component in column 0 of the matrix, not on the "
    "diagonal (Chen et al. 2018, appendix C): its rows weigh the wrong examples"
  ),
  "IWAE": (
    "pythae returns sum_k w_k log w_k with normalised weights, whose gradient is that of the bound "
    "but whose value is not log mean_k w_k (Burda et al. 2016); constants are left out too"
  ),
  "MIWAE": (
    "as IWAE; besides, pythae normalises over the axis of the M groups and averages over the K samples of a "
    "group (Rainforth et al. 2018 have it the other way round): the gradient is that of MIWAE(K, M)"
  ),
  "CIWAE": "as IWAE: the value is no bound",
  "RAE-L2": "pythae's squared error has no factor 1/2; its weight decay is in the optimiser",
  "RAE-GP": (
    "pythae differentiates the sum of the outputs with respect to the data, through the encoder; the paper "
    "penalises the decoder's Jacobian with respect to z (Ghosh et al. 2020)"
  ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Flags of this comparison."""

  torch_python: Path
  """Python of an environment with torch and pythae."""
  record: bool = False
  """Write the result to experiments/results/bench/vae_losses.json."""


def problem() -> dict[str, np.ndarray]:
  """Arrays that every loss is evaluated on; zs is (B, M, K, Z)."""
  rng = np.random.default_rng(0)
  normal = lambda *shape: rng.standard_normal(shape)
  mean, log_var = normal(B, Z), 0.5 * normal(B, Z) - 1
  draw = lambda *axes: (
    mean.reshape(B, *(1,) * len(axes), Z)
    + np.exp(0.5 * log_var.reshape(B, *(1,) * len(axes), Z)) * normal(B, *axes, Z)
  )
  z, zs = draw(), draw(M, K)
  decoder = normal(D, Z)
  arrays = {
    "x": (rng.uniform(size=(B, D)) < 0.4).astype(float),
    "mean": mean,
    "log_var": log_var,
    "z": z,
    "zs": zs,
    "z_prior": normal(B, Z),
    "z_shuffled": np.stack([rng.permutation(column) for column in z.T], axis=1),
    "decoder": decoder,
    "encoder": 0.3 * normal(D, Z),
    "code_log_var": np.array(-1.0),
    "discriminator": normal(Z, 2),
    "pseudo_inputs": rng.uniform(size=(6, D)),
    "concentration": rng.uniform(5, 50, size=(B, 1)),
    "dataset_size": np.array(N),
    "x_hat": z @ decoder.T,
    "probs": expit(z @ decoder.T),
    "probs_grouped": expit(zs @ decoder.T),
    "probs_flat": expit(zs.reshape(B, M * K, Z) @ decoder.T),
  }
  return {k: v.astype(np.float32) if v.dtype == float else v for k, v in arrays.items()}


def ours(a: dict[str, np.ndarray]) -> dict[str, Any]:
  """Our losses, means over the batch."""
  x, mean, log_scale, z = a["x"], a["mean"], 0.5 * a["log_var"], a["z"]
  logits = lambda z: z @ a["decoder"].T
  log_p_x, kl = bernoulli.log_prob(x, logits(z)), gaussian.kl_standard(mean, log_scale)
  bound = elbo_losses.elbo
  unit = jnp.zeros(())
  gaussian_ll = gaussian.log_prob(x, a["x_hat"], unit)
  zs = a["zs"].transpose(1, 2, 0, 3)
  log_w = (
    bernoulli.log_prob(x, logits(zs))
    + gaussian.standard_log_prob(zs)
    - gaussian.log_prob(zs, mean, log_scale)
  )
  flat = log_w.reshape(M * K, B)
  out = {
    "VAE": -bound(log_p_x, kl),
    "VAE, Gaussian": -bound(gaussian_ll, kl),
    "beta-VAE": -bound(log_p_x, kl, beta=4.0),
    "capacity": elbo_losses.capacity_loss(kl, capacity=3.0, gamma=10.0) - log_p_x,
    "IWAE": -importance.iwae_bound(flat),
    "MIWAE": -importance.miwae_bound(log_w),
    "CIWAE": -importance.ciwae_bound(flat, beta=0.3),
    "vMF divergence": von_mises_fisher.kl_uniform(
      np.eye(Z, dtype=np.float32)[0] + 0 * mean, np.log(a["concentration"][:, 0])
    ),
  }
  for estimator in ("weighted", "stratified"):
    terms = elbo_losses.total_correlation_terms(
      z, mean, log_scale, dataset_size=N, estimator=estimator
    )
    out[f"beta-TCVAE, {estimator}"] = -bound(log_p_x, elbo_losses.tcvae_kl(terms, beta=6.0))
  # pythae's rbf is exp(-d^2 / C) with C = 2 Z, ours exp(-d^2 / 2 h).
  for kernel, bandwidths in {"rbf": [float(Z)], "imq": BANDWIDTHS}.items():
    divergence = elbo_losses.mmd(z, a["z_prior"], kernel=kernel, bandwidths=bandwidths)
    out[f"InfoVAE, {kernel}"] = -elbo_losses.infovae_bound(
      log_p_x, kl, divergence, alpha=0.5, reg_weight=10.0
    )
  constant = 0.5 * D * np.log(2 * np.pi)  # a cost, not a likelihood
  out["WAE-MMD"] = 10.0 * divergence - gaussian_ll - constant
  ratio = elbo_losses.tc_density_ratio(z @ a["discriminator"])
  out["FactorVAE"] = 5.0 * ratio - bound(log_p_x, kl)
  out["FactorVAE, discriminator"] = elbo_losses.tc_discriminator_loss(
    z @ a["discriminator"], a["z_shuffled"] @ a["discriminator"]
  )
  encode = lambda _, x: (x @ a["encoder"], jnp.full((len(x), Z), 0.5 * a["code_log_var"]))
  prior = objectives.vamp_prior(encode, lambda _: jnp.asarray(a["pseudo_inputs"]))
  out["VampPrior"] = gaussian.log_prob(z, mean, log_scale) - prior.log_prob((), z) - log_p_x
  for name, regularizer in {"RAE-L2": "l2", "RAE-GP": "gp"}.items():
    model = objectives.rae(
      encode,
      lambda _, z: (z @ a["decoder"].T, unit),
      regularizer=regularizer,
      likelihood=gaussian,
      beta=0.2,
      reg_weight=0.3,
      decoder_params_fn=lambda _: jnp.asarray(a["decoder"]),
    )
    loss = lambda key, model=model: model.objective((), (), key, {"image": jnp.asarray(x)})[0]
    keys = jax.random.split(jax.random.key(0), 4000 if regularizer == "gp" else 1)
    out[name] = jnp.mean(jax.vmap(loss)(keys)) - constant
  return {name: float(np.mean(value)) for name, value in out.items()}


def equations(a: dict[str, np.ndarray]) -> dict[str, float]:
  """The papers' equations, one example after the other in float64."""
  a = {name: array.astype(float) for name, array in a.items()}
  out: dict[str, list[float]] = {}
  log_normal = lambda z, m, v: -0.5 * (np.log(2 * np.pi * v) + (z - m) ** 2 / v)
  var = np.exp(a["log_var"])
  scores = lambda z: z @ a["discriminator"]
  code = a["x"] @ a["encoder"]
  pseudo = a["pseudo_inputs"] @ a["encoder"]
  imq = lambda d: sum(h / (h + d) for h in BANDWIDTHS)
  kernels = {"rbf": lambda d: np.exp(-d / (2 * Z)), "imq": imq}
  pair = lambda u, v, k: k(np.sum((u - v) ** 2))
  mmd = {}
  for name, k in kernels.items():
    off = [(i, j) for i in range(B) for j in range(B) if i != j]
    same = [sum(pair(s[i], s[j], k) for i, j in off) / len(off) for s in (a["z"], a["z_prior"])]
    cross = np.mean([[pair(u, v, k) for v in a["z_prior"]] for u in a["z"]])
    mmd[name] = sum(same) - 2 * cross
  for b in range(B):
    x, z, m, v, p = a["x"][b], a["z"][b], a["mean"][b], var[b], a["probs"][b]
    nll = -sum(np.log(p[d] if x[d] else 1 - p[d]) for d in range(D))
    kl = 0.5 * sum(m**2 + v - 1 - np.log(v))
    square = 0.5 * np.sum((x - a["x_hat"][b]) ** 2)
    row = {
      "VAE": nll + kl,
      "VAE, Gaussian": square + 0.5 * D * np.log(2 * np.pi) + kl,
      "beta-VAE": nll + 4 * kl,
      "capacity": nll + 10 * abs(kl - 3),
      "WAE-MMD": square + 10 * mmd["imq"],
    }
    for name in kernels:
      row[f"InfoVAE, {name}"] = nll + 0.5 * kl + 9.5 * mmd[name]
    parts = log_normal(z, a["mean"], var)  # (B, Z): every component at this z
    own = np.arange(B) == b
    for name, weights in {
      "weighted": np.full(B, 1 / (N * B)),
      "stratified": np.where(own, 1 / N, (N - 1) / (N * (B - 1))),
    }.items():
      log_joint = logsumexp(parts.sum(1) + np.log(weights))
      log_marginals = sum(logsumexp(parts[:, d] + np.log(weights)) for d in range(Z))
      information, total = parts[b].sum() - log_joint, log_joint - log_marginals
      dimension_wise = log_marginals - log_normal(z, 0, 1).sum()
      row[f"beta-TCVAE, {name}"] = nll + information + 6 * total + dimension_wise
    odds = scores(z)
    row["FactorVAE"] = nll + kl + 5 * (odds[0] - odds[1])
    shuffled = scores(a["z_shuffled"][b])
    row["FactorVAE, discriminator"] = 0.5 * (
      logsumexp(odds) - odds[0] + logsumexp(shuffled) - shuffled[1]
    )
    log_w = np.zeros((M, K))
    for i in range(M):
      for k in range(K):
        zk, pk = a["zs"][b, i, k], a["probs_grouped"][b, i, k]
        log_w[i, k] = (
          sum(np.log(pk[d] if x[d] else 1 - pk[d]) for d in range(D))
          + log_normal(zk, 0, 1).sum()
          - log_normal(zk, m, v).sum()
        )
    row["IWAE"] = -np.log(np.mean(np.exp(log_w)))
    row["MIWAE"] = -np.mean([np.log(np.mean(np.exp(group))) for group in log_w])
    row["CIWAE"] = 0.3 * -log_w.mean() + 0.7 * row["IWAE"]
    prior = logsumexp(log_normal(z, pseudo, np.exp(-1.0)).sum(1)) - np.log(len(pseudo))
    row["VampPrior"] = nll + log_normal(z, m, v).sum() - prior
    rae = 0.5 * np.sum((x - a["decoder"] @ code[b]) ** 2) + 0.1 * np.sum(code[b] ** 2)
    norm = 0.3 * np.sum(a["decoder"] ** 2)  # of the weights and, being linear, of the Jacobian
    row |= {"RAE-L2": rae + norm, "RAE-GP": rae + norm}
    kappa, h = a["concentration"][b, 0], Z / 2
    log_area = np.log(2) + h * np.log(np.pi) - loggamma(h)
    log_bessel = np.log(ive(h - 1, kappa)) + kappa
    log_norm = (h - 1) * np.log(kappa) - h * np.log(2 * np.pi) - log_bessel
    row["vMF divergence"] = kappa * ive(h, kappa) / ive(h - 1, kappa) + log_norm + log_area
    for name, value in row.items():
      out.setdefault(name, []).append(float(value))
  return {name: float(np.mean(values)) for name, values in out.items()}


def run(config: Config) -> int:
  """Compare; 0 if ours equals the equation everywhere."""
  arrays = problem()
  values = {
    "equation": equations(arrays),
    "latentjax": ours(arrays),
    "pythae": ask(config.torch_python, "vae_losses_pythae", arrays),
  }
  names = list(values["pythae"])
  right = {
    side: {
      n: abs(found[n] / values["equation"][n] - 1) < (5e-3 if n == "RAE-GP" else 1e-4)
      for n in names
    }
    for side, found in values.items()
  }
  print(f"{'loss':26} {'equation':>12} {'latentjax':>12} {'pythae':>12}")
  for name in names:
    row = " ".join(f"{values[side][name]:12.5f}" for side in values)
    note = (
      "agree" if right["pythae"][name] else f"pythae differs: {REASONS.get(name, 'UNEXPLAINED')}"
    )
    print(f"{name:26} {row}  {note if right['latentjax'][name] else 'OURS IS WRONG'}")
  holds = all(right["latentjax"].values())
  print(f"\nours equals the equation in {sum(right['latentjax'].values())} of {len(names)}")
  if config.record:
    result = {"values": values, "right": right, "reasons": REASONS}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
  return 0 if holds else 1
