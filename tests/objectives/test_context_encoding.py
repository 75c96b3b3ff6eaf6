"""Context encoding: the corruption's law, the map of anomalies, and the objective's two branches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import stats

from latentjax.augment import random_squares
from latentjax.densities import laplace
from latentjax.losses.elbo import anomaly_map
from latentjax.objectives import context_encoding_vae, vae

B, H, W, C, Z = 8, 6, 5, 2, 3
RNG = np.random.default_rng(0)
X, X_HAT = RNG.uniform(size=(2, B, H, W, C)).astype(np.float32)


def blurred(x, x_hat, smoothing):
  """Weighted means over all pixels, one pixel at a time."""
  error = np.abs(x - x_hat).sum(-1)
  i, j = np.mgrid[:H, :W]
  out = np.zeros_like(error)
  for row, column in np.ndindex(H, W):
    weights = stats.norm.pdf(np.hypot(i - row, j - column), scale=smoothing)
    out[:, row, column] = (error * weights).sum((1, 2)) / weights.sum()
  return out


def test_anomaly_map():
  check_kernel(
    anomaly_map,
    (X, X_HAT),
    kwargs={"smoothing": 0.8},
    oracle=blurred,
    extreme=[(1e6 * X, X_HAT)],
    bad_inputs=[
      ((X, X_HAT.astype(int)), {}, TypeError, "x_hat must be a floating point"),
      ((X, X_HAT[:, :2]), {}, ValueError, "x and x_hat must have the same shape"),
      ((X, X_HAT), {"smoothing": -1.0}, ValueError, "smoothing must be in"),
    ],
  )
  np.testing.assert_allclose(anomaly_map(X, X_HAT), np.abs(X - X_HAT).sum(-1), rtol=1e-6)


def test_random_squares():
  image = jnp.full((H, W, C), 9.0)
  one = jax.jit(jax.vmap(lambda key: random_squares(key, image, num_squares=1, max_size=3)))
  changed = np.asarray(one(jax.random.split(jax.random.key(0), 2000)))
  covered = (changed != 9.0).all(-1)
  sizes = covered.sum((1, 2))
  assert set(sizes) == {0, 1, 4, 9}
  np.testing.assert_allclose(np.bincount(sizes)[[0, 1, 4, 9]], 500, atol=120)
  # Every place of a 3 x 3 square is as likely: the corner is covered in 1 of 4 * 3 of them.
  np.testing.assert_allclose(covered[sizes == 9][:, 0, 0].mean(), 1 / 12, atol=0.05)
  values = changed[covered]
  assert (values >= 0).all() and (values <= 1).all() and (values[:, 0] == values[:, 1]).all()
  for kwargs, error, match in (
    ({"max_size": 6}, ValueError, "max_size must be at most 5, got 6"),
    ({"num_squares": 0}, ValueError, "num_squares must be a positive integer"),
  ):
    with pytest.raises(error, match=match):
      random_squares(jax.random.key(0), image, **kwargs)


PARAMS = {
  "encoder": RNG.standard_normal((H * W * C, Z)).astype(np.float32) / 8,
  "spread": np.float32(-1),
  "decoder": RNG.standard_normal((Z, H * W * C)).astype(np.float32),
}


def encode_fn(params, x):
  mean = x.reshape(len(x), -1) @ params["encoder"]
  return mean, jnp.full_like(mean, params["spread"])


def decode_fn(params, z):
  return (z @ params["decoder"]).reshape(-1, H, W, C), jnp.zeros(())


@jax.jit
def run(key, weight):
  """With half the image in place of the corrupted one."""
  corrupt_fn = lambda key, image: 0.5 * image
  model = context_encoding_vae(
    encode_fn, decode_fn, latent_dim=Z, context_weight=weight, corrupt_fn=corrupt_fn
  )
  return jax.value_and_grad(model.objective, has_aux=True)(PARAMS, (), key, {"image": X})


def test_the_branches(key):
  plain = vae(encode_fn, decode_fn, latent_dim=Z, likelihood=laplace)
  expected, _ = jax.jit(plain.objective)(PARAMS, (), key, {"image": X})
  (loss, _), grads = run(key, 0.0)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert grads["spread"] != 0
  (loss, (_, metrics)), grads = run(key, 1.0)
  x_hat = (0.5 * X.reshape(B, -1) @ PARAMS["encoder"]) @ PARAMS["decoder"]
  log_p = stats.laplace.logpdf(X.reshape(B, -1), x_hat).sum(1).mean()
  np.testing.assert_allclose(loss, -log_p, rtol=1e-5)
  np.testing.assert_allclose(metrics["context_log_likelihood"], log_p, rtol=1e-5)
  assert grads["spread"] == 0 and np.any(grads["encoder"]) and np.any(grads["decoder"])


def test_rows_are_corrupted_alike_however_the_batch_is_split(key):
  make = partial(context_encoding_vae, encode_fn, decode_fn, latent_dim=Z, axis_name="devices")
  shift = make(corrupt_fn=lambda key, image: image + jax.random.normal(key))
  local = lambda x: shift.objective(PARAMS, (), key, {"image": x})[1][1]
  run = jax.jit(lambda x: jax.vmap(local, axis_name="devices")(x)["context_log_likelihood"])
  split, whole = (run(X.reshape(n, B // n, H, W, C)) for n in (2, 1))
  np.testing.assert_allclose(split.mean(), whole[0], rtol=1e-5)
  assert abs(split[0] - split[1]) > 1
  squares = context_encoding_vae(encode_fn, decode_fn, latent_dim=Z)
  assert jax.eval_shape(squares.objective, PARAMS, (), key, {"image": X})[0].shape == ()


def test_bad_arguments():
  with pytest.raises(ValueError, match="context_weight must be in"):
    context_encoding_vae(encode_fn, decode_fn, latent_dim=Z, context_weight=1.5)
