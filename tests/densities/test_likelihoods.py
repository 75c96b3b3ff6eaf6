"""Every likelihood family in the VAE: the decoder's parameters reach log p(x|z) with the right axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_families import FAMILIES

from latentjax.objectives import vae

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "categorical"])
def test_log_likelihood_in_the_vae(name):
  family = FAMILIES[name]
  samples, x = 3, jnp.asarray(family.x)
  params = [jnp.asarray(p, jnp.float32) for p in family.params]

  def encode_fn(_, x):
    return jnp.zeros((len(x), 2)), jnp.zeros((len(x), 2))

  def decode_fn(_, z):
    # Examples are the slow axis of the rows.
    return tuple(jnp.repeat(p, len(z) // len(x), axis=0) for p in params)

  model = vae(encode_fn, decode_fn, latent_dim=2, likelihood=family.module, num_samples=samples)
  bound = model.bound({}, KEY, x)
  expected = family.log_p(family.x, *family.params).sum(1)
  np.testing.assert_allclose(bound.log_likelihood, expected, rtol=2e-5)
  np.testing.assert_allclose(bound.kl, 0, atol=1e-6)


def test_categorical_takes_the_axes_a_vae_gives_it():
  family = FAMILIES["categorical"]
  (logits,) = family.params
  log_p = family.module.log_prob(family.x[:, None], np.repeat(logits[:, None], 3, 1))
  expected = family.log_p(family.x, logits).sum(1)
  np.testing.assert_allclose(log_p, np.repeat(expected[:, None], 3, 1), rtol=1e-5)
