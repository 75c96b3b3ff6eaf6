"""MVTCAE: total correlation of the modalities as an objective (Hwang et al., 2021)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_range
from latentjax.losses.elbo import elbo
from latentjax.objectives.multimodal.fitted import make_fitted_model
from latentjax.objectives.multimodal.model import Modality, MultimodalModel

__all__ = ["mvtcae"]


def mvtcae(
  modalities: Mapping[str, Modality],
  *,
  latent_dim: int,
  alpha: ArrayLike = 0.9,
  beta: ArrayLike = 1.0,
  num_samples: int = 1,
  mask_feature: str = "mask",
  axis_name: str | None = None,
) -> MultimodalModel:
  r"""MVTCAE: a product of experts that every expert alone must be able to predict.

  .. math::

    \frac{M - \alpha}{M} E_{q}\Big[\sum_m \lambda_m \log p(x_m|z)\Big]
    - \beta \Big[ (1 - \alpha) KL(q(z|X) \| p(z))
    + \frac{\alpha}{M} \sum_m KL(q(z|X) \| q_m(z|x_m)) \Big], \qquad q \propto \prod_m q_m

  The loss is minus the formula. alpha = 0 is the bound of a product of experts without the prior;
  alpha = 1 has no prior at all, only the conditional information bottleneck of every modality. M and
  the sums are those of what is present in an example. The objective is no bound on log p(X) for alpha
  above 0; the metrics are.

  Args:
    modalities: networks, likelihood and weight lambda of every modality, M of them.
    latent_dim: Z.
    alpha: between 0 and 1; the paper chooses it for each data set.
    beta: weight of all divergences.
    num_samples: K, samples of z per example.
    mask_feature: name of the mask in a batch, see `MultimodalModel`.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    MultimodalModel whose posterior has one component. The metrics elbo, log_likelihood and kl are
    those of the ordinary bound, means in nats.

  Raises:
    TypeError: if a size is not an integer.
    ValueError: if there is no modality, alpha is not in [0, 1], beta or a weight is negative, or a
      size is below 1.

  Example:
    >>> encode_fn = lambda w, x: (x @ w, 0 * x @ w)
    >>> modality = Modality(encode_fn, lambda w, z: z @ w.T)
    >>> model = mvtcae({"a": modality, "b": modality}, latent_dim=2)
    >>> q = model.encode(jnp.zeros((3, 2)), {"a": jnp.ones((4, 3)), "b": jnp.ones((4, 3))})
    >>> q.log_scale[0].tolist()  # two experts of scale 1 and no prior: -log(2) / 2
    [[-0.346573..., -0.346573...]]

  References:
    Hwang et al., Multi-View Representation Learning via Total Correlation Objective, NeurIPS 2021.
  """
  check_range(0.0, 1.0, alpha=alpha)
  check_range(low=0.0, beta=beta)

  def loss_fn(
    log_likelihood: jax.Array, kl: jax.Array, misfit: jax.Array, count: jax.Array
  ) -> jax.Array:
    share = alpha / jnp.maximum(count, 1)
    return -elbo((1 - share) * log_likelihood, (1 - alpha) * kl + share * misfit, beta=beta)

  return make_fitted_model(
    modalities,
    lambda params, observed, product: product,
    loss_fn,
    latent_dim=latent_dim,
    num_samples=num_samples,
    mask_feature=mask_feature,
    axis_name=axis_name,
  )
