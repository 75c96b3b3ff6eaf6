"""Random fields by their spectrum, local changes against scipy and colorsys, limits of the augmentation."""

import colorsys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_kernel
from scipy import ndimage

from latentjax.augment import gaussian_random_field, local_color, local_warp, random_field_augment

RNG = np.random.default_rng(0)
H, W = 8, 6
IMAGE = RNG.uniform(0.1, 0.9, (H, W, 3)).astype(np.float32)
FIELDS = [
  RNG.uniform(low, high, (H, W)) for low, high in ((0.8, 1.1), (0.7, 1.2), (0.5, 1.1), (-0.2, 0.2))
]
WARP = [RNG.normal(0, 0.8, (2, H, W)), RNG.normal(0, 0.2, (H, W)), RNG.normal(0, 0.1, (H, W))]


def warp_oracle(image, shift, angle, log_scale, fill):
  row, column = np.indices((H, W)) - np.array([(H - 1) / 2, (W - 1) / 2])[:, None, None] - shift
  # As a complex number with the imaginary axis up: a turn back and a shrinkage are one factor.
  source = (column - 1j * row) * np.exp(-log_scale - 1j * angle)
  at = (H - 1) / 2 - source.imag, (W - 1) / 2 + source.real
  mode = {"mode": "nearest"} if fill is None else {"mode": "grid-constant", "cval": fill}
  return np.stack(
    [ndimage.map_coordinates(x, at, order=1, **mode) for x in image.T.swapaxes(1, 2)], -1
  )


def test_local_warp():
  check_kernel(
    local_warp,
    (IMAGE, *WARP),
    oracle=warp_oracle,
    kwargs={"fill": 0.3},
    batch_axes=(0, 1, 0, 0),
    extreme=[(IMAGE, 1e4 * WARP[0], WARP[1], 40 * np.sign(WARP[2]))],
    bfloat16=False,  # coordinates need more digits
    bad_inputs=[
      ((IMAGE[0], *WARP), {}, ValueError, "image must have 3 axes"),
      ((IMAGE, WARP[1], *WARP[1:]), {}, ValueError, "shift must have shape \\(2, 8, 6\\)"),
      ((IMAGE, *WARP[:2], WARP[2][1:]), {}, ValueError, "log_scale \\(7, 6\\)"),
    ],
  )


def color_oracle(image, brightness, contrast, saturation, hue):
  x = np.minimum(image * brightness[..., None], 1)
  mean = x.mean((0, 1))
  x = np.clip(mean + contrast[..., None] * (x - mean), 0, 1)
  pixels = zip(x.reshape(-1, 3), saturation.ravel(), hue.ravel())
  hsv = [(*colorsys.rgb_to_hsv(*pixel), s, t) for pixel, s, t in pixels]
  rgb = [colorsys.hsv_to_rgb((h + t) % 1, min(f * s, 1), v) for h, s, v, f, t in hsv]
  return np.reshape(rgb, image.shape)


def test_local_color():
  check_kernel(
    local_color,
    (IMAGE, *FIELDS),
    oracle=color_oracle,
    extreme=[(np.zeros_like(IMAGE), *FIELDS), (np.ones_like(IMAGE), *(1e4 * f for f in FIELDS))],
    bfloat16=False,  # a hue that is rounded jumps between sextants
    bad_inputs=[((IMAGE, *FIELDS[:3], FIELDS[3].T), {}, ValueError, "hue \\(6, 8\\)")],
  )


@pytest.mark.parametrize(("gamma", "size"), [(0.0, (32, 24)), (4.0, (27, 40))])
def test_spectrum_falls_with_slope_gamma(gamma, size):
  fields = jax.jit(partial(gaussian_random_field, shape=(200, *size)))(
    jax.random.key(0), gamma=gamma
  )
  fields = np.asarray(fields, np.float64)
  np.testing.assert_allclose(np.mean(fields**2), 1, atol=0.1)
  power = np.mean(np.abs(np.fft.fft2(fields)) ** 2, axis=0)
  row, column = (np.fft.fftfreq(n) * max(size) for n in size)
  radius = np.hypot(row[:, None], column)
  inner = (radius >= 1) & (radius < 12)
  slope, level = np.polyfit(np.log(radius[inner]), np.log(power[inner]), 1)
  np.testing.assert_allclose(slope, -gamma, atol=0.03)
  np.testing.assert_allclose(np.log(power[0, 0]), level + gamma * np.log(2) / 2, atol=0.4)
  flat = fields.reshape(200, -1)
  kurtosis = np.mean(flat**4) / np.mean(flat**2) ** 2
  np.testing.assert_allclose(kurtosis, 3, atol=0.4)  # the variance was not put to 1 field by field


def test_frequencies_left_out():
  fields = jax.jit(
    lambda key: gaussian_random_field(key, shape=(9, 20, 31), gamma=2.0, max_frequency=4)
  )(jax.random.key(0))
  power = np.abs(np.fft.fft2(np.asarray(fields, np.float64))) ** 2
  row, column = np.fft.fftfreq(20) * 20, np.fft.fftfreq(31) * 31
  kept = (abs(row)[:, None] < 4.5) & (abs(column) < 4.5)
  assert (power[:, kept] > 1e-4).all() and power[:, ~kept].max() < 1e-6


def test_limits_of_the_augmentation():
  """No strength: the image. Large gamma: one affine map, and one factor, for all pixels."""
  key = jax.random.key(2)
  ramp = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0), indexing="ij"), -1) / 30
  tones = dict.fromkeys(["brightness", "contrast"], 0.0)
  warp = jax.jit(partial(random_field_augment, **tones))
  still, bent, affine = (
    warp(key, ramp.astype(np.float32), strength=strength, gamma=gamma)
    for strength, gamma in ((0.0, 5.0), (1.0, 5.0), (1.0, 100.0))
  )
  np.testing.assert_allclose(still, ramp, atol=1e-5)
  bend = lambda x: np.abs(np.diff(x[8:22, 8:22], n=2, axis=0)).max()
  assert bend(affine) < 1e-5 < 1e-3 < bend(bent) and np.abs(affine - ramp).max() > 0.01
  place = dict.fromkeys(["shift", "angle", "scale", "contrast"], 0.0)
  tone = jax.jit(partial(random_field_augment, **place))
  rough, even = (
    tone(key, 0.3 * IMAGE[..., :1], gamma=gamma) / (0.3 * IMAGE[..., :1]) for gamma in (3.0, 100.0)
  )
  assert np.ptp(even) < 1e-4 < 0.1 < np.ptp(rough) and abs(even.mean() - 1) > 0.02
  for image in (IMAGE[..., :1].astype(jnp.bfloat16), IMAGE):
    changed = jax.eval_shape(random_field_augment, key, image)
    assert changed.dtype == image.dtype and changed.shape == image.shape


@pytest.mark.parametrize(
  ("call", "match"),
  [
    (partial(gaussian_random_field, shape=(4,), gamma=1.0), "shape must end in height and width"),
    (partial(gaussian_random_field, shape=(4, 4), gamma=-1.0), "gamma must be in"),
    (
      partial(gaussian_random_field, shape=(4, 4), gamma=1.0, max_frequency=0),
      "max_frequency must be",
    ),
    (partial(random_field_augment, image=IMAGE, angle=-1.0), "angle must be in"),
    (partial(random_field_augment, image=IMAGE, strength=-1.0), "strength must be in"),
    (partial(random_field_augment, image=IMAGE[0]), "image must have 3 axes"),
  ],
)
def test_bad_settings(call, match):
  with pytest.raises(ValueError, match=match):
    call(jax.random.key(0))
