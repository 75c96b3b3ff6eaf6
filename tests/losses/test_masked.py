"""Masks of patches by their properties, and the losses on what they hide against loops in numpy."""

from functools import partial

import jax
import numpy as np
import pytest
from contract import AXIS, check_kernel
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from latentjax.losses.masked import (
  block_masks,
  jepa_loss,
  mae_loss,
  masked_positions,
  patchify,
  random_masking,
  unpatchify,
)

B, M, NUM_PATCHES, D = 8, 2, 5, 3
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PREDICTION, TARGET = RNG.standard_normal((2, B, NUM_PATCHES, D))
FEATURES, TEACHER = RNG.standard_normal((2, B, M, NUM_PATCHES, D)) * 2
VISIBLE = RNG.random((B, NUM_PATCHES)) < 0.4
VISIBLE[0], VISIBLE[1] = True, False
WHERE = RNG.random((B, M, NUM_PATCHES)) < 0.6


def losses(prediction, target, features, teacher, visible=VISIBLE, where=WHERE):
  return {
    "jepa": jepa_loss(features, teacher, where=where),
    "mae": mae_loss(prediction, target, mask=visible),
    "mae_all": mae_loss(prediction, target, normalize_patches=False),
    "squared": jepa_loss(features, teacher, normalize_target=False, delta=np.inf),
  }


def oracle(prediction, target, features, teacher):
  mae, jepa = np.zeros(B), np.zeros(B)
  for b in range(B):
    hidden = [p for p in range(NUM_PATCHES) if not VISIBLE[b, p]]
    for p in hidden:
      x = target[b, p]
      unit = (x - x.mean()) / np.sqrt(x.var(ddof=1) + 1e-6)
      mae[b] += np.mean((prediction[b, p] - unit) ** 2) / len(hidden)
    for m, p in zip(*np.nonzero(WHERE[b])):
      x = teacher[b, m, p]
      for e in np.abs(features[b, m, p] - (x - x.mean()) / np.sqrt(x.var() + 1e-5)):
        jepa[b] += (e**2 / 2 if e < 1 else e - 0.5) / D / WHERE[b].sum()
  return {
    "jepa": jepa,
    "mae": mae,
    "mae_all": np.mean((prediction - target) ** 2, axis=(1, 2)),
    "squared": np.mean((features - teacher) ** 2, axis=(1, 2, 3)) / 2,
  }


def test_losses():
  args = (PREDICTION, TARGET, FEATURES, TEACHER)
  check_kernel(
    lambda *args: losses(*args[:4], visible=args[4], where=args[5]),
    (*args, VISIBLE, WHERE),
    oracle=lambda *args: oracle(*args[:4]),
    detached=(1, 3),
    extreme=[(1e4 * PREDICTION, 0 * TARGET, -1e4 * FEATURES, 0 * TEACHER, VISIBLE, WHERE)],
    bad_inputs=[
      ((PREDICTION, TARGET, FEATURES, TEACHER[:, 0], VISIBLE, WHERE), {}, ValueError, "same shape"),
      ((PREDICTION, TARGET[:3], *args[2:], VISIBLE, WHERE), {}, ValueError, "same shape"),
      ((*args, VISIBLE.astype(int), WHERE), {}, TypeError, "mask must be boolean"),
      ((*args, VISIBLE, WHERE[:, 0]), {}, ValueError, "where must have shape \\(8, 2, 5\\)"),
    ],
  )


