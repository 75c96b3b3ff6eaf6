import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentjax.data import factors as lf

SHAPES = tuple(lf.OUTLINES)
SIDE = 32
SPRITES = lf.sprites(side=SIDE, shapes=SHAPES, num_rotations=12, num_colours=1)
RENDER = jax.jit(jax.vmap(SPRITES.render))


@pytest.fixture(scope="module")
def drawn():
  """Every shape at any scale, rotation and place between grid points, as a share of light."""
  rng = np.random.default_rng(0)
  factors = rng.uniform(0, np.array(SPRITES.sizes) - 1, (240, 5))
  factors[:, 0] = np.arange(240) % len(SHAPES)
  return lf.values_of(factors, SPRITES.factors), np.asarray(RENDER(factors))[..., 0] / 255


def test_area_is_exact(drawn):
  values, images = drawn
  area = np.array([lf.OUTLINES[SHAPES[int(k)]].area for k in values[:, 0]]) * values[:, 1] ** 2
  error = (images.sum((1, 2)) - area).reshape(40, len(SHAPES))
  assert np.abs(error).max() < 1.6  # pixels, of 16 to 100
  assert np.abs(error.mean(axis=0)).max() < 0.6  # a corner is up to 0.15 pixels too blunt
  assert abs(error.mean(axis=0)[SHAPES.index("disc")]) < 0.05


def test_centre_of_mass_is_x_and_y_whatever_the_rotation(drawn):
  values, images = drawn
  steps, mass = np.arange(SIDE) + 0.5, images.sum((1, 2))
  centre = np.stack([images.sum(1) @ steps, images.sum(2) @ steps], axis=1) / mass[:, None]
  assert np.abs(centre - values[:, 3:5]).max() < 0.08


@pytest.mark.parametrize(
  ("shape", "turn"), [("square", 3), ("ellipse", 6), ("capsule", 6), ("triangle", 4), ("disc", 1)]
)
def test_rotation_by_its_symmetry_changes_nothing(shape, turn):
  factors = np.zeros((2, 12, 5))
  factors[..., 0], factors[..., 1], factors[..., 3:] = SHAPES.index(shape), 3, 14.3
  factors[0, :, 2] = np.arange(12)
  factors[1, :, 2] = np.arange(12) + turn
  images = np.asarray(RENDER(factors.reshape(24, 5)), int).reshape(2, 12, -1)
  assert np.abs(images[0] - images[1]).max() <= 1
  assert shape == "disc" or np.abs(images[0] - np.roll(images[0], 1, axis=0)).max() > 100


def test_a_quarter_turn_turns_the_pixels():
  factors = np.zeros((2, 5))
  factors[:] = SHAPES.index("heart"), 5, 1, 15.5, 15.5
  factors[1, 2] = 4  # three twelfths more
  upright, turned = np.asarray(RENDER(factors), int)[..., 0]
  assert np.abs(np.rot90(upright, -1) - turned).max() <= 1


def test_colour_paints_and_does_not_move():
  source = lf.sprites(side=16)
  factors = np.array([[1, 5, 3, 9, 20, 0], [1, 5, 3, 9, 20, 4], [1, 5, 3, 9, 20, 2]])
  red, cyan, green = np.asarray(jax.jit(jax.vmap(source.render))(factors), int)
  assert red.shape == (16, 16, 3) and not red[..., 1:].any() and not cyan[..., 0].any()
  assert np.array_equal(red[..., 0], cyan[..., 1]) and red.max() == 255
  assert np.array_equal(green[..., 0] > 64, green[..., 1] > 128)  # hue 1 / 4: half as red as green


def test_the_grid_of_dsprites():
  source = lf.dsprites_grid()
  assert source.names == ("shape", "scale", "rotation", "x", "y")
  assert source.sizes == (3, 6, 40, 32, 32)
  assert source.num_combinations == 3 * 6 * 40 * 32 * 32
  corners = np.array([[0, 5, 5, 0, 0], [1, 5, 0, 31, 31], [2, 5, 7, 0, 31], [2, 0, 9, 16, 16]])
  images = np.asarray(jax.jit(jax.vmap(source.render))(corners))
  assert images.shape == (4, 64, 64, 1) and set(np.unique(images)) == {0, 255}
  assert not images[:, [0, -1]].any() and not images[:, :, [0, -1]].any()  # never cut off


