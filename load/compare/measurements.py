"""Which measurements a comparison consists of, in the order in which they run.

Invariant: one runs at a time; the private stack is down while receivers are compared bare.
"""

from __future__ import annotations

from load.compare.bench import Measurement, Mode
from load.compare.grown import growth_rows
from load.compare.idle import idle_measurement
from load.compare.ingest import ingest_measurement
from load.compare.inserting import insert_measurement
from load.compare.limits import limits_measurement
from load.compare.scanning import scan_measurement
from load.compare.whole import whole_measurement


def measurements(mode: Mode) -> tuple[Measurement, ...]:
    """The measurements of a mode."""
    return (
        scan_measurement(),
        ingest_measurement(mode),
        limits_measurement(),
        idle_measurement(mode),
        insert_measurement(),
        whole_measurement(mode),
        growth_rows(),
    )
