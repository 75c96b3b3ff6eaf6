"""Augmentations of one image: against numpy and scipy, by what they must leave alone, by their ranges."""

import colorsys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from latentjax import augment
from latentjax.augment import _resample, color

RNG = np.random.default_rng(0)
COLOR = RNG.uniform(size=(12, 9, 3)).astype(np.float32)
GRAY = COLOR[..., :1]
STILL = {"angle": 0.0, "shift": 0.0, "scale": (1.0, 1.0)}

EVERY = {
  "color_jitter": partial(augment.color_jitter, prob=1.0),
  "cutout": partial(augment.cutout, size=3),
  "gaussian_blur": partial(augment.gaussian_blur, prob=1.0),
  "random_affine": partial(augment.random_affine, shear=0.2),
  "random_crop": partial(augment.random_crop, padding=2, size=(8, 7)),
  "random_flip": augment.random_flip,
  "random_grayscale": partial(augment.random_grayscale, prob=1.0),
  "random_resized_crop": partial(augment.random_resized_crop, size=(6, 10)),
  "random_rotation": augment.random_rotation,
  "random_solarize": partial(augment.random_solarize, prob=1.0),
}


def each(fn, image, count=64, **kwargs):
  """Results for so many keys, in one program."""
  keys = jax.random.split(jax.random.key(0), count)
  return np.asarray(jax.jit(jax.vmap(lambda key: fn(key, image, **kwargs)))(keys))


def test_dtypes_channels_range_and_gradients():
  """On colours with grey and black pixels; one channel in bfloat16 by shape alone."""

  @jax.jit
  def run(image):
    def total(image, fn):
      changed = fn(jax.random.key(1), image)
      return jnp.sum(jnp.square(changed)), changed

    return {name: jax.grad(total, has_aux=True)(image, fn) for name, fn in EVERY.items()}

  image = COLOR.copy()
  image[:2], image[2] = 0, 0.5
  for name, (grad, changed) in run(image).items():
    assert changed.min() >= -1e-6 and changed.max() <= 1 + 1e-6, name
    assert np.isfinite(grad).all() and np.any(grad), name
    low = jax.eval_shape(EVERY[name], jax.random.key(1), GRAY.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16 and low.shape == (*changed.shape[:2], 1), name


def test_crops_are_windows():
  windows = np.lib.stride_tricks.sliding_window_view(
    np.pad(GRAY[..., 0], 2, constant_values=7), (8, 7)
  )
  found = set()
  for crop in each(augment.random_crop, GRAY, padding=2, size=(8, 7), fill=7.0)[..., 0]:
    same = np.argwhere((windows == crop).all((2, 3)))
    assert len(same) == 1
    found.add(tuple(same[0]))
  rows, columns = zip(*found)
  assert (min(rows), max(rows), min(columns), max(columns)) == (0, 8, 0, 6)


def test_resized_crops_of_a_ramp():
  """A crop of a ramp is a ramp, whose ends tell place and size of the crop."""
  height, width = 40, 60
  ramp = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1) + 0.5
  crops = each(augment.random_resized_crop, ramp.astype(np.float32), 500, size=4, scale=(0.1, 0.3))
  inner = crops[:, 1:3, 1:3]  # the border of the image bends the ramp within a pixel of it
  step = np.stack([inner[:, 1, 0, 0] - inner[:, 0, 0, 0], inner[:, 0, 1, 1] - inner[:, 0, 0, 1]], 1)
  side, centre = 4 * step, inner.mean((1, 2))
  area, ratio = side.prod(1) / (height * width), side[:, 1] / side[:, 0]
  assert 0.099 < area.min() < 0.11 and 0.29 < area.max() < 0.301
  assert abs(area.mean() - 0.2) < 0.01 and abs(np.log(ratio).mean()) < 0.03
  assert 0.74 < ratio.min() < 0.77 and 1.31 < ratio.max() < 1.34
  place = (centre - side / 2) / (np.array([height, width]) - side)
  assert place.min() > -1e-3 and place.max() < 1.001
  np.testing.assert_allclose(place.mean(0), 0.5, atol=0.05)
  whole = each(augment.random_resized_crop, GRAY, 1, scale=(1.0, 1.0), ratio=(0.75, 0.75))
  np.testing.assert_allclose(whole[0], GRAY, atol=1e-5)  # 12 x 9: the ratio is its own


