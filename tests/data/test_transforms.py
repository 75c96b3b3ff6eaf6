import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.data import transforms

binarize = jax.jit(transforms.dynamic_binarize, static_argnames="feature")


def test_to_float_is_exact_division():
  pixels = jnp.arange(256, dtype=jnp.uint8)
  out = jax.jit(transforms.to_float)(None, {"image": pixels, "label": jnp.int32(3)})
  assert out["image"].dtype == jnp.float32
  np.testing.assert_allclose(out["image"], np.arange(256) / 255, rtol=2e-7)
  assert out["image"][0] == 0
  assert out["image"][255] == 1
  assert out["label"] == 3


def test_dynamic_binarize_has_the_mean_of_the_pixel():
  draws = 1 << 14
  pixels = jnp.broadcast_to(jnp.arange(256, dtype=jnp.uint8), (draws, 256))
  keys = jax.random.split(jax.random.key(0), draws)
  out = jax.jit(jax.vmap(transforms.dynamic_binarize))(keys, {"image": pixels})["image"]
  assert out.dtype == jnp.float32
  assert set(np.unique(out)) == {0.0, 1.0}
  p = np.arange(256) / 255
  z = (np.asarray(out).mean(0) - p)[1:-1] / np.sqrt(p * (1 - p) / draws)[1:-1]
  assert np.abs(z).max() < 4.5
  assert abs(z.std() - 1) < 0.2
  assert not out[:, 0].any()
  assert out[:, 255].all()
  # Pixels that share a random word must not be tied to each other.
  together = np.corrcoef(np.asarray(out)[:, 1:-1].T) - np.eye(254)
  assert np.abs(together).max() < 6 / np.sqrt(draws)


def test_dynamic_binarize_uses_the_probability_to_16_bits(monkeypatch):
  # Every possible half word once: the fraction that comes out on is the probability itself.
  words = jnp.arange(0, 1 << 16, 2, dtype=jnp.uint32)
  monkeypatch.setattr(jax.random, "bits", lambda *a: words | ((words + 1) << 16))
  for pixel in (0, 1, 2, 127, 128, 253, 254, 255):
    image = jnp.full((1 << 16,), pixel, jnp.uint8)
    on = transforms.dynamic_binarize(None, {"image": image})["image"]
    assert abs(np.asarray(on, np.float64).mean() - pixel / 255) <= 0.51 / (1 << 16)


@pytest.mark.parametrize("shape", [(), (3, 5)])
def test_dynamic_binarize_any_shape(key, shape):
  for value in (0, 1):
    x = binarize(key, {"x": np.full(shape, value, np.float32)}, feature="x")["x"]
    assert x.shape == shape
    assert np.all(x == value)


def test_dynamic_binarize_is_a_function_of_the_key(key):
  example = {"image": np.full((28, 28, 1), 128, np.uint8)}
  first = binarize(key, example)["image"]
  other = binarize(jax.random.key(1), example)["image"]
  assert np.array_equal(first, binarize(key, example)["image"])
  assert 0.4 < np.mean(first != other) < 0.6


def test_a_row_does_not_depend_on_its_batch(key):
  keys = jax.random.split(key, 4)
  images = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 1), np.uint8)
  batched = jax.jit(jax.vmap(transforms.dynamic_binarize))(keys, {"image": images})["image"]
  for row in range(4):
    alone = binarize(jax.random.split(key, 4)[row], {"image": images[row]})["image"]
    assert np.array_equal(batched[row], alone)


@pytest.mark.parametrize("transform", [transforms.to_float, transforms.dynamic_binarize])
def test_rejects_other_types(key, transform):
  with pytest.raises(
    TypeError, match=r"feature 'image' must be uint8 or floating in \[0, 1\], got i"
  ):
    transform(key, {"image": np.zeros(3, np.int32)})


def test_perturb_adds_noise_of_the_scale_asked_for():
  keys = jax.random.split(jax.random.key(0), 4000)
  x = jnp.broadcast_to(jnp.array([0, 51], jnp.uint8), (4000, 2))
  run = jax.jit(jax.vmap(lambda key, example: transforms.perturb(key, example, scale=0.3)))
  out = run(keys, {"image": x, "label": jnp.arange(4000)})
  np.testing.assert_allclose(out["image"].mean(0), [0.0, 0.2], atol=5 * 0.3 / 4000**0.5)
  np.testing.assert_allclose(out["image"].std(0), 0.3, rtol=0.06)
  assert abs(np.corrcoef(out["image"].T)[0, 1]) < 5 / 4000**0.5
  assert (out["label"] == jnp.arange(4000)).all()
  same = transforms.perturb(keys[0], {"image": jnp.ones(3)}, scale=0.0)["image"]
  np.testing.assert_array_equal(same, 1.0)
  with pytest.raises(ValueError, match="scale must be at least 0, got -1"):
    transforms.perturb(keys[0], {"image": jnp.ones(3)}, scale=-1)
