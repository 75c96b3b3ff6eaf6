"""MAE and I-JEPA: what is seen and what is asked, against loops; lists of any length are the same."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.losses.masked import block_masks, random_masking, unpatchify
from latentjax.models import PatchPredictor, PatchTransformer
from latentjax.objectives import i_jepa, mae

B, SIDE, SIZE = 3, 12, 3  # 4 x 4 patches of 9 pixels
GRID, NUM_PATCHES = (4, 4), 16
KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
PATCHES = RNG.standard_normal((B, NUM_PATCHES, SIZE**2)).astype(np.float32)
IMAGE = np.asarray(unpatchify(PATCHES, image_size=(SIDE, SIDE), patch_size=SIZE))


def test_mae_encodes_what_is_visible_and_is_judged_by_what_is_hidden():
  """A decoder that knows a table of patches, given a sum of the patches that it sees."""

  def encode(params, patches, positions):
    return patches + positions[..., None]

  def predict(params, features, positions, queries):
    seen = jnp.sum(features * params["weight"], axis=(1, 2))
    return params["table"][queries] * (1 + seen[:, None, None])

  params = {"table": PATCHES[0], "weight": np.float32(0.1)}
  model = mae(encode, predict, patch_size=SIZE, mask_ratio=0.5, normalize_patches=False)
  run = jax.jit(jax.value_and_grad(model.objective, has_aux=True))
  (loss, (state, metrics)), grads = run(params, model.init_state(params), KEY, {"image": IMAGE})
  assert state == () and metrics == {} and all(np.any(g) for g in jax.tree.leaves(grads))
  sizes = {"batch_size": B, "num_patches": NUM_PATCHES, "mask_ratio": 0.5}
  mask = np.asarray(jax.jit(lambda: random_masking(KEY, **sizes).mask)())
  errors = []
  for b in range(B):
    seen = sum(0.1 * (PATCHES[b, p] + p).sum() for p in range(NUM_PATCHES) if mask[b, p])
    hidden = [p for p in range(NUM_PATCHES) if not mask[b, p]]
    errors.append(np.mean([(PATCHES[0, p] * (1 + seen) - PATCHES[b, p]) ** 2 for p in hidden]))
  np.testing.assert_allclose(loss, np.mean(errors), rtol=1e-4)


MASKS = partial(block_masks, grid=GRID, num_targets=2, target_scale=(0.2, 0.3))
SOME_MASKS = jax.tree.map(np.asarray, jax.jit(partial(MASKS, KEY, batch_size=B))())


def test_i_jepa_predicts_the_teacher():
  def encode(params, patches, positions, where=None):
    features = params["encoder"] * patches
    return features if where is None else features * where[..., None]

  def predict(params, features, positions, queries, where):
    count = where[:, : positions.shape[1]].sum(axis=1)[:, None, None]
    mean = jnp.sum(features, axis=1, keepdims=True) / count
    return params["predictor"] * mean + queries[..., None]

  params, old = ({"encoder": jnp.float32(e), "predictor": jnp.float32(0.5)} for e in (2.0, 4.0))
  model = i_jepa(
    encode, predict, MASKS, patch_size=SIZE, momentum=0.75, normalize_target=False, delta=np.inf
  )
  run = jax.jit(jax.value_and_grad(model.objective, has_aux=True))
  (loss, (state, _)), grads = run(params, model.init_state(old), KEY, {"image": IMAGE})
  losses = []
  for b in range(B):
    mean = np.mean([2 * PATCHES[b, p] for p in np.flatnonzero(SOME_MASKS.context[b])], axis=0)
    pairs = np.argwhere(SOME_MASKS.targets[b])
    losses.append(np.mean([(0.5 * mean + p - 3.5 * PATCHES[b, p]) ** 2 / 2 for _, p in pairs]))
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-4)
  np.testing.assert_allclose([*state.params.values()], [3.5, 0.5])
  assert all(np.any(g) for g in jax.tree.leaves(grads))


def test_what_fills_up_a_list_does_not_matter():
  """Transformers: lists of all patches give what lists of just those of a mask give."""
  encoder = PatchTransformer(GRID, width=8, depth=1, heads=2)
  predictor = PatchPredictor(GRID, 8, width=8, depth=1, heads=2)
  encode = lambda params, *args: encoder.apply(params["encoder"], *args)
  predict = lambda params, *args: predictor.apply(params["predictor"], *args)
  places = jnp.zeros((1, 4), jnp.int32)

  def init(key):
    features = jnp.zeros((1, 4, 8))
    return {
      "encoder": encoder.init(key, jnp.zeros((1, 4, SIZE**2)), places),
      "predictor": predictor.init(key, features, places, places),
    }

  abstract = jax.eval_shape(init, KEY)
  params = jax.tree.map(lambda a: 0.7 * RNG.standard_normal(a.shape).astype(np.float32), abstract)
  sizes = {
    "context_size": int(SOME_MASKS.context.sum(axis=1).max()),
    "target_size": int(SOME_MASKS.targets.sum(axis=2).max()),
  }
  assert max(sizes.values()) < NUM_PATCHES
  models = [i_jepa(encode, predict, MASKS, patch_size=SIZE, **kwargs) for kwargs in ({}, sizes)]

  @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
  def run(params):
    loss = lambda m: m.objective(params, m.init_state(params), KEY, {"image": IMAGE})[0]
    return [loss(m) for m in models]

  np.testing.assert_allclose(*run(params), rtol=1e-5)


def test_a_list_needs_a_patch():
  for name in ("context_size", "target_size"):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer, got 0"):
      i_jepa(None, None, MASKS, patch_size=SIZE, **{name: 0})