def test_probabilities():
  for name in ("random_flip", "random_grayscale", "random_solarize", "cutout", "gaussian_blur"):
    same = (each(getattr(augment, name), COLOR, 200, prob=0.3) == COLOR).all((1, 2, 3))
    assert 0.55 < same.mean() < 0.85, name
  np.testing.assert_array_equal(each(augment.random_flip, COLOR, 1, prob=1.0)[0], COLOR[:, ::-1])


def test_hue_and_saturation_against_colorsys():
  changed = jax.jit(color.change_color)(COLOR, 0.7, 0.3)
  hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in COLOR.reshape(-1, 3)])
  rgb = [colorsys.hsv_to_rgb((h + 0.3) % 1, 0.7 * s, v) for h, s, v in hsv]
  np.testing.assert_allclose(changed, np.reshape(rgb, COLOR.shape), atol=1e-5)


def test_ranges_of_brightness_and_contrast():
  image = 0.4 + 0.1 * GRAY
  quiet = {"saturation": 0.0, "hue": 0.0, "prob": 1.0}
  factor = each(augment.color_jitter, image, 300, brightness=0.5, contrast=0.0, **quiet) / image
  assert np.ptp(factor, axis=(1, 2, 3)).max() < 1e-5
  assert 0.5 <= factor.min() < 0.52 and 1.48 < factor.max() <= 1.5
  changed = each(augment.color_jitter, image, 300, brightness=0.0, contrast=0.5, **quiet)
  factor = (changed - image.mean()).std((1, 2, 3)) / image.std()
  np.testing.assert_allclose(changed.mean((1, 2, 3)), image.mean(), rtol=1e-5)
  assert 0.5 <= factor.min() < 0.52 and 1.48 < factor.max() <= 1.5


def test_blur_against_scipy():
  blurred = each(augment.gaussian_blur, COLOR, 1, sigma=(1.3, 1.3), prob=1.0)[0]
  filtered = lambda x: ndimage.gaussian_filter(x, (1.3, 1.3, 0), mode="constant", truncate=12)
  inside = filtered(np.ones_like(COLOR, np.float64))  # the share of the kernel in the image
  np.testing.assert_allclose(blurred, filtered(COLOR.astype(np.float64)) / inside, atol=1e-5)


def test_cutout_covers_every_pixel_alike():
  covered = (
    each(augment.cutout, np.ones((6, 5, 1), np.float32), 2000, size=3, fill=0.5)[..., 0] == 0.5
  )
  counts = covered.sum((1, 2))
  assert counts.max() == 9 and counts.min() == 4
  share = covered.mean(0)  # of 30 centres; less where part of the square's centres lie outside
  np.testing.assert_allclose(share[1:-1, 1:-1], 9 / 30, atol=0.04)


@pytest.mark.parametrize("mode", ["grid-constant", "nearest"])
def test_sampling_against_scipy(mode):
  at = RNG.uniform(-3, 15, (2, 50))
  fill = 2.0 if mode == "grid-constant" else None
  got = jax.jit(partial(_resample.resample, fill=fill))(COLOR, *at)
  for channel in range(3):
    expected = ndimage.map_coordinates(COLOR[..., channel], at, order=1, mode=mode, cval=2.0)
    np.testing.assert_allclose(got[:, channel], expected, atol=1e-5)


