"""Every bound on log p(x) against the exact value, on probabilistic PCA and on an enumerable model.

Claim: with a q(z|x) off the posterior the ELBO lies KL(q || p(z|x)) below log p(x) (Kingma & Welling 2014),
the IWAE bound rises with k to log p(x) (Burda et al. 2016, theorem 1), the Renyi bound falls with alpha
(Li & Turner 2016), CUBO lies above (Dieng et al. 2017), CIWAE and MIWAE lie between ELBO and IWAE (Rainforth
et al. 2018), and the STL (ELBO) and DReG (IWAE) gradients have the plain one's mean and less variance.
Command: python -m experiments linear_gaussian_bounds
Expected: equalities (tolerances with the claims), inequalities without exception, all in float64.
Expectations are by quadrature for gradients, over all tuples of states of the enumerable model, and over
shuffled quantiles of q elsewhere; these cut the tails, which is why alpha ends at 1.5.
Time: half a minute on two CPU cores.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments import harness
from experiments.harness import Claim, Outcome, pictures
from experiments.harness.exact_models import PCA, bounds_table, discrete_bounds, make_pca
from latentjax.densities import gaussian
from latentjax.losses import importance
from latentjax.losses.elbo import elbo

PAPERS = {133: "Importance Weighted Autoencoders", 91: "Auto-Encoding Variational Bayes"}
FUNCTIONS = (
  "losses.elbo.elbo",
  *(f"losses.importance.{name}_bound" for name in ("iwae", "renyi", "cubo", "stl", "dreg")),
  *(f"losses.importance.{name}_bound" for name in ("miwae", "ciwae", "piwae")),
)
QUICK = {"degree": 24}
ALPHAS = (-1.0, -0.5, 0.0, 0.5, 0.95, 1.0, 1.5)
QUANTILES = 2**14


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
  """Flags of this experiment."""

  degree: int = 48
  """Nodes of the quadrature over each sample's noise."""


def bounds_by_samples(pca: PCA) -> tuple[list[int], dict[str, list[float]]]:
  """Expected bounds for K = 1, 2, 4, ...; groups of K among one shuffled set of quantiles of q."""
  rng = np.random.default_rng(1)
  points = stats.norm.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES)
  log_w = pca.log_w(np.stack([rng.permutation(points) for _ in pca.mean], axis=1))
  sizes = [2**i for i in range(13)]
  bounds: dict[str, list[float]] = {"IWAE": [], "VR, alpha = 0.5": [], "CIWAE": [], "CUBO": []}
  for size in sizes:
    groups = jnp.moveaxis(log_w.reshape(-1, size, len(pca.mean)), 0, 1).reshape(size, -1)
    bounds["IWAE"].append(importance.iwae_bound(groups).mean().item())
    bounds["VR, alpha = 0.5"].append(importance.renyi_bound(groups, alpha=0.5).mean().item())
    bounds["CIWAE"].append(importance.ciwae_bound(groups, beta=0.05).mean().item())
    bounds["CUBO"].append(importance.cubo_bound(groups).mean().item())
  grouped = log_w.reshape(-1, 8, 8, len(pca.mean))
  over = lambda fn: float(jnp.mean(jax.vmap(fn)(grouped)))
  bounds["MIWAE 8 x 8"] = [over(importance.miwae_bound)]
  bounds["PIWAE 8 x 8"] = [over(lambda log_w: importance.piwae_bound(log_w, log_w))]
  return sizes, bounds


def gradient_check(pca: PCA, degree: int, num_samples: int, kind: str) -> tuple[float, float]:
  """Largest relative bias of a gradient against the plain one, and the ratio of their variances."""
  one = pca._replace(x=pca.x[:1], mean=pca.mean[:1], scale=0.9 * pca.post_scale)
  nodes, weights = np.polynomial.hermite_e.hermegauss(degree)
  eps = jnp.array(list(itertools.product(nodes, repeat=num_samples)))
  weights = np.prod(list(itertools.product(weights, repeat=num_samples)), axis=1)
  weights /= weights.sum()

  def loss(params: Any, eps: jax.Array, kind: str) -> jax.Array:
    q, w = params
    z = q[0] + jnp.exp(q[1]) * eps[:, None, None]
    log_q = lambda z, q: gaussian.log_prob(z, *q)
    log_joint = lambda z: one.log_joint(z, w)
    if kind == "dreg":
      return importance.dreg_bound(z, q, log_joint, log_q).sum()
    if kind == "stl":
      return importance.stl_bound(z, q, log_joint, log_q).sum()
    density = jax.lax.stop_gradient(q) if kind == "stl inside iwae" else q
    return importance.iwae_bound(log_joint(z) - log_q(z, density)).sum()

  def moments(kind: str) -> tuple[np.ndarray, np.ndarray]:
    params = (one.q_params(), jnp.asarray(one.w))
    grads = jax.jit(jax.vmap(jax.grad(lambda p, e: loss(p, e, kind)), in_axes=(None, 0)))(
      params, eps
    )
    every = np.concatenate(
      [np.asarray(g).reshape(len(weights), -1) for g in jax.tree.leaves(grads)], 1
    )
    mean = weights @ every
    return mean, weights @ np.square(every - mean)[:, :2]  # variance of q's two parameters

  (plain, plain_variance), (mean, variance) = moments("plain"), moments(kind)
  return np.abs(mean / plain - 1).max().item(), (variance / plain_variance).max().item()


