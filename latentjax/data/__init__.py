"""Data sets by name, their order as a pure function, streaming, and per-example transforms."""

from latentjax.data.dataset import Dataset
from latentjax.data.loading import load
from latentjax.data.order import example_indices, step_positions
from latentjax.data.streaming import Stream, stream

__all__ = ["Dataset", "Stream", "example_indices", "load", "step_positions", "stream"]
