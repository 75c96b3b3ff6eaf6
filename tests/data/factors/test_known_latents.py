import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentjax.data import factors as lf

MANY = 20_000


def test_mixing_is_undone_exactly_and_keeps_volume_where_it_should():
  weights = lf.init_mixing(jax.random.key(0), dim=4, num_layers=3)
  z = jax.random.normal(jax.random.key(1), (50, 4))

  @jax.jit
  def both(z):
    x = lf.mix(weights, z)
    return x, lf.unmix(weights, x), jax.vmap(jax.jacfwd(lambda a: lf.mix(weights, a)))(z)

  x, back, jacobians = jax.device_get(both(z))
  assert np.abs(back - z).max() < 1e-5
  assert np.abs(x - np.asarray(z) @ np.linalg.lstsq(np.asarray(z), x)[0]).max() > 0.1  # not linear
  # Orthogonal layers: the volume changes by the slope once for every unit below 0.
  powers = np.log(np.abs(np.linalg.det(jacobians))) / np.log(0.2)
  assert np.abs(powers - np.rint(powers)).max() < 1e-3 and powers.max() > 1


def test_sources_on_a_grid():
  weights = lf.init_mixing(jax.random.key(0), dim=3, num_layers=2)
  made = lf.nonlinear_ica(weights, num_values=9)
  factors = np.array([[0, 8, 4], [3, 3, 3]])
  sources = jax.jit(lambda f: lf.unmix(weights, jax.vmap(made.render)(f)))(factors)
  assert np.allclose(sources, factors / 4 - 1, atol=1e-5)


def by_hand(weights, noise, fixed, value):
  """One variable after the other, in float64."""
  linear, square = (np.asarray(w, np.float64) for w in weights)
  z = np.zeros_like(noise)
  for i in range(noise.shape[1]):
    f = z @ linear[i] + np.einsum("nj,jk,nk->n", z, square[i], z)
    z[:, i] = np.where(fixed[i], value[i], f + noise[:, i])
  return z


@pytest.fixture(scope="module")
def polynomial():
  draw = jax.jit(lambda key: lf.init_structural(key, dim=5, degree=2, edge_prob=1.0))
  weights = draw(jax.random.key(2))
  return weights, np.random.default_rng(0).normal(size=(30, 5))


def test_polynomial_model_against_a_loop_and_interventions(polynomial):
  weights, noise = polynomial
  value = np.array([0, 0, 1.5, 0, -2.0])
  solve = jax.jit(lf.solve_structural)
  for fixed in (np.zeros(5, bool), np.array([0, 0, 1, 0, 1], bool)):
    z = solve(weights, jnp.float32(noise), fixed, jnp.float32(value))
    assert np.abs(z - by_hand(weights, noise, fixed, value)).max() < 1e-4
  before = solve(weights, jnp.float32(noise))
  assert np.array_equal(before[:, :2], z[:, :2])  # what comes before is as it was
  assert np.abs(before[:, 3] - z[:, 3]).max() > 0.01
  assert np.allclose(z[:, 2], 1.5) and np.allclose(z[:, 4], -2)


def test_counterfactual_of_nothing_is_what_happened(polynomial):
  weights, noise = polynomial
  back = jax.jit(lambda w, e: lf.abduct(w, lf.solve_structural(w, e)))
  found = back(weights, jnp.float32(noise))
  assert np.abs(found - noise).max() < 1e-4


def test_linear_model_has_its_covariance():
  draw = jax.jit(lambda key: lf.init_structural(key, dim=4, edge_prob=0.8, strength=2.0))
  (weight,) = draw(jax.random.key(4))
  noise = jax.random.normal(jax.random.key(5), (MANY, 4))
  found = np.cov(np.asarray(jax.jit(lf.solve_structural)((weight,), noise)).T)
  assert np.abs(found - lf.linear_covariance(weight)).max() < 0.12
  assert np.array_equal(weight, np.tril(weight, -1)) and np.any(weight)