def test_coverage_is_differentiable():
  """On average over the places of the centre between pixels; a single one has a slope of its own."""
  disc = lf.OUTLINES["disc"]
  area = lambda scale, x, y: jnp.sum(lf.coverage(disc, scale, 0.3, x, y, side=16))
  x, y = np.random.default_rng(0).uniform(7, 9, (2, 200)).astype(np.float32)
  value, slope = jax.jit(jax.vmap(jax.value_and_grad(area), (None, 0, 0)))(5.0, x, y)
  assert jnp.mean(value) == pytest.approx(16 * np.pi, rel=2e-3)
  assert jnp.mean(slope) == pytest.approx(2 * 16 * np.pi / 5, rel=0.01)


def test_videos_follow_their_path_and_stay_inside():
  source = lf.moving_sprites(num_frames=6, side=32, shapes=("heart",))
  factors = lf.sample_factors(jax.random.key(3), source, 8)
  both = jax.jit(jax.vmap(lambda f: (source.render(f), source.extras["path"](f))))
  video, path = jax.device_get(both(factors))
  assert (
    video.shape == (8, 6, 32, 32, 3) and not video[:, :, 0].any() and not video[..., 0, :].any()
  )
  light, steps = video.sum(-1, dtype=float), np.arange(32) + 0.5
  centre = (
    np.stack([light.sum(-2) @ steps, light.sum(-1) @ steps], -1) / light.sum((-1, -2))[..., None]
  )
  assert np.abs(centre - path[..., :2]).max() < 0.15
  assert path[..., :2].min() >= 8 and path[..., :2].max() <= 24
  spins = np.diff(path[..., 2], axis=1)
  assert np.allclose(spins, spins[:, :1], atol=1e-5)


def test_motions_differ_wherever_they_start():
  source = lf.moving_sprites(num_frames=4, side=32)
  motions = np.stack(np.meshgrid(*map(np.arange, (16, 4, 5)), indexing="ij"), -1).reshape(-1, 3)
  path = jax.jit(jax.vmap(source.extras["path"]))
  for x, y in ((0, 0), (15, 7)):
    starts = np.tile([0, 0, 0, x, y, 0], (len(motions), 1))
    columns, rows, turn = np.asarray(path(np.hstack([starts, motions]))).transpose(2, 0, 1)
    seen = np.hstack([columns, rows, np.cos(turn), np.sin(turn)])
    assert len(np.unique(np.round(seen, 2), axis=0)) == len(motions)


def test_a_bounce_is_a_mirror():
  from latentjax.data.factors.moving import bounce

  places = jnp.array([3.0, 7.0, -1.0, 12.0, 22.0, -11.0])
  assert np.allclose(bounce(places, 0.0, 10.0), [3, 7, 1, 8, 2, 9])


def test_a_factor_of_a_room_changes_its_part_alone():
  source = lf.rooms(side=24, samples=1)
  base = np.array([0, 3, 6, 4, 2, 7])
  factors = np.stack([base, *(base + step for step in np.eye(6, dtype=int))])
  images = np.asarray(jax.jit(jax.vmap(source.render))(factors), int)
  changed = np.abs(images - images[0]).sum(-1) > 0
  floor, wall, thing = changed[1:4]
  assert not (floor & wall).any() and not (floor & thing).any() and not (wall & thing).any()
  assert (floor | wall | thing).all()  # every pixel of a single ray is one of the three
  assert thing[8:16, 8:16].any() and wall[0].all() and floor[-1].all()
  grown = np.abs(images[4] - images[0]).sum(-1) > 0
  assert grown.any() and not (grown & wall).sum() > 30  # a larger sphere hides a rim
  mirrored = np.asarray(jax.jit(source.render)(jnp.array([0, 3, 6, 4, 2, 7])), int)
  thing_columns = np.flatnonzero(thing.any(0))
  assert thing_columns.sum() == pytest.approx(11.5 * len(thing_columns))  # in the middle
  assert np.array_equal(mirrored, images[0])
