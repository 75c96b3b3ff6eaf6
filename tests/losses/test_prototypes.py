"""Predicted targets and shared-out prototypes (BYOL, SimSiam, DINO, SwAV, MSN) against loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy.special import softmax

from latentjax.losses.contrastive import (
  byol_loss,
  dino_loss,
  msn_loss,
  simsiam_loss,
  sinkhorn_assignments,
  swav_loss,
  update_dino_centre,
)

V, T, B, K, D = 3, 2, 8, 4, 3
RNG = np.random.default_rng(0)
STUDENT, TEACHER = 0.2 * RNG.standard_normal((V, B, K)), 0.2 * RNG.standard_normal((T, B, K))
CENTRE = 0.1 * RNG.standard_normal(K)
SHARES = RNG.standard_normal(K).astype(np.float32)  # what devices share is compared as a number
PREDICTIONS, TARGETS = RNG.standard_normal((2, B, D)), RNG.standard_normal((2, B, D))


def test_siamese_losses():
  args = (*PREDICTIONS, *TARGETS)

  def oracle(q_1, q_2, z_1, z_2):
    def unit(v):
      return v / np.sqrt(np.sum(v**2, axis=1, keepdims=True))

    crossed = [(unit(q_1), unit(z_2)), (unit(q_2), unit(z_1))]
    return (
      sum(np.sum((q - z) ** 2, axis=1) for q, z in crossed),
      -np.mean([np.sum(q * z, axis=1) for q, z in crossed], axis=0),
    )

  check_kernel(
    lambda *views: (byol_loss(*views), simsiam_loss(*views)),
    args,
    oracle=oracle,
    detached=[2, 3],
    extreme=[tuple(0 * view for view in args), tuple(1e4 * view for view in args)],
    bad_inputs=[
      (
        (*PREDICTIONS, TARGETS[0].astype(int), TARGETS[1]),
        {},
        TypeError,
        "target_1 must be a floa",
      ),
      ((*PREDICTIONS, TARGETS[0], TARGETS[1, :1]), {}, ValueError, "must have the same shape"),
      ((PREDICTIONS[0, 0],) * 4, {}, ValueError, "prediction_1 must have 2 axes"),
    ],
  )
  with pytest.raises(ValueError, match="prediction_1 and prediction_2 and z_1 and z_2 must have"):
    simsiam_loss(*PREDICTIONS, TARGETS[0], TARGETS[1, :1])


def prototype_losses(student, teacher, centre, axis_name=None):
  run = {"axis_name": axis_name}
  return (
    dino_loss(student, teacher, centre),
    jnp.sum(SHARES * update_dino_centre(centre, teacher, momentum=0.7, **run)),
    sinkhorn_assignments(teacher, num_iterations=2, **run),
    swav_loss(student, **run),
    msn_loss(student, teacher[0], lambda_entropy=0.5, **run),
  )


def sinkhorn(scores, num_iterations):
  """As in the paper: rows of a K x B matrix to 1 / K, columns to 1 / B, then columns to 1."""
  q = np.exp(scores.T / 0.05)
  for _ in range(num_iterations):
    q /= q.sum(axis=1, keepdims=True) * K
    q /= q.sum(axis=0, keepdims=True) * B
  return q.T * B


def oracle(student, teacher, centre):
  def crossed(targets, log_probs):
    pairs = [(t, v) for t in range(len(targets)) for v in range(V) if v != t]
    return -np.mean([np.sum(targets[t] * log_probs[v], axis=1) for t, v in pairs], axis=0)

  log_probs = np.log(softmax(student / 0.1, axis=-1))
  assigned = np.stack([sinkhorn(view, 3) for view in student[:T]])
  mean_probs = softmax(student / 0.1, axis=-1).mean(axis=(0, 1))
  target = softmax(teacher[0] / 0.025, axis=-1)
  return (
    crossed(softmax((teacher - centre) / 0.04, axis=-1), log_probs),
    np.sum(SHARES * (0.7 * centre + 0.3 * teacher.mean(axis=(0, 1)))),
    np.stack([sinkhorn(view, 2) for view in teacher]),
    crossed(assigned, log_probs),
    -np.sum(target * log_probs.mean(0), 1) + 0.5 * np.sum(mean_probs * np.log(mean_probs)),
  )


def test_prototype_losses():
  args = (STUDENT, TEACHER, CENTRE)

  def surrogate(student, teacher, centre, axis_name=None):
    """SwAV's assignments stay where they are when its scores move."""
    dino, *_, msn = prototype_losses(student, teacher, centre)
    assigned = np.stack([sinkhorn(view, 3) for view in STUDENT[:T]])
    log_probs = jax.nn.log_softmax(student / 0.1, axis=-1)
    pairs = [(t, v) for t in range(T) for v in range(V) if v != t]
    swav = -sum(jnp.sum(assigned[t] * log_probs[v], axis=1) for t, v in pairs) / len(pairs)
    fixed = prototype_losses(STUDENT, teacher, centre)
    return dino, fixed[1], fixed[2], swav, msn

  check_kernel(
    prototype_losses,
    args,
    oracle=oracle,
    detached=[1, 2],
    surrogate=surrogate,
    batch_axes=(1, 1, None),
    out_axes=(0, 0, 1, 0, 0),
    batch_coupled=True,
    extreme=[(0 * STUDENT, 0 * TEACHER, 0 * CENTRE), (1e4 * STUDENT, -1e4 * TEACHER, 1e4 * CENTRE)],
    bad_inputs=[
      ((STUDENT.astype(int), TEACHER, CENTRE), {}, TypeError, "student_logits must be a floating"),
      ((STUDENT[0], TEACHER, CENTRE), {}, ValueError, "student_logits must have 3 axes"),
      ((STUDENT[:1], TEACHER, CENTRE), {}, ValueError, "at least 2 views"),
      ((STUDENT, TEACHER[:, :4], CENTRE), {}, ValueError, "teacher_logits must have the shape"),
      ((STUDENT, TEACHER, CENTRE[:2]), {}, ValueError, "centre must have shape \\(4,\\)"),
    ],
  )


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(dino_loss, STUDENT, TEACHER, CENTRE, teacher_temperature=0.0), "teacher_temperature"),
    (partial(dino_loss, TEACHER, STUDENT, CENTRE), "first T views"),
    (partial(update_dino_centre, CENTRE, TEACHER, momentum=1.5), "momentum must be in"),
    (partial(sinkhorn_assignments, CENTRE), "scores must have 2 axes"),
    (partial(sinkhorn_assignments, STUDENT, epsilon=0.0), "epsilon must be in"),
    (partial(sinkhorn_assignments, STUDENT, num_iterations=0), "num_iterations must be a positive"),
    (partial(swav_loss, STUDENT, num_assigned=4), "num_assigned must be at most the 3 views"),
    (partial(swav_loss, STUDENT, temperature=0.0), "temperature must be in"),
    (partial(msn_loss, STUDENT, TEACHER), "target_scores must have shape \\(8, 4\\)"),
    (partial(msn_loss, STUDENT, TEACHER[0], lambda_entropy=-1.0), "lambda_entropy must be in"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call()


def test_assignments_share_the_prototypes_out():
  """All examples like the first prototype best; after many iterations each gets its share."""
  scores = STUDENT[0] + np.array([3.0, 0, 0, 0])
  q = jax.jit(partial(sinkhorn_assignments, epsilon=0.2, num_iterations=200))(scores)
  np.testing.assert_allclose(q.sum(1), 1, rtol=1e-5)
  np.testing.assert_allclose(q.sum(0), B / K, rtol=1e-3)
