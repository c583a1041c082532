"""Senders of C-STORE: our lean one, whose own cost is known, and DCMTK's as packaged.

Invariant: whatever a peer does becomes an outcome with its status or its problem by name, counted;
nothing is raised for it and nothing is averaged away. Must not judge a rate: it measures.
"""

from load.senders.latency import latency_histogram, merged, quantiles_us
from load.senders.model import (
    LeanOptions,
    Outcome,
    Planned,
    SendRun,
    StockOptions,
    Target,
)

__all__ = [
    "LeanOptions",
    "Outcome",
    "Planned",
    "SendRun",
    "StockOptions",
    "Target",
    "latency_histogram",
    "merged",
    "quantiles_us",
]
