"""Tests, in the shape of the tree they test; see `tests/engines.py` for the real engines."""
