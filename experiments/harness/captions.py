"""Pictures of shapes with captions, and two towers that embed them on one sphere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import shapes
from latentjax.losses.contrastive import clip_loss, l2_normalize
from latentjax.models import MLP

# Two words for every value of every attribute; the index of a word is its token.
WORDS = {
  "kind": (("disc", "circle"), ("square", "box"), ("triangle", "wedge")),
  "size": (("small", "little"), ("large", "big")),
  "fill": (("filled", "solid"), ("outlined", "hollow")),
  "shade": (("dim", "dark"), ("bright", "light")),
  "height": (("top", "upper"), ("middle", "halfway"), ("bottom", "lower")),
  "side": (("left", "leftward"), ("centre", "central"), ("right", "rightward")),
}
FILLERS = ("a", "picture", "photo", "of", "some", "nice")
NUM_VALUES = tuple(map(len, WORDS.values()))
VOCABULARY = [w for values in WORDS.values() for pair in values for w in pair] + list(FILLERS)
FIRST = np.cumsum([0, *(2 * n for n in NUM_VALUES)])  # first token of every attribute, then fillers
ALL = np.stack(np.unravel_index(np.arange(np.prod(NUM_VALUES)), NUM_VALUES), axis=1)


class Captioned(NamedTuple):
  """Pictures, what is in them, and a caption each.

  Attributes:
    image: shape (N, 16, 16, 1), float32 in [0, 1].
    attributes: index of the value of kind, size, fill, shade, height and side, shape (N, 6).
    text: tokens of the caption, shape (N, 8), int32.
  """

  image: np.ndarray
  attributes: np.ndarray
  text: np.ndarray


def make_captioned(num_examples: int, *, seed: int) -> Captioned:
  """Independent attributes; the position counts by thirds of its range."""
  made = shapes.make_shapes(num_examples, seed=seed)
  thirds = np.digitize(made.position - shapes.SIDE / 2 + 0.5, [-2.5 / 3, 2.5 / 3])
  attributes = np.concatenate([made.attributes, thirds], axis=1).astype(np.int32)
  return Captioned(made.image, attributes, write(attributes, seed=seed + 1000))


def write(
  attributes: np.ndarray, *, seed: int, mention: tuple[str, ...] = tuple(WORDS)
) -> np.ndarray:
  """Tokens of captions: one of the two words of every mentioned value, and fillers."""
  rng = np.random.default_rng(seed)
  words = FIRST[:-1] + 2 * attributes + rng.integers(2, size=attributes.shape)
  fillers = FIRST[-1] + rng.integers(len(FILLERS), size=(len(words), len(WORDS) + 2))
  fillers[:, :-2] = np.where(np.isin(list(WORDS), mention), words, fillers[:, :-2])
  return fillers.astype(np.int32)


def make_edits(count: int, *, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
  """Changes of one attribute of a random picture, and what says so.

  Returns:
    Attributes to arrive at, (count, 6), and captions of four pictures each: that one, the start, and two
    others that differ from each other as those do.
  """
  rng = np.random.default_rng(seed)
  start, other = (ALL[rng.integers(len(ALL), size=count)] for _ in range(2))
  rows, which = np.arange(count), rng.integers(len(NUM_VALUES), size=count)
  wanted, same, away = start.copy(), other.copy(), other.copy()
  turn = rng.integers(1, np.array(NUM_VALUES)[which])
  wanted[rows, which] = (start[rows, which] + turn) % np.array(NUM_VALUES)[which]
  away[rows, which], same[rows, which] = wanted[rows, which], start[rows, which]
  return wanted, [write(a, seed=seed + 1 + i) for i, a in enumerate((wanted, start, away, same))]


def count_words(text: np.ndarray) -> np.ndarray:
  """Captions (N, L) as counts of the words of the vocabulary, (N, V)."""
  return np.eye(len(VOCABULARY), dtype=np.float32)[text].sum(1)


def read(text: np.ndarray) -> str:
  """The words of one caption."""
  return " ".join(VOCABULARY[token] for token in text)


def zero_shot_classes(attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Four prompts for each combination of the first four attributes, and the pictures' classes.

  Tokens of shape (24, 4, L), none of which names the place, and indices of shape (N,).
  """
  which = np.repeat(ALL[:: NUM_VALUES[4] * NUM_VALUES[5]], 4, axis=0)
  prompts = write(which, seed=6, mention=("kind", "size", "fill", "shade"))
  classes = np.ravel_multi_index(attributes[:, :4].T, NUM_VALUES[:4])
  return prompts.reshape(-1, 4, prompts.shape[1]), classes


class Towers(NamedTuple):
  """Two networks with one parameter tree {"image", "text", "log_scale"}.

  Attributes:
    init_fn: `(key) -> (params, model_state)`.
    image_fn: `(params, image) -> unit vectors`, shape (B, D).
    text_fn: `(params, text) -> unit vectors`, shape (B, D).
  """

  init_fn: Callable[[jax.Array], tuple[Any, Any]]
  image_fn: Callable[[Any, jax.Array], jax.Array]
  text_fn: Callable[[Any, jax.Array], jax.Array]


def make_towers(*, dim: int = 32, hidden: tuple[int, ...] = (256,)) -> Towers:
  """Fully connected towers; of a text the counts of its words."""
  net = MLP(dim, hidden)

  def count(text: jax.Array) -> jax.Array:
    return jnp.sum(jax.nn.one_hot(text, len(VOCABULARY)), axis=1)

  def init_fn(key: jax.Array) -> tuple[Any, Any]:
    keys = jax.random.split(key)
    inputs = {"image": jnp.zeros((1, shapes.SIDE**2)), "text": jnp.zeros((1, len(VOCABULARY)))}
    params = {k: net.init(key, x)["params"] for key, (k, x) in zip(keys, inputs.items())}
    return params | {"log_scale": jnp.log(1 / 0.07)}, ()

  return Towers(
    init_fn,
    lambda p, x: l2_normalize(net.apply({"params": p["image"]}, x.reshape(len(x), -1))),
    lambda p, text: l2_normalize(net.apply({"params": p["text"]}, count(text))),
  )


def clip_objective(
  towers: Towers,
  *,
  label_smoothing: float = 0.0,
  axis_name: str | None = None,
  block_size: int | None = None,
) -> Callable[..., tuple[jax.Array, tuple[Any, dict]]]:
  """Symmetric softmax loss with a learned temperature, of batches {"image", "text"}."""

  def objective(params: Any, state: Any, key: jax.Array, batch: Any) -> Any:
    scale = jnp.exp(jnp.minimum(params["log_scale"], jnp.log(100.0)))
    losses = clip_loss(
      towers.image_fn(params, batch["image"]),
      towers.text_fn(params, batch["text"]),
      logit_scale=scale,
      label_smoothing=label_smoothing,
      axis_name=axis_name,
      block_size=block_size,
    )
    return jnp.mean(losses), (state, {"logit_scale": scale})

  return objective


def recall_at_1(queries: jax.Array, gallery: jax.Array, right: jax.Array) -> jax.Array:
  """Share of the queries whose nearest row of the gallery is the right one."""
  return jnp.mean(jnp.argmax(queries @ gallery.T, axis=1) == right)
