"""A process of the lean sender, and a receiver that drops everything.

Invariant: the standard library alone, so that a process starts in a few hundredths of a second
and what it costs is what sending costs. Must not import the product: what is measured and what
measures share no code.
"""
