"""Power loss at any moment: every prefix of a traced run, less what was not flushed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_gateway.spool import Ending, Spool
from tests.edge_gateway.spool.power_losses import (
    ACKNOWLEDGED,
    RECEIVED,
    check_power_losses,
    keep_the_first,
)
from tests.edge_gateway.spool.tracing import TracingFileSystem
from tests.edge_gateway.spool.workload import SMALL_SEGMENTS, data_set, facts, opened, receipt

LIMITS = replace(SMALL_SEGMENTS, object_in_memory_bytes_max=14_000)


def test_no_power_loss_loses_an_acknowledged_delivery_or_invents_one(quick_path: Path) -> None:
    directory = quick_path / "spool"
    fs = TracingFileSystem()
    _live(directory, fs)
    assert check_power_losses(directory, fs.trace, LIMITS) > 500


def _live(directory: Path, fs: TracingFileSystem) -> None:
    """Two starts, inline and external objects, an abort, roll-over, copying forward, recycling."""
    with Spool.open(directory, "north", LIMITS, fs=fs) as spool:
        spool.association_opened(opened())
        _store(spool, fs, 300)
        _store(spool, fs, 20_000)
        with spool.begin(facts()) as sink:
            sink.write(bytes(20_000))
        for _ in range(5):
            _store(spool, fs, 13_000)
        keep_the_first(directory, fs)
    with Spool.open(directory, "north", LIMITS, fs=fs) as spool:
        spool.association_opened(opened("association-2"))
        for _ in range(9):
            _store(spool, fs, 13_000, "association-2")
        _store(spool, fs, 20_000, "association-2")
        spool.association_closed("association-2", Ending.RELEASED)
    keep_the_first(directory, fs)


def _store(
    spool: Spool, fs: TracingFileSystem, size_bytes: int, association_id: str = "association-1"
) -> None:
    described = facts(association_id)
    fs.tell(RECEIVED, described.delivery_id)
    with spool.begin(described) as sink:
        sink.write(data_set(described.delivery_id, size_bytes))
        delivery = sink.commit()
    fs.tell(ACKNOWLEDGED, described.delivery_id)
    spool.append_receipt(receipt(delivery))
