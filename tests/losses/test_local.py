"""VICRegL's local criterion against loops over examples and places."""

import jax
import numpy as np
import pytest
from contract import check_kernel

from latentjax.losses.contrastive import vicregl_loss

B, P, D, G = 8, 4, 3, 2
RNG = np.random.default_rng(0)
MAPS_1, MAPS_2 = RNG.standard_normal((2, B, P, D))
PLACES_1, PLACES_2 = RNG.uniform(size=(2, B, P, 2))


def vicreg(z_1, z_2):
  loss = 25 * np.mean((z_1 - z_2) ** 2)
  for z in (z_1, z_2):
    covariance = np.cov(z.T)
    loss += 25 * np.mean(np.maximum(0, 1 - np.sqrt(np.diag(covariance) + 1e-4))) / 2
    loss += (np.sum(covariance**2) - np.sum(np.diag(covariance) ** 2)) / D
  return loss


def oracle(maps_1, maps_2, places_1, places_2, num_matches):
  total = 0.0
  for own, other, own_at, other_at in (
    (maps_1, maps_2, places_1, places_2),
    (maps_2, maps_1, places_2, places_1),
    (maps_1, maps_2, maps_1, maps_2),
    (maps_2, maps_1, maps_2, maps_1),
  ):
    left, right = [], []
    for b in range(len(own)):
      distances = np.linalg.norm(own_at[b][:, None] - other_at[b], axis=2)
      best = sorted(np.argsort(distances.min(1))[:num_matches])
      left.append(own[b][best])
      right.append(other[b][distances.argmin(1)[best]])
    left, right = np.stack(left), np.stack(right)
    total += np.mean([vicreg(left[:, g], right[:, g]) for g in range(num_matches)]) / 2
  return total


def test_local_criterion():
  args = (MAPS_1, MAPS_2, PLACES_1, PLACES_2)
  check_kernel(
    vicregl_loss,
    args,
    oracle=oracle,
    kwargs={"num_matches": G},
    batch_coupled=True,
    detached=(2, 3),
    extreme=[(0 * MAPS_1, 0 * MAPS_2, PLACES_1, PLACES_1)],
    bad_inputs=[
      ((MAPS_1.astype(int), *args[1:]), {}, TypeError, "maps_1 must be a floating point"),
      ((MAPS_1, MAPS_2[:, 1:], *args[2:]), {}, ValueError, "maps_1 and maps_2 must have the same"),
      ((*args[:2], PLACES_1[:, 1:], PLACES_2[:, 1:]), {}, ValueError, "positions must be those of"),
      (args, {"num_matches": 5}, ValueError, "num_matches must be at most 4"),
    ],
  )


def test_what_features_and_places_have_in_common_does_not_matter():
  run = jax.jit(lambda *args: vicregl_loss(*args, num_matches=G, lambda_variance=0.0))
  fine = [np.round(64 * x) / 1024 for x in (MAPS_1, MAPS_2, PLACES_1, PLACES_2)]
  moved = run(*(x + 1000 for x in fine))  # exact in float32
  np.testing.assert_allclose(moved, run(*fine), rtol=1e-4)


def test_a_crop_that_moved_matches_the_places_that_both_show():
  """The second view shows the first's places 1 and 2 as its own 0 and 1."""
  places = np.tile(np.arange(3.0)[:, None], (B, 1, 2))
  maps = 2 * RNG.standard_normal((B, 4, D))
  weights = {"lambda_variance": 0.0, "lambda_covariance": 0.0}
  args = (maps[:, :3], maps[:, 1:], places, places + 1)
  both, more = jax.jit(
    lambda *args: [vicregl_loss(*args, num_matches=num, **weights) for num in (2, 3)]
  )(*args)
  assert both == pytest.approx(0, abs=1e-5)
  assert more > 1
