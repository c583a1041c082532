"""What the other side of the bus sees of a gateway and says to it.

Invariant: everything is read from the topics and published to them, nothing from the gateway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar, cast

from contracts import codec
from contracts.envelope import Origin
from contracts.events import (
    AssociationReceipt,
    CustodyMember,
    CustodyRecorded,
    CustodyState,
    Event,
    GatewayRequest,
    GatewayState,
    InstanceReceived,
    RequestKind,
)
from contracts.failures import RetryableError
from contracts.identity import DeliveryIds
from contracts.topics import BY_EVENT
from infra.broker import KafkaPublisher
from infra.clock import SystemClock
from infra.payload_reader import KafkaPayloadReader
from infra.settings import Settings
from infra.topic_tail import read_all
from tests.edge_gateway.forwarding import DEADLINE_S, eventually

E = TypeVar("E")


class Centre:
    """What the other side of the bus sees and says."""

    def __init__(self, settings: Settings, gateway_id: str) -> None:
        self._settings = settings
        self.gateway_id = gateway_id
        self._publisher = KafkaPublisher(
            settings.kafka, Origin("/hilum/test/centre"), SystemClock()
        )

        self._payload_reader = KafkaPayloadReader(settings.kafka)

    def close(self) -> None:
        self._publisher.close()
        self._payload_reader.close()

    def read(self, event_type: type[E]) -> list[E]:
        """Every event on its topic, in the order of each partition. A busy broker may be late."""
        topic = BY_EVENT[cast(type[Event], event_type)].name
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return [
                    codec.decode(record.value or b"", event_type)
                    for record in read_all(self._settings.kafka, topic)
                ]
            except RetryableError:
                if time.monotonic() > deadline:
                    raise

    def received(self) -> list[InstanceReceived]:
        return self.read(InstanceReceived)

    def received_ids(self) -> set[str]:
        return {event.delivery_id for event in self.received()}

    def states(self, gateway_id: str = "") -> list[GatewayState]:
        wanted = gateway_id or self.gateway_id
        return [state for state in self.read(GatewayState) if state.gateway_id == wanted]

    def await_state(self, is_so: Callable[[GatewayState], bool], what: str) -> GatewayState:
        """The gateway's last state, once `is_so` holds for it: what it says holds together."""
        found: list[GatewayState] = []

        def has_come() -> bool:
            found[:] = self.states()[-1:]
            return bool(found) and is_so(found[0])

        eventually(has_come, what)
        return found[0]

    def deliveries_in(self, state: str) -> int:
        """As the gateway's last state tells it."""
        return sum(deliveries_in(last, state) for last in self.states()[-1:])

    def receipts(self) -> list[AssociationReceipt]:
        return self.read(AssociationReceipt)

    def payload(self, event: InstanceReceived) -> bytes:
        return b"".join(self._payload_reader.open(event))

    def say_custody(
        self, state: CustodyState, members: Sequence[tuple[str, str]], gateway_id: str = ""
    ) -> None:
        """(delivery_id, sha256) pairs that the archive speaks of."""
        custody = CustodyRecorded(
            gateway_id=gateway_id or self.gateway_id,
            state=state,
            at=datetime.now(UTC),
            object_key="packs/00/synthetic.tar",
            members=tuple(CustodyMember(*member) for member in members),
        )
        self._publish(custody, custody.gateway_id)

    def request(self, kind: RequestKind, delivery_ids: Sequence[str]) -> int:
        """The offset of the request."""
        request = GatewayRequest(
            self.gateway_id, kind, tuple(delivery_ids), "test", datetime.now(UTC)
        )
        return self._publish(request, self.gateway_id)

    def _publish(self, event: Event, key: str) -> int:
        pending = self._publisher.publish_event(event, key.encode(), DeliveryIds().mint())
        return pending.result(DEADLINE_S).offset


def deliveries_in(told: GatewayState, state: str) -> int:
    """How many deliveries a gateway's state counts in this one of theirs."""
    return sum(total.deliveries for total in told.totals if total.state == state)


def archived(events: Sequence[InstanceReceived]) -> list[tuple[str, str]]:
    """The custody members that say these events' content was archived."""
    return [(event.delivery_id, event.content.content_sha256) for event in events]
