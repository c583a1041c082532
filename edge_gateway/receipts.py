"""Publishes the receipts of each association in pages, and the last page with its totals.

Invariant: a receipt leaves the ledger only when the page that holds it is acknowledged, and pages
of one association go out one after the other. Must not decide where a page ends (the ledger does,
by rules that a repeat finds again), nor wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from contracts.events import AssociationReceipt
from contracts.failures import FatalError, HilumError
from edge_gateway.backoff import Backoff
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.progress_receipts import PendingPage, ReceiptLedger
from infra.clock import Clock
from infra.seams import PendingPublication, Publisher
from infra.telemetry import logger

ENTRIES_PER_PAGE_MAX = 1_000
PAGES_IN_FLIGHT_MAX = 32
CHECK_INTERVAL_S = 0.2
# A page takes the receipts of this share of its age: one that reaches the spool up to 100 ms after
# its own time is then still found before the page goes out.
TAKEN_SHARE = 0.9
_LOG = logger("receipts")


@dataclass(frozen=True, slots=True)
class ReceiptSender:
    """Whose receipts these are, and the way out."""

    site: str
    gateway_id: str
    publisher: Publisher
    page_age_s: float


class ReceiptPublisher:
    """Pages on their way. Used by one thread."""

    def __init__(
        self, ledger: ReceiptLedger, sender: ReceiptSender, health: ForwardHealth, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._sender = sender
        self._health = health
        self._clock = clock
        self._backoff = Backoff(clock)
        self._pending: dict[str, tuple[PendingPage, PendingPublication]] = {}
        # Open associations: since when (monotonic) receipts wait for their page.
        self._waiting_since: dict[str, float] = {}
        self._checked_at = 0.0
        self._taken_age = timedelta(seconds=sender.page_age_s * TAKEN_SHARE)

    def step(self, may_begin: bool = True) -> bool:
        """Takes in acknowledgements and publishes what is due; whether anything moved."""
        try:
            moved = self._settle()
            is_time = self._clock.monotonic() - self._checked_at >= CHECK_INTERVAL_S
            if may_begin and is_time and self._backoff.is_due():
                moved |= self._publish_due()
                # At once again after a full round: a backlog must not trickle.
                if len(self._pending) < PAGES_IN_FLIGHT_MAX:
                    self._checked_at = self._clock.monotonic()
            return moved
        except HilumError as failure:
            delay_s = self._backoff.failed(is_fatal=isinstance(failure, FatalError))
            self._health.impede("receipts", f"not publishing receipts: {failure}")
            _LOG.warning("publishing receipts failed", reason=str(failure), again_in_s=delay_s)
            return False

    def retry_now(self) -> None:
        """Ends the pause after a failure."""
        self._backoff.succeeded()

    def _settle(self) -> bool:
        moved = False
        for association_id, (page, pending) in list(self._pending.items()):
            if not pending.done():
                continue
            del self._pending[association_id]
            pending.result(0)
            self._ledger.page_published(page)
            self._waiting_since.pop(association_id, None)
            self._backoff.succeeded()
            self._health.clear("receipts")
            moved = True
        return moved

    def _publish_due(self) -> bool:
        moved = False
        for association_id in self._due_associations():
            if len(self._pending) >= PAGES_IN_FLIGHT_MAX:
                break
            if not self._is_ripe(association_id):
                continue
            page = self._ledger.next_page(association_id, ENTRIES_PER_PAGE_MAX, self._taken_age)
            if page is not None and (page.is_full or self._is_old(association_id)):
                self._pending[association_id] = (page, self._publish(page))
                moved = True
        return moved

    def _due_associations(self) -> list[str]:
        """Ended ones first: they are whole. In hand ones not."""
        still_open = self._ledger.open_with_receipts()
        now = self._clock.monotonic()
        self._waiting_since = {
            association_id: self._waiting_since.get(association_id, now)
            for association_id in still_open
        }
        ended = self._ledger.closed(PAGES_IN_FLIGHT_MAX + len(self._pending))
        return [each for each in (*ended, *still_open) if each not in self._pending]

    def _is_ripe(self, association_id: str) -> bool:
        """Whether a page may be due: to make one for nothing was a tenth of the forwarder."""
        is_open = association_id in self._waiting_since
        return (
            not is_open
            or self._is_old(association_id)
            or self._ledger.has_full_page(association_id, ENTRIES_PER_PAGE_MAX, self._taken_age)
        )

    def _is_old(self, association_id: str) -> bool:
        # The monotonic clock: a step of the other one must not hold receipts back.
        since = self._waiting_since.get(association_id, self._clock.monotonic())
        return self._clock.monotonic() - since >= self._sender.page_age_s

    def _publish(self, page: PendingPage) -> PendingPublication:
        facts, sender = page.facts, self._sender
        receipt = AssociationReceipt(
            site=sender.site,
            gateway_id=sender.gateway_id,
            association_id=facts.association_id,
            calling_ae_title=facts.calling_ae_title,
            called_ae_title=facts.called_ae_title,
            peer_address=facts.peer_address,
            opened_at=facts.opened_at,
            page_index=page.page_index,
            entries=page.entries,
            ended=page.ended,
            totals=page.totals,
        )
        event_id = f"{facts.association_id}/{page.page_index}"
        return sender.publisher.publish_event(receipt, sender.gateway_id.encode(), event_id)
