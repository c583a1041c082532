"""The pipeline from the ledger's spooled deliveries to acknowledged events on the bus.

Invariant: a delivery becomes `published` only when its event is acknowledged; events go out in the
order of the queue, of acceptance unless there are priorities; bytes in flight, bytes a second and
bytes published but unarchived stay below their limits, where a larger delivery goes alone. Nothing
is dropped: what fails is spooled still. Must not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.failures import FatalError, HilumError, PoisonError, RetryableError
from contracts.topics import CHUNK_BYTES_MAX
from edge_gateway.backoff import Backoff
from edge_gateway.bandwidth import Bandwidth
from edge_gateway.delivery_queue import DeliveryQueue
from edge_gateway.flight import Flight, Sender, board
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import LedgerEntry
from edge_gateway.recent import RecentDeliveries
from edge_gateway.spool import SpoolCorrupt, SpoolEntryGone, SpoolSet
from edge_gateway.spool_feed import facts_of
from infra.clock import Clock
from infra.telemetry import Metrics, logger

FLIGHTS_MAX = 256
# One step's share of sending, so that custody, receipts and state never wait long.
STEP_SLICE_S = 0.05
# A delivery that fails by itself lets the others pass and is tried again this much later.
SET_ASIDE = timedelta(minutes=10)
_LOG = logger("publish")


@dataclass(frozen=True, slots=True)
class PublishLimits:
    """Bytes handed to the bus and unacknowledged; bytes published and not yet archived."""

    in_flight_bytes_max: int
    unarchived_bytes_max: int


@dataclass(frozen=True, slots=True)
class PublishParts:
    """What the pipeline works with."""

    progress: Progress
    queue: DeliveryQueue
    bandwidth: Bandwidth
    recent: RecentDeliveries
    spools: SpoolSet
    sender: Sender
    health: ForwardHealth
    clock: Clock
    metrics: Metrics


class Pipeline:
    """Deliveries in flight, in order of acceptance. Used by one thread."""

    def __init__(self, parts: PublishParts, limits: PublishLimits) -> None:
        self._parts = parts
        self._limits = limits
        self._flights: deque[Flight] = deque()
        self._landed: list[tuple[str, datetime]] = []
        self._landed_bytes = 0
        self._boarded_bytes = 0
        self._backoff = Backoff(parts.clock)
        self._failure: HilumError | None = None
        self._published_to = ""

    @property
    def in_flight_bytes(self) -> int:
        """Bytes that the publisher holds for us, headers of deliveries in hand included."""
        return sum(flight.in_flight_bytes for flight in self._flights)

    @property
    def is_idle(self) -> bool:
        """Nothing is on its way."""
        return not self._flights

    def step(self, published_to: str, may_begin: bool = True) -> bool:
        """Moves everything on as far as it goes without waiting; whether anything moved.

        `published_to` names the logs as they are now; what was sent to others counts as not
        sent. Without `may_begin` only what is in flight goes on.
        """
        self._published_to = published_to
        if self._failure is not None:
            return self._drain(self._failure)
        if not self._backoff.is_due():
            return False
        try:
            moved = self._settle()
            if moved:
                self._backoff.succeeded()
                self._parts.health.clear("publish")
            return self._fill(may_begin) or moved
        except (RetryableError, FatalError) as failure:
            self._failure = failure
            self._parts.health.impede("publish", f"not publishing: {failure}")
            _LOG.warning("publishing failed", reason=str(failure), flights=len(self._flights))
            return True

    def recall(self, delivery_ids: Collection[str]) -> None:
        """These are to go again: one whose event is out does not count as published by it.

        The archive may have read an event, and missed its payload, before we know of it.
        """
        for flight in self._flights:
            if flight.event is not None and flight.entry.delivery_id in delivery_ids:
                flight.is_recalled = True

    def retry_now(self) -> None:
        """Ends the pause after a failure."""
        self._backoff.succeeded()

    def abandon(self) -> None:
        """Drops what is in flight; it is spooled still."""
        while self._flights:
            self._flights.popleft().close()
        self._boarded_bytes = 0
        self._parts.queue.forget()

    # -- acknowledgements

    def _settle(self) -> bool:
        try:
            return self._settle_flights()
        finally:
            self._note_landed()

    def _settle_flights(self) -> bool:
        moved = False
        may_send_event = True
        for flight in list(self._flights):
            try:
                moved |= flight.settle()
                if flight.event is None and may_send_event and flight.is_payload_acknowledged:
                    flight.send_event(self._parts.clock.now())
                    moved = True
                if flight.event is not None and flight.event.done():
                    flight.event.result(0)
                    self._land(flight)
                    moved = True
            except PoisonError as problem:
                self._too_large(flight, problem)
                moved = True
            # The order of the queue: nobody's event overtakes the one before it.
            may_send_event = may_send_event and (flight.event is not None or flight.is_over)
        return moved

    def _land(self, flight: Flight) -> None:
        self._remove(flight)
        assert flight.published_at is not None
        if flight.is_recalled or flight.published_to != self._published_to:
            self._parts.queue.ask_again()
            return  # its payload, or the log, is gone: spooled still
        self._landed.append((flight.entry.delivery_id, flight.published_at))
        self._landed_bytes += flight.entry.size_bytes
        if not flight.header.is_complete:
            reason = flight.header.reason
            self._parts.metrics.count("hilum_scan_incomplete_total", reason=reason or "unknown")

    def _note_landed(self) -> None:
        """All at once what one step landed: a statement and a metric for each cost more."""
        if not self._landed:
            return
        self._parts.progress.publish(self._landed, self._published_to)
        self._parts.metrics.count("hilum_forward_published_total", len(self._landed))
        self._parts.metrics.count("hilum_forward_published_bytes_total", self._landed_bytes)
        self._landed, self._landed_bytes = [], 0

    def _too_large(self, flight: Flight, problem: PoisonError) -> None:
        """An event gives up its header, which is in the archived object anyway."""
        if flight.is_payload_acknowledged and flight.shrink_header():
            _LOG.warning("header given up", delivery_id=flight.entry.delivery_id)
            return
        self._remove(flight)
        self._set_aside(flight.entry, f"the bus takes no such record: {problem.reason.value}")

    def _set_aside(self, entry: LedgerEntry, problem: str) -> None:
        _LOG.error("delivery set aside", delivery_id=entry.delivery_id, problem=problem)
        until = self._parts.clock.now() + SET_ASIDE
        self._parts.progress.set_aside(entry.delivery_id, until, problem)
        self._parts.metrics.count("hilum_forward_set_aside_total", reason=problem.split(":")[0])

    def _remove(self, flight: Flight) -> None:
        flight.close()
        flight.is_over = True
        self._flights.remove(flight)
        self._boarded_bytes -= flight.entry.size_bytes

    def _drain(self, failure: HilumError) -> bool:
        """After a failure: waits until nothing is on its way, then begins anew after a pause.

        Sending on at once could put a later event of a study before an earlier one that failed.
        """
        if not all(flight.is_quiet() for flight in self._flights):
            return False
        for flight in list(self._flights):
            try:
                if flight.event is not None:
                    flight.event.result(0)
                    self._land(flight)
            except HilumError as problem:
                _LOG.debug("not acknowledged", reason=str(problem))
        self._note_landed()
        self.abandon()
        self._failure = None
        self._backoff.failed(is_fatal=isinstance(failure, FatalError))
        return True

    # -- sending

    def _fill(self, may_begin: bool) -> bool:
        clock = self._parts.clock
        end = clock.monotonic() + STEP_SLICE_S
        moved = False
        bandwidth = self._parts.bandwidth
        # Asked first: what waits for the limit is not begun, so that a more urgent one may come.
        while bandwidth.is_open() and clock.monotonic() < end:
            flight = self._flights[-1] if self._flights else None
            if flight is None or flight.is_boarded:
                flight = self._begin() if may_begin else None
                if flight is None:
                    break
                moved = True
            if not self._has_room():
                break
            try:
                bandwidth.take(flight.send_chunk(clock.now()))
            except SpoolCorrupt as problem:
                self._remove(flight)
                self._set_aside(flight.entry, f"rotten in the spool: {problem}")
            except PoisonError as problem:
                self._too_large(flight, problem)
            moved = True
        return moved

    def _has_room(self) -> bool:
        held = self.in_flight_bytes
        # Alone, a header larger than the whole limit may still bring its chunks out.
        is_alone = len(self._flights) == 1 and held <= len(self._flights[0].header.header_json)
        return is_alone or held + CHUNK_BYTES_MAX <= self._limits.in_flight_bytes_max

    def _begin(self) -> Flight | None:
        """The next delivery's flight, or None: nothing to do, or a limit is reached."""
        if len(self._flights) >= FLIGHTS_MAX or not self._has_room_for_another():
            return None
        entry = self._parts.queue.front(self._in_hand)
        if entry is None or not self._fits_window(entry):
            return None
        self._parts.queue.take()
        try:
            recent = self._parts.recent.take(entry.delivery_id)
            delivery = recent or facts_of(self._parts.spools, entry)
            flight = board(entry, delivery, self._parts.spools, self._parts.sender)
        except SpoolEntryGone as problem:
            _LOG.error("delivery lost", delivery_id=entry.delivery_id, problem=str(problem))
            self._parts.progress.lose(entry.delivery_id, str(problem))
            return None  # not the next one at once: faults must not hold up the other duties
        except SpoolCorrupt as problem:
            self._set_aside(entry, f"rotten in the spool: {problem}")
            return None
        flight.published_to = self._published_to
        self._flights.append(flight)
        self._boarded_bytes += entry.size_bytes
        return flight

    def _in_hand(self) -> set[str]:
        return {flight.entry.delivery_id for flight in self._flights}

    def _has_room_for_another(self) -> bool:
        return not self._flights or self._has_room()

    def _fits_window(self, entry: LedgerEntry) -> bool:
        held = self._parts.progress.window_bytes() + self._boarded_bytes
        return held == 0 or held + entry.size_bytes <= self._limits.unarchived_bytes_max
