"""SepCLR's terms against loops over pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel, fast_jit
from split import check_split

from latentjax.losses.contrastive import (
  cross_uniformity,
  joint_entropy_loss,
  sepclr_terms,
  uniformity,
)

B, D, E = 8, 3, 2
RNG = np.random.default_rng(0)
COMMON, SALIENT = RNG.standard_normal((2, B, D)), RNG.standard_normal((2, B, E))
TARGET = np.array([1, 0, 1, 1, 0, 0, 1, 0], bool)
TAU = 0.7


def squared(a, b):
  return sum((x - y) ** 2 for x, y in zip(a, b))


def joint_oracle(c, s, temperature=TAU, **_):
  kernel = lambda i, j: np.exp(-(squared(c[i], c[j]) + squared(s[i], s[j])) / (2 * temperature))
  rows = range(len(c))
  return np.array([np.log(np.mean([kernel(i, j) for j in rows])) for i in rows])


def test_joint_entropy_loss():
  far = 1e3 * COMMON[0], 1e3 * SALIENT[0]
  check_kernel(
    joint_entropy_loss,
    (COMMON[0], SALIENT[0]),
    kwargs={"temperature": TAU, "block_size": 3},
    oracle=joint_oracle,
    batch_coupled=True,
    extreme=[far, (0 * COMMON[0], 0 * SALIENT[0])],
    bad_inputs=[
      ((COMMON[0].astype(int), SALIENT[0]), {}, TypeError, "common must be a floating point"),
      ((COMMON[0], SALIENT[0, 0]), {}, ValueError, "salient must have 2 axes"),
      ((COMMON[0], SALIENT[0, :5]), {}, ValueError, "common and salient must have as many rows"),
      ((COMMON[0], SALIENT[0]), {"temperature": 0.0}, ValueError, "temperature must be in"),
      ((COMMON[0], SALIENT[0]), {"block_size": 0}, ValueError, "block_size must be a positive"),
    ],
  )


def test_distances_keep_their_digits_far_from_the_origin():
  z = np.round(1024 * COMMON[0]).astype(np.float32) / 1024  # so that the shift is exact

  def total(z):
    others = z[::-1]
    return jnp.stack(
      [
        uniformity(z),
        cross_uniformity(z, others),
        jnp.mean(joint_entropy_loss(z, others)),
      ]
    )

  measure = fast_jit(lambda z: (total(z), jax.jacrev(total)(z)))
  for near, far in zip(measure(z), measure(z + 1024)):
    np.testing.assert_allclose(far, near, rtol=1e-4, atol=1e-5)


def terms_oracle(c_1, c_2, s_1, s_2, target):
  def spread(z):
    pairs = [(i, j) for i in range(B) for j in range(i)]
    return np.log(np.mean([np.exp(-squared(z[i], z[j]) / (2 * TAU)) for i, j in pairs]))

  def apart(a, b, rows):
    return np.mean([squared(a[i], b[i]) for i in rows]) / (2 * TAU)

  of_target, of_background = np.flatnonzero(target), np.flatnonzero(target == 0)
  hats = [np.array([row * kind for row, kind in zip(s, target)]) for s in (s_1, s_2)]
  return {
    "common": apart(c_1, c_2, range(B)) + spread(c_1) + spread(c_2),
    "salient": apart(s_1, s_2, of_target) + spread(hats[0]) + spread(hats[1]),
    "background": apart(
      np.concatenate([s_1, s_2]),
      np.zeros((2 * B, E)),
      np.concatenate([of_background, of_background + B]),
    ),
    "joint": np.mean([joint_oracle(c_1, hats[0]), joint_oracle(c_2, hats[1])]),
  }


def test_sepclr_terms_on_four_devices():
  """Devices 0 and 3 have one target each, device 1 two, device 2 none."""
  target = np.array([1, 0, 1, 1, 0, 0, 1, 0], bool)

  def terms(*args, axis_name):
    return sepclr_terms(*args[:4], args[4] > 0.5, temperature=TAU, axis_name=axis_name)._asdict()

  def oracle(*args):
    return terms_oracle(*args[:4], target)

  check_split(terms, [*COMMON, *SALIENT, target.astype(float)], oracle)


def test_the_background_is_moved_by_its_own_term_alone():
  @jax.jit
  def grads(salient):
    jacobian = jax.jacrev(lambda s: sepclr_terms(*COMMON, s, SALIENT[1], TARGET))(salient)
    return {name: abs(value).sum(1) for name, value in jacobian._asdict().items()}

  moved = {name: np.asarray(grad) > 0 for name, grad in grads(SALIENT[0]).items()}
  assert not moved["common"].any()
  assert (moved["background"] == ~TARGET).all()
  assert (moved["salient"] == TARGET).all() and (moved["joint"] == TARGET).all()


@pytest.mark.parametrize(
  ("change", "exception", "match"),
  [
    ({0: COMMON[0].astype(int)}, TypeError, "common_1 must be a floating point"),
    ({3: SALIENT[1, :5]}, ValueError, "salient_1 and salient_2 must have the same shape"),
    (
      {2: SALIENT[0, :5], 3: SALIENT[1, :5]},
      ValueError,
      "common_1 and salient_1 must have as many",
    ),
    ({4: TARGET.astype(int)}, TypeError, "is_target must be boolean, got int"),
    ({4: TARGET[:5]}, ValueError, "is_target must have shape \\(8,\\), got \\(5,\\)"),
    ({"temperature": 0.0}, ValueError, "temperature must be in"),
  ],
)
def test_refused(change, exception, match):
  args = dict(enumerate((*COMMON, *SALIENT, TARGET))) | change
  settings = {k: v for k, v in args.items() if isinstance(k, str)}
  with pytest.raises(exception, match=match):
    sepclr_terms(*(args[i] for i in range(5)), **settings)
