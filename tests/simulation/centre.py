"""What others say on the bus that no part of ours would say, or not like this.

Invariant: each record is acknowledged on return, or not sent at all while the bus is down.
"""

from __future__ import annotations

from contracts import topics
from contracts.envelope import Origin
from contracts.events import (
    CustodyMember,
    CustodyRecorded,
    CustodyState,
    Event,
    GatewayRequest,
    InstanceReceived,
    RequestKind,
)
from infra.seams import OutgoingRecord
from tests.simulation.bus import SimulatedBus, SimulatedPublisher
from tests.simulation.clock import SimulatedClock
from tests.simulation.limits import GATEWAY_ID
from tests.simulation.truth import GARBAGE

OTHER_GATEWAY_ID = "01980000-0000-7000-8000-0000000000bb"


class Centre:
    """Another publisher beside gateway and archive."""

    def __init__(self, bus: SimulatedBus, clock: SimulatedClock) -> None:
        self._bus = bus
        self._clock = clock
        self.publisher = SimulatedPublisher(bus, Origin("/hilum/test/centre"))

    def say_custody_of_other_bytes(self, delivery_id: str) -> None:
        """A custody record that names a delivery with bytes that it never had."""
        self.say_custody(CustodyState.ARCHIVED, CustodyMember(delivery_id, "0" * 64))

    def say_custody(
        self, state: CustodyState, member: CustodyMember, gateway_id: str = GATEWAY_ID
    ) -> None:
        """A custody record in the log that our gateway reads, whosever it is."""
        custody = CustodyRecorded(
            gateway_id, state, self._clock.now(), "packs/00/other.tar", (member,)
        )
        self._say(custody, f"other/{member.delivery_id}")

    def ask_another_gateway(self, kind: RequestKind, delivery_id: str) -> None:
        """A request that is none of ours, in the log that our gateway reads."""
        asked = GatewayRequest(
            OTHER_GATEWAY_ID, kind, (delivery_id,), "simulation", self._clock.now()
        )
        self._say(asked, f"other/{kind}/{delivery_id}")

    def _say(self, event: Event, event_id: str) -> None:
        if not self._bus.is_down:
            self.publisher.publish_event(event, GATEWAY_ID.encode(), event_id)
            self._bus.work()

    def carry_garbage(self, topic: topics.Topic, value: bytes | None = GARBAGE) -> None:
        """What is no event of ours stands where the gateway or the archive reads."""
        if not self._bus.is_down:
            self.publisher.publish(OutgoingRecord(topic.name, GATEWAY_ID.encode(), value, ()))
            self._bus.work()

    def publish_received(self, event: InstanceReceived) -> None:
        """An event that no gateway of ours would publish."""
        self.publisher.publish_event(event, b"key", event.delivery_id)
        self._bus.work()
