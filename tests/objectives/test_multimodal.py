"""Multimodal objectives on linear-Gaussian modalities, where every product, bound and loss is known.

p(z) = N(0, 1) and p(x_m|z) = N(w_m z, s_m^2 I). An encoder gives the Gaussian in z that is
proportional to p(x_m|z), so that the product of the prior and any experts is the exact posterior; its
log_scale can be shifted to leave the posterior.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.densities import categorical, gaussian
from latentjax.objectives import Modality, jmvae, mmvae, mopoe, mvae, mvtcae

B, K = 8, 6000
RNG = np.random.default_rng(0)
DIMS = {"a": 3, "b": 2, "c": 4}
M = len(DIMS)
W = {name: RNG.standard_normal(dim) for name, dim in DIMS.items()}
LOG_NOISE = {"a": -0.3, "b": 0.2, "c": 0.5}
Z_TRUE = RNG.standard_normal((B, 1))
XS = {n: Z_TRUE * W[n] + np.exp(LOG_NOISE[n]) * RNG.standard_normal((B, DIMS[n])) for n in DIMS}
# Every subset of three modalities once, the empty one included.
MASK = np.array(list(itertools.product([True, False], repeat=M)))
JUNK = {n: np.where(MASK[:, [i]], XS[n], np.nan) for i, n in enumerate(DIMS)}
PARAMS = {n: {"w": W[n], "shift": 0.0, "decoder": W[n]} for n in DIMS}
SHIFTED = PARAMS | {"a": PARAMS["a"] | {"shift": 0.4}, "b": PARAMS["b"] | {"shift": -0.5}}


def modality(name, weight=1.0):
  def encode(params, x):
    w = params[name]["w"]
    log_scale = LOG_NOISE[name] - 0.5 * jnp.log(w @ w) + params[name]["shift"]
    return (x @ w / (w @ w))[:, None], jnp.full((x.shape[0], 1), log_scale)

  def decode(params, z):
    return z * params[name]["decoder"], jnp.full((), LOG_NOISE[name])

  return Modality(encode, decode, gaussian, weight)


def joint_encode_fn(params, xs):
  """The exact posterior given everything, widened by the shift of `a`."""
  precision = 1 + sum(W[n] @ W[n] * np.exp(-2 * LOG_NOISE[n]) for n in DIMS)
  mean = sum(xs[n] @ params[n]["w"] * np.exp(-2 * LOG_NOISE[n]) for n in DIMS) / precision
  return mean[:, None], (params["a"]["shift"] - 0.5 * jnp.log(precision)) * jnp.ones((B, 1))


MODALITIES = {name: modality(name) for name in DIMS}
FACTORIES = {
  "mvae": mvae,
  "mmvae": mmvae,
  "mopoe": mopoe,
  "jmvae": partial(jmvae, joint_encode_fn),
  "mvtcae": mvtcae,
}


def make(name, modalities=MODALITIES, **kwargs):
  return FACTORIES[name](modalities, latent_dim=1, **kwargs)


def log_evidence(present):
  """log p of the present modalities, float64."""
  w = np.concatenate([W[n] for n in present] or [np.zeros(0)])
  noise = np.concatenate([np.full(DIMS[n], np.exp(2 * LOG_NOISE[n])) for n in present] or [[]])
  if not present:
    return np.zeros(B)
  x = np.concatenate([XS[n] for n in present], axis=1)
  return stats.multivariate_normal(np.zeros(len(w)), np.outer(w, w) + np.diag(noise)).logpdf(x)


def names(row):
  return [name for name, there in zip(DIMS, row) if there]


EVIDENCE = np.array([log_evidence(names(row))[b] for b, row in enumerate(MASK)])


@pytest.mark.parametrize("name", ["mvae", "jmvae"])
def test_log_weights_are_the_evidence_of_what_is_present(name):
  """The product is the exact posterior for every subset; the joint encoder for the complete row."""
  log_w = jax.jit(partial(make(name).log_weights, num_samples=3))(
    PARAMS, jax.random.key(0), JUNK, MASK
  )
  rows = slice(None) if name == "mvae" else [0, -1]
  np.testing.assert_allclose(log_w[:, rows], np.tile(EVIDENCE[rows], (3, 1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mmvae", "mopoe", "mvtcae"])
def test_bounds_are_below_the_evidence_and_importance_weights_recover_it(name):
  model, key = make(name, num_samples=K // 4), jax.random.key(1)
  terms, log_w = jax.jit(
    lambda *data: (model.bound(*data), model.log_weights(*data, num_samples=K))
  )(SHIFTED, key, JUNK, MASK)
  assert (terms.elbo <= EVIDENCE + 0.1).all()
  np.testing.assert_allclose(terms.elbo, terms.log_likelihood - terms.kl, rtol=1e-5, atol=1e-5)
  estimate = jax.nn.logsumexp(log_w, axis=0) - np.log(K)
  np.testing.assert_allclose(estimate, EVIDENCE, atol=0.15)
  # Nothing present: the posterior is the prior.
  np.testing.assert_allclose([terms.elbo[-1], *log_w[:5, -1]], 0, atol=1e-6)


def expert(name):
  scale = np.exp(LOG_NOISE[name] + SHIFTED[name]["shift"]) / np.linalg.norm(W[name])
  return XS[name] @ W[name] / (W[name] @ W[name]), scale


def product(subset, prior):
  """Mean (B,) and scale of the product of experts."""
  precision = float(prior) + sum(expert(n)[1] ** -2 for n in subset)
  mean = sum((expert(n)[0] * expert(n)[1] ** -2 for n in subset), np.zeros(B)) / precision
  return mean, precision**-0.5


def kl(q, p=(0.0, 1.0)):
  return np.log(p[1] / q[1]) + (q[1] ** 2 + (q[0] - p[0]) ** 2) / (2 * p[1] ** 2) - 0.5


def expected_log_likelihood(q, subset, weights=None):
  def one(name):
    noise = np.exp(LOG_NOISE[name])
    at_mean = stats.norm.logpdf(XS[name], q[0][:, None] * W[name], noise).sum(1)
    return at_mean - 0.5 * q[1] ** 2 * W[name] @ W[name] / noise**2

  return sum(((weights or {}).get(n, 1.0) * one(n) for n in subset), np.zeros(B))


def powerset(present):
  return [s for r in range(1, len(present) + 1) for s in itertools.combinations(present, r)]


def exact_loss(name, present, beta, alpha, weights):
  """Expected loss of every example of which `present` is there."""
  bound = lambda q, s: expected_log_likelihood(q, s, weights) - beta * kl(q)
  if name == "mvae":
    singles = [bound(product([n], True), [n]) for n in present]
    # Random subsets of all three, of which only what is present counts.
    drawn = [[n for n in s if n in present] for s in powerset(list(DIMS))]
    random = np.mean([bound(product(s, True), s) for s in drawn], axis=0)
    return -bound(product(present, True), present) - sum(singles) - 2 * random
  if name == "mopoe":
    return -np.mean([bound(product(s, False), present) for s in powerset(present)], axis=0)
  q = product(present, False)
  fits = [kl(q, expert(n)) for n in present]
  if name == "mvtcae":
    count = len(present)
    rate = (1 - alpha) * kl(q) + alpha * sum(fits) / count
    reconstruction = expected_log_likelihood(q, present, weights)
    return beta * rate - (count - alpha) / count * reconstruction
  if len(present) == M:
    precision = 1 + sum(W[n] @ W[n] * np.exp(-2 * LOG_NOISE[n]) for n in DIMS)
    mean = sum(XS[n] @ W[n] * np.exp(-2 * LOG_NOISE[n]) for n in DIMS) / precision
    q = mean, np.exp(SHIFTED["a"]["shift"]) * precision**-0.5
    return alpha * sum(kl(q, expert(n)) for n in present) - bound(q, present)
  return -bound(q, present)


@pytest.mark.parametrize("name", ["mvae", "mopoe", "jmvae", "mvtcae"])
def test_losses_have_their_exact_expectation(name):
  weights, alpha = {"a": 2.0, "b": 1.0, "c": 0.5}, 0.7
  kwargs = {"beta": 1.5, "num_samples": 4 if name == "mvae" else K}
  if name in ("jmvae", "mvtcae"):
    kwargs["alpha"] = alpha
  if name == "mvae":
    kwargs["num_subsets"] = 2
  model = make(name, {n: modality(n, weights[n]) for n in DIMS}, **kwargs)
  keys = jax.random.split(jax.random.key(2), 1500 if name == "mvae" else 1)

  @jax.jit
  def losses_of(mask):
    batch = XS | {"mask": mask}
    return jax.lax.map(lambda key: model.objective(SHIFTED, (), key, batch)[0], keys)

  for present in ["a", "b", "c"], ["a", "c"]:
    losses = np.asarray(losses_of(np.tile([n in present for n in DIMS], (B, 1))))
    expected = exact_loss(name, present, 1.5, alpha, weights).mean()
    tolerance = 4 * losses.std() / len(keys) ** 0.5 if name == "mvae" else 0.01 * abs(expected)
    assert tolerance < 0.05 * abs(expected)
    np.testing.assert_allclose(losses.mean(), expected, atol=tolerance)


@pytest.mark.parametrize(("estimator", "num_samples"), [("elbo", 2), ("iwae", 2)])
def test_mixture_bound_by_quadrature(estimator, num_samples):
  """MMVAE over all pairs of Gauss-Hermite nodes per expert, against the average over many draws."""
  model = make("mmvae", num_samples=num_samples, estimator=estimator)
  loss = jax.jit(lambda key: model.objective(SHIFTED, (), key, XS)[0])
  losses = np.asarray(jax.lax.map(loss, jax.random.split(jax.random.key(3), 1500)))
  nodes, weights = np.polynomial.hermite_e.hermegauss(40)
  weights = weights / weights.sum()

  def log_w(z):  # (Q, B)
    log_q = np.logaddexp.reduce([stats.norm.logpdf(z, *expert(n)) for n in DIMS]) - np.log(M)
    log_p = sum(
      stats.norm.logpdf(XS[n], z[..., None] * W[n], np.exp(LOG_NOISE[n])).sum(-1) for n in DIMS
    )
    return log_p + stats.norm.logpdf(z) - log_q

  total = 0
  for n in DIMS:
    one = log_w(expert(n)[0] + expert(n)[1] * nodes[:, None])
    if estimator == "elbo":
      total += weights @ one
    else:
      pairs = np.logaddexp(one[:, None], one) - np.log(2)
      total += np.einsum("i,j,ijb->b", weights, weights, pairs)
  standard_error = losses.std() / len(losses) ** 0.5
  np.testing.assert_allclose(losses.mean(), -total.mean() / M, atol=4 * standard_error + 1e-4)


@pytest.mark.parametrize("name", list(FACTORIES))
def test_missing_entries_do_not_matter_and_get_no_gradient(name):
  """Garbage gives the bits that zeros give, and a split batch the mean of the whole, noise included."""
  objective = make(name, num_samples=2).objective
  zeros = {n: np.nan_to_num(JUNK[n]) for n in DIMS}
  key = jax.random.key(4)

  @jax.jit
  def run(params, xs, mask):
    loss = lambda params, xs: objective(params, (), key, xs | {"mask": mask})[0]
    return jax.value_and_grad(loss, argnums=(0, 1))(params, xs)

  clean, dirty = (run(SHIFTED, xs, MASK) for xs in (zeros, JUNK))
  jax.tree.map(np.testing.assert_array_equal, clean, dirty)
  for i, n in enumerate(DIMS):
    grad = np.asarray(dirty[1][1][n])
    assert not grad[~MASK[:, i]].any() and grad[MASK[:, i]].any(axis=1).all()
  without_b = MASK & [True, False, True]
  _, (grads, _) = run(SHIFTED, JUNK, without_b)
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["b"]))
  assert all(np.any(leaf) for leaf in jax.tree.leaves([grads["a"], grads["c"]]))
  if name in ("mvae", "mmvae"):  # the others draw as mmvae does
    split = make(name, num_samples=2, axis_name="devices").objective
    halves = {n: x.reshape(2, B // 2, -1) for n, x in (JUNK | {"mask": MASK}).items()}
    local = jax.vmap(lambda batch: split(SHIFTED, (), key, batch)[0], axis_name="devices")
    np.testing.assert_allclose(jax.jit(local)(halves).mean(), dirty[0], rtol=1e-5)


def test_labels_as_a_modality_and_cross_generation():
  """Names that xs lacks are missing; what is generated follows what is given."""
  label = Modality(
    lambda p, y: (jax.nn.one_hot(y, 2)[:, :1] * 8 - 4, jnp.full((y.shape[0], 1), -3.0)),
    lambda p, z: jnp.concatenate([z, -z], axis=1),
    categorical,
  )
  model = mvae({"label": label, "a": modality("a")}, latent_dim=1)
  y, both = jnp.array([0, 1, 1]), {"label": jnp.array([0, 1, 1]), "a": XS["a"][:3]}

  @jax.jit
  def run(key):
    generated = model.cross_generate(PARAMS, key, {"label": y})
    log_w = model.log_weights(PARAMS, key, both, num_samples=2)
    return generated, model.sample(PARAMS, key, 5), log_w

  generated, samples, log_w = run(jax.random.key(0))
  np.testing.assert_array_equal(jnp.argmax(generated["label"], axis=1), y)
  assert ((generated["a"] @ W["a"] > 0) == (y == 0)).all()
  assert samples["a"].shape == (5, 3) and samples["label"].shape == (5, 2)
  assert log_w.shape == (2, 3) and np.isfinite(log_w).all()


def test_bad_arguments():
  for name, kwargs, error, match in [
    ("mvae", {"beta": -1.0}, ValueError, "beta must be in"),
    ("mvae", {"num_subsets": -1}, ValueError, "num_subsets must be in"),
    ("mmvae", {"estimator": "dreg"}, ValueError, "estimator must be one of 'elbo', 'iwae'"),
    ("mopoe", {"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
    ("mvtcae", {"alpha": 1.5}, ValueError, "alpha must be in"),
    ("mmvae", {"modalities": {}}, ValueError, "modalities must name at least one"),
  ]:
    with pytest.raises(error, match=match):
      make(name, **kwargs)
  encode = make("mvae").encode
  with pytest.raises(ValueError, match="xs must have one of the modalities 'a', 'b', 'c'"):
    encode(PARAMS, {"d": XS["a"]})
  with pytest.raises(ValueError, match="mask must have shape \\(8, 3\\)"):
    encode(PARAMS, XS, MASK.T)
  with pytest.raises(ValueError, match="xs must have the same number of rows"):
    encode(PARAMS, XS | {"b": XS["b"][:2]})
