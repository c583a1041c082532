"""A C-STORE from its command set to its answer: identify, spool, and say what was done.

Invariant: 0x0000 is decided only after the spool's commit returned, and above level `disk` only
after the forward process confirmed the level in time; bytes that cannot be understood are durable
in quarantine before they are called so; every exception becomes a status.
Must not know how bytes travel: any engine that speaks DIMSE can stand in front of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from contracts.failures import Reason
from contracts.identity import DeliveryIds, is_uid
from edge_gateway import status
from edge_gateway.confirmation import Confirmations
from edge_gateway.levels import Level, Question
from edge_gateway.scan import HEAD_BYTES_MAX, Unreadable, identifying_uids
from edge_gateway.spool import (
    AssociationOpened,
    DeliveryFacts,
    DeliverySink,
    Ending,
    ObjectTooLarge,
    Receipt,
    Spool,
    SpoolBroken,
    SpooledDelivery,
    SpoolFull,
)
from edge_gateway.status import Status
from infra.clock import Clock
from infra.telemetry import Metrics, logger

_LOG = logger("intake")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of an association, as admission judged and the peer said."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    implementation_class_uid: str
    implementation_version_name: str
    mismatch: Literal["accept", "refuse"]
    level: Level = Level.DISK
    answer_within_ms: int = 0


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """The C-STORE-RQ's command set and the transfer syntax of its context (PS3.7 9.3.1.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    is_storage_class: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What the peer is told: a status and the Error Comment ('' for none)."""

    status: int
    comment: str


class Intake:
    """The gateway's storage, shared by all associations; safe from any thread."""

    def __init__(
        self,
        spool: Spool,
        metrics: Metrics,
        clock: Clock,
        confirmations: Confirmations | None = None,
    ) -> None:
        self.spool = spool
        self.metrics = metrics
        self.clock = clock
        # None: no level above `disk` can be reached here.
        self.confirmations = confirmations
        self.ids = DeliveryIds()

    def open_association(
        self, peer: Peer, give_up: Callable[[], None] = lambda: None
    ) -> AssociationIntake:
        """Notes the association in the spool (flushed with the next commit).

        `give_up` ends the connection, from another thread, while this one is held by the disk.
        """
        association = AssociationIntake(self, peer, self.ids.mint(), give_up)
        self._note_opened(association)
        return association

    def _note_opened(self, association: AssociationIntake) -> None:
        peer = association.peer
        try:
            self.spool.association_opened(
                AssociationOpened(
                    association_id=association.association_id,
                    calling_ae_title=peer.calling_ae_title,
                    called_ae_title=peer.called_ae_title,
                    peer_address=peer.address,
                    peer_implementation_class_uid=peer.implementation_class_uid,
                    peer_implementation_version_name=peer.implementation_version_name,
                    opened_at=self.clock.now(),
                )
            )
        except (SpoolFull, SpoolBroken) as failure:
            # Each C-STORE finds the same out for itself and is refused with A700.
            _LOG.warning("noting an association failed", reason=str(failure))


class AssociationIntake:
    """The C-STOREs of one association, one at a time. Used by one thread."""

    def __init__(
        self, intake: Intake, peer: Peer, association_id: str, give_up: Callable[[], None]
    ) -> None:
        self.intake = intake
        self.peer = peer
        self.association_id = association_id
        self.give_up = give_up

    def begin(self, request: StoreRequest) -> StoreIntake:
        """Starts to take one data set; never raises for what the request says."""
        return StoreIntake(self, request, self.intake.ids.mint())

    def close(self, ending: Ending) -> dict[str, int]:
        """Notes the end; returns the responses by status (hexadecimal) for the log."""
        self.intake.metrics.count("hilum_association_total", ended=ending.value)
        try:
            closed = self.intake.spool.association_closed(self.association_id, ending)
        except (SpoolFull, SpoolBroken) as failure:
            # Recovery closes what was left open, so the receipt is late and not lost.
            _LOG.warning("noting the end of an association failed", reason=str(failure))
            return {}
        return {f"{value:04X}": count for value, count in closed.status_totals}

    def note_answer(
        self, request: StoreRequest, delivery: SpooledDelivery | None, delivery_id: str, value: int
    ) -> None:
        """Appends the receipt of a response that is about to be sent, and counts it."""
        self.intake.metrics.count("hilum_store_response_total", status=f"{value:04X}")
        if delivery is not None and value == status.SUCCESS.value:
            self.intake.metrics.count("hilum_store_received_bytes_total", delivery.size_bytes)
        receipt = Receipt(
            association_id=self.association_id,
            delivery_id=delivery_id,
            sop_instance_uid=request.sop_instance_uid if is_uid(request.sop_instance_uid) else "",
            content_sha256=delivery.content_sha256 if delivery else None,
            status=value,
            answered_at=self.intake.clock.now(),
        )
        try:
            self.intake.spool.append_receipt(receipt)
        except (SpoolFull, SpoolBroken) as failure:
            # A durable delivery without a receipt gets one at recovery; a refusal needs none.
            _LOG.warning("appending a receipt failed", reason=str(failure))


