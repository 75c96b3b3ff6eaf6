"""OBoW: a student predicts its teacher's bag of visual words of another view."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.collectives import device_mean
from latentjax.losses.contrastive import Vocabulary, bow_loss, bow_target, update_vocabulary
from latentjax.objectives.latent_model import Batch, Metrics, Params, take_feature
from latentjax.objectives.teacher import Momentum, Teacher, init_teacher, update_teacher
from latentjax.objectives.two_view import SelfSupervised

__all__ = ["BowState", "obow"]


class BowState(NamedTuple):
  """What OBoW carries from step to step.

  Attributes:
    teacher: moving average of the parameters.
    vocabulary: visual words.
  """

  teacher: Teacher
  vocabulary: Vocabulary


def obow(
  encode_fn: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]],
  generate_fn: Callable[[Params, jax.Array], jax.Array],
  vocabulary: Vocabulary,
  *,
  momentum: Momentum = 0.99,
  delta: ArrayLike = 1 / 15,
  kappa: ArrayLike = 8.0,
  decay: ArrayLike = 0.99,
  pooling: str = "max",
  features: Sequence[str] = ("view_1", "view_2"),
  axis_name: str | None = None,
) -> SelfSupervised:
  """OBoW: online generation of bags of visual words.

  The teacher's local features of one view are counted in words of the vocabulary; the student
  predicts the counts from its features of the other views, by weights that a generator makes of the
  words. Then a feature of every example joins the vocabulary.

  Args:
    encode_fn: `(params, x) -> (local, whole)`: features of places, shape (B, P, D) or (B, H, W, D),
      and of the whole image, shape (B, F).
    generate_fn: `(params, words) -> weights`, words (N, D) to the weights that predict them, (N, F).
      The authors' normalises the words first.
    vocabulary: that to start with, from `init_vocabulary`; random, since it is replaced at once.
    momentum: of the teacher, see `update_teacher`; the authors' rises from 0.99 to 1
      (`cosine_momentum`).
    delta: temperature of the assignment, see `bow_target`.
    kappa: inverse temperature of the prediction, see `bow_loss`.
    decay: of the running mean of the distance to the nearest word, see `update_vocabulary`.
    pooling: of assignments over places, "max" or "mean".
    features: names of the views in a batch: the teacher's, then the student's, at least one.
    axis_name: mapped device axis over which the batch is split, inside `pmap` or `shard_map`.

  Returns:
    The objective; its model_state is a `BowState`. Metrics are entropies of the targets in nats:
    word_entropy of their mean, at most log N, and image_entropy, the mean of theirs.

  Raises:
    KeyError: if a batch lacks a view.
    ValueError: if there is no view for the student, shapes do not fit or a number is out of range.

  References:
    Gidaris et al., OBoW: Online Bag-of-Visual-Words Generation for Self-Supervised Learning, 2021.
      arXiv:2012.11552
  """
  if len(features) < 2:
    raise ValueError(f"features must name at least two views, got {tuple(features)}")

  def objective(
    params: Params, state: BowState, key: jax.Array, batch: Batch
  ) -> tuple[jax.Array, tuple[BowState, Metrics]]:
    views = [take_feature(batch, feature) for feature in features]
    teacher = update_teacher(state.teacher, params, momentum=momentum)
    local, _ = encode_fn(teacher.params, views[0])
    words = state.vocabulary.words
    vocabulary = update_vocabulary(key, state.vocabulary, local, decay=decay, axis_name=axis_name)
    target = bow_target(local, words, vocabulary.distance, delta=delta, pooling=pooling)
    weights = generate_fn(params, words)
    losses = [
      bow_loss(encode_fn(params, view)[1], weights, target, kappa=kappa) for view in views[1:]
    ]
    entropy = lambda p: jnp.sum(jax.scipy.special.entr(p), axis=-1)
    metrics = {
      "word_entropy": entropy(device_mean(jnp.mean(target, axis=0), axis_name)),
      "image_entropy": jnp.mean(entropy(target)),
    }
    return jnp.mean(jnp.stack(losses)), (BowState(teacher, vocabulary), metrics)

  def init_state(params: Params) -> BowState:
    # A copy: a training step may be given its state to overwrite.
    return BowState(init_teacher(params), jax.tree.map(jnp.array, vocabulary))

  return SelfSupervised(objective, init_state)
