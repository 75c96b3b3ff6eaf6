"""Experiments: one file for each claim of a paper; `python -m experiments` lists them."""
