"""Senders of C-STORE: our lean one, whose own cost is known, and DCMTK's as packaged.

Invariant: whatever a peer does becomes an outcome with its status or its problem by name, counted;
nothing is raised for it and nothing is averaged away. Must not judge a rate: it measures.
"""

from load.senders.ceiling import ceiling, ceiling_run
from load.senders.headroom import CEILING_S, Headroom, headroom, mix_ceiling
from load.senders.latency import latency_histogram, merged, quantiles_us
from load.senders.lean import send_lean
from load.senders.model import (
    LeanOptions,
    Outcome,
    Planned,
    SendRun,
    StockOptions,
    StockProgram,
    Target,
)
from load.senders.null_receiver import running_null_receiver
from load.senders.stock import send_stock, stock_version

__all__ = [
    "CEILING_S",
    "Headroom",
    "LeanOptions",
    "Outcome",
    "Planned",
    "SendRun",
    "StockOptions",
    "StockProgram",
    "Target",
    "ceiling",
    "ceiling_run",
    "headroom",
    "latency_histogram",
    "merged",
    "mix_ceiling",
    "quantiles_us",
    "running_null_receiver",
    "send_lean",
    "send_stock",
    "stock_version",
]
