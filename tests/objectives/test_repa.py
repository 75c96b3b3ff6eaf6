"""REPA as an objective: the loss of a flow model plus the alignment of its tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax.diffusion.processes import rectified_flow
from latentjax.objectives import diffusion, repa

RNG = np.random.default_rng(0)


def test_the_objective_is_the_flow_loss_and_the_alignment():
  """Known predictions and tokens give known losses; labels are dropped; one denoiser as without."""
  x = RNG.standard_normal((8, 4)).astype(np.float32)
  process, key = rectified_flow(), jax.random.key(1)
  encode = lambda x: jnp.stack([x, -x], axis=1)
  predict = lambda params, z, t, label: (
    params["w"] * z + params["class"][label][:, None],
    jnp.stack([z, params["sign"] * z], axis=1),
  )
  params = {
    "w": jnp.float32(0.3),
    "sign": jnp.float32(-1),
    "class": jnp.arange(4, dtype=jnp.float32),
  }
  batch = {"image": x, "label": np.arange(8) % 3}
  condition = {"condition": "label", "null_condition": 3, "drop_rate": 1.0}
  model = repa(predict, encode, process=process, weight=2.0, **condition)
  exact = repa(
    lambda params, z, t, _: (x + 3.0, jnp.stack([-x, x], axis=1)),
    encode,
    process=process,
    prediction="x0",
  )
  still = lambda key, *, batch_size, axis_name=None: jnp.full(batch_size, 1e-6)

  @fast_jit
  def run(params):
    loss, (state, metrics) = model.objective(params, 7, key, batch)
    clean = repa(predict, encode, process=process, time_sampler=still, **condition).objective
    plain = diffusion(
      lambda *args: predict(*args)[0],
      process=process,
      prediction="velocity",
      time_sampler=still,
      **condition,
    )
    slope = jax.grad(lambda p: model.objective(p, 7, key, batch)[0])(params)
    denoised = model.denoise(params, x, 0.5, batch["label"])
    other = plain.denoise(params, x, 0.5, batch["label"])
    clean, known = (fn(params, (), key, batch)[1][1] for fn in (clean, exact.objective))
    return loss, state, metrics, slope, clean, known, denoised, other

  low = {"image": jnp.asarray(x, jnp.bfloat16)}
  plain = lambda params, z, t, _: (params * z, jnp.stack([z, z], axis=1))
  shape = jax.eval_shape(repa(plain, encode, process=process).objective, 0.5, (), key, low)
  assert shape[0].dtype == shape[1][1]["denoising"].dtype == jnp.float32, "summed in bfloat16"
  loss, state, metrics, slope, clean, known, denoised, other = run(params)
  assert state == 7
  np.testing.assert_allclose(loss, metrics["denoising"] + 2 * metrics["alignment"], rtol=1e-6)
  np.testing.assert_allclose([known["denoising"], known["alignment"]], [9, 1], rtol=1e-5)
  # At time 0 the tokens are the encoder's features; at others they are turned away from them.
  np.testing.assert_allclose(clean["alignment"], -1, rtol=1e-5)
  assert -1 < metrics["alignment"] < -0.2
  assert np.any(slope["class"][3]) and not np.any(slope["class"][:3]), "all labels were dropped"
  np.testing.assert_allclose(denoised, other, rtol=1e-6)


def test_bad_input():
  make = lambda **kwargs: repa(lambda *_: None, lambda x: x, process=rectified_flow(), **kwargs)
  with pytest.raises(ValueError, match="weight"):
    make(weight=-1.0)
  with pytest.raises(ValueError, match="drop_rate"):
    make(drop_rate=1.5)
  with pytest.raises(ValueError, match="prediction"):
    make(prediction="noise")
