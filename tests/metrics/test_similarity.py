"""Similarities of two representations against centring matrices, QR, scipy and published numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from scipy import linalg, stats
from scipy.spatial import distance

from latentjax.metrics import (
  cca,
  identifiability_r2,
  iso_score,
  kernel_cka,
  linear_cka,
  orthogonal_alignment,
  procrustes_distance,
  pwcca,
  rsa,
  svcca,
)

N, D, E = 16, 3, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)) @ np.diag([0.5, 1.0, 2.0]) + 1.0
Y = X @ RNG.standard_normal((D, E)) + RNG.standard_normal((N, E))
WIDE = RNG.standard_normal((D, 20))  # more columns than rows
KERNEL = {"median_fraction": 0.8, "block_size": 4}


DISTANCES = ("procrustes", "rsa, euclidean", "iso")


def distances(x, y):
  return {
    "procrustes": procrustes_distance(x, y),
    "rsa, euclidean": rsa(x, y, kind="pearson", dissimilarity="euclidean"),
    "iso": iso_score(y),
  }


def of_each_kind(x, y, axis_name=None):
  run = {"axis_name": axis_name}
  return {
    "kernel": kernel_cka(x, y, **KERNEL, **run),
    "procrustes": procrustes_distance(x, y, **run),
    "rsa": rsa(x, y, **run),
    "pwcca": pwcca(x, y, **run).mean,
    "rotation": orthogonal_alignment(x, y, **run),
  }


def all_values(x, y):
  wide = x @ jnp.asarray(WIDE, x.dtype)
  return of_each_kind(x, y) | {
    "linear": linear_cka(x, y),
    "linear, debiased": linear_cka(x, y, debiased=True),
    "wide": linear_cka(wide, y),
    "wide, debiased": linear_cka(wide, y, debiased=True),
    "iso": iso_score(y),
    "cca": cca(x, y).mean,
    "svcca": svcca(x, y, variance=0.9).mean,
    "pwcca, turned": pwcca(y, x).mean,
    "r2": identifiability_r2(x, y),
  }


def correlation(a, b):
  return (a * b).sum() / ((a * a).sum() * (b * b).sum()) ** 0.5


def debiased(k, m, np=np):
  """By the U-centring of Szekely and Rizzo."""

  def centre(gram):
    off = 1 - np.eye(N)
    gram = gram * off
    rows = gram.sum(0) / (N - 2)
    return off * (gram - rows[:, None] - rows + gram.sum() / ((N - 1) * (N - 2)))

  return correlation(centre(k), centre(m))


def gaussian(rows):
  squares = distance.cdist(rows, rows, "sqeuclidean")
  return np.exp(-squares / (2 * 0.8**2 * np.median(squares)))


def align(a, b):
  """Smallest squared distance over rotations, of the narrower one filled up."""
  a, b = (rows - rows.mean(0) for rows in (a, b))
  a = np.pad(a / np.linalg.norm(a), ((0, 0), (0, E - D)))
  b = b / np.linalg.norm(b)
  return np.square(a @ linalg.orthogonal_procrustes(a, b)[0] - b).sum()


def oracle(x, y):
  h = np.eye(N) - 1 / N
  wide = x @ WIDE
  linear = lambda a, b: correlation(h @ a @ a.T @ h, h @ b @ b.T @ h)
  pairs = lambda metric: [distance.pdist(rows, metric) for rows in (x, y)]
  variances = np.linalg.eigvalsh(np.cov(y.T))  # the six steps of the paper
  defect = np.linalg.norm(variances * 2 / np.linalg.norm(variances) - 1) ** 2 / (2 * (4 - 2))
  a, b = (rows - rows.mean(0) for rows in (x, y))
  bases = [np.linalg.qr(rows)[0] for rows in (a, b)]
  directions, rho, _ = np.linalg.svd(bases[0].T @ bases[1])
  weights = np.abs((bases[0] @ directions).T @ a).sum(1)

  def main(rows):
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    return u[:, : 1 + np.searchsorted(np.cumsum(s**2) / (s**2).sum(), 0.9)]

  u, _, vt = np.linalg.svd(x.T @ y, full_matrices=False)
  rest = a - b @ np.linalg.lstsq(b, a, rcond=None)[0]
  return {
    "linear": linear(x, y),
    "linear, debiased": debiased(x @ x.T, y @ y.T),
    "wide": linear(wide, y),
    "wide, debiased": debiased(wide @ wide.T, y @ y.T),
    "kernel": correlation(h @ gaussian(x) @ h, h @ gaussian(y) @ h),
    "kernel, debiased": debiased(gaussian(x), gaussian(y)),
    "procrustes": align(x, y),
    "rsa": stats.spearmanr(*pairs("correlation"))[0],
    "rsa, euclidean": stats.pearsonr(*pairs("euclidean"))[0],
    "iso": ((4 - defect * (4 - 2)) ** 2 - 4) / (4 * 3),
    "cca": rho.mean(),
    "svcca": linalg.svdvals(main(a).T @ main(b)).mean(),
    "pwcca": (weights * rho).sum() / weights.sum(),
    "pwcca, turned": (weights * rho).sum() / weights.sum(),
    "r2": (1 - (rest**2).sum(0) / (a**2).sum(0)).mean(),
    "rotation": u @ vt,
  }


def test_linear_cka():
  check_kernel(
    linear_cka,
    (X, Y),
    oracle=lambda x, y, **_: debiased(x @ x.T, y @ y.T),
    kwargs={"debiased": True},
    batch_coupled=True,
    extreme=[(1e18 * X, 1e-18 * Y), (0 * X, Y), (X + 1e4, 0 * Y + 1 / 3)],
    bad_inputs=[
      ((X.astype(int), Y), {}, TypeError, "x must be a floating point"),
      ((X, Y[0]), {}, ValueError, "y must have 2 axes"),
      ((X, Y[1:]), {}, ValueError, "x and y must have equally many rows"),
      ((X[:3], Y[:3]), {}, ValueError, "x must have at least 4 rows, got 3"),
    ],
  )


def test_distances():
  check_kernel(
    distances,
    (X, Y),
    oracle=lambda x, y: {name: oracle(x, y)[name] for name in DISTANCES},
    bfloat16=False,
    extreme=[(1e18 * X, 1e-18 * Y), (0 * X, Y), (X + 1e4, 0 * Y + 1 / 3)],
    bad_inputs=[((X[:2], Y[:2]), {}, ValueError, "x must have at least 3 rows, got 2")],
  )


def test_kernel_cka_and_its_gradient_at_a_fixed_bandwidth():
  medians = [np.median(distance.cdist(rows, rows, "sqeuclidean")) for rows in (X, Y)]

  def written_out(x, y):
    squares = [jnp.sum(jnp.square(rows[:, None] - rows), axis=2) for rows in (x, y)]
    k, m = (jnp.exp(-s / (2 * 0.8**2 * median)) for s, median in zip(squares, medians))
    return debiased(k, m, jnp)

  fns = [partial(kernel_cka, debiased=True, **KERNEL), written_out]
  run, expected = (fast_jit(jax.value_and_grad(fn, argnums=(0, 1))) for fn in fns)
  pair = np.float32(X), np.float32(Y)
  (value, grads), (_, exact) = run(*pair), expected(*pair)
  np.testing.assert_allclose(value, debiased(gaussian(X), gaussian(Y)), rtol=1e-5)
  for got, wanted in zip(grads, exact):
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)
  for extreme in ((1e18 * X, 1e-18 * Y), (0 * X, Y), (X + 1e4, np.full((N, E), 1 / 3))):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run(*map(np.float32, extreme))))


@pytest.fixture(scope="module")
def run():
  compiled = fast_jit(all_values)
  return lambda x, y: jax.device_get(compiled(np.float32(x), np.float32(y)))


def test_values_on_one_device_and_on_four(run):
  found, expected = run(X, Y), oracle(X, Y)
  for name, value in found.items():
    np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
  mesh = Mesh(np.array(jax.devices()[:4]), ("devices",))

  def local(x, y):
    return jax.tree.map(lambda a: a[None], of_each_kind(x, y, axis_name="devices"))

  spread = fast_jit(jax.shard_map(local, mesh=mesh, in_specs=P("devices"), out_specs=P("devices")))
  for name, values in spread(np.float32(X), np.float32(Y)).items():
    for value in values:
      np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_published_numbers():
  """Of the program of Kornblith et al., on the data of its demonstration."""
  old = np.random.RandomState(1337)
  x = old.randn(100, 10)
  y = old.randn(100, 10) + x
  kernel = partial(kernel_cka, median_fraction=0.5)
  found = fast_jit(lambda x, y: (linear_cka(x, y), linear_cka(x, y, debiased=True), kernel(x, y)))(
    np.float32(x), np.float32(y)
  )
  np.testing.assert_allclose(found, [0.55761, 0.51346, 0.65483], atol=6e-6)


def test_exact_kernel_cka_of_tight_clusters():
  """More than half of all pairs are within a cluster: the median is of these."""
  x = np.float32(1e-3 * X + 50 * (np.arange(N)[:, None] % 8 == 0))
  y = np.float32(x + 1e-3 * X[::-1])
  run = fast_jit(partial(kernel_cka, exact=True, **KERNEL))

  def centred_gaussian(rows):
    squares = distance.cdist(rows, rows, "sqeuclidean")
    kernel = np.exp(-squares / (2 * 0.8**2 * np.median(squares)))
    return kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()

  k, m = (centred_gaussian(np.float64(rows)) for rows in (x, y))
  expected = np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))
  assert float(run(x, y)) == pytest.approx(expected, rel=1e-3)
  assert float(run(np.float32(X), np.float32(Y))) == pytest.approx(
    float(fast_jit(partial(kernel_cka, **KERNEL))(np.float32(X), np.float32(Y))), rel=1e-5
  )


def test_order_of_small_distances():
  """Within far clusters, where products would have no digit left."""
  x = np.float32(1e-3 * X + 5 * (np.arange(N)[:, None] % 2))
  y = np.float32(x + 3e-4 * X[::-1])
  found = fast_jit(partial(rsa, dissimilarity="euclidean"))(x, y)
  expected = stats.spearmanr(*(distance.pdist(rows.astype(float)) for rows in (x, y)))[0]
  assert found == pytest.approx(expected, abs=1e-5)


def test_what_does_not_matter(run):
  rotation = stats.ortho_group.rvs(D, random_state=0)
  same = run(X, 2 - 3 * np.pad(X, ((0, 0), (0, 1))))  # moved, with a dead column
  for name in ("linear", "linear, debiased", "kernel", "cca", "svcca", "pwcca", "r2"):
    assert same[name] == pytest.approx(1, abs=1e-5), name
  assert same["procrustes"] == pytest.approx(0, abs=1e-5)
  plain, turned = run(X, Y), run(5 * X @ rotation, Y - 7)
  for name in ("linear", "linear, debiased", "kernel", "procrustes", "cca"):
    np.testing.assert_allclose(plain[name], turned[name], rtol=2e-4, err_msg=name)
  bent = run(X @ np.array([[1.0, 3, 0], [0, 2, -1], [4, 0, 1]]), Y)  # any invertible map
  for name in ("linear", "procrustes", "cca", "pwcca"):
    assert np.isclose(plain[name], bent[name], rtol=1e-4) == (name == "cca"), name


def test_noise():
  pairs = np.random.default_rng(1).standard_normal((300, 2, N, 4)).astype(np.float32)
  fn = lambda x, y: (linear_cka(x, y), linear_cka(x, y, debiased=True), cca(x, y).correlations)
  biased, unbiased, rho = jax.jit(jax.vmap(fn))(pairs[:, 0], pairs[:, 1])
  assert abs(unbiased.mean()) < 0.02 and biased.mean() > 0.15
  # The mean of its squares is that of R^2 with E = 4 predictors.
  assert np.square(rho).mean() == pytest.approx(4 / (N - 1), abs=0.01)


def test_constants_and_nan(run):
  constant = run(np.full((N, D), 1 / 3), Y)
  assert constant["procrustes"] == pytest.approx(1, abs=1e-6)
  of_both = set(constant) - {"procrustes", "iso", "rotation"}
  assert not any(constant[name] for name in of_both)
  broken = run(np.where(np.arange(N)[:, None] == 3, np.nan, X), Y)
  known = {name for name, value in broken.items() if not np.isnan(value).all()}
  assert known == {"iso", "r2"}
  assert broken["r2"] == 0  # a column with NaN counts as constant


def test_refused():
  for call, match in [
    (lambda: cca(X[:4], Y[:4]), "x and y must have more rows than columns, got 4 and 4"),
    (lambda: svcca(X, Y, variance=1.0), r"variance must be in \(0.0, 1.0\), got 1.0"),
    (lambda: kernel_cka(X, Y, median_fraction=0.0), r"median_fraction must be in \(0.0"),
    (lambda: kernel_cka(X, Y, block_size=0), "block_size must be a positive integer, got 0"),
    (lambda: rsa(X[:2], Y[:2]), "x must have at least 3 rows, got 2"),
    (lambda: rsa(X, Y, kind="kendall"), "kind must be one of 'pearson', 'spearman'"),
    (lambda: iso_score(X[:, :1]), "z must have at least 2 columns"),
    (lambda: identifiability_r2(X, Y, up_to="order"), "up_to must be one of"),
  ]:
    with pytest.raises(ValueError, match=match):
      call()
