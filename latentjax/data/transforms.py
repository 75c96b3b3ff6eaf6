"""Transforms of one example, run on the device: (key, example) -> example, made for jit and vmap."""

import jax
import jax.numpy as jnp

Example = dict[str, jax.Array]


def to_float(key: jax.Array | None, example: Example, *, feature: str = "image") -> Example:
  """uint8 pixels as float32 in [0, 1].

  Args:
    key: unused; every transform has the same signature.
    example: features of one example; example[feature] is uint8, any shape.
    feature: the one to convert.

  Returns:
    The example with float32 x / 255 in place of the feature. Floating input is kept as it is.

  Raises:
    TypeError: if the feature is neither uint8 nor floating.

  Example:
    >>> to_float(None, {"image": jnp.array([0, 255], jnp.uint8)})["image"].tolist()
    [0.0, 1.0]
  """
  del key
  return example | {feature: _intensity(example[feature], feature)}


def dynamic_binarize(key: jax.Array, example: Example, *, feature: str = "image") -> Example:
  r"""Draws every pixel anew from the Bernoulli whose mean is its intensity.

  .. math:: x \sim \mathrm{Bernoulli}(p), \qquad p = \mathrm{pixel} / 255

  16 random bits per pixel: the probability used is p rounded to a multiple of 2**-16, at most
  7.7e-6 off; p = 0 is never and p = 1 is always on.

  Args:
    key: one key per example; the same key gives the same draw.
    example: features of one example; example[feature] is uint8, or floating in [0, 1], any shape.
    feature: the one to binarise.

  Returns:
    The example with a float32 array of 0 and 1 in place of the feature.

  Raises:
    TypeError: if the feature is neither uint8 nor floating.

  Example:
    >>> example = {"image": jnp.array([0, 255], jnp.uint8)}
    >>> dynamic_binarize(jax.random.key(0), example)["image"].tolist()
    [0.0, 1.0]

  References:
    Salakhutdinov and Murray, On the Quantitative Analysis of Deep Belief Networks, 2008, section 5.
    Burda et al., Importance Weighted Autoencoders, 2016, section 5. arXiv:1509.00519
  """
  intensity = _intensity(example[feature], feature)
  size = intensity.size
  # JAX hashes one block for a 32-bit word and one for a 16-bit word alike: cut each word in two.
  words = jax.random.bits(key, ((size + 1) // 2,), jnp.uint32)
  uniform = jnp.concatenate([words & 0xFFFF, words >> 16])[:size].reshape(intensity.shape)
  threshold = (intensity.astype(jnp.float32) * 65536 + 0.5).astype(jnp.uint32)
  return example | {feature: (uniform < threshold).astype(jnp.float32)}


def perturb(key: jax.Array, example: Example, *, scale: float, feature: str = "image") -> Example:
  r"""Adds Gaussian noise, anew every time the example is seen.

  .. math:: \tilde x = x + \sigma \epsilon, \qquad \epsilon \sim N(0, I)

  Data on a manifold have no density, and the likelihood of a model with learned noise is unbounded on
  them; that of perturbed data is bounded.

  Args:
    key: one key per example; the same key gives the same draw.
    example: features of one example; example[feature] is uint8, or floating, any shape.
    scale: sigma, at least 0, in the unit of the feature (of x / 255 for uint8).
    feature: the one to perturb.

  Returns:
    The example with the noisy feature, floating.

  Raises:
    TypeError: if the feature is neither uint8 nor floating.
    ValueError: if scale is negative.

  Example:
    >>> perturb(jax.random.key(0), {"image": jnp.zeros(3)}, scale=0.0)["image"].tolist()
    [0.0, 0.0, 0.0]

  References:
    Chae, Kim, Kim & Lin, A likelihood approach to nonparametric estimation of a singular distribution
      using deep generative models, 2023. arXiv:2105.04046
  """
  if scale < 0:
    raise ValueError(f"scale must be at least 0, got {scale}")
  x = _intensity(example[feature], feature)
  return example | {feature: x + scale * jax.random.normal(key, x.shape, x.dtype)}


def _intensity(pixels: jax.Array, feature: str) -> jax.Array:
  if pixels.dtype == jnp.uint8:
    return pixels.astype(jnp.float32) / 255
  if jnp.issubdtype(pixels.dtype, jnp.floating):
    return pixels
  raise TypeError(f"feature {feature!r} must be uint8 or floating in [0, 1], got {pixels.dtype}")
