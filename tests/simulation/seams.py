"""Where the product meets a simulated world: clocks, threads, chance, the bus, and small limits.

Invariant: nothing else of the product is replaced, and all of it is put back when a world ends.
"""

from __future__ import annotations

import consumers.announce
import consumers.gather
import consumers.pack_groups
import consumers.runner
import consumers.transfers
import edge_gateway.backoff
import edge_gateway.centre
import edge_gateway.delivery_queue
import edge_gateway.flight
import edge_gateway.gateway_requests
import edge_gateway.progress_receipts
import edge_gateway.publish
import edge_gateway.receipts
import edge_gateway.recent
import edge_gateway.retention
import edge_gateway.spool.opening
import edge_gateway.spool.supply
import edge_gateway.spool.watermarks
import edge_gateway.spool_feed
from tests.simulation.bus import SimulatedBus
from tests.simulation.bus_reading import SimulatedView, tails_on
from tests.simulation.clock import SimulatedClock, SimulatedTime
from tests.simulation.limits import CHUNK_BYTES
from tests.simulation.stepped import (
    CountedBits,
    InlineExecutor,
    Replacements,
    SteppedCommitter,
    SteppedSupply,
)

# Named limits of the product, so small that a short run meets each of them.
SMALL_LIMITS: Replacements = (
    (consumers.announce, "IN_FLIGHT_MAX", 4),
    (consumers.announce, "MEMBERS_PER_EVENT_MAX", 3),
    (consumers.gather, "ENCODED_BYTES_MAX", 6_000),
    (consumers.pack_groups, "MEMBERS_MAX", 4),
    (consumers.pack_groups, "PACK_BYTES_MAX", 60_000),
    (edge_gateway.delivery_queue, "QUEUE_MAX", 4),
    (edge_gateway.gateway_requests, "FAILED_KEPT_MAX", 2),
    (edge_gateway.progress_receipts, "KNOWN_ASSOCIATIONS_MAX", 3),
    (edge_gateway.publish, "FLIGHTS_MAX", 5),
    (edge_gateway.receipts, "ENTRIES_PER_PAGE_MAX", 4),
    (edge_gateway.receipts, "PAGES_IN_FLIGHT_MAX", 3),
    (edge_gateway.recent, "RECENT_MAX", 3),
    (edge_gateway.retention, "FREE_SEGMENTS_MAX", 2),
    (edge_gateway.retention, "PURGES_PER_STEP", 5),
    (edge_gateway.spool_feed, "RECORDS_PER_STEP", 7),
)


class _HalfJitter:
    """`random` of a back-off: the middle of what it may draw, the same in every run."""

    @staticmethod
    def uniform(low: float, high: float) -> float:
        return (low + high) / 2


def seams(clock: SimulatedClock, bus: SimulatedBus) -> Replacements:
    """Every name of the product that a simulated world binds to something of its own."""
    time, view = SimulatedTime(clock), SimulatedView(bus)
    return (
        (edge_gateway.spool.opening, "Committer", SteppedCommitter),
        (edge_gateway.spool.opening, "SegmentSupply", SteppedSupply),
        (edge_gateway.spool.opening, "time", time),
        (edge_gateway.spool.watermarks, "time", time),
        (edge_gateway.spool.supply, "secrets", CountedBits()),
        (edge_gateway.backoff, "random", _HalfJitter),
        (edge_gateway.centre, "ClusterView", lambda kafka: view),
        (edge_gateway.centre, "TopicTail", tails_on(bus)),
        (edge_gateway.flight, "CHUNK_BYTES_MAX", CHUNK_BYTES),
        (edge_gateway.publish, "CHUNK_BYTES_MAX", CHUNK_BYTES),
        (consumers.transfers, "ThreadPoolExecutor", InlineExecutor),
        (consumers.runner, "random", _HalfJitter),
        *SMALL_LIMITS,
    )
