"""How many bits each layer needs: Hessian traces, what quantisation costs, and the best allocation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_positive_int,
  check_rank,
  check_same_shape,
  wide_dtype,
)

__all__ = ["allocate_bits", "hessian_sensitivity", "hessian_trace"]


def hessian_trace(
  key: jax.Array, loss_fn: Callable[[Any], jax.Array], params: Any, *, num_samples: int = 50
) -> Any:
  r"""Trace of every parameter array's block of the Hessian, by Hutchinson's estimate.

  .. math:: \mathrm{tr}(H_l) = E[v_l^\top (H v)_l], \qquad v \in \{-1, 1\}^P \text{ uniform}

  Unbiased. A sample costs one Hessian-vector product, about two gradients, for all blocks at once;
  the products between different arrays have the mean 0.

  Args:
    key: random key.
    loss_fn: `loss_fn(params) -> scalar`, twice differentiable.
    params: tree of arrays.
    num_samples: vectors v, one after the other.

  Returns:
    Tree of scalars, one for each array. Differentiable as loss_fn is.

  Raises:
    TypeError: if num_samples is not an integer or params are not floating point.
    ValueError: if num_samples is not positive.

  Example:
    >>> loss = lambda p: 3 * jnp.sum(p["a"] ** 2) + jnp.sum(p["b"] ** 4)
    >>> params = {"a": jnp.zeros(5), "b": jnp.ones(2)}
    >>> hessian_trace(jax.random.key(0), loss, params, num_samples=1)
    {'a': Array(30., dtype=float32), 'b': Array(24., dtype=float32)}

  References:
    Dong et al., HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks, 2020.
      arXiv:1911.03852
  """
  check_positive_int(num_samples=num_samples)
  leaves, tree = jax.tree.flatten(params)
  for leaf in leaves:
    check_float(params=leaf)

  def sample(key: jax.Array) -> list[jax.Array]:
    keys = jax.random.split(key, len(leaves))
    v = [jax.random.rademacher(k, jnp.shape(w), jnp.result_type(w)) for k, w in zip(keys, leaves)]
    product = jax.jvp(jax.grad(loss_fn), (params,), (jax.tree.unflatten(tree, v),))[1]
    return [jnp.sum(a * b, dtype=wide_dtype(a)) for a, b in zip(v, jax.tree.leaves(product))]

  samples = jax.lax.map(sample, jax.random.split(key, num_samples))
  return jax.tree.unflatten(tree, [jnp.mean(s) for s in samples])


def hessian_sensitivity(trace: ArrayLike, w: ArrayLike, w_q: ArrayLike) -> jax.Array:
  r"""What quantising an array is expected to cost the loss (HAWQ-V2).

  .. math:: \Omega = \frac{\mathrm{tr}(H)}{n} \, \|w_q - w\|_2^2

  Twice the second-order change of the loss where the Hessian is a multiple of the identity, or the
  error has no direction of its own.

  Args:
    trace: of the array's block of the Hessian, shape ().
    w: array of n weights.
    w_q: quantised, the same shape.

  Returns:
    Omega, shape (), in units of the loss. Gradient flows to all arguments.

  Raises:
    ValueError: if the shapes of w and w_q differ.

  Example:
    >>> float(hessian_sensitivity(6.0, jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 2.0, 5.0])))
    8.0

  References:
    Dong et al., HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks, 2020.
      arXiv:1911.03852
  """
  check_rank(0, trace=trace)
  check_same_shape(w=w, w_q=w_q)
  dtype = wide_dtype(trace, w, w_q)
  error = jnp.asarray(w_q, dtype) - jnp.asarray(w, dtype)
  return jnp.asarray(trace, dtype) * jnp.mean(jnp.square(error))


def allocate_bits(
  sensitivity: ArrayLike, sizes: ArrayLike, bits: ArrayLike, budget: ArrayLike
) -> np.ndarray:
  r"""Bits of each layer so that the summed sensitivity is the smallest that the budget allows.

  .. math:: \min_b \sum_l \Omega_{l, b_l} \quad \text{such that} \quad \sum_l n_l b_l \le B

  Exact, by the Pareto frontier of size and sensitivity, to which a layer is added at a time. On the
  host, in float64: not for use under `jit`. The frontier has at most B / gcd(n) + 1 points.

  Args:
    sensitivity: Omega of every layer at every choice, shape (L, C).
    sizes: n, weights of the layers, integers, shape (L,).
    bits: the choices, positive integers, shape (C,).
    budget: B, bits of all weights together.

  Returns:
    Bits of each layer, int64, shape (L,). Of allocations that are equally good, the smallest.

  Raises:
    ValueError: if the shapes do not fit, sensitivity is not finite, or the budget is below that of
      the fewest bits.

  Example:
    >>> allocate_bits([[9.0, 1.0], [2.0, 1.0]], [10, 10], [2, 4], 60).tolist()
    [4, 2]

  References:
    Dong et al., HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks, 2020.
      arXiv:1911.03852
  """
  costs, sizes, bits = np.asarray(sensitivity, float), np.asarray(sizes), np.asarray(bits)
  if costs.ndim != 2 or costs.shape != (*sizes.shape, *bits.shape):
    raise ValueError(
      f"sensitivity must have shape (L, C) for sizes (L,) and bits (C,), got {costs.shape}, "
      f"{sizes.shape} and {bits.shape}"
    )
  if not np.isfinite(costs).all():
    raise ValueError("sensitivity must be finite")
  fewest = sizes.sum() * bits.min()
  if fewest > budget:
    raise ValueError(f"budget must be at least {fewest} bits, got {budget}")
  used, total, choices = np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 0), np.int64)
  rest = sizes[::-1].cumsum()[::-1] * bits.min()  # of a layer and those after it, at the least
  for size, cost, after in zip(sizes, costs, np.append(rest[1:], 0)):
    used, total = ((a[:, None] + b).ravel() for a, b in ((used, size * bits), (total, cost)))
    chosen = np.tile(bits, len(choices))[:, None]
    choices = np.hstack([np.repeat(choices, len(bits), axis=0), chosen])
    order = np.lexsort((total, used))
    order = order[used[order] + after <= budget]
    best_before = np.minimum.accumulate(np.append(np.inf, total[order][:-1]))
    keep = order[total[order] < best_before]
    used, total, choices = used[keep], total[keep], choices[keep]
  return choices[-1]  # the frontier falls with size
