"""SIE: the loss of the views' embeddings, and which part the transform reaches."""

import jax
import numpy as np

from latentjax.losses.contrastive import hyper_linear, sie_loss
from latentjax.objectives import sie

B, F, D, E, G = 6, 3, 5, 2, 2
RNG = np.random.default_rng(0)


def test_a_step():
  draw = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
  params = {"embed": draw(F, D), "predictor": draw(G, E, E)}
  batch = {"a": draw(B, F), "b": draw(B, F), "g": draw(B, G)}
  model = sie(
    lambda params, x: x @ params["embed"],
    lambda params, z, g: hyper_linear(z, g, params["predictor"]),
    num_equivariant=E,
    lambda_covariance=2.0,
    features=("a", "b"),
    transform="g",
  )

  @jax.jit
  def run(params):
    z = [batch[name] @ params["embed"] for name in "ab"]
    prediction = hyper_linear(z[0][:, D - E :], batch["g"], params["predictor"])
    expected = sie_loss(*z, prediction, lambda_covariance=2.0)
    args = (params, model.init_state(params), jax.random.key(0), batch)
    return jax.value_and_grad(model.objective, has_aux=True)(*args), expected

  ((loss, (state, metrics)), grads), expected = run(params)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  assert state == () and metrics == {}
  assert all(np.any(grad, axis=0).all() for grad in grads.values())