def run(config: Config) -> Outcome:
  """Compute every bound and gradient in float64, compare, draw the picture."""
  with jax.enable_x64(True):
    return compare(config, make_pca())


def compare(config: Config, pca: PCA) -> Outcome:
  """All claims."""
  evidence = pca.log_evidence.mean()
  log_p_x = gaussian.log_prob(pca.x, pca.mean[:, None] * pca.w, jnp.log(pca.s))
  log_p_x -= 0.5 * pca.scale**2 * pca.w @ pca.w / pca.s**2
  exact_elbo = float(jnp.mean(elbo(log_p_x, gaussian.kl_standard(*pca.q_params()))))
  sizes, bounds = bounds_by_samples(pca)
  points = stats.norm.ppf((np.arange(2**20) + 0.5) / 2**20)[:, None]
  log_w = pca.log_w(np.broadcast_to(points, (2**20, len(pca.mean))))
  renyi = np.array([importance.renyi_bound(log_w, alpha=a).mean().item() for a in ALPHAS])
  renyi_error = np.abs(renyi - [pca.renyi(a).mean() for a in ALPHAS]).max()
  cubo, at_64 = importance.cubo_bound(log_w).mean().item(), sizes.index(64)
  between = [bounds["MIWAE 8 x 8"][0], bounds["CIWAE"][at_64]]
  inside = min(*(b - exact_elbo for b in between), *(bounds["IWAE"][at_64] - b for b in between))
  stl, dreg, naive = (
    gradient_check(pca, config.degree, *case)
    for case in ((1, "stl"), (2, "dreg"), (2, "stl inside iwae"))
  )
  table = discrete_bounds()
  print(
    f"\nlog p(x) {evidence:.6f}   ELBO {exact_elbo:.6f}   CUBO {cubo:.6f}\n"
    + bounds_table(sizes, bounds)
  )
  config.folder.mkdir(parents=True, exist_ok=True)
  pictures.curves(
    config.folder / "bounds.png",
    {name: (np.log2(sizes), np.array(v)) for name, v in bounds.items() if len(v) == len(sizes)},
    title="Bounds on log p(x), mean over four examples, q off the posterior",
    x_label="log2 of the number of samples K",
    y_label="nats",
    reference={"log p(x)": evidence, "ELBO": exact_elbo},
  )
  iwae = np.array(bounds["IWAE"])
  zero = lambda what, value, where, tolerance: Claim(what, 0.0, [value], where, tolerance=tolerance)
  bias = lambda what, value, where: Claim(what, 0.0, [value], where, tolerance=1e-4, unit="")
  above = lambda what, value, where: Claim(what, 0.0, [value], where, relation="at least")
  ratio = lambda what, value, where: Claim(what, 1.0, [value], where, relation="at most", unit="")
  burda, rainforth = "Burda et al. 2016, theorem 1", "Rainforth et al. 2018"
  claims = [
    zero("ELBO + KL(q || p(z|x)) - log p(x)", exact_elbo - pca.renyi(1).mean(), "theory", 1e-6),
    above("smallest rise of the IWAE bound as k doubles", np.diff(iwae).min(), burda),
    zero("log p(x) - IWAE bound, k = 4096", evidence - iwae[-1], burda, 1e-3),
    zero("Renyi bounds minus their closed forms", renyi_error, "Li & Turner 2016", 1e-3),
    above("smallest fall of the Renyi bound with alpha", -np.diff(renyi).max(), "Li & Turner 2016"),
    above("CUBO - log p(x)", cubo - evidence, "Dieng et al. 2017"),
    above("MIWAE, CIWAE above ELBO and below IWAE, smallest gap", inside, rainforth),
    zero("PIWAE - IWAE, k = 64", bounds["PIWAE 8 x 8"][0] - iwae[at_64], rainforth, 1e-6),
    bias("STL gradient of the ELBO, relative bias", stl[0], "Roeder et al. 2017"),
    ratio("STL variance over the plain one's", stl[1], "Roeder et al. 2017"),
    bias("DReG gradient of IWAE, relative bias", dreg[0], "Tucker et al. 2019"),
    ratio("DReG variance over the plain one's", dreg[1], "Tucker et al. 2019"),
    zero("enumerable model: largest error", max(table["errors"]), "theory", 1e-9),
    above("enumerable model: rise with k, CUBO - log p(x)", min(table["gaps"]), burda),
  ]
  details = {"sizes": sizes, "bounds": bounds, "log_evidence": evidence, "elbo": exact_elbo}
  details |= {"renyi": dict(zip(map(str, ALPHAS), renyi.tolist())), "discrete": table}
  return Outcome(claims, details | {"bias_of_stl_inside_iwae": naive[0], "cubo": cubo})
