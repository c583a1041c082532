"""What a writer tells others of its work (packs, custody, requests), acknowledged.

Invariant: an announcement follows the durable fact it tells, and `wait` returns only when the
broker has every one; a repeat carries the same event id, so that it can be seen to be one.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from contracts.events import (
    CustodyMember,
    CustodyRecorded,
    CustodyState,
    Event,
    GatewayRequest,
    InstanceReceived,
    PackMember,
    RequestKind,
)
from contracts.failures import RetryableError
from infra.clock import Clock
from infra.seams import PendingPublication, Publisher

T = TypeVar("T")

MEMBERS_PER_EVENT_MAX = 4_000
IN_FLIGHT_MAX = 256
ACKNOWLEDGE_TIMEOUT_S = 30.0
PAYLOAD_EXPIRED = "payload_expired"


@dataclass(frozen=True, slots=True)
class Custody:
    """A state of custody for members that lie in one object ('' for none)."""

    state: CustodyState
    object_key: str


class Announcer:
    """Publishes events of one batch and waits for all of them. `clock` dates custody."""

    def __init__(self, publisher: Publisher, clock: Clock) -> None:
        self._publisher = publisher
        self._clock = clock
        self._pending: deque[PendingPublication] = deque()

    def publish(self, event: Event, key: bytes, event_id: str) -> None:
        """Queues one event; waits for the oldest where too many are on their way."""
        while len(self._pending) >= IN_FLIGHT_MAX:
            self._pending.popleft().result(ACKNOWLEDGE_TIMEOUT_S)
        self._pending.append(self._publisher.publish_event(event, key, event_id))

    def custody(self, custody: Custody, members: Iterable[tuple[str, CustodyMember]]) -> None:
        """Queues a CustodyRecorded for each gateway; members come with their gateway_id."""
        by_gateway: dict[str, list[CustodyMember]] = defaultdict(list)
        for gateway_id, member in members:
            by_gateway[gateway_id].append(member)
        for gateway_id, mine in by_gateway.items():
            for part in chunks(mine, MEMBERS_PER_EVENT_MAX):
                recorded = CustodyRecorded(
                    gateway_id, custody.state, self._clock.now(), custody.object_key, tuple(part)
                )
                event_id = f"{custody.state.value}/{custody.object_key}/{part[0].delivery_id}"
                self.publish(recorded, gateway_id.encode(), event_id)

    def ask_to_republish(self, gone: Iterable[InstanceReceived]) -> None:
        """Queues a GatewayRequest for deliveries whose payload is no longer there."""
        by_gateway: dict[str, list[str]] = defaultdict(list)
        for event in gone:
            by_gateway[event.gateway_id].append(event.delivery_id)
        for gateway_id, delivery_ids in by_gateway.items():
            for part in chunks(delivery_ids, MEMBERS_PER_EVENT_MAX):
                request = GatewayRequest(
                    gateway_id,
                    RequestKind.REPUBLISH,
                    tuple(part),
                    PAYLOAD_EXPIRED,
                    self._clock.now(),
                )
                self.publish(request, gateway_id.encode(), f"republish/{part[0]}")

    def wait(self) -> None:
        """On return everything queued is acknowledged. Raises RetryableError, FatalError."""
        while self._pending:
            self._pending.popleft().result(ACKNOWLEDGE_TIMEOUT_S)

    def forget(self) -> None:
        """Drops what an interrupted batch queued: the batch comes again."""
        self._pending.clear()


class Deadline:
    """The end of one write, by the monotonic clock."""

    def __init__(self, clock: Clock, seconds: float, doing: str) -> None:
        self._clock = clock
        self._until = clock.monotonic() + seconds
        self._text = f"{doing}: not done after {seconds:.0f} s"

    def check(self) -> None:
        """Raises RetryableError once the time is over."""
        if self._clock.monotonic() > self._until:
            raise RetryableError(self._text)


def custody_members(members: Iterable[PackMember]) -> Iterator[tuple[str, CustodyMember]]:
    """Pack members as `Announcer.custody` takes them."""
    for member in members:
        yield (
            member.gateway_id,
            CustodyMember(member.delivery_id, member.content.content_sha256),
        )


def chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """`items` in runs of at most `size`."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
