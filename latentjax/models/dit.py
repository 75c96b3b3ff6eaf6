"""The diffusion transformer (DiT, SiT): patches of an image, adaptive layer norm, scanned blocks."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from latentjax.checks import check_choice, check_rank
from latentjax.losses.masked import patchify, unpatchify
from latentjax.models.denoising import ConditionEmbedding
from latentjax.models.transformer import grid_positions

__all__ = ["DIT_SIZES", "DiT", "dit"]

DIT_SIZES = {
  "S": {"width": 384, "depth": 12, "heads": 6},
  "B": {"width": 768, "depth": 12, "heads": 12},
  "L": {"width": 1024, "depth": 24, "heads": 16},
  "XL": {"width": 1152, "depth": 28, "heads": 16},
}

glorot, zeros = nn.initializers.glorot_uniform(), nn.initializers.zeros


def dit(size: str, **attributes: Any) -> "DiT":
  """A `DiT` of one of the published sizes.

  Args:
    size: "S", "B", "L" or "XL".
    attributes: the other attributes of `DiT`, such as patch_size and num_classes.

  Raises:
    ValueError: for another size.
  """
  check_choice(tuple(DIT_SIZES), size=size)
  return DiT(**(DIT_SIZES[size] | attributes))


class DiT(nn.Module):
  """Images (B, H, W, C) at times t to predictions of the same shape, float32; SiT is the same network.

  A transformer over patches whose layer norms are shifted, scaled and gated by time and condition. At
  first every gate and the last layer are zero: blocks are the identity and the output is 0. The blocks'
  parameters are stacked along a leading axis of length depth.

  Attributes:
    patch_size: side of a patch in pixels, a divisor of H and W.
    width: of the tokens, a multiple of 4 and of heads.
    depth: number of blocks.
    heads: attention heads.
    mlp_ratio: width of a block's hidden layer over that of the tokens.
    num_classes: of labels, without the null class; None: conditions are vectors.
    remat: keep only what goes from block to block for the backward pass and compute the rest again.
    unroll: blocks that are written out in one round of the loop over blocks.
    gather: function of the parameters of one block, in `dtype`, just before use; for parameters that are
      split over devices, `training.fsdp_gather(mesh)`.
    dtype: dtype of the computation; parameters and outputs are float32.

  References:
    Peebles and Xie, Scalable Diffusion Models with Transformers, 2022. arXiv:2212.09748
    Ma et al., SiT: Exploring Flow and Diffusion-based Generative Models with Scalable Interpolant
      Transformers, 2024. arXiv:2401.08740
  """

  patch_size: int = 2
  width: int = 64
  depth: int = 4
  heads: int = 4
  mlp_ratio: int = 4
  num_classes: int | None = None
  remat: bool = False
  unroll: int = 1
  gather: Callable[[Any], Any] | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    t: jax.Array,
    condition: jax.Array | None = None,
    *,
    tokens: jax.Array | None = None,
    hidden: int | None = None,
  ) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Prediction, shape (B, H, W, C); with `hidden`, a pair of it and tokens (B, H W / patch_size^2, width).

    Args:
      x: images, shape (B, H, W, C).
      t: times in [0, 1], shape (B,) or ().
      condition: labels (B,), int32, where num_classes or None is no class, or vectors (B, C).
      tokens: more tokens, such as a text's, (B, T, C), that all blocks see beside the patches.
      hidden: also return the patches' tokens, float32, as they are after this many blocks.
    """
    check_rank(4, x=x)
    _, height, width, channels = x.shape
    if hidden is not None and not 1 <= hidden <= self.depth:
      raise ValueError(f"hidden must be in [1, {self.depth}], got {hidden}")
    grid = (height // self.patch_size, width // self.patch_size)
    h = nn.Dense(self.width, dtype=self.dtype, kernel_init=glorot, name="embed")(
      patchify(x, patch_size=self.patch_size)
    )
    h += grid_positions(grid, self.width).astype(h.dtype)
    if tokens is not None:
      check_rank(3, tokens=tokens)
      h = jnp.concatenate(
        [h, nn.Dense(self.width, dtype=self.dtype, name="tokens")(tokens)], axis=1
      )
    c = ConditionEmbedding(self.width, self.num_classes, self.dtype, name="condition")(
      jnp.broadcast_to(t, x.shape[:1]), condition
    )
    c = nn.silu(c)

    cut = hidden or self.depth
    params = self._block_params(h, c)
    h = self._blocks(jax.tree.map(lambda p: p[:cut], params), h, c)
    early = h[:, : grid[0] * grid[1]].astype(jnp.float32)
    if cut < self.depth:
      h = self._blocks(jax.tree.map(lambda p: p[cut:], params), h, c)

    shift, scale = jnp.split(modulation(2, self.width, self.dtype)(c), 2, axis=-1)
    h = modulated(h[:, : grid[0] * grid[1]], shift, scale)
    h = nn.Dense(
      self.patch_size**2 * channels, dtype=self.dtype, kernel_init=zeros, name="predict"
    )(h)
    out = unpatchify(h.astype(jnp.float32), image_size=(height, width), patch_size=self.patch_size)
    return out if hidden is None else (out, early)

  def _block(self) -> "DiTBlock":
    return DiTBlock(self.heads, self.mlp_ratio, self.dtype, parent=None)

  def _block_params(self, h: jax.Array, c: jax.Array) -> Any:
    """Parameters of all blocks, each array with a leading axis of length depth."""

    def init(key: jax.Array) -> Any:
      one = lambda key: self._block().init(key, h[:1], c[:1])["params"]
      return jax.vmap(one)(jax.random.split(key, self.depth))

    return self.param("blocks", init)

  def _blocks(self, params: Any, h: jax.Array, c: jax.Array) -> jax.Array:
    def body(h: jax.Array, params: Any) -> tuple[jax.Array, None]:
      if self.gather is not None:
        params = self.gather(jax.tree.map(lambda p: p.astype(self.dtype), params))
      out: Any = self._block().apply({"params": params}, h, c)
      return out, None

    if self.remat:  # a rolled loop keeps the compiler from undoing it
      body = jax.checkpoint(body, prevent_cse=self.unroll > 1)
    return jax.lax.scan(body, h, params, unroll=self.unroll)[0]


class DiTBlock(nn.Module):
  """Attention and a hidden layer, both residual, shifted, scaled and gated by c (B, width)."""

  heads: int
  mlp_ratio: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, c: jax.Array) -> jax.Array:
    width = x.shape[-1]
    dense = lambda features, name: nn.Dense(
      features, dtype=self.dtype, kernel_init=glorot, name=name
    )
    m = jnp.split(modulation(6, width, self.dtype)(c), 6, axis=-1)
    h = dense(3 * width, "qkv")(modulated(x, m[0], m[1]))
    qkv = h.reshape(*h.shape[:2], 3, self.heads, width // self.heads)
    h = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
    x += m[2][:, None] * dense(width, "attended")(h.reshape(x.shape))
    h = nn.gelu(dense(self.mlp_ratio * width, "hidden")(modulated(x, m[3], m[4])))
    return x + m[5][:, None] * dense(width, "out")(h)


def modulation(count: int, width: int, dtype: Any) -> nn.Dense:
  """Layer from the condition to `count` vectors of a modulation, zero at first."""
  return nn.Dense(count * width, dtype=dtype, kernel_init=zeros, name="modulation")


def modulated(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
  """Layer norm of tokens (B, T, W), scaled and shifted by vectors (B, W)."""
  h = nn.LayerNorm(1e-6, use_bias=False, use_scale=False, dtype=x.dtype)(x)
  return h * (1 + scale[:, None]) + shift[:, None]
