"""Sizes on paper: what a network of sites needs, from measured unit costs.

Invariant: every number names the measurement it rests on and the formula it came from. It must
not touch an engine.
"""
