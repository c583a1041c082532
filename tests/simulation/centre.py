"""What others say on the bus that no part of ours would say, or not like this.

Invariant: each record is acknowledged on return, or not sent at all while the bus is down.
"""

from __future__ import annotations

from contracts import topics
from contracts.envelope import Origin
from contracts.events import CustodyMember, CustodyRecorded, CustodyState, InstanceReceived
from infra.seams import OutgoingRecord
from tests.simulation.bus import SimulatedBus, SimulatedPublisher
from tests.simulation.clock import SimulatedClock
from tests.simulation.limits import GATEWAY_ID
from tests.simulation.truth import GARBAGE


class Centre:
    """Another publisher beside gateway and archive."""

    def __init__(self, bus: SimulatedBus, clock: SimulatedClock) -> None:
        self._bus = bus
        self._clock = clock
        self.publisher = SimulatedPublisher(bus, Origin("/hilum/test/centre"))

    def say_custody_of_other_bytes(self, delivery_id: str) -> None:
        """A custody record that names a delivery with bytes that it never had."""
        member = CustodyMember(delivery_id, "0" * 64)
        custody = CustodyRecorded(
            GATEWAY_ID, CustodyState.ARCHIVED, self._clock.now(), "packs/00/other.tar", (member,)
        )
        if not self._bus.is_down:
            self.publisher.publish_event(custody, GATEWAY_ID.encode(), f"other/{delivery_id}")
            self._bus.work()

    def carry_garbage(self, topic: topics.Topic) -> None:
        """Bytes that are no event of ours stand where the gateway or the archive reads."""
        if not self._bus.is_down:
            self.publisher.publish(OutgoingRecord(topic.name, GATEWAY_ID.encode(), GARBAGE, ()))
            self._bus.work()

    def publish_received(self, event: InstanceReceived) -> None:
        """An event that no gateway of ours would publish."""
        self.publisher.publish_event(event, b"key", event.delivery_id)
        self._bus.work()
