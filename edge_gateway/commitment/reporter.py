"""Delivers decided commitment reports to their peers, in threads of its own, until they are taken.

Invariant: one association to a peer at a time; a report that was not taken is tried again later,
with growing pauses, and never dropped here. Nothing that a peer does ends a thread. Must not
decide what a report says.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from edge_gateway.commitment.event_report import (
    NotDelivered,
    ReportTimeouts,
    report_association,
)
from edge_gateway.commitment.ledger import CommitmentLedger, DueReport
from infra.clock import Clock
from infra.settings_commitment import CommitmentPeer, CommitmentSettings
from infra.telemetry import Metrics, logger

_LOG = logger("commitment")


@dataclass(frozen=True, slots=True)
class ReportLimits:
    """How many peers are spoken to at once, how often the ledger is asked, and how patient."""

    threads: int = 2
    look_interval_s: float = 0.5
    reports_per_association: int = 16
    # pynetdicom's own thread, if it has not gone on since the report before, may take the answer to
    # the next one, for which we then wait in vain.
    between_reports_s: float = 0.05
    first_retry_s: float = 10.0
    retry_s_max: float = 3600.0
    stop_timeout_s: float = 2.0
    timeouts: ReportTimeouts = field(default_factory=ReportTimeouts)


class Reporter:
    """Runs from `start` to `stop`. `calling_ae_title` is the gateway's own."""

    def __init__(
        self,
        directory: Path,
        calling_ae_title: str,
        settings: CommitmentSettings,
        clock: Clock,
        metrics: Metrics,
        *,
        limits: ReportLimits | None = None,
    ) -> None:
        self._directory = directory
        self._calling_ae_title = calling_ae_title
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._limits = limits or ReportLimits()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._spoken_to: set[str] = set()
        self._threads = [
            threading.Thread(target=self._work, name=f"commitment-{number}", daemon=True)
            for number in range(self._limits.threads)
        ]

    def start(self) -> None:
        """Begins to deliver what is due."""
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """False once a thread ended by a fault of ours: then a restart is needed."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Begins no further report; one under way may be repeated after the next start."""
        self._stop.set()
        for thread in self._threads:
            thread.join(self._limits.stop_timeout_s / len(self._threads))

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                ledger = CommitmentLedger(self._directory)
                try:
                    self._deliver_due(ledger)
                finally:
                    ledger.close()
            except (OSError, sqlite3.Error) as cause:
                # The main loop meets the same disk and says so in readiness.
                _LOG.error("commitment ledger refuses", reason=str(cause))
            self._clock.wait(self._stop, self._limits.look_interval_s)

    def _deliver_due(self, ledger: CommitmentLedger) -> None:
        while not self._stop.is_set():
            peer = self._take_peer(ledger)
            if peer is None:
                self._clock.wait(self._stop, self._limits.look_interval_s)
                continue
            try:
                self._call(ledger, peer)
            finally:
                with self._lock:
                    self._spoken_to.discard(peer.ae_title)

    def _take_peer(self, ledger: CommitmentLedger) -> CommitmentPeer | None:
        """A peer with a due report that no other thread speaks to; it is ours then."""
        for ae_title in ledger.due_peers(self._clock.now()):
            peer = self._settings.peer(ae_title)
            if peer is None:
                continue  # taken out of the settings: its reports end with their time
            with self._lock:
                if peer.ae_title not in self._spoken_to:
                    self._spoken_to.add(peer.ae_title)
                    return peer
        return None

    def _call(self, ledger: CommitmentLedger, peer: CommitmentPeer) -> None:
        limits = self._limits
        reports = ledger.due(
            peer.ae_title.strip(), self._clock.now(), limits.reports_per_association
        )
        try:
            with report_association(peer, self._calling_ae_title, limits.timeouts) as association:
                while reports and not self._stop.is_set():
                    association.deliver(reports[0])
                    self._delivered(ledger, reports.pop(0))
                    if reports:
                        self._clock.wait(self._stop, limits.between_reports_s)
        except NotDelivered as problem:
            # The peer, not this report, is what the others of it would meet as well.
            for report in reports:
                self._failed(ledger, report, str(problem))

    def _delivered(self, ledger: CommitmentLedger, report: DueReport) -> None:
        ledger.delivered(report, self._clock.now())
        self._metrics.count("hilum_commitment_report_total", outcome="delivered")
        _LOG.info(
            "commitment reported",
            ae_title=report.request.ae_title,
            transaction_uid=report.request.transaction_uid,
            failed=len(report.failures),
            tries=report.tries + 1,
        )

    def _failed(self, ledger: CommitmentLedger, report: DueReport, problem: str) -> None:
        delay_s = self._delay_s(report.tries)
        next_try_at = self._clock.now() + timedelta(seconds=delay_s)
        ledger.failed(report, next_try_at, problem)
        self._metrics.count("hilum_commitment_report_total", outcome="failed")
        _LOG.warning(
            "commitment report not taken",
            ae_title=report.request.ae_title,
            transaction_uid=report.request.transaction_uid,
            reason=problem,
            tries=report.tries + 1,
            next_try_s=round(delay_s, 1),
        )

    def _delay_s(self, tries: int) -> float:
        limits = self._limits
        longest_s = min(limits.retry_s_max, limits.first_retry_s * 2.0 ** min(tries, 16))
        return longest_s * random.uniform(0.5, 1.0)
