"""Disentanglement of slots: of objects between them, and of properties inside them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_choice,
  check_float,
  check_positive_int,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.metrics.dci import dci_scores
from latentjax.metrics.probes import (
  LinearProbe,
  check_finite,
  check_same_rows,
  nan_unless_finite,
  ridge_probe,
)
from latentjax.metrics.probes import standardised as standardised_columns
from latentjax.metrics.sparse_probes import lasso_probe

__all__ = ["SlotProbe", "StructuredDCI", "slot_probe", "structured_dci"]


class SlotProbe(NamedTuple):
  """Slots in the order of the objects, and what of them the objects are read off.

  Attributes:
    importance: of every number of every slot for every property of every object, at least 0, shape
      (S, D, O, P); slot o is the one matched with object o, those matched with none come last.
    permutation: slot that stands at each place, int32, shape (N, S).
    informativeness: R^2 of the objects under the probe, averaged over objects and properties; scalar.
  """

  importance: jax.Array
  permutation: jax.Array
  informativeness: jax.Array


class StructuredDCI(NamedTuple):
  """Disentanglement and completeness at one level, scalars in [0, 1].

  Attributes:
    disentanglement: 1 if each slot (number) matters to one object (property) only.
    completeness: 1 if each object (property) is read off one slot (number) only.
  """

  disentanglement: jax.Array
  completeness: jax.Array


def slot_probe(
  slots: ArrayLike,
  objects: ArrayLike,
  *,
  l1: ArrayLike = 0.01,
  l2: ArrayLike = 1.0,
  num_rounds: int = 40,
) -> SlotProbe:
  r"""Matches slots with objects, example by example, and probes all objects from all matched slots.

  .. math::

    \pi_n = \arg\min_\pi \|y_n - f(z_{n \pi(1)}, ..., z_{n \pi(S)})\|^2, \qquad
    f = \arg\min_f \sum_n \|y_n - f(z_{n \pi_n(1)}, ..., z_{n \pi_n(S)})\|^2

  in turn, for a linear f with a ridge penalty of all objects y_n together: num_rounds times with the
  same map of each slot to the object in its place, for which the Hungarian algorithm finds the best
  order; then num_rounds times with any f, by exchanging two slots of an example where that lowers its
  loss. It starts from the regression of the sum over objects on the sum over slots, which finds the
  map if there is one, and which no order enters; where there is none, as in slots that mix objects, what
  is found is a local optimum, better with more examples. The importances are the magnitudes of the weights of
  `lasso_probe`, of all objects on all slots in matched order, both standardised.

  The order of the slots, example by example, does not matter, and that of the objects changes only the
  order of the result.

  Args:
    slots: z, shape (N, S, D), floating point.
    objects: y, shape (N, O, P), floating point, O at most S; categories as one-hot vectors.
    l1: penalty of the lasso, beside the squared errors of standardised numbers. Can be traced.
    l2: penalty of f, as in `ridge_probe`, on standardised slots. Can be traced.
    num_rounds: of matching and fitting, of each kind.

  Returns:
    SlotProbe, float32 or wider; its numbers are nan if a traced one is not finite. Detached.

  Raises:
    TypeError: if an array is not floating point.
    ValueError: if the shapes do not fit, there are fewer slots than objects, a concrete array is not
      finite, or a number is out of range.

  Example:
    >>> objects = jax.random.normal(jax.random.key(0), (64, 2, 1))
    >>> slots = jnp.where(objects[:, :1] > 0, objects, objects[:, ::-1])
    >>> found = slot_probe(slots, objects)
    >>> round(float(found.informativeness), 2), structured_dci(found.importance).completeness.item() > 0.99
    (1.0, True)

  References:
    Dang-Nhu, Evaluating Disentanglement of Structured Representations, 2022. arXiv:2101.04041
  """
  check_float(slots=slots, objects=objects)
  check_rank(3, slots=slots, objects=objects)
  check_same_rows(slots=slots, objects=objects)
  check_positive_int(num_rounds=num_rounds)
  check_range(0.0, l1=l1, l2=l2)
  check_finite(slots=slots, objects=objects)
  (rows, num_slots, dim), (_, num_objects, num_properties) = jnp.shape(slots), jnp.shape(objects)
  if num_objects > num_slots:
    raise ValueError(f"slots must be at least as many as objects, got {num_slots} < {num_objects}")
  dtype = wide_dtype(slots, objects)
  standard = lambda x: standardised_columns(jnp.asarray(x, dtype).reshape(-1, x.shape[2]))[0]
  z = standard(jnp.asarray(slots)).reshape(rows, num_slots, dim)
  y = standard(jnp.asarray(objects)).reshape(rows, num_objects, num_properties)

  probe = ridge_probe(jnp.sum(z, axis=1), jnp.sum(y, axis=1), l2=l2)
  # The sum over slots counts the bias once for each.
  probe = probe._replace(bias=probe.bias / num_slots)

  def again(_: int, probe: LinearProbe) -> LinearProbe:
    matched = _arrange(z, _matching(probe, z, y))[:, :num_objects]
    return ridge_probe(matched.reshape(-1, dim), y.reshape(-1, num_properties), l2=l2)

  probe = jax.lax.fori_loop(1, num_rounds, again, probe)

  def exchange(_: int, permutation: jax.Array) -> jax.Array:
    matched = _arrange(z, permutation).reshape(rows, -1)
    joint = ridge_probe(matched, y.reshape(rows, -1), l2=l2)
    weight = joint.weight.reshape(num_slots, dim, -1)
    read = jnp.einsum("nsd,pdk->npsk", z, weight, precision="highest")
    return _exchanged(read, y.reshape(rows, -1) - joint.bias, permutation)

  permutation = jax.lax.fori_loop(0, num_rounds, exchange, _matching(probe, z, y))
  arranged = _arrange(z, permutation).reshape(rows, -1)
  flat, target = standardised_columns(arranged)[0], standardised_columns(y.reshape(rows, -1))[0]
  full = lasso_probe(flat, target, l1=l1)
  guess = jnp.matmul(flat, full.weight, precision="highest") + full.bias
  rest = jnp.mean(jnp.square(target - guess), axis=0)
  importance = jnp.abs(full.weight).reshape(num_slots, dim, num_objects, num_properties)
  # A property that never changes is standardised to 0, and explained.
  found = SlotProbe(importance, permutation, jnp.mean(1 - rest))
  return nan_unless_finite(found, slots, objects)


def structured_dci(
  importance: ArrayLike, *, level: str = "object", groups: Sequence[int] | None = None
) -> StructuredDCI:
  r"""Disentanglement and completeness at one level of a structured code.

  .. math::

    R^{object}_{so} = \sum_{dp} R_{sdop}, \qquad R^{property}_{dp} = \sum_{so} R_{sdop}

  scored as by `dci_scores`. "object" asks whether slots hold one object each, whatever happens inside
  them; "property" whether numbers of a slot hold one property each, whichever the slot; "all" asks
  both, of the matrix (S D, O P).

  Args:
    importance: R, at least 0, such as of `slot_probe`, shape (S, D, O, P).
    level: "object", "property" or "all".
    groups: group of every property, at "property"; the columns of a group are summed. Such as the
      entries of a one-hot vector, or intrinsic (0) against extrinsic (1) properties.

  Returns:
    StructuredDCI, float32 or wider. Gradient flows.

  Raises:
    TypeError: if importance is not floating point.
    ValueError: if it is not of rank 4, the level is unknown, or groups do not fit.

  Example:
    >>> aligned = jnp.einsum("so,dp->sdop", jnp.eye(2), jnp.ones((3, 3)))
    >>> for level in ("object", "property"):
    ...   print(level, round(float(structured_dci(aligned, level=level).disentanglement), 3))
    object 1.0
    property 0.0

  References:
    Dang-Nhu, Evaluating Disentanglement of Structured Representations, 2022. arXiv:2101.04041
  """
  check_float(importance=importance)
  check_rank(4, importance=importance)
  check_choice(("object", "property", "all"), level=level)
  r = jnp.asarray(importance, wide_dtype(importance))
  if groups is not None:
    if level != "property" or len(groups) != r.shape[3] or min(groups) < 0:
      raise ValueError(
        f"groups must be {r.shape[3]} numbers from 0 at level 'property', got {groups} at {level!r}"
      )
    r = r @ jax.nn.one_hot(jnp.array(groups), max(groups) + 1, dtype=r.dtype)
  if level == "all":
    return StructuredDCI(*dci_scores(r.reshape(r.shape[0] * r.shape[1], -1)))
  return StructuredDCI(*dci_scores(jnp.sum(r, axis=(1, 3) if level == "object" else (0, 2))))


def _matching(probe: LinearProbe, z: jax.Array, y: jax.Array) -> jax.Array:
  """Slot at every place (N, S): those matched with the objects in order, then the others."""
  from optax.assignment import hungarian_algorithm

  read = jnp.matmul(z, probe.weight, precision="highest") + probe.bias
  cost = jnp.sum(jnp.square(y[:, :, None] - read[:, None]), axis=3)

  def of_row(cost: jax.Array) -> jax.Array:
    # Places without an object cost nothing, so that a slot is left for each.
    square = jnp.zeros((cost.shape[1], cost.shape[1]), cost.dtype).at[: len(cost)].set(cost)
    place, slot = hungarian_algorithm(square)
    return jnp.zeros(len(square), jnp.int32).at[place].set(slot.astype(jnp.int32))

  return jax.vmap(of_row)(cost)


def _exchanged(read: jax.Array, target: jax.Array, permutation: jax.Array) -> jax.Array:
  """Permutations after every exchange of two places that brings the sum over places of read (N, place,
  slot, K) closer to target (N, K)."""
  pairs = jnp.stack(jnp.triu_indices(permutation.shape[1], 1), axis=1)
  own = jnp.arange(len(read))[:, None]

  def loss(permutation: jax.Array) -> jax.Array:
    taken = read[own, jnp.arange(permutation.shape[1]), permutation]
    return jnp.sum(jnp.square(target - jnp.sum(taken, axis=1)), axis=1)

  def attempt(i: int, permutation: jax.Array) -> jax.Array:
    changed = permutation.at[:, pairs[i]].set(permutation[:, pairs[i, ::-1]])
    better = loss(changed) < loss(permutation) * (1 - 1e-5)
    return jnp.where(better[:, None], changed, permutation)

  return jax.lax.fori_loop(0, len(pairs), attempt, permutation)


def _arrange(z: jax.Array, permutation: jax.Array) -> jax.Array:
  return jnp.take_along_axis(z, permutation[:, :, None], axis=1)
