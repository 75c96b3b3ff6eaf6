"""The diffusion transformer: its values against numpy, what it is at first, loops and rematerialisation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import fast_jit

from latentjax.models import DIT_SIZES, DiT, dit, time_features
from latentjax.models.transformer import grid_positions

B, SHAPE, WIDTH, DEPTH, HEADS, CLASSES = 3, (4, 6, 2), 8, 3, 2, 5
MODEL = DiT(patch_size=2, width=WIDTH, depth=DEPTH, heads=HEADS, num_classes=CLASSES)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((B, *SHAPE)).astype(np.float32)
T = RNG.uniform(size=B).astype(np.float32)
LABELS = np.array([1, 4, CLASSES])  # the last is the null class
TOKENS = RNG.standard_normal((B, 4, 3)).astype(np.float32)


def random_params(model, *args, **kwargs):
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *args, **kwargs))
  rng = np.random.default_rng(1)
  return jax.tree.map(lambda a: 0.4 * rng.standard_normal(a.shape, np.float32), shapes)


PARAMS = random_params(MODEL, X, T, LABELS, tokens=TOKENS)


def layer_norm(x):
  return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def silu(x):
  return x / (1 + np.exp(-x))


def gelu(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attention(h, heads):
  """Row by row, head by head; h is (T, 3 * W): queries, keys, values."""
  query, key, value = np.split(h, 3, axis=-1)
  size, out = query.shape[-1] // heads, []
  for i in range(heads):
    part = slice(i * size, (i + 1) * size)
    weights = np.exp(query[:, part] @ key[:, part].T / np.sqrt(size))
    out.append(weights / weights.sum(-1, keepdims=True) @ value[:, part])
  return np.concatenate(out, axis=-1)


def numpy_dit(params, x, t, label, tokens, hidden):
  """One example, in float64: prediction and the patches' tokens after `hidden` blocks."""
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
  dense = lambda layer, h: h @ layer["kernel"] + layer["bias"]
  rows, columns = SHAPE[0] // 2, SHAPE[1] // 2
  patches = [
    x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel() for i in range(rows) for j in range(columns)
  ]
  h = dense(p["embed"], np.array(patches, np.float64))
  h += np.asarray(grid_positions((rows, columns), WIDTH))
  h = np.concatenate([h, dense(p["tokens"], tokens)])
  c = np.asarray(time_features(t[None], WIDTH), np.float64)[0]
  c = dense(p["condition"]["Dense_1"], silu(dense(p["condition"]["Dense_0"], c)))
  c = silu(c + p["condition"]["Embed_0"]["embedding"][label])
  for i in range(DEPTH):
    block = jax.tree.map(lambda a, i=i: a[i], p["blocks"])
    shift, scale, gate, shift_2, scale_2, gate_2 = np.split(dense(block["modulation"], c), 6)
    attended = attention(dense(block["qkv"], layer_norm(h) * (1 + scale) + shift), HEADS)
    h = h + gate * dense(block["attended"], attended)
    inner = gelu(dense(block["hidden"], layer_norm(h) * (1 + scale_2) + shift_2))
    h = h + gate_2 * dense(block["out"], inner)
    if i + 1 == hidden:
      early = h[: len(patches)]
  shift, scale = np.split(dense(p["modulation"], c), 2)
  h = dense(p["predict"], layer_norm(h[: len(patches)]) * (1 + scale) + shift)
  out = np.zeros(SHAPE)
  for n, patch in enumerate(h):
    i, j = divmod(n, columns)
    out[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = patch.reshape(2, 2, SHAPE[2])
  return out, early


def test_values_and_gradients_however_the_blocks_run():
  """Against numpy; written out and rematerialised the same; a gradient for every parameter."""

  def run(model, params):
    def loss(params):
      outputs = model.apply(params, X, T, LABELS, tokens=TOKENS, hidden=2)
      return sum(jnp.sum(jnp.sin(a)) for a in outputs), outputs

    return jax.grad(loss, has_aux=True)(params)

  other = replace(MODEL, remat=True, unroll=2)
  both = fast_jit(lambda p: [run(model, p) for model in (MODEL, other)])(PARAMS)
  (slope, (out, early)), (slope_2, (out_2, early_2)) = jax.device_get(both)
  for i in range(B):
    expected = numpy_dit(PARAMS, X[i], T[i], LABELS[i], TOKENS[i], 2)
    np.testing.assert_allclose(out[i], expected[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(early[i], expected[1], rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(out_2, out, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(early_2, early, rtol=1e-4, atol=1e-5)
  for (path, a), b in zip(jax.tree.leaves_with_path(slope), jax.tree.leaves(slope_2)):
    assert np.any(a), path
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3 * np.abs(a).max(), err_msg=str(path))


def test_at_first_blocks_are_the_identity_and_the_output_is_zero(key):
  @fast_jit
  def run(key):
    params = MODEL.init(key, X, T, LABELS)
    out, first = MODEL.apply(params, X, T, LABELS, hidden=1)
    return params, out, first, MODEL.apply(params, X, T, LABELS, hidden=DEPTH)[1]

  params, out, first, last = jax.device_get(run(key))
  assert out.shape == X.shape and out.dtype == jnp.float32 and not np.any(out)
  np.testing.assert_array_equal(first, last)
  kernels = params["params"]["blocks"]["qkv"]["kernel"]
  assert kernels.shape == (DEPTH, WIDTH, 3 * WIDTH)
  assert np.abs(kernels).max() <= np.sqrt(6 / (4 * WIDTH)) and np.std(kernels[0] - kernels[1]) > 0.1
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_conditions_and_low_precision():
  """Vectors and time count, and one time serves all rows; bfloat16 is nearly the same."""
  model = replace(MODEL, num_classes=None)
  vectors = RNG.standard_normal((B, 7)).astype(np.float32)
  params = random_params(model, X, T, vectors)

  @fast_jit
  def run(params, t, vectors):
    rows = model.apply(params, jnp.tile(X, (3, 1, 1, 1)), t, vectors)
    return rows, replace(model, dtype=jnp.bfloat16).apply(params, X, jnp.float32(0.5), vectors[:B])

  t = np.concatenate([np.full(B, 0.5), T, T]).astype(np.float32)
  rows, low = jax.device_get(run(params, t, np.concatenate([vectors, vectors, -vectors])))
  half, given, other = np.split(rows, 3)
  assert np.abs(given - other).max() > 0.01 and np.abs(given - half).max() > 0.01
  assert low.dtype == jnp.float32 and 0 < np.abs(half - low).max() < 0.1 * np.abs(half).max()


@pytest.mark.parametrize(("size", "millions"), [("S", 33), ("XL", 675)])
def test_published_sizes(size, millions):
  """Parameters as published for patches of 2, a latent of 4 channels that learns its variance."""
  x = jnp.zeros((1, 32, 32, 4))
  shapes = jax.eval_shape(dit(size, num_classes=1000).init, jax.random.key(0), x, jnp.zeros(1))
  assert abs(sum(a.size for a in jax.tree.leaves(shapes)) / 1e6 - millions) < 1
  assert set(DIT_SIZES) == {"S", "B", "L", "XL"}


def test_bad_arguments(key):
  init = lambda model, *args, **kwargs: jax.eval_shape(lambda: model.init(key, *args, **kwargs))
  with pytest.raises(ValueError, match=r"patch_size must divide \(4, 6\), got 4"):
    init(replace(MODEL, patch_size=4), X, T)
  with pytest.raises(ValueError, match="hidden must be in \\[1, 3\\], got 4"):
    init(MODEL, X, T, hidden=4)
  with pytest.raises(ValueError, match="x must have 4 axes"):
    init(MODEL, X[0], T)
  with pytest.raises(ValueError, match="tokens must have 3 axes"):
    init(MODEL, X, T, tokens=X)
  with pytest.raises(ValueError, match="size must be one of"):
    dit("M")
