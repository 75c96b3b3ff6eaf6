"""Procedural sounds with known factors: harmonic spectra of instruments, and performances of note rolls."""

from __future__ import annotations

import numpy as np

NUM_BINS, BINS_PER_OCTAVE, NUM_HARMONICS = 96, 24, 10
# Amplitudes of the harmonics, as functions of their number: flute, clarinet, brass, string, reed, bell.
TIMBRES = (
  lambda h: np.exp(-1.2 * (h - 1)),
  lambda h: (h % 2) / h,
  lambda h: np.exp(-0.5 * (h - 4.0) ** 2 / 2.0),
  lambda h: 1 / h,
  lambda h: np.where(h % 3 == 1, 1.0, 0.3) * np.exp(-0.1 * h),
  lambda h: np.where((h == 1) | (h == 5) | (h == 8), 1.0, 0.05),
)
NUM_PITCHES, NUM_TIMBRES = 12, len(TIMBRES)


def spectrum(pitch: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
  """Energy on a logarithmic frequency axis, (n, NUM_BINS), of semitones (n,) and harmonics (n, H)."""
  h = np.arange(1, NUM_HARMONICS + 1)
  places = 2.0 * pitch[:, None] + BINS_PER_OCTAVE * np.log2(h) + 3
  distance = np.arange(NUM_BINS) - places[..., None]
  return np.einsum("nh,nhf->nf", amplitudes, np.exp(-0.5 * (distance / 0.8) ** 2))


def notes(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
  """Noisy spectra of random pitch and timbre; no two takes of an instrument are quite alike."""
  pitch, timbre = rng.integers(NUM_PITCHES, size=size), rng.integers(NUM_TIMBRES, size=size)
  h = np.arange(1, NUM_HARMONICS + 1)
  clean = np.stack([shape(h) / np.linalg.norm(shape(h)) for shape in TIMBRES])[timbre]
  amplitudes = clean * np.exp(0.15 * rng.standard_normal(clean.shape))
  x = spectrum(pitch, amplitudes) + 0.03 * rng.standard_normal((size, NUM_BINS))
  arrays = {"image": x, "pitch": pitch, "timbre": timbre}
  return {k: v.astype(np.float32 if v.dtype.kind == "f" else np.int32) for k, v in arrays.items()}


FRAMES_PER_NOTE, NOTES_PER_PIECE, NUM_BANDS = 4, 4, 12


def performances(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
  """Pieces of four notes as (T, NUM_BANDS) energies, played with a loudness and a decay per note.

  Both styles have two classes (piano and forte, legato and staccato) and vary within them; "roll" is
  the one-hot pitch of every frame and a mark where the note begins.
  """
  shape = (size, NOTES_PER_PIECE)
  pitch = rng.integers(NUM_BANDS, size=shape)
  dynamics, articulation = rng.integers(2, size=(2, *shape))
  loudness = np.where(dynamics, 1.5, 0.7) * np.exp(0.1 * rng.standard_normal(shape))
  decay = np.where(articulation, 0.6, 0.15) * np.exp(0.1 * rng.standard_normal(shape))
  age = np.arange(FRAMES_PER_NOTE)
  envelope = loudness[..., None] * np.exp(-decay[..., None] * age)
  # Bands are pitch classes, a circle: no note loses energy over the edge.
  steps = (np.arange(NUM_BANDS) - np.arange(NUM_BANDS)[:, None] + 6) % NUM_BANDS - 6
  template = np.exp(-0.5 * steps**2)
  x = envelope[..., None] * template[pitch][:, :, None]
  x = x + 0.02 * rng.standard_normal(x.shape)
  start = np.broadcast_to(age == 0, (*shape, FRAMES_PER_NOTE))[..., None]
  one_hot = np.broadcast_to(np.eye(NUM_BANDS)[pitch][:, :, None], x.shape)
  frames = lambda a: a.reshape(size, NOTES_PER_PIECE * FRAMES_PER_NOTE, *a.shape[3:])
  per_frame = lambda a: np.repeat(a, FRAMES_PER_NOTE, axis=1).astype(np.int32)
  return {
    "image": frames(x).astype(np.float32),
    "roll": frames(np.concatenate([one_hot, start], axis=-1)).astype(np.float32),
    "dynamics": per_frame(dynamics),
    "articulation": per_frame(articulation),
  }


def style_statistics(x: np.ndarray) -> dict[str, np.ndarray]:
  """Measured per note, (n, notes): log energy of the onset, and decay of log energy per frame."""
  energy = np.maximum(x.reshape(len(x), NOTES_PER_PIECE, FRAMES_PER_NOTE, -1).sum(-1), 1e-3)
  slope = np.log(energy[:, :, 0]) - np.log(energy[:, :, -1])
  return {"dynamics": np.log(energy[:, :, 0]), "articulation": slope / (FRAMES_PER_NOTE - 1)}
