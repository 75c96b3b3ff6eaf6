"""Every contrastive loss of two views at batch 2, on identical rows, at a low temperature, in bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax.losses import contrastive as c

D = 4
RNG = np.random.default_rng(0)
PAIR = [row / np.linalg.norm(row, axis=1, keepdims=True) for row in RNG.standard_normal((2, 2, D))]
SAME = [np.tile(PAIR[0][:1], (2, 1))] * 2
LABELS = np.array([0, 0])
SUPPORT = jnp.asarray(RNG.standard_normal((3, D)))


def losses(x, y, temperature):
  """All of them as scalars; those without a temperature do not depend on it."""
  tau, z = {"temperature": temperature}, jnp.stack([x, y])
  image_text = {"logit_scale": 1 / temperature}
  return {
    "info_nce": c.info_nce(x, y, **tau),
    "nt_xent": c.nt_xent(x, y, **tau),
    "dcl": c.dcl_loss(x, y, **tau),
    "dclw": c.dcl_loss(x, y, weight_temperature=0.5, **tau),
    "clip": c.clip_loss(x, y, **image_text),
    "siglip": c.siglip_loss(x, y, logit_bias=0.0, **image_text),
    "sup_con": c.sup_con(x, LABELS, **tau),
    "moco": c.moco_loss(x, y, SUPPORT, **tau),
    "nnclr": c.nnclr_loss(x, y, y, x, SUPPORT, **tau),
    "msn": c.msn_loss(z[:1], y, **tau),
    "swav": c.swav_loss(z, **tau),
    "dino": c.dino_loss(z, z, jnp.zeros(D), student_temperature=temperature),
    "align": c.alignment(x, y),
    "uniformity": c.uniformity(x),
    "spectral": c.spectral_contrastive_loss(x, y),
    "byol": c.byol_loss(x, y, y, x),
    "simsiam": c.simsiam_loss(x, y, y, x),
    "barlow": c.barlow_twins_loss(x, y),
    "vicreg": c.vicreg_loss(x, y),
    "w_mse": c.w_mse_loss(x, y),
    "tico": c.tico_loss(x, y, jnp.zeros((D, D)))[0],
    "frossl": c.frossl_loss(z),
    "mmcr": c.mmcr_loss(z, lambda_local=0.1),
    "vne": c.von_neumann_entropy(x),
    "koleo": c.koleo_loss(x),
    "sigreg": c.sigreg_loss(jax.random.key(0), x, num_slices=4),
    "vicregl": c.vicregl_loss(z, z, z, z, num_matches=2),
  }


@fast_jit
def values_and_grads(x, y, temperature):
  """Means, and the gradient of their sum by either view and by the temperature."""

  def total(*args):
    means = {name: jnp.mean(value) for name, value in losses(*args).items()}
    return sum(means.values()), means

  return jax.grad(total, argnums=(0, 1, 2), has_aux=True)(x, y, temperature)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_batch_of_two(dtype):
  for rows in (PAIR, SAME):
    for temperature in (1.0, 1e-3):
      x, y = (jnp.asarray(view, dtype) for view in rows)
      grads, values = values_and_grads(x, y, jnp.float32(temperature))
      bad = [name for name, value in values.items() if not np.isfinite(value)]
      assert not bad, (temperature, bad)
      assert all(np.isfinite(grad.astype(np.float32)).all() for grad in grads), temperature
      if rows is SAME:
        expected = {"info_nce": np.log(2), "nt_xent": np.log(3), "clip": np.log(2)}
        expected |= {"dcl": np.log(2), "sup_con": 0.0, "align": 0.0, "uniformity": 0.0, "vne": 0.0}
        expected |= {"barlow": D, "w_mse": 2.0, "simsiam": -1.0, "byol": 0.0}
        found = [values[name] for name in expected]
        np.testing.assert_allclose(found, list(expected.values()), atol=1e-4, err_msg=str(values))
