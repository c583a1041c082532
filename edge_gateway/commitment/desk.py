"""Decides open commitment requests from custody; part of the forwarder's main loop.

Invariant: nothing is called unknown before everything that was in the spool when the request was
seen is in the progress ledger, and nothing failed for being late before this process had its time
to hear custody. A step takes a bounded share of a request. Must not speak to a peer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edge_gateway.commitment.custody_view import UIDS_PER_QUESTION_MAX, CustodyView
from edge_gateway.commitment.ledger import CommitmentLedger, OpenRequest, RequestState
from edge_gateway.commitment.verdict import FailureReason, Outcome, judge
from edge_gateway.forward_health import ForwardHealth
from infra.clock import Clock
from infra.settings_commitment import CommitmentSettings
from infra.telemetry import Metrics, logger

LOOK_INTERVAL_S = 0.5
# A pass over all open requests is followed by a pause of so many times what it took.
PAUSE_FACTOR = 10
HOUSEKEEPING_INTERVAL_S = 5.0
# After a start the archive's word of the last minutes may still have to be read.
HEARING_S = 60.0
OVERDUE_PER_STEP = 100
FORGOTTEN_PER_STEP = 1_000
_LOG = logger("commitment")


@dataclass(frozen=True, slots=True)
class DeskParts:
    """What the desk works with; the ledger is its own connection."""

    ledger: CommitmentLedger
    custody: CustodyView
    health: ForwardHealth
    clock: Clock
    metrics: Metrics


@dataclass(slots=True)
class _Examination:
    """A request under way: how far it was looked at, and what was found."""

    request: OpenRequest
    position: int = 0
    waiting: int = 0
    failures: dict[int, int] = field(default_factory=dict)


class CommitmentDesk:
    """Looks at each open request in turn, again and again until it can be decided."""

    def __init__(
        self, parts: DeskParts, settings: CommitmentSettings, hearing_s: float = HEARING_S
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._not_late_before = parts.clock.now() + timedelta(seconds=hearing_s)
        self._examination: _Examination | None = None
        self._after_id = 0
        self._pass_began_at = parts.clock.monotonic()
        self._look_again_at = self._pass_began_at
        self._keep_again_at = self._pass_began_at

    def step(self) -> bool:
        """A share of the work; whether there is more at once. Raises sqlite3.Error.

        The caller has taken in the spool's records up to its end since the last call.
        """
        examination = self._examination
        if examination is not None:
            self._examine(examination)
            if examination.position < len(examination.request.references):
                return True
            self._conclude(examination)
        self._keep_house()
        return self._take_next()

    def _take_next(self) -> bool:
        """Only notes the request: its instances are looked for after the next of the spool."""
        now = self._parts.clock.monotonic()
        self._examination = None
        if self._after_id == 0:
            if now < self._look_again_at:
                return False
            self._pass_began_at = now
        request = self._parts.ledger.next_open(self._after_id)
        if request is None:
            self._after_id = 0
            pause_s = max(LOOK_INTERVAL_S, PAUSE_FACTOR * (now - self._pass_began_at))
            self._look_again_at = now + pause_s
            return False
        self._after_id = request.request_id
        self._examination = _Examination(request)
        return True

    def _examine(self, examination: _Examination) -> None:
        request = examination.request
        first, peer = examination.position, self._settings.peer(request.ae_title)
        references = request.references[first : first + UIDS_PER_QUESTION_MAX]
        examination.position += len(references)
        found = self._parts.custody.holdings({r.sop_instance_uid for r in references})
        strength = "archive" if peer is None else peer.strength
        for position, reference in enumerate(references, first):
            outcome = judge(reference, found.get(reference.sop_instance_uid, ()), strength)
            if request.is_duplicate:
                outcome = FailureReason.DUPLICATE_TRANSACTION_UID
            if outcome is Outcome.WAITING:
                examination.waiting += 1
                examination.failures[position] = FailureReason.PROCESSING_FAILURE
            elif isinstance(outcome, FailureReason):
                examination.failures[position] = outcome

    def _conclude(self, examination: _Examination) -> None:
        request, now = examination.request, self._parts.clock.now()
        if examination.waiting and now < self._late_at(request):
            return
        if not self._parts.ledger.decide(request, examination.failures, now):
            return
        total, failed = len(request.references), len(examination.failures)
        _LOG.info(
            "commitment decided",
            ae_title=request.ae_title,
            transaction_uid=request.transaction_uid,
            committed=total - failed,
            failed=failed,
            late=examination.waiting,
        )
        metrics = self._parts.metrics
        metrics.count("hilum_commitment_reference_total", total - failed, outcome="committed")
        for reason in FailureReason:
            count = sum(value == reason for value in examination.failures.values())
            if count:
                metrics.count("hilum_commitment_reference_total", count, outcome=f"{reason:04X}")

    def _late_at(self, request: OpenRequest) -> datetime:
        late_at = request.asked_at + timedelta(seconds=self._settings.wait_s)
        return max(late_at, self._not_late_before)

    def _keep_house(self) -> None:
        clock, ledger = self._parts.clock, self._parts.ledger
        if clock.monotonic() < self._keep_again_at:
            return
        self._keep_again_at = clock.monotonic() + HOUSEKEEPING_INTERVAL_S
        now = clock.now()
        patience = timedelta(seconds=self._settings.retry_for_s)
        for report in ledger.overdue(now - patience, OVERDUE_PER_STEP):
            ledger.give_up(report, now)
            self._parts.metrics.count("hilum_commitment_report_total", outcome="given_up")
            _LOG.error(
                "commitment report given up",
                ae_title=report.request.ae_title,
                transaction_uid=report.request.transaction_uid,
                tries=report.tries,
            )
        ledger.forget(timedelta(days=self._settings.kept_days), now, FORGOTTEN_PER_STEP)
        self._show(ledger.counts(), ledger.last_problem())

    def _show(self, counts: dict[RequestState, int], problem: str) -> None:
        for state, count in counts.items():
            self._parts.metrics.gauge("hilum_commitment_requests", count, state=state.value)
        told = [
            f"{counts[state]} {words}"
            for state, words in (
                (RequestState.OPEN, "open"),
                (RequestState.REPORTING, "report(s) waiting"),
                (RequestState.GIVEN_UP, "given up"),
            )
            if counts[state]
        ]
        text = f"storage commitment: {', '.join(told)}" if told else ""
        self._parts.health.note_aside("commitment", text + (f" ({problem})" if problem else ""))
