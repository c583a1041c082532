"""What the forwarder's ledger may claim, against the bucket, the bus and the sender's history.

Invariant: reads rows, and asks none of the ledger's own questions but the totals that it keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edge_gateway.progress import Progress
from tests.simulation.instances import History
from tests.simulation.limits import WINDOW_BYTES
from tests.simulation.truth import require


@dataclass(frozen=True, slots=True)
class OnBus:
    """The logs as they are now by name, and the deliveries whose event is there."""

    published_to: str
    delivery_ids: frozenset[str]


def require_ledger(
    progress: Progress, history: History, archived: Mapping[str, str], on_bus: OnBus
) -> None:
    """It claims no more than is so, and the window of published bytes is kept."""
    rows = progress.connection.execute(
        "SELECT delivery_id, state, size_bytes, published_to FROM delivery"
    ).fetchall()
    published = 0
    for delivery_id, state, size_bytes, published_to in rows:
        if state == "published":
            published += size_bytes
            is_there = published_to != on_bus.published_to or delivery_id in on_bus.delivery_ids
            require(is_there, f"{delivery_id} counts as published, is not")
        if state in ("archived", "quarantined", "purged"):
            sent = history.sent[delivery_id]
            is_kept = archived.get(delivery_id) == sent.content_sha256
            require(is_kept, f"{delivery_id} counts as {state}, is not archived")
    largest = max((row[2] for row in rows), default=0)
    require(
        published <= max(WINDOW_BYTES, largest),
        f"window: {published} bytes are published and not archived",
    )
    counted = Counter(row[1] for row in rows)
    told = {t.state: t.deliveries for t in progress.totals() if t.deliveries}
    require(dict(counted) == told, f"totals {told}, rows {dict(counted)}")
