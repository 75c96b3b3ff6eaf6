"""Learned priors for `vae(..., prior=...)`; their parameters lie in the model's own tree."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from latentjax.densities import gaussian, mixture
from latentjax.objectives.latent_model import EncodeFn, Params, Prior

__all__ = ["mixture_prior", "vamp_prior"]

ComponentsFn = Callable[[Params], tuple[jax.Array, jax.Array, jax.Array]]


def vamp_prior(encode_fn: EncodeFn, pseudo_inputs_fn: Callable[[Params], jax.Array]) -> Prior:
  r"""VampPrior: the posterior averaged over learned pseudo-inputs.

  .. math:: p(z) = \frac1K \sum_{k=1}^K q(z | u_k)

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), the model's own.
    pseudo_inputs_fn: `(params) -> u`, shape (K, ...) of a batch of data, such as a leaf of params
      through a sigmoid.

  Returns:
    Prior; gradient flows to the pseudo-inputs and to the encoder. It has no closed-form divergence.

  Example:
    >>> prior = vamp_prior(lambda w, u: (u, 0 * u), lambda w: w)
    >>> prior.sample(jnp.zeros((5, 2)), jax.random.key(0), 3).shape
    (3, 2)

  References:
    Tomczak & Welling, VAE with a VampPrior, 2018. arXiv:1705.07120
  """

  def components(params: Params) -> tuple[jax.Array, jax.Array, jax.Array]:
    mean, log_scale = encode_fn(params, pseudo_inputs_fn(params))
    return jnp.zeros(mean.shape[0], mean.dtype), mean, log_scale

  return mixture_prior(components)


def mixture_prior(components_fn: ComponentsFn) -> Prior:
  r"""Mixture of diagonal Gaussians.

  .. math:: p(z) = \sum_{k=1}^K \pi_k N(z; m_k, s_k^2), \qquad \pi = \mathrm{softmax}(l)

  Args:
    components_fn: `(params) -> (logits, mean, log_scale)`, shapes (K,), (K, Z), (K, Z).

  Returns:
    Prior; gradient flows to the components. It has no closed-form divergence. `log_prob` needs K
    numbers per point, not K Z, in the gradient too.

  Example:
    >>> prior = mixture_prior(lambda p: (jnp.zeros(3), p, 0 * p))
    >>> prior.log_prob(jnp.zeros((3, 2)), jnp.zeros((4, 2))).shape
    (4,)
  """

  def log_prob(params: Params, z: jax.Array) -> jax.Array:
    return mixture.log_prob(z, *components_fn(params))

  def sample(params: Params, key: jax.Array, num_samples: int) -> jax.Array:
    logits, mean, log_scale = components_fn(params)
    key_component, key_noise = jax.random.split(key)
    drawn = jax.random.categorical(key_component, logits, shape=(num_samples,))
    return gaussian.sample(key_noise, mean[drawn], log_scale[drawn])

  return Prior(log_prob, sample)
