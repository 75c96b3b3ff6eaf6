"""MCInfoNCE against samples of another sampler, and in the limit of certain inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contrastive_oracles import info_nce_oracle
from split import check_split

from latentjax.collectives import device_mean
from latentjax.densities.von_mises_fisher import sample
from latentjax.losses.contrastive import mc_info_nce

B, D, COUNT = 8, 3, 4000
RNG = np.random.default_rng(0)
MU_1, MU_2 = RNG.standard_normal((2, B, D))
MU_1, MU_2 = (mu / np.linalg.norm(mu, axis=1, keepdims=True) for mu in (MU_1, MU_2))
LOG_KAPPA_1, LOG_KAPPA_2 = RNG.uniform(0, 3, (2, B))
KEY = jax.random.key(0)


def test_over_devices():
  """Against loops over the same draws; their concentration is fixed, for its slope is implicit."""
  width = lambda mu: 1.5 + 0 * mu[:, 0]  # split as the rows are

  def loss(mu_1, mu_2, axis_name):
    run = {"concentration": 5.0, "num_samples": 2, "block_size": 1, "axis_name": axis_name}
    losses = mc_info_nce(KEY, mu_1, width(mu_1), mu_2, width(mu_2), **run)
    return {"loss": device_mean(jnp.mean(losses), axis_name)}

  @jax.jit
  def draws(*mus):
    both = jnp.stack(mus, axis=1)
    return sample(KEY, both, 1.5 + 0 * both[..., 0], num_samples=2)

  def expected(*mus):
    with jax.enable_x64(True):
      z = np.asarray(draws(*mus))
    losses = np.array([info_nce_oracle(*pair, temperature=0.2) for pair in np.moveaxis(z, 2, 1)])
    return {"loss": -np.mean(np.log(np.mean(np.exp(-losses), axis=0)))}

  check_split(loss, [MU_1, MU_2], expected)


@pytest.mark.parametrize(
  ("change", "exception", "match"),
  [
    ({0: MU_1.astype(int)}, TypeError, "anchor_direction must be a floating point"),
    ({2: MU_2[0]}, ValueError, "positive_direction must have 2 axes"),
    ({2: MU_2[:5]}, ValueError, "anchor_direction and positive_direction must have the same"),
    ({3: MU_2}, ValueError, "positive_log_concentration must have shape \\(8,\\)"),
    ({"concentration": 0.0}, ValueError, "concentration must be in"),
    ({"num_samples": 0}, ValueError, "num_samples must be a positive integer"),
  ],
)
def test_refused(change, exception, match):
  args = dict(enumerate((MU_1, LOG_KAPPA_1, MU_2, LOG_KAPPA_2))) | change
  settings = {k: v for k, v in args.items() if isinstance(k, str)}
  with pytest.raises(exception, match=match):
    mc_info_nce(KEY, *(args[i] for i in range(4)), **settings)


def draw(seed, mu, kappa):
  """Of the density on the sphere in space, whose cosines have a distribution function in closed form."""
  random = np.random.default_rng(seed)
  u = random.uniform(size=(COUNT, len(mu), 1))
  cosine = 1 + np.log(u + (1 - u) * np.exp(-2 * kappa[:, None])) / kappa[:, None]
  tangent = random.standard_normal((COUNT, *mu.shape))
  tangent -= np.sum(tangent * mu, -1, keepdims=True) * mu
  tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
  return cosine * mu + np.sqrt(1 - cosine**2) * tangent


@jax.jit
def run(log_kappa_1, log_kappa_2):
  def total(*log_kappa):
    losses = mc_info_nce(
      KEY, MU_1, log_kappa[0], MU_2, log_kappa[1], concentration=4.0, num_samples=COUNT
    )
    return jnp.sum(losses), losses

  return jax.grad(total, argnums=(0, 1), has_aux=True)(log_kappa_1, log_kappa_2)


def test_mean_of_the_probability_over_samples():
  def expected(log_kappa_1, log_kappa_2):
    z, z_plus = draw(1, MU_1, np.exp(log_kappa_1)), draw(2, MU_2, np.exp(log_kappa_2))
    weights = np.exp(4 * np.einsum("kid,kjd->kij", z, z_plus))
    return -np.log(np.mean(np.einsum("kii->ki", weights) / weights.sum(-1), axis=0))

  grads, found = run(LOG_KAPPA_1, LOG_KAPPA_2)
  np.testing.assert_allclose(found, expected(LOG_KAPPA_1, LOG_KAPPA_2), atol=0.12)
  ends = [expected(LOG_KAPPA_1 + step, LOG_KAPPA_2 + step).sum() for step in (0.2, -0.2)]
  np.testing.assert_allclose(np.sum(grads), (ends[0] - ends[1]) / 0.4, atol=0.2)


def test_of_certain_inputs_it_is_info_nce():
  _, found = run(0 * LOG_KAPPA_1 + 40, 0 * LOG_KAPPA_2 + 40)
  np.testing.assert_allclose(found, info_nce_oracle(MU_1, MU_2, temperature=0.25), rtol=1e-5)
