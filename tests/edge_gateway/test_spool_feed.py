"""The spool's records on their way into the ledger, and when all of them are in it."""

from __future__ import annotations

from pathlib import Path

from edge_gateway.forward_health import ForwardHealth
from edge_gateway.progress import Progress
from edge_gateway.progress_receipts import ReceiptLedger
from edge_gateway.recent import RecentDeliveries
from edge_gateway.spool import Spool, SpoolReader
from edge_gateway.spool.spool_set import WorkerReader
from edge_gateway.spool_feed import SpoolFeed
from tests.edge_gateway.spool.workload import SMALL_SEGMENTS, flip, store


def test_before_a_rotten_record_and_at_it_not_all_is_in_the_ledger(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "north", SMALL_SEGMENTS) as spool:
        sent = [store(spool, 900).delivery_id for _ in range(5)]
    reader = SpoolReader(tmp_path)
    flip(tmp_path, reader.poll(10)[2].location.offset_bytes + 60)
    reader.close()
    follower, progress = (
        WorkerReader(tmp_path, 1),
        Progress(tmp_path / "progress.sqlite", "gateway"),
    )
    receipts = ReceiptLedger(progress.connection)
    feed = SpoolFeed(follower, progress, receipts, RecentDeliveries(), ForwardHealth())
    feed.begin()
    for known, has_caught_up in ((2, False), (2, False), (4, True)):
        assert feed.step()
        found = [one for one in sent if progress.find(one) is not None]
        assert (len(found), feed.has_caught_up) == (known, has_caught_up)
    assert not feed.step() and feed.has_caught_up
    follower.close()
    progress.close()
