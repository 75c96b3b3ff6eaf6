"""Diffusion as an objective: on Gaussian data the best linear network is the exact denoiser."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import AXIS, fast_jit

from latentjax.diffusion.processes import trigonometric
from latentjax.losses.score import denoising_loss, edm_weight
from latentjax.objectives import diffusion, drop_condition

B, D, CLASSES = 16, 3, 4
KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
BATCH = {
  "x": RNG.standard_normal((B, D)).astype(np.float32),
  "label": RNG.integers(0, CLASSES, B).astype(np.int32),
}
PARAMS = {
  "w": RNG.standard_normal((D, D)).astype(np.float32),
  "class": RNG.standard_normal((CLASSES + 1, D)).astype(np.float32),
}


def predict(params, z, t, condition):
  out = z @ params["w"] * (1 + t)[:, None]
  return out if condition is None else out + params["class"][condition]


def model(**kwargs):
  return diffusion(predict, process=trigonometric(), feature="x", **kwargs)


def test_without_a_condition_it_is_the_mean_of_the_loss():
  objective = model(weighting=edm_weight, prediction="x0").objective

  @fast_jit
  def both(key, x):
    _, key_loss = jax.random.split(key)
    given = {"process": trigonometric(), "prediction": "x0", "weighting": edm_weight}
    per_row = denoising_loss(key_loss, lambda z, t: predict(PARAMS, z, t, None), x, **given)
    return objective(PARAMS, 7, key, {"x": x}), per_row

  (loss, (state, metrics)), per_row = both(KEY, BATCH["x"])
  np.testing.assert_allclose(loss, np.mean(per_row) / D, rtol=1e-5)
  assert state == 7 and metrics == {}


def test_dropped_conditions_train_the_null_class():
  grad = lambda **kwargs: jax.device_get(
    fast_jit(jax.grad(model(condition="label", **kwargs).objective, has_aux=True))(
      PARAMS, (), KEY, BATCH
    )
  )[0]["class"]
  seen = np.isin(np.arange(CLASSES + 1), BATCH["label"])
  rows = lambda g: np.abs(g).max(axis=1) > 0
  np.testing.assert_array_equal(rows(grad()), seen)
  only_null = np.arange(CLASSES + 1) == CLASSES
  np.testing.assert_array_equal(rows(grad(null_condition=CLASSES, drop_rate=1.0)), only_null)
  some = rows(grad(null_condition=CLASSES, drop_rate=0.3))
  assert some[CLASSES] and some[:CLASSES].any()


def test_a_share_of_the_rows_is_dropped():
  condition = np.ones((10_000, 2), np.float32)
  dropped = np.asarray(drop_condition(KEY, condition, np.zeros(2), rate=0.3))
  assert abs(1 - dropped[:, 0].mean() - 0.3) < 0.02
  np.testing.assert_array_equal(dropped[:, 0], dropped[:, 1])
  with pytest.raises(ValueError, match="rate"):
    drop_condition(KEY, condition, np.zeros(2), rate=1.5)


def test_denoise_is_the_data_that_the_prediction_stands_for():
  # Standard normal data: v of the trigonometric process is 0, and the denoiser is alpha x_t.
  zero = jax.tree.map(np.zeros_like, PARAMS)
  denoise = fast_jit(model().denoise)
  for t in (0.25, np.linspace(0, 1, B, dtype=np.float32)):
    alpha = np.cos(np.pi * np.broadcast_to(t, B) / 2)[:, None]
    np.testing.assert_allclose(denoise(zero, BATCH["x"], t), alpha * BATCH["x"], atol=1e-6)


def test_devices_do_not_change_the_loss():
  whole = fast_jit(model(condition="label", null_condition=CLASSES, drop_rate=0.5).objective)
  split = model(condition="label", null_condition=CLASSES, drop_rate=0.5, axis_name=AXIS).objective
  mesh = jax.make_mesh((4,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec

  @fast_jit
  @partial(jax.shard_map, mesh=mesh, in_specs=(spec(), spec(), spec(AXIS)), out_specs=spec())
  def on_devices(params, key, batch):
    return jax.lax.pmean(split(params, (), key, batch)[0], AXIS)

  np.testing.assert_allclose(
    on_devices(PARAMS, KEY, BATCH), whole(PARAMS, (), KEY, BATCH)[0], rtol=1e-5
  )


def test_bad_input():
  with pytest.raises(ValueError, match="drop_rate"):
    model(drop_rate=2.0)
  with pytest.raises(ValueError, match="prediction"):
    model(prediction="noise")
  with pytest.raises(KeyError, match="label"):
    model(condition="label").objective(PARAMS, (), KEY, {"x": jnp.ones((2, D))})