def test_affine_maps():
  spot = np.zeros((31, 31, 1), np.float32)
  spot[15, 25] = 1  # ten pixels to the right of the centre
  centroid = lambda x: (
    np.einsum("bij,aij->ba", x[..., 0], np.indices((31, 31)) - 15) / x.sum((1, 2))
  )
  turned = centroid(each(augment.random_rotation, spot, 300, angle=0.5))
  angle = np.arctan2(-turned[:, 0], turned[:, 1])  # counter-clockwise
  np.testing.assert_allclose(np.hypot(*turned.T), 10, atol=0.1)
  assert -0.51 < angle.min() < -0.47 and 0.47 < angle.max() < 0.51
  only = lambda **change: centroid(each(augment.random_affine, spot, 300, **STILL | change))
  np.testing.assert_allclose(np.abs(only(shift=0.1)).max(0), [3.1, 13.1], atol=0.1)
  np.testing.assert_allclose(only(scale=(1.3, 1.3)), np.tile([0.0, 13.0], (300, 1)), atol=0.1)
  tall = centroid(each(augment.random_affine, np.swapaxes(spot, 0, 1), 300, **STILL, shear=0.2))
  np.testing.assert_allclose(tall[:, 0], 10, atol=0.01)
  assert 1.9 < np.abs(tall[:, 1]).max() < 2.01


def test_views():
  one, two = jax.jit(lambda key: augment.two_views(key, GRAY, augment.random_crop))(
    jax.random.key(0)
  )
  assert np.any(one != two)
  assert jax.eval_shape(partial(augment.simclr_view, size=5), jax.random.key(0), GRAY).shape == (
    5,
    5,
    1,
  )
  add = lambda key, crop: crop + jax.random.uniform(key, (), minval=1.0, maxval=2.0)
  large, small = jax.jit(
    partial(augment.multi_crop, augment_fn=add, num_local=3, local_size=(5, 4))
  )(jax.random.key(0), 0 * COLOR)
  assert large.shape == (2, 12, 9, 3) and small.shape == (3, 5, 4, 3)
  values = np.concatenate([large[:, 0, 0, 0], small[:, 0, 0, 0]])
  assert len(set(values)) == 5 and values.min() >= 1
  assert (
    jax.eval_shape(partial(augment.multi_crop, num_local=0), jax.random.key(0), GRAY)[1].shape[0]
    == 0
  )


@pytest.mark.parametrize(
  ("name", "kwargs", "match"),
  [
    ("random_resized_crop", {"scale": (0.0, 1.0)}, "scale and ratio must be positive"),
    ("random_resized_crop", {"scale": (0.5, 2.0)}, "scale must be two ascending numbers"),
    ("random_resized_crop", {"ratio": (2.0, 1.0)}, "ratio must be two ascending numbers"),
    ("random_resized_crop", {"size": 0}, "size must be a positive integer"),
    ("random_crop", {"padding": -1}, "padding must be at least 0"),
    ("random_crop", {"padding": 1, "size": 16}, "size must fit into the padded image"),
    ("random_flip", {"prob": 1.5}, "prob must be in"),
    ("color_jitter", {"hue": 0.6}, "hue must be in"),
    ("color_jitter", {"contrast": -1.0}, "contrast must be in"),
    ("random_solarize", {"threshold": 2.0}, "threshold must be"),
    ("gaussian_blur", {"sigma": (0.0, 1.0)}, "sigma must be positive"),
    ("cutout", {"size": 0}, "size must be a positive integer"),
    ("random_affine", {"scale": (0.0, 1.0)}, "scale must be positive"),
    ("random_affine", {"shift": -1.0}, "shift must be in"),
    ("simclr_view", {"strength": 3.0}, "strength must be in"),
    ("multi_crop", {"num_global": 0}, "num_global must be a positive integer"),
    ("multi_crop", {"num_local": -1}, "num_local must be at least 0"),
    ("multi_crop", {"local_size": 0}, "local_size must be a positive integer"),
  ],
)
def test_bad_settings(name, kwargs, match):
  with pytest.raises(ValueError, match=match):
    getattr(augment, name)(jax.random.key(0), COLOR, **kwargs)


@pytest.mark.parametrize("name", [*EVERY, "multi_crop", "simclr_view"])
def test_bad_images(name):
  fn = getattr(augment, name)
  with pytest.raises(TypeError, match="image must be a floating point array, got uint8"):
    fn(jax.random.key(0), np.zeros((4, 4, 1), np.uint8))
  with pytest.raises(ValueError, match="image must have 3 axes"):
    fn(jax.random.key(0), np.zeros((4, 4), np.float32))
