"""Power loss of the second disk at any moment: what level `mirror` confirmed is found on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_gateway.mirror.follower import Follower
from edge_gateway.mirror.mirror_spool import MirrorLimits, MirrorSpool
from edge_gateway.spool import Ending, Spool
from tests.edge_gateway.mirror.mirrored import catch_up
from tests.edge_gateway.spool.conftest import quick_path
from tests.edge_gateway.spool.power_losses import (
    ACKNOWLEDGED,
    RECEIVED,
    check_power_losses,
    keep_the_first,
)
from tests.edge_gateway.spool.tracing import TracingFileSystem
from tests.edge_gateway.spool.workload import (
    SMALL_SEGMENTS,
    data_set,
    facts,
    opened,
    receipt,
)

__all__ = ["quick_path"]
LIMITS = replace(SMALL_SEGMENTS, object_in_memory_bytes_max=14_000)
MIRROR_LIMITS = MirrorLimits(LIMITS.segment_bytes, 1 << 30, 0)


def test_no_power_loss_of_the_mirror_loses_what_it_confirmed(quick_path: Path) -> None:
    first, second = quick_path / "first", quick_path / "second"
    fs = TracingFileSystem()
    _live(first, second, fs)
    assert check_power_losses(second, fs.trace, LIMITS) > 300


def _live(first: Path, second: Path, fs: TracingFileSystem) -> None:
    """Two starts of both, inline and external objects, roll-over, releasing, recycling."""
    with Spool.open(first, "north", LIMITS) as spool, _mirror(spool, second, fs) as mirror:
        follower = Follower(first, mirror)
        spool.association_opened(opened())
        for size_bytes in (300, 20_000, *(13_000,) * 5):
            _store(spool, follower, fs, size_bytes)
        spool.association_closed("association-1", Ending.RELEASED)
        keep_the_first(second, fs)
        follower.close()
    with Spool.open(first, "north", LIMITS) as spool, _mirror(spool, second, fs) as mirror:
        follower = Follower(first, mirror)
        spool.association_opened(opened("association-2"))
        for size_bytes in (*(13_000,) * 9, 20_000, 300):
            _store(spool, follower, fs, size_bytes, "association-2")
        catch_up(follower)
        keep_the_first(second, fs)
        follower.close()


def _mirror(spool: Spool, second: Path, fs: TracingFileSystem) -> MirrorSpool:
    return MirrorSpool(second, spool.identity, MIRROR_LIMITS, fs=fs)


def _store(
    spool: Spool,
    follower: Follower,
    fs: TracingFileSystem,
    size_bytes: int,
    association_id: str = "association-1",
) -> None:
    described = facts(association_id)
    fs.tell(RECEIVED, described.delivery_id)
    with spool.begin(described) as sink:
        sink.write(data_set(described.delivery_id, size_bytes))
        delivery = sink.commit()
    catch_up(follower)
    assert follower.holds(delivery.delivery_id, delivery.content_sha256)
    fs.tell(ACKNOWLEDGED, described.delivery_id)
    spool.append_receipt(receipt(delivery))
