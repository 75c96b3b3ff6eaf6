"""Slot probing: matchings that are known, and one level of disentanglement lost at a time."""

import numpy as np
import pytest
from contract import fast_jit
from sklearn.linear_model import Lasso

from latentjax.metrics import dci_scores, slot_probe, structured_dci

N, S, D, P, OBJ = 512, 3, 4, 2, 2
RNG = np.random.default_rng(0)
OBJECTS = RNG.standard_normal((N, OBJ, P)).astype(np.float32)
ORDER = np.argsort(RNG.uniform(size=(N, S)), axis=1)  # slot at each place before it was shuffled
MIX = RNG.standard_normal((D, D))


def shuffled(slots):
  return np.take_along_axis(slots, np.argsort(ORDER, axis=1)[:, :, None], axis=1)


def aligned():
  """The first OBJ slots hold one object each, one number for a property; the rest is noise."""
  slots = 0.3 * RNG.standard_normal((N, S, D))
  slots[:, :OBJ, :P] = OBJECTS
  return slots


def mixed():
  """Slot s holds property p of object s + p: numbers of one property, slots of two objects."""
  slots = aligned()
  slots[:, 0, 1], slots[:, 1, 1] = OBJECTS[:, 1, 1], OBJECTS[:, 0, 1]
  return slots


@pytest.fixture(scope="module")
def levels():
  @fast_jit
  def run(slots, objects):
    found = slot_probe(slots, objects)
    level = lambda level, **kwargs: structured_dci(found.importance, level=level, **kwargs)
    return found, [level("object"), level("property"), level("all")]

  return lambda slots: run(slots.astype(np.float32), OBJECTS)


def test_one_level_at_a_time(levels):
  found, (objects, properties, every) = levels(shuffled(aligned()))
  # Place i of the shuffle holds the slot whose rank ORDER put there.
  held = np.argsort(ORDER, axis=1)
  np.testing.assert_array_equal(found.permutation[:, :OBJ], np.argsort(held, axis=1)[:, :OBJ])
  assert min(*objects, *properties, *every) > 0.97 and found.informativeness > 0.99
  # Rotated inside: slots still hold one object, their numbers no longer one property.
  _, (objects, properties, _) = levels(shuffled(aligned() @ MIX))
  assert min(objects) > 0.97 and max(properties) < 0.5
  # Mixed over slots: each holds two objects, its numbers one property each.
  found, (objects, properties, _) = levels(mixed())
  assert objects.disentanglement < 0.05 and min(properties) > 0.97 and found.informativeness > 0.99
  found, (objects, _, _) = levels(np.where(np.arange(N)[:, None, None] == 5, np.nan, mixed()))
  assert np.isnan([*objects, found.informativeness]).all()


def test_the_order_of_slots_does_not_matter(levels):
  slots = aligned() @ MIX
  first, _ = levels(slots)
  second, _ = levels(shuffled(slots))
  np.testing.assert_allclose(first.importance[:OBJ], second.importance[:OBJ], atol=0.02)
  assert float(first.informativeness) == pytest.approx(float(second.informativeness), abs=1e-3)


def test_importances_are_those_of_scikit_learn(levels):
  slots = aligned() @ MIX
  found, _ = levels(slots)
  np.testing.assert_array_equal(found.permutation, np.broadcast_to(np.arange(S), (N, S)))
  standard = lambda x: (x - x.mean(0)) / x.std(0)
  x, y = standard(slots.reshape(N, -1)), standard(OBJECTS.reshape(N, -1))
  known = Lasso(alpha=0.01, tol=1e-10).fit(x, y)
  np.testing.assert_allclose(found.importance.reshape(S * D, -1), np.abs(known.coef_.T), atol=1e-3)
  assert float(found.informativeness) == pytest.approx(known.score(x, y), abs=1e-4)


def test_levels_of_a_matrix():
  r = RNG.uniform(size=(S, D, OBJ, P)).astype(np.float32)
  found, groups, expected = fast_jit(
    lambda r: (
      [structured_dci(r, level=level) for level in ("object", "property", "all")],
      [structured_dci(r, level="property", groups=groups) for groups in ((1, 0), (0, 0))],
      [dci_scores(m) for m in (r.sum((1, 3)), r.sum((0, 2)), r.reshape(S * D, -1))],
    )
  )(r)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_allclose(groups[0], expected[1], rtol=1e-5)
  np.testing.assert_allclose(groups[1].disentanglement, 1, rtol=1e-6)


@pytest.mark.parametrize(
  ("call", "error", "match"),
  [
    (lambda: slot_probe(OBJECTS[:, :1], OBJECTS), ValueError, "at least as many as objects"),
    (lambda: slot_probe(OBJECTS[0], OBJECTS), ValueError, "slots must have 3 axes"),
    (lambda: slot_probe(OBJECTS[1:], OBJECTS), ValueError, "equally many rows"),
    (lambda: slot_probe(OBJECTS, OBJECTS > 0), TypeError, "objects must be a floating point"),
    (lambda: slot_probe(OBJECTS, OBJECTS * np.nan), ValueError, "objects must be finite"),
    (lambda: slot_probe(OBJECTS, OBJECTS, num_rounds=0), ValueError, "num_rounds must be"),
    (lambda: structured_dci(OBJECTS), ValueError, "importance must have 4 axes"),
    (lambda: structured_dci(OBJECTS[None], level="slot"), ValueError, "level must be one of"),
    (lambda: structured_dci(OBJECTS[None], groups=(0, 1)), ValueError, "groups must be 2 numbers"),
  ],
)
def test_refusals(call, error, match):
  with pytest.raises(error, match=match):
    call()
