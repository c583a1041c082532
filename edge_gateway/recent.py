"""Records of deliveries that the feed has just read, kept until the pipeline takes them.

Invariant: at most `RECENT_MAX` are held, the oldest go first; one that is not here is in the spool
all the same. Used by one thread. Must not be asked for bytes.
"""

from __future__ import annotations

from edge_gateway.spool import SpooledDelivery

# Some 1.5 KB each. What arrives while the bus keeps up is taken long before so many follow.
RECENT_MAX = 2_048


class RecentDeliveries:
    """The last deliveries by id; each is handed out once."""

    def __init__(self) -> None:
        self._deliveries: dict[str, SpooledDelivery] = {}

    def put(self, delivery: SpooledDelivery) -> None:
        """Keeps it, in place of the oldest where there are too many."""
        self._deliveries[delivery.delivery_id] = delivery
        if len(self._deliveries) > RECENT_MAX:
            del self._deliveries[next(iter(self._deliveries))]

    def take(self, delivery_id: str) -> SpooledDelivery | None:
        """Hands it out and forgets it; None for one that is not here any more."""
        return self._deliveries.pop(delivery_id, None)