class StoreIntake:
    """One data set on its way in: `write` each fragment, then `finish` or `abort`.

    The first 64 KiB are looked at for the identifying UIDs; everything else only passes.
    """

    def __init__(
        self, association: AssociationIntake, request: StoreRequest, delivery_id: str
    ) -> None:
        self._association = association
        self._request = request
        self._delivery_id = delivery_id
        self._head = bytearray()
        self._sink: DeliverySink | None = None
        self._delivery: SpooledDelivery | None = None
        # None while nothing speaks against it, then what the peer will be told.
        self._verdict: Status | None = None
        self._attempt(self._begin)

    def write(self, fragment: memoryview) -> None:
        """Takes a fragment; after a refusal it is dropped, since an answer needs the last one."""
        if self._verdict is None:
            self._attempt(lambda: self._write(fragment))

    def finish(self) -> Answer:
        """The answer to the last fragment. What it says kept is durable, its receipt appended."""
        started_s = time.monotonic()
        if self._verdict is None:
            self._attempt(self._commit)
        if self._verdict is status.SUCCESS and self._association.peer.level is not Level.DISK:
            self._attempt(self._await_level)
        verdict = self._verdict or status.SUCCESS
        self._association.note_answer(
            self._request, self._delivery, self._delivery_id, verdict.value
        )
        metrics = self._association.intake.metrics
        metrics.observe("hilum_store_seconds", time.monotonic() - started_s)
        return Answer(verdict.value, status.comment(verdict, self._delivery_id))

    def abort(self) -> None:
        """Leaves nothing of this data set behind."""
        if self._sink is not None:
            self._sink.abort()

    def _begin(self) -> None:
        request, association = self._request, self._association
        if not is_uid(request.sop_instance_uid):
            self._verdict = status.INVALID_INSTANCE
        elif not is_uid(request.sop_class_uid) or not request.is_storage_class:
            self._verdict = status.SOP_CLASS_NOT_SUPPORTED
        else:
            spool = association.intake.spool
            admission = spool.admission()
            if not admission.accepting:
                raise SpoolFull(admission.reason)
            self._sink = spool.begin(self._facts(), association.give_up)

    def _facts(self) -> DeliveryFacts:
        association, peer = self._association, self._association.peer
        return DeliveryFacts(
            delivery_id=self._delivery_id,
            association_id=association.association_id,
            calling_ae_title=peer.calling_ae_title,
            called_ae_title=peer.called_ae_title,
            peer_address=peer.address,
            peer_implementation_class_uid=peer.implementation_class_uid,
            peer_implementation_version_name=peer.implementation_version_name,
            received_at=association.intake.clock.now(),
            sop_class_uid=self._request.sop_class_uid,
            sop_instance_uid=self._request.sop_instance_uid,
            transfer_syntax_uid=self._request.transfer_syntax_uid,
        )

    def _write(self, fragment: memoryview) -> None:
        assert self._sink is not None
        missing = HEAD_BYTES_MAX - len(self._head)
        if missing > 0:
            self._head += fragment[:missing]
        self._sink.write(fragment)

    def _commit(self) -> None:
        assert self._sink is not None
        verdict, reason = self._judge()
        self._delivery = self._sink.commit(reason)
        # Only now: had the commit failed, the room or the disk would be the answer.
        self._verdict = verdict

    def _await_level(self) -> None:
        """Ours stays in the spool either way: a resend is another delivery of the same content."""
        delivery, peer, intake = self._delivery, self._association.peer, self._association.intake
        assert delivery is not None
        question = Question(
            delivery.delivery_id, delivery.content_sha256, peer.level, peer.answer_within_ms
        )
        confirmations = intake.confirmations
        if confirmations is not None and confirmations.is_reached(question):
            outcome = "reached"
        else:
            outcome = "late"
            self._verdict = status.LEVEL_NOT_REACHED
        intake.metrics.count("hilum_store_level_total", level=peer.level.value, outcome=outcome)

    def _judge(self) -> tuple[Status, Reason | None]:
        """What the two identifying elements say of this data set (PS3.4 B.2.3)."""
        request = self._request
        found = identifying_uids(memoryview(self._head), request.transfer_syntax_uid)
        if found is Unreadable.SKIPPED and self._head:
            return status.SUCCESS, None
        if isinstance(found, Unreadable) or None in found:
            return status.UNREADABLE, Reason.UNREADABLE
        if found == (request.sop_class_uid, request.sop_instance_uid):
            return status.SUCCESS, None
        is_accepted = self._association.peer.mismatch == "accept"
        return (status.SUCCESS if is_accepted else status.UID_MISMATCH), Reason.UID_MISMATCH

    def _attempt(self, step: Callable[[], None]) -> None:
        """The C-STORE handler's one guard: whatever `step` raises becomes the verdict."""
        try:
            step()
        except ObjectTooLarge:
            self._verdict = status.OBJECT_TOO_LARGE
        except (SpoolFull, SpoolBroken) as failure:
            _LOG.warning("refusing a data set", delivery_id=self._delivery_id, reason=str(failure))
            self._verdict = status.OUT_OF_RESOURCES
        except Exception as fault:  # noqa: BLE001 - the C-STORE handler
            # The class alone: a message could quote what the peer sent.
            _LOG.error("storing failed", delivery_id=self._delivery_id, fault=type(fault).__name__)
            self._verdict = status.PROCESSING_FAILURE
        if self._delivery is None and self._verdict is not None:
            self.abort()
