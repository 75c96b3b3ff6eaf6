"""A diffusion model that refines the reconstructions and samples of a trained VAE."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_same_shape
from latentjax.diffusion.processes import Process
from latentjax.losses.score import TimeSampler, WeightFn, antithetic_times
from latentjax.objectives.diffusion import ConditionedFn, DiffusionModel
from latentjax.objectives.diffusion_autoencoder import diffusion_autoencoder
from latentjax.objectives.latent_model import Metrics, Params

__all__ = ["diffuse_vae"]


def diffuse_vae(
  reconstruct_fn: Callable[[Params, jax.Array, jax.Array], jax.Array],
  predict_fn: ConditionedFn,
  *,
  process: Process,
  formulation: int = 1,
  prediction: str = "v",
  weighting: WeightFn | None = None,
  time_sampler: TimeSampler = antithetic_times,
  feature: str = "image",
  drop_rate: float = 0.0,
  axis_name: str | None = None,
) -> DiffusionModel:
  r"""DiffuseVAE, second stage: denoising given the reconstruction of a VAE that learns no more.

  .. math::

    E[w \, \|p - \hat p(z_t, t, \hat x)\|^2] / D, \qquad z_t = \alpha_t x + \sigma_t \epsilon \;\; (1), \quad
    z_t = \alpha_t x + \hat x + \sigma_t \epsilon \;\; (2)

  In formulation 1 the reconstruction only is a condition; in 2 the noise is around it (`shifted_noised`),
  and predictions are those of the process without the shift. A network that is given x_hat can take it
  off, so the two differ in what it sees, not in what it can learn. To generate, draw z from the VAE's
  prior (or a density of its codes), let x_hat be its decoder's mean, and sample with that as the
  condition: from N(0, I) in formulation 1; in 2 with `shifted_sampler(sampler, x_hat)` from N(x_hat, I).

  Args:
    reconstruct_fn: `(params, key, x) -> x_hat`, the shape of x; detached. The VAE's parameters can be its own
      or a part of params.
    predict_fn: `(params, z_t, t, x_hat) -> prediction`.
    process: alpha, sigma and log_snr.
    formulation: 1 or 2.
    prediction: see `diffusion_autoencoder`.
    weighting: see `diffusion_autoencoder`.
    time_sampler: see `diffusion_autoencoder`.
    feature: see `diffusion_autoencoder`.
    drop_rate: share of the rows that are denoised with zeros in the place of x_hat, and no shift.
    axis_name: see `diffusion_autoencoder`.

  Returns:
    DiffusionModel, whose denoise takes x_hat as its condition, and in formulation 2 the shifted z_t.
    Metrics: denoising and the VAE's distortion, a mean over examples and entries.

  Raises:
    KeyError: if a batch lacks the feature.
    ValueError: if formulation is not 1 or 2, drop_rate is out of [0, 1], prediction is unknown, or a shape
      does not fit.

  References:
    Pandey et al., DiffuseVAE: Efficient, Controllable and High-Fidelity Generation from
      Low-Dimensional Latents, 2022. arXiv:2201.00308
  """
  if formulation not in (1, 2):
    raise ValueError(f"formulation must be 1 or 2, got {formulation!r}")

  def condition_fn(
    params: Params, key: jax.Array, x: jax.Array
  ) -> tuple[jax.Array, float, Metrics]:
    x_hat = jax.lax.stop_gradient(reconstruct_fn(params, key, x))
    check_same_shape(x=x, x_hat=x_hat)
    return x_hat, 0.0, {"distortion": jnp.square(x - x_hat)}

  def predict_shifted(params: Params, y_t: jax.Array, t: jax.Array, x_hat: Any) -> jax.Array:
    return predict_fn(params, y_t + x_hat, t, x_hat)

  model = diffusion_autoencoder(
    condition_fn,
    predict_fn if formulation == 1 else predict_shifted,
    process=process,
    prediction=prediction,
    weighting=weighting,
    time_sampler=time_sampler,
    feature=feature,
    drop_rate=drop_rate,
    axis_name=axis_name,
  )
  if formulation == 1:
    return model

  def denoise(params: Params, x_t: jax.Array, t: ArrayLike, x_hat: jax.Array) -> jax.Array:
    return model.denoise(params, x_t - x_hat, t, x_hat)

  return model._replace(denoise=denoise)
