"""From an open request and the ledger of custody to the report that a modality takes."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from edge_gateway.commitment.custody_view import CustodyView
from edge_gateway.commitment.desk import CommitmentDesk, DeskParts
from edge_gateway.commitment.ledger import CommitmentLedger, RequestState
from edge_gateway.commitment.reporter import Reporter, ReportLimits
from edge_gateway.commitment.request import CommitmentRequest, Reference
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.progress import Progress
from edge_gateway.progress_rows import DeliveryState, NewDelivery
from edge_gateway.spool import RecordLocation
from infra.clock import SystemClock
from infra.settings_commitment import CommitmentSettings
from infra.telemetry import Metrics
from operations.ports import free_ports
from tests.edge_gateway.association.authority import Authority
from tests.edge_gateway.commitment.modality_scu import CT, ModalityScu, listening
from tests.edge_gateway.running_gateway import eventually

MR = "1.2.840.10008.5.1.4.1.1.4"
LIMITS = ReportLimits(look_interval_s=0.05, first_retry_s=0.1, retry_s_max=0.2)


@dataclass
class Forwarding:
    """What the forward process has of commitment, without the bus."""

    directory: Path
    progress: Progress
    ledger: CommitmentLedger
    settings: CommitmentSettings
    health: ForwardHealth
    numbers: Iterator[int]

    def received(self, sop_class: str = CT, uid: str = "", sha: str = "a") -> Reference:
        """An instance in the spool; `archived` and the others go by its number."""
        number = next(self.numbers)
        uid = uid or str(generate_uid())
        location = RecordLocation(1, 1, number, number)
        self.progress.add(
            NewDelivery(
                f"d{number}", "a", location, None, sop_class, uid, sha, 1, datetime.now(UTC)
            )
        )
        return Reference(sop_class, uid)

    def resolved(self, uid: str, state: DeliveryState = DeliveryState.ARCHIVED) -> None:
        now = datetime.now(UTC)
        rows = self.progress.connection.execute(
            "SELECT delivery_id FROM delivery WHERE sop_instance_uid = ?", (uid,)
        )
        for (delivery_id,) in rows.fetchall():
            self.progress.resolve(delivery_id, state, now, now)

    def asked(
        self, references: Sequence[Reference], uid: str = "", ae_title: str = "CT1"
    ) -> CommitmentRequest:
        request = CommitmentRequest(uid or str(generate_uid()), tuple(references))
        self.ledger.put(ae_title, request, datetime.now(UTC), 100)
        return request

    def desk(self, hearing_s: float = 0.0) -> CommitmentDesk:
        parts = DeskParts(
            self.ledger,
            CustodyView(self.progress.connection),
            self.health,
            SystemClock(),
            Metrics(),
        )
        return CommitmentDesk(parts, self.settings, hearing_s)

    def decide(self, desk: CommitmentDesk | None = None) -> None:
        """Every open request once."""
        desk = desk or self.desk()
        while desk.step():
            pass

    def decide_until(self, desk: CommitmentDesk, condition: Callable[[], bool]) -> None:
        """The desk goes on, as in the main loop, until `condition` holds."""

        def has_come() -> bool:
            desk.step()
            return condition()

        eventually(has_come)

    def counts(self) -> dict[str, int]:
        return {state.value: count for state, count in self.ledger.counts().items() if count}

    @contextmanager
    def reporting(self, limits: ReportLimits = LIMITS) -> Iterator[None]:
        reporter = Reporter(
            self.directory, "NORTH", self.settings, SystemClock(), Metrics(), limits=limits
        )
        reporter.start()
        try:
            yield
        finally:
            reporter.stop()


@pytest.fixture
def ct() -> Iterator[ModalityScu]:
    with listening("CT1") as found:
        yield found


@contextmanager
def forwarding(
    directory: Path, port: int, tls: dict[str, Path] | None = None, **settings: Any
) -> Iterator[Forwarding]:
    peers = [
        {"ae_title": title, "host": "127.0.0.1", "port": port, "strength": strength, "tls": tls}
        for title, strength in (("CT1", "archive"), ("CT2", "dr"))
    ]
    found = Forwarding(
        directory,
        Progress(directory / "progress.sqlite", "g"),
        CommitmentLedger(directory),
        CommitmentSettings.model_validate({"peers": peers} | settings),
        ForwardHealth(),
        itertools.count(1),
    )
    try:
        yield found
    finally:
        found.ledger.close()
        found.progress.close()


def test_all_that_is_archived_is_committed_in_one_report(tmp_path: Path, ct: ModalityScu) -> None:
    with forwarding(tmp_path, ct.port) as forward, forward.reporting():
        references = [forward.received() for _ in range(3)]
        request = forward.asked(references)
        desk = forward.desk()
        forward.decide(desk)
        assert forward.counts() == {"open": 1}  # received and not yet archived: it waits
        for reference in references:
            forward.resolved(reference.sop_instance_uid)
        forward.decide_until(desk, lambda: bool(ct.reports))
    (report,) = ct.reports
    assert report.event_type == 1 and report.transaction_uid == request.transaction_uid
    assert report.committed == frozenset(references) and not report.failed
    assert report.is_from_scp


def test_each_failure_has_its_reason(tmp_path: Path, ct: ModalityScu) -> None:
    with forwarding(tmp_path, ct.port, wait_s=0) as forward, forward.reporting():
        good, quarantined, late = (forward.received() for _ in range(3))
        other_class = Reference(MR, forward.received(CT).sop_instance_uid)
        unknown = Reference(CT, "1.2.3")
        forward.resolved(good.sop_instance_uid)
        forward.resolved(quarantined.sop_instance_uid, DeliveryState.QUARANTINED)
        forward.asked([good, quarantined, late, other_class, unknown])
        forward.decide()
        eventually(lambda: bool(ct.reports))
    (report,) = ct.reports
    assert report.event_type == 2 and report.committed == frozenset([good])
    assert report.failed == {
        quarantined: 0x0110,
        late: 0x0110,
        other_class: 0x0119,
        unknown: 0x0112,
    }


def test_nothing_is_late_before_custody_had_time_to_be_heard(tmp_path: Path) -> None:
    with forwarding(tmp_path, 1, wait_s=0) as forward:
        forward.asked([forward.received()])
        forward.decide(forward.desk(hearing_s=60))
        assert forward.counts() == {"open": 1}
        forward.decide()
        assert forward.counts() == {"reporting": 1}


def test_a_request_larger_than_one_step_is_decided_whole(tmp_path: Path) -> None:
    with forwarding(tmp_path, 1) as forward:
        references = [forward.received() for _ in range(1200)]
        for reference in references[:-1]:
            forward.resolved(reference.sop_instance_uid)
        forward.asked([*references[:-1], Reference(CT, "1.2.3")])
        forward.decide()
        (report,) = forward.ledger.due("CT1", datetime.now(UTC), 5)
        assert report.failures == {1199: 0x0112}


def test_a_report_that_is_not_taken_is_sent_again_also_after_a_restart(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with forwarding(tmp_path, port) as forward:
        forward.asked([Reference(CT, "1.2.3")])
        forward.decide()
        with forward.reporting():
            eventually(lambda: "cannot be reached" in forward.ledger.last_problem())
            with listening("CT1", port, answer=0x0110) as refusing:
                eventually(lambda: "0110" in forward.ledger.last_problem())
                assert not refusing.reports
        assert forward.counts() == {"reporting": 1}
    with forwarding(tmp_path, port) as forward, listening("CT1", port) as ct:
        with forward.reporting():
            eventually(lambda: bool(ct.reports))
            eventually(lambda: forward.counts() == {"delivered": 1})
        assert ct.reports[0].failed == {Reference(CT, "1.2.3"): 0x0112}


def test_the_same_request_again_is_decided_and_reported_again(
    tmp_path: Path, ct: ModalityScu
) -> None:
    with forwarding(tmp_path, ct.port) as forward, forward.reporting():
        reference = Reference(CT, "1.2.3")
        request = forward.asked([reference])
        forward.decide()
        eventually(lambda: forward.counts() == {"delivered": 1})
        forward.received(uid="1.2.3")
        forward.resolved("1.2.3")
        forward.asked([reference], request.transaction_uid)
        forward.decide()
        eventually(lambda: len(ct.reports) == 2)
    assert [report.event_type for report in ct.reports] == [2, 1]
    assert {report.transaction_uid for report in ct.reports} == {request.transaction_uid}


def test_a_transaction_uid_in_use_fails_the_second_request_alone(
    tmp_path: Path, ct: ModalityScu
) -> None:
    with forwarding(tmp_path, ct.port) as forward, forward.reporting():
        first, second = forward.received(), forward.received()
        request = forward.asked([first])
        forward.asked([second], request.transaction_uid)
        desk = forward.desk()
        forward.decide(desk)
        eventually(lambda: len(ct.reports) == 1)
        assert ct.reports[0].failed == {second: 0x0131}
        forward.resolved(first.sop_instance_uid)
        forward.decide_until(desk, lambda: len(ct.reports) == 2)
        assert ct.reports[1].committed == {first}


def test_dr_is_a_stronger_word_than_archive(tmp_path: Path) -> None:
    with forwarding(tmp_path, 1) as forward:
        reference = forward.received()
        forward.resolved(reference.sop_instance_uid)
        for title in ("CT1", "CT2"):
            forward.asked([reference], ae_title=title)
        forward.decide()
        assert forward.counts() == {"open": 1, "reporting": 1}
        forward.progress.replicate("d1", datetime.now(UTC))
        forward.decide()
        assert forward.counts() == {"reporting": 2}


def test_a_report_goes_over_tls_to_a_listener_that_asks_for_our_certificate(
    tmp_path: Path,
) -> None:
    authority = Authority.create(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("ct"))
    context.load_verify_locations(authority.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    certificate_file, key_file = authority.issue("north")
    tls = {"ca_file": authority.ca_file}
    with listening("CT1", tls=context) as ct:
        with forwarding(tmp_path, ct.port, tls) as forward, forward.reporting():
            forward.asked([Reference(CT, "1.2.3")])
            forward.decide()
            eventually(lambda: bool(forward.ledger.last_problem()))
            assert not ct.reports
        tls |= {"certificate_file": certificate_file, "key_file": key_file}
        with forwarding(tmp_path, ct.port, tls) as forward, forward.reporting():
            eventually(lambda: bool(ct.reports))


def test_a_report_nobody_takes_is_given_up_in_the_end_and_told(tmp_path: Path) -> None:
    with forwarding(tmp_path, 1, retry_for_s=60) as forward:
        forward.asked([Reference(CT, "1.2.3")])
        forward.decide()
        (report,) = forward.ledger.due("CT1", datetime.now(UTC), 5)
        long_ago = datetime.now(UTC) - timedelta(days=1)
        assert forward.ledger.overdue(long_ago, 5) == []
        forward.ledger.give_up(report, long_ago)
        forward.decide()
        assert forward.counts() == {RequestState.GIVEN_UP.value: 1}
        assert "1 given up" in forward.health.readiness().reason
        assert forward.ledger.forget(timedelta(hours=1), datetime.now(UTC), 10) == 1
