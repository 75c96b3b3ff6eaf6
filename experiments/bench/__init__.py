"""Benchmarks against other libraries, side by side; `python -m experiments.bench` lists them."""