def test_nothing_hidden_costs_nothing():
  np.testing.assert_array_equal(mae_loss(PREDICTION[:, :0], TARGET[:, :0]), np.zeros(B))


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(mae_loss, PREDICTION[..., :1], TARGET[..., :1]), "at least 2 entries"),
    (partial(mae_loss, PREDICTION, TARGET, eps=0.0), "eps must be in"),
    (partial(jepa_loss, PREDICTION[0, 0], TARGET[0, 0]), "must have shape \\(B, ..., D\\)"),
    (partial(jepa_loss, PREDICTION, TARGET, delta=-1.0), "delta must be in"),
    (partial(random_masking, KEY, batch_size=2, num_patches=4, mask_ratio=0.8), "leave one of 4"),
    (partial(random_masking, KEY, batch_size=0, num_patches=4), "batch_size must be a positive"),
    (partial(block_masks, KEY, batch_size=2, grid=(4, 4), target_scale=(0.2, 0.1)), "target_scale"),
    (partial(block_masks, KEY, batch_size=2, grid=(4, 4), target_aspect=(0, 1)), "target_aspect"),
    (partial(masked_positions, WHERE, size=9), "size must be at most the 5 patches"),
    (partial(patchify, PREDICTION[None], patch_size=2), "patch_size must divide"),
    (partial(unpatchify, PREDICTION, image_size=(4, 4), patch_size=2), "patches must have shape"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_patches_and_back():
  image = RNG.standard_normal((2, 6, 9, 2))
  patches = np.asarray(patchify(image, patch_size=3))
  np.testing.assert_array_equal(patches[1, 4].reshape(3, 3, 2), image[1, 3:6, 3:6].astype("f"))
  np.testing.assert_array_equal(
    unpatchify(patches, image_size=(6, 9), patch_size=3), image.astype("f")
  )


GRID, MANY = (5, 7), 512


def draw(batch_size, axis_name=None):
  run = {"batch_size": batch_size, "axis_name": axis_name}
  blocks = block_masks(KEY, grid=GRID, num_targets=3, min_context=2, **run)
  return random_masking(KEY, num_patches=10, mask_ratio=0.7, **run), blocks


def test_masks():
  """Over four devices the masks are those of one device; then what they are."""
  mesh = Mesh(np.array(jax.devices()[:4]), (AXIS,))
  split = jax.shard_map(lambda: draw(MANY // 4, AXIS), mesh=mesh, in_specs=(), out_specs=P(AXIS))
  whole = {"target_scale": (1.0, 1.0), "target_aspect": (1.0, 1.0), "context_scale": (1.0, 1.0)}
  everything = lambda: block_masks(KEY, batch_size=2, grid=(3, 3), num_targets=2, **whole)
  here, there, full = jax.jit(lambda: (draw(MANY), split(), everything()))()
  jax.tree.map(np.testing.assert_array_equal, here, there)
  masking, blocks = jax.tree.map(np.asarray, here)

  assert masking.visible.shape == (MANY, 3)
  order = np.concatenate([masking.visible, masking.hidden], axis=1)
  np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(10), (MANY, 1)))
  assert np.take_along_axis(masking.mask, masking.visible, axis=1).all()
  assert (masking.mask.sum(axis=1) == 3).all()
  assert np.abs(masking.mask.mean(axis=0) - 0.3).max() < 5 * np.sqrt(0.21 / MANY)

  contexts, targets = blocks.context.reshape(MANY, *GRID), blocks.targets.reshape(MANY, 3, *GRID)
  sizes, corners = set(), set()
  for target in targets.reshape(-1, *GRID):
    rows, columns = np.flatnonzero(target.any(axis=1)), np.flatnonzero(target.any(axis=0))
    size = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert target.sum() == size[0] * size[1]  # a full rectangle
    sizes.add(tuple(map(int, size)))
    corners.add((int(rows[0]), int(columns[0])))
  # 5 to 7 patches with h / w from 0.75 to 1.5: the roots lie between 1.8 and 3.2.
  assert sizes == {(2, 2), (2, 3), (3, 2)} and len(corners) == 4 * 6
  assert not (contexts & targets.any(axis=1)).any()
  assert (contexts.sum(axis=(1, 2)) >= 2).all()
  # The context block has 29 to 34 patches: 5 x 5 to 5 x 6 of them, within the grid.
  rest = contexts | targets.any(axis=1)
  assert (rest.sum(axis=(1, 2)) >= 25).all()
  assert full.targets.all() and full.context.all()  # targets give way to the least context


def test_positions_of_a_mask():
  mask = np.array([[False, True, True, False], [True, False, False, True]])
  positions, where = jax.jit(partial(masked_positions, size=3))(mask)
  np.testing.assert_array_equal(positions[:, :2], [[1, 2], [0, 3]])
  np.testing.assert_array_equal(where, [[True, True, False]] * 2)
