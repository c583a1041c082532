"""Which measurements a comparison consists of, in the order in which they run.

Invariant: one runs at a time; the private stack is down while receivers are compared bare.
"""

from __future__ import annotations

from load.compare.bench import Measurement, Mode
from load.compare.ingest import ingest_measurement


def measurements(mode: Mode) -> tuple[Measurement, ...]:
    """The measurements of a mode."""
    return (ingest_measurement(mode),)
