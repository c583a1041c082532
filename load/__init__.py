"""Load and its measurement: what each stage of the pipeline reaches, and what it costs.

Invariant: sends to the local stack only, bounded in count and time; a figure is measured here or
not shown.
"""
