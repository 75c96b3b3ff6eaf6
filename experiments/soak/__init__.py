"""Faults injected into real runs, many times; `python -m experiments.soak` does it."""
