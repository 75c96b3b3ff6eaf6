"""Total correlation by a discriminator that tells z from z with shuffled dimensions (FactorVAE)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from latentjax.checks import check_alike, check_float, check_rank, wide_dtype
from latentjax.collectives import all_gather_rows, local_rows

__all__ = ["permute_dims", "tc_density_ratio", "tc_discriminator_loss"]


def permute_dims(key: jax.Array, z: ArrayLike, *, axis_name: str | None = None) -> jax.Array:
  r"""Every latent variable shuffled over the batch on its own: a sample of the marginals' product.

  .. math:: z'_{bd} = z_{\pi_d(b)\,d}, \qquad \pi_1, \dots, \pi_D \text{ uniform permutations of } B

  Args:
    key: random key, the same on every device.
    z: samples of q(z), shape (B, D).
    axis_name: mapped device axis over which the rows are split, inside `pmap` or `shard_map`; the
      shuffle is over the rows of all devices.

  Returns:
    Shuffled samples in z's dtype, shape (B, D). Gradient flows to z along the permutation; for the
    discriminator's loss detach z first.

  Raises:
    TypeError: if z is not floating point.
    ValueError: if z is not of rank 2.

  Example:
    >>> z = jnp.arange(6.0).reshape(3, 2)
    >>> jnp.sort(permute_dims(jax.random.key(0), z), axis=0).tolist()
    [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]

  References:
    Kim & Mnih, Disentangling by Factorising (FactorVAE), 2018, permute_dims. arXiv:1802.05983
  """
  check_float(z=z)
  check_rank(2, z=z)
  rows = all_gather_rows(jnp.asarray(z), axis_name)
  keys = jax.random.split(key, rows.shape[1])
  order = jax.vmap(lambda key: jax.random.permutation(key, rows.shape[0]), out_axes=1)(keys)
  return jnp.take_along_axis(rows, local_rows(order, axis_name), axis=0)


def tc_density_ratio(logits: ArrayLike) -> jax.Array:
  r"""Estimate of log q(z) - sum_d log q(z_d) by a discriminator, per example, in nats.

  .. math:: \log \frac{q(z)}{\prod_d q(z_d)} \approx \log \frac{D(z)}{1 - D(z)}

  Exact for the optimal discriminator, whose two logits differ by this; its mean is then the total
  correlation. For any other it is a bound in neither direction.

  Args:
    logits: discriminator's logits for (from q(z), from the product of marginals), shape (B, 2).

  Returns:
    Estimate in nats, shape (B,), float32 or wider. Gradient flows to the logits; the discriminator's
    parameters must be held fixed by the caller.

  Raises:
    TypeError: if logits is not floating point.
    ValueError: if logits is not of shape (B, 2).

  Example:
    >>> tc_density_ratio(jnp.array([[2.0, 0.5]])).tolist()
    [1.5]

  References:
    Kim & Mnih, Disentangling by Factorising (FactorVAE), 2018. arXiv:1802.05983
  """
  logits = _as_logits(logits=logits)[0]
  return logits[:, 0] - logits[:, 1]


def tc_discriminator_loss(logits: ArrayLike, logits_permuted: ArrayLike) -> jax.Array:
  r"""Cross-entropy of the discriminator between z and `permute_dims` of z; to be minimised.

  .. math:: -\tfrac12 \left( \log D(z) + \log (1 - D(z')) \right)

  Args:
    logits: discriminator's logits for (from q(z), from the product of marginals) at z, shape (B, 2).
    logits_permuted: the same at z', permuted from another batch in the paper, shape (B, 2).

  Returns:
    Loss in nats, shape (B,), float32 or wider; log 2 for a discriminator that knows nothing.
    Gradient flows to both arguments; compute them from detached z.

  Raises:
    TypeError: if an argument is not floating point.
    ValueError: if the shapes differ or are not (B, 2).

  Example:
    >>> tc_discriminator_loss(jnp.zeros((1, 2)), jnp.zeros((1, 2))).tolist()
    [0.693147...]

  References:
    Kim & Mnih, Disentangling by Factorising (FactorVAE), 2018. arXiv:1802.05983
  """
  logits, permuted = _as_logits(logits=logits, logits_permuted=logits_permuted)
  log_joint = jax.nn.log_softmax(logits, axis=1)[:, 0]
  log_product = jax.nn.log_softmax(permuted, axis=1)[:, 1]
  return -0.5 * (log_joint + log_product)


def _as_logits(**logits: ArrayLike) -> list[jax.Array]:
  check_alike(2, **logits)
  for name, array in logits.items():
    if jnp.shape(array)[1] != 2:
      raise ValueError(f"{name} must have shape (B, 2), got {jnp.shape(array)}")
  return [jnp.asarray(array, wide_dtype(*logits.values())) for array in logits.values()]
