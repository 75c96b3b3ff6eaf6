"""Is an encoder a product of one function for each factor? Defects that are 0 exactly where it is."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import (
  check_float,
  check_not_empty,
  check_positive_int,
  check_range,
  check_rank,
  wide_dtype,
)
from latentjax.metrics.probes import nan_unless_finite

__all__ = [
  "equivariance_defect",
  "modularity_defect",
  "monomorphism_defect",
  "product_morphism_defect",
]


def modularity_defect(
  codes_grid: ArrayLike, *, assignment: Sequence[int] | None = None
) -> jax.Array:
  r"""Share of a code's variance that its own factor leaves open, on the full grid of factors.

  .. math:: \frac{E_{y_k}\big[\mathrm{Var}(z_j \mid y_k)\big]}{\mathrm{Var}(z_j)}, \qquad k = a(j)

  with all combinations of factors equally likely. It is 0 for all j if and only if the encoder is a
  product morphism: z_j is a function of factor a(j) alone, up to the order that the assignment undoes.

  Args:
    codes_grid: code of every combination of factors, shape (n_1, ..., n_F, Z), floating point.
    assignment: factor of every number of the code, Z entries in [0, F); by default the j-th is that of
      factor j, with Z = F.

  Returns:
    Defect of every number, in [0, 1], shape (Z,), float32 or wider; 0 for a constant one, which is a
    function of any factor. Gradient flows.

  Raises:
    TypeError: if codes_grid is not floating point.
    ValueError: if codes_grid has less than two axes or is empty, or the assignment does not fit.

  Example:
    >>> y = jnp.stack(jnp.meshgrid(jnp.arange(3.0), jnp.arange(4.0), indexing="ij"), axis=-1)
    >>> modularity_defect(y**2).round(3).tolist()
    [0.0, 0.0]
    >>> modularity_defect(y[..., ::-1]).round(3).tolist()
    [1.0, 1.0]

  References:
    Zhang & Sugiyama, A Category-theoretical Meta-analysis of Definitions of Disentanglement, 2023.
      arXiv:2305.06886
  """
  check_float(codes_grid=codes_grid)
  shape = jnp.shape(codes_grid)
  num_factors = len(shape) - 1
  if num_factors < 1 or 0 in shape:
    raise ValueError(f"codes_grid must have shape (n_1, ..., n_F, Z), none of them 0, got {shape}")
  assignment = tuple(range(num_factors)) if assignment is None else tuple(assignment)
  if len(assignment) != shape[-1] or not set(assignment) <= set(range(num_factors)):
    raise ValueError(
      f"assignment must be {shape[-1]} of the factors 0 to {num_factors - 1} for codes_grid of shape "
      f"{shape}, got {assignment}"
    )
  z = jnp.asarray(codes_grid, wide_dtype(codes_grid))
  defects = []
  for j, factor in enumerate(assignment):
    rows = jnp.moveaxis(z[..., j], factor, 0).reshape(shape[factor], -1)
    rows = rows - jax.lax.stop_gradient(
      rows[0, 0]
    )  # so that a constant code has exactly no variance
    left, whole = jnp.mean(jnp.var(rows, axis=1)), jnp.var(rows)
    defects.append(jnp.where(whole == 0, 0, left / jnp.where(whole == 0, 1, whole)))
  return jnp.clip(jnp.stack(defects), 0, 1)


def product_morphism_defect(
  factors: ArrayLike, encode_fn: Callable[[jax.Array], jax.Array]
) -> jax.Array:
  r"""How much of a code changes when all factors but its own do, for a function of factors.

  .. math::

    \frac{E \big(f_j(y) - f_j(y_j, y'_{-j})\big)^2}{2 \, \mathrm{Var} f_j(y)}

  which for independent factors is `modularity_defect` in expectation, without a grid: y' is the next
  row of y. f has one number for each factor, in their order.

  Args:
    factors: y, shape (N, F), N >= 2, in random order; factors that are not independent are recombined
      as if they were.
    encode_fn: f, `(factors (N, F)) -> codes (N, F)`.

  Returns:
    Defect of every number, shape (F,), at least 0 and about 1 if it follows the other factors only; 0
    for a constant one. float32 or wider. Gradient flows through encode_fn.

  Raises:
    ValueError: if factors are not of rank 2, there is one row, or the codes have another shape.

  Example:
    >>> y = jax.random.normal(jax.random.key(0), (100, 2))
    >>> product_morphism_defect(y, jnp.exp).tolist()
    [0.0, 0.0]
    >>> bool((product_morphism_defect(y, lambda y: y @ jnp.array([[1, -1], [1, 1]])) > 0.3).all())
    True

  References:
    Zhang & Sugiyama, A Category-theoretical Meta-analysis of Definitions of Disentanglement, 2023.
      arXiv:2305.06886
    Jansen, Analysis of Variance Designs for Model Output, 1999 (the estimator).
  """
  check_rank(2, factors=factors)
  y = jnp.asarray(factors)
  if len(y) < 2:
    raise ValueError(f"factors must have at least 2 rows, got shape {y.shape}")
  other = jnp.roll(y, -1, axis=0)
  z = _coded(encode_fn, y, y.shape)
  change = []
  for j in range(y.shape[1]):
    mixed = jnp.where(jnp.arange(y.shape[1]) == j, y, other)
    change.append(jnp.mean(jnp.square(z[:, j] - _coded(encode_fn, mixed, y.shape)[:, j])))
  whole = 2 * jnp.var(z - jax.lax.stop_gradient(z[0]), axis=0)
  return jnp.where(whole == 0, 0, jnp.stack(change) / jnp.where(whole == 0, 1, whole))


def equivariance_defect(
  factors: ArrayLike,
  encode_fn: Callable[[jax.Array], jax.Array],
  factor_action_fn: Callable[[jax.Array], jax.Array],
  code_action_fn: Callable[[jax.Array], jax.Array],
) -> jax.Array:
  r"""How far an encoder is from commuting with an action on factors and one on codes.

  .. math:: \frac{E \|f(g \cdot y) - g \cdot f(y)\|^2}{2 \, E \|f(y) - E f\|^2}

  0 if f is equivariant, about 1 if the two sides are unrelated. With an action on one factor and an
  action on its code alone, for each factor, this is disentanglement in the sense of symmetries; with
  code actions that mix, a rotated code passes and is no product.

  Args:
    factors: y, shape (N, ...).
    encode_fn: f, `(factors) -> codes (N, Z)`.
    factor_action_fn: y to g y, of all rows.
    code_action_fn: z to g z, of all rows.

  Returns:
    Scalar, at least 0, float32 or wider; 0 for a constant code that the action leaves where it is.
    Gradient flows through the functions.

  Raises:
    ValueError: if factors have no rows, the codes are not of shape (N, Z), or the two sides have
      different shapes.

  Example:
    >>> angles = jnp.linspace(0, 6, 50)[:, None]
    >>> circle = lambda y: jnp.concatenate([jnp.cos(y), jnp.sin(y)], axis=1)
    >>> quarter = lambda z: z @ jnp.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> round(float(equivariance_defect(angles, circle, lambda y: y + jnp.pi / 2, quarter)), 4)
    0.0

  References:
    Zhang & Sugiyama, A Category-theoretical Meta-analysis of Definitions of Disentanglement, 2023.
      arXiv:2305.06886
    Higgins et al., Towards a Definition of Disentangled Representations, 2018. arXiv:1812.02230
  """
  check_not_empty(factors=factors)
  if jnp.ndim(factors) == 0:
    raise ValueError("factors must have a batch axis, got a scalar")
  y = jnp.asarray(factors)
  z = jnp.asarray(encode_fn(y))
  if z.ndim != 2 or len(z) != len(y):
    raise ValueError(f"encode_fn must return codes of shape ({len(y)}, Z), got {z.shape}")
  z = z.astype(wide_dtype(z))
  moved, expected = jnp.asarray(encode_fn(factor_action_fn(y))), jnp.asarray(code_action_fn(z))
  if moved.shape != expected.shape:
    raise ValueError(
      "encode_fn after factor_action_fn and code_action_fn after encode_fn must have the same shape, "
      f"got {moved.shape} and {expected.shape}"
    )
  error = jnp.sum(jnp.square(moved - expected)) / len(z)
  whole = 2 * jnp.sum(jnp.var(z - jax.lax.stop_gradient(z[:1]), axis=0))
  return jnp.where(whole > 0, error / jnp.where(whole > 0, whole, 1), error)


def monomorphism_defect(
  codes: ArrayLike, *, tolerance: ArrayLike = 0.0, block_size: int = 1024
) -> jax.Array:
  r"""Share of combinations of factors whose code is also another's, so that nothing can decode it.

  .. math:: \frac1N \big|\{n : \exists m \ne n, \; \|z_n - z_m\|_\infty \le \epsilon\}\big|

  0 if and only if the encoder is a monomorphism on these rows, so that a decoder exists (it splits):
  explicitness, beside which modularity is worth something, as a constant code is modular.

  Args:
    codes: one row for each different combination of factors, shape (N, Z), floating point.
    tolerance: epsilon, at least 0. Can be traced.
    block_size: rows that are compared with all others at once.

  Returns:
    Scalar in [0, 1], float32 or wider; nan if a code is not finite. Detached.

  Raises:
    TypeError: if codes are not floating point.
    ValueError: if they are not of rank 2 or a number is out of range.

  Example:
    >>> float(monomorphism_defect(jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])))
    0.5

  References:
    Zhang & Sugiyama, A Category-theoretical Meta-analysis of Definitions of Disentanglement, 2023.
      arXiv:2305.06886
  """
  check_float(codes=codes)
  check_rank(2, codes=codes)
  check_range(0.0, tolerance=tolerance)
  check_positive_int(block_size=block_size)
  z = jax.lax.stop_gradient(jnp.asarray(codes, wide_dtype(codes)))

  def shared(row: jax.Array) -> jax.Array:
    return jnp.sum(jnp.all(jnp.abs(z - row) <= tolerance, axis=1)) > 1  # itself is one

  ambiguous = jnp.mean(jax.lax.map(shared, z, batch_size=block_size), dtype=z.dtype)
  return nan_unless_finite(ambiguous, z)


def _coded(
  encode_fn: Callable[[jax.Array], jax.Array], y: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
  z = jnp.asarray(encode_fn(y))
  if z.shape != shape:
    raise ValueError(f"encode_fn must return codes of shape {shape}, got {z.shape}")
  return z.astype(wide_dtype(z))
