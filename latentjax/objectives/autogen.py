"""AutoGen (Mansbridge et al., 2018): the likelihood of data and of their perfect reconstructions."""

from types import ModuleType
from typing import Any

import jax
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.densities import bernoulli
from latentjax.losses.elbo import autogen_bound
from latentjax.objectives.gaussian_vae import Draw, make_gaussian_vae
from latentjax.objectives.latent_model import (
  DecodeFn,
  EncodeFn,
  LatentModel,
  Metrics,
  Params,
  Prior,
)

__all__ = ["autogen"]


def autogen(
  encode_fn: EncodeFn,
  decode_fn: DecodeFn,
  *,
  latent_dim: int,
  likelihood: ModuleType = bernoulli,
  prior: Prior | None = None,
  num_reconstructions: ArrayLike = 1.0,
  num_samples: int = 1,
  feature: str = "image",
  axis_name: str | None = None,
) -> LatentModel:
  r"""VAE trained to generate its data and, from the same z, m perfect reconstructions of them.

  .. math::

    \frac1B \sum_b KL(q(z|x_b) \,\|\, p(z)) - (1 + m) E_{q(z|x_b)}[\log p(x_b|z)]

  Up to the factor 1 + m a beta-VAE with beta = 1 / (1 + m), so m = 0 is the VAE: what annealed
  divergences do by hand, keep z in use, has a likelihood behind it.

  Args:
    encode_fn: `(params, x) -> (mean, log_scale)` of q(z|x), each (B, Z).
    decode_fn: `(params, z) -> parameters of p(x|z)`, an array or a tuple of arrays.
    latent_dim: Z.
    likelihood: density family of p(x|z).
    prior: p(z); N(0, I) by default.
    num_reconstructions: m, at least 0.
    num_samples: K, samples of z per example.
    feature: name of the batch's array to model, shape (B, ...), floating point.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    LatentModel. `objective` passes model_state through unchanged; its metrics elbo, log_likelihood
    and kl are those of a VAE (m = 0), means in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if a size is below 1 or num_reconstructions is negative.

  Example:
    >>> model = autogen(lambda w, x: (x @ w, 0 * x @ w), lambda w, z: z @ w.T, latent_dim=2)
    >>> batch = {"image": jnp.ones((4, 3))}
    >>> loss, _ = model.objective(jnp.zeros((3, 2)), (), jax.random.key(0), batch)
    >>> float(loss)  # 2 * 3 log 2
    4.158883...

  References:
    Mansbridge et al., Improving latent variable descriptiveness with AutoGen, 2018. arXiv:1806.04480
  """
  check_range(low=0.0, num_reconstructions=num_reconstructions)

  def loss_fn(
    params: Params, model_state: Any, key: jax.Array, draw: Draw
  ) -> tuple[jax.Array, tuple[Any, Metrics]]:
    bound = autogen_bound(draw.log_likelihood, draw.kl, num_reconstructions=num_reconstructions)
    return -bound, (model_state, {})

  return make_gaussian_vae(
    encode_fn,
    decode_fn,
    loss_fn,
    latent_dim=latent_dim,
    likelihood=likelihood,
    prior=prior,
    num_samples=num_samples,
    feature=feature,
    axis_name=axis_name,
  )