def test_mixtures_have_their_moments():
  means = np.array([[0.0, 5.0, 0.0], [8.0, 0.0, 1.0]], np.float32)
  loadings = np.random.default_rng(1).normal(size=(2, 3, 1)).astype(np.float32)
  scales = np.array([[1.0, 0.5, 0.1], [2.0, 1.0, 0.3]])
  probs = np.array([3.0, 1.0])

  @jax.jit
  def draw(keys):
    return (
      lf.gaussian_mixture(keys[0], means, scales, num_examples=MANY, probs=probs),
      lf.low_rank_mixture(
        keys[1], means, loadings, num_examples=MANY, noise_scale=0.2, probs=probs
      ),
    )

  diagonal, low_rank = jax.device_get(draw(jax.random.split(jax.random.key(0))))
  assert stats.chisquare(np.bincount(diagonal.latent), MANY * probs / 4).pvalue > 1e-4
  for c in range(2):
    mine = diagonal.x[diagonal.latent == c]
    assert np.abs(mine.mean(0) - means[c]).max() < 0.1 and np.allclose(
      mine.std(0), scales[c], rtol=0.05
    )
    covariance = np.cov(low_rank.x[low_rank.latent == c].T)
    wanted = loadings[c] @ loadings[c].T + 0.04 * np.eye(3)
    assert np.abs(covariance - wanted).max() < 0.06 * np.abs(wanted).max()


def test_rings_and_the_roll():
  ring = jax.jit(lambda key: lf.rings(key, jnp.array([1.0, 3.0]), num_examples=4000))(
    jax.random.key(0)
  )
  across = np.hypot(*np.asarray(ring.x).T) - np.array([1.0, 3.0])[np.asarray(ring.latent)]
  assert np.std(across) == pytest.approx(0.05, rel=0.05)
  roll = jax.jit(lambda key: lf.swiss_roll(key, num_examples=500))(jax.random.key(0))
  t, h = np.asarray(roll.latent, np.float64).T
  assert np.allclose(roll.x, np.stack([t * np.cos(t), h, t * np.sin(t)], 1), atol=1e-4)
  assert 1.5 * np.pi <= t.min() < 5 < 14 < t.max() <= 4.5 * np.pi and 20 < h.max() <= 21


def test_leaves_agree_as_their_distance_says():
  draw = lambda key: lf.latent_tree(key, num_examples=MANY, depth=3, num_values=3, flip_prob=0.15)
  levels = jax.device_get(jax.jit(draw)(jax.random.key(0)))
  leaves, decay = levels[-1], 1 - 0.15 * 3 / 2
  for other, distance in ((1, 2), (2, 4), (7, 6)):
    agree = np.mean(leaves[:, 0] == leaves[:, other])
    assert agree == pytest.approx(1 / 3 + 2 / 3 * decay**distance, abs=0.015)
  assert np.mean(levels[1][:, 1] == leaves[:, 4]) == pytest.approx(
    1 / 3 + 2 / 3 * decay**2, abs=0.015
  )
  assert stats.chisquare(np.bincount(leaves[:, 5])).pvalue > 1e-4


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: lf.mix(jnp.eye(2), jnp.ones(2)), "weights must have 3 axes"),
    (lambda: lf.mix(jnp.eye(2)[None], jnp.ones(2), slope=0.0), "slope must be in"),
    (lambda: lf.solve_structural((), jnp.ones(2), None, 1.0), "values need targets"),
    (lambda: lf.init_structural(jax.random.key(0), dim=2, edge_prob=2.0), "edge_prob must be in"),
    (
      lambda: lf.latent_tree(jax.random.key(0), num_examples=1, depth=1, num_values=1),
      "at least 2",
    ),
    (lambda: lf.rings(jax.random.key(0), jnp.ones(1), num_examples=0), "num_examples must be"),
  ],
)
def test_what_is_out_of_range(call, message):
  with pytest.raises(ValueError, match=message):
    call()
