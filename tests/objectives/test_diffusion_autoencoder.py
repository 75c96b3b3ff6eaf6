"""Diffusion autoencoders on linear maps: losses and gradients by hand, what is detached, devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit

from latentjax.diffusion import samplers
from latentjax.diffusion.processes import trigonometric
from latentjax.diffusion.shifted import shifted_sampler
from latentjax.objectives import diffuse_vae, info_diffusion, swycc

B, D, Z = 16, 5, 2
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
BATCH = {"x": RNG.standard_normal((B, D)).astype(np.float32)}
PARAMS = {
  "encoder": RNG.standard_normal((D, Z)).astype(np.float32),
  "decoder": RNG.standard_normal((Z, D)).astype(np.float32),
  "w": np.float32(0.7),
}
SETTINGS = {"process": trigonometric(), "prediction": "x0", "feature": "x"}
LOG_SCALE = -0.3

encode = lambda params, x: x @ params["encoder"]
decode = lambda params, z: z @ params["decoder"]
posterior = lambda params, x: (encode(params, x), jnp.full((len(x), Z), LOG_SCALE))
given = lambda params, z_t, t, c: params["w"] * c  # data as they are given: no noise in the loss


def run(model, **kwargs):
  grad = fast_jit(jax.value_and_grad(model.objective, has_aux=True))
  (loss, (state, metrics)), grads = grad(PARAMS, 7, KEY, BATCH)
  assert state == 7
  return loss, metrics, grads


def by_hand(weight, share):
  """share |x - w x_hat|^2 / D + weight |x - x_hat|^2 / D, and gradients, in float64."""
  x, encoder, decoder = (a.astype(float) for a in (BATCH["x"], *list(PARAMS.values())[:2]))
  w = float(PARAMS["w"]) * share
  z = x @ encoder
  x_hat = z @ decoder
  denoised, plain = w * x_hat - x, x_hat - x
  back = 2 * (w * denoised + weight * plain) / (B * D)
  grads = {
    "encoder": x.T @ back @ decoder.T,
    "decoder": z.T @ back,
    "w": 2 * share * np.sum(denoised * x_hat) / (B * D),
  }
  return np.mean(denoised**2), np.mean(plain**2), grads


@pytest.mark.parametrize(("drop_rate", "share"), [(0.0, 1.0), (1.0, 0.0)])
def test_swycc_trains_the_encoder_by_both_terms(drop_rate, share):
  model = swycc(encode, decode, given, init_weight=0.4, drop_rate=drop_rate, **SETTINGS)
  loss, metrics, grads = run(model)
  denoising, distortion, expected = by_hand(0.4, share)
  np.testing.assert_allclose(loss, denoising + 0.4 * distortion, rtol=1e-5)
  np.testing.assert_allclose(metrics["denoising"], denoising, rtol=1e-5)
  np.testing.assert_allclose(metrics["distortion"], distortion, rtol=1e-5)
  for name, grad in grads.items():
    np.testing.assert_allclose(grad, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_info_diffusion_weighs_its_terms():
  """The divergence in closed form, and all weights, with a discrepancy that is measured elsewhere."""
  zero = lambda params, z_t, t, z: 0 * z_t
  loss, metrics, _ = run(info_diffusion(posterior, zero, zeta=0.3, reg_weight=2.0, **SETTINGS))
  mean = BATCH["x"].astype(float) @ PARAMS["encoder"]
  kl = np.mean(np.sum(0.5 * (mean**2 + np.exp(2 * LOG_SCALE) - 1) - LOG_SCALE, axis=1))
  np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
  expected = np.mean(BATCH["x"] ** 2) + 0.7 * kl + 1.3 * metrics["mmd"]
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_the_discrepancy_is_from_the_prior_and_the_code_is_drawn():
  x = np.asarray(jax.random.normal(KEY, (2000, Z)))
  shifts = jnp.array([0.0, 2.0])

  @fast_jit
  def metrics(shift):
    wide = lambda params, x: (0 * x + params, jnp.zeros_like(x))
    model = info_diffusion(wide, lambda p, z_t, t, z: z, **SETTINGS)
    return model.objective(shift, (), KEY, {"x": x})[1][1]

  near, far = (jax.tree.map(float, metrics(shift)) for shift in shifts)
  assert abs(near["mmd"]) < 0.01 < 0.3 < far["mmd"]
  # z ~ N(0, 1), independent of x: the error is 1 + E[x^2]; a z that was not drawn would leave E[x^2].
  assert abs(near["denoising"] - 1 - np.mean(x**2)) < 0.2


def test_diffuse_vae_learns_nothing_of_the_vae():
  reconstruct = lambda params, key, x: decode(params, encode(params, x))
  shrunk = lambda params, z_t, t, c: params["w"] * (z_t + c)
  seen = lambda params, z_t, t, c: params["w"] * z_t
  first = run(diffuse_vae(reconstruct, shrunk, **SETTINGS))
  second = run(diffuse_vae(reconstruct, seen, formulation=2, **SETTINGS))
  for loss, metrics, grads in (first, second):
    assert grads["w"] != 0 and not grads["encoder"].any() and not grads["decoder"].any()
    np.testing.assert_allclose(metrics["distortion"], by_hand(0.0, 1.0)[1], rtol=1e-5)
    np.testing.assert_allclose(loss, metrics["denoising"], rtol=1e-6)
  # Noise around the reconstruction: the second sees z_t + x_hat.
  np.testing.assert_allclose(second[0], first[0], rtol=1e-5)
  np.testing.assert_allclose(second[2]["w"], first[2]["w"], rtol=1e-4)


def test_both_formulations_sample_the_same():
  """With networks that differ by the shift alone."""
  x_hat, noise = BATCH["x"], jax.random.normal(KEY, (B, D))
  make = partial(diffuse_vae, lambda params, key, x: x, **SETTINGS)
  first = make(lambda params, z_t, t, c: 0.5 * z_t + 0.3 * c)
  second = make(lambda params, z_t, t, c: 0.5 * (z_t - c) + 0.3 * c, formulation=2)
  times = {"process": trigonometric(), "times": jnp.linspace(1.0, 0.0, 6)}

  @fast_jit
  def sample(noise):
    one = samplers.ddpm(KEY, lambda z, t: first.denoise((), z, t, x_hat), noise, **times)
    shifted = shifted_sampler(samplers.ddpm, x_hat)
    return one, shifted(KEY, lambda z, t: second.denoise((), z, t, x_hat), noise + x_hat, **times)

  one, other = sample(noise)
  np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
  with pytest.raises(ValueError, match="formulation must be 1 or 2"):
    make(given, formulation=3)


def test_devices_do_not_change_the_loss():
  predict = lambda params, z_t, t, z: z_t * params["w"] + z @ params["decoder"]
  make = partial(info_diffusion, posterior, predict, zeta=0.5, reg_weight=3.0, drop_rate=0.3)
  whole, split = make(**SETTINGS).objective, make(axis_name=AXIS, **SETTINGS).objective
  mesh = jax.make_mesh((4,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec

  @fast_jit
  @partial(jax.shard_map, mesh=mesh, in_specs=(spec(), spec(), spec(AXIS)), out_specs=spec())
  def on_devices(params, key, batch):
    return jax.lax.pmean(split(params, (), key, batch)[0], AXIS)

  expected = fast_jit(whole)(PARAMS, (), KEY, BATCH)[0]
  np.testing.assert_allclose(on_devices(PARAMS, KEY, BATCH), expected, rtol=1e-5)


def test_bad_input():
  for call, message in [
    (lambda: info_diffusion(posterior, given, zeta=1.5, **SETTINGS), "zeta must be in"),
    (lambda: info_diffusion(posterior, given, reg_weight=-1.0, **SETTINGS), "reg_weight must be"),
    (lambda: swycc(encode, decode, given, drop_rate=2.0, **SETTINGS), "drop_rate must be in"),
    (
      lambda: swycc(encode, lambda p, z: z, given, **SETTINGS).objective(PARAMS, (), KEY, BATCH),
      "x and x_hat must have the same shape",
    ),
  ]:
    with pytest.raises(ValueError, match=message):
      call()
