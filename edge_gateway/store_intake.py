"""A C-STORE from its command set to its answer: identify, spool, and say what was done.

Invariant: 0x0000 is decided only after the spool's flush of this very record returned, and above
level `disk` only after another process confirmed the level in time; bytes that cannot be
understood are durable in quarantine before they are called so; every exception becomes a status.
Must not know how bytes travel: any engine that speaks DIMSE can stand in front of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from contracts.failures import Reason
from contracts.identity import is_uid
from edge_gateway import status
from edge_gateway.confirmation import Confirmations, Wait
from edge_gateway.levels import Level, Question
from edge_gateway.scan import HEAD_BYTES_MAX, Unreadable, identifying_uids
from edge_gateway.spool import (
    DeliveryFacts,
    DeliverySink,
    ObjectTooLarge,
    SpoolBroken,
    SpooledDelivery,
    SpoolFull,
    Submission,
)
from edge_gateway.status import Status
from edge_gateway.store_request import Answer, StoreRequest
from infra.telemetry import logger

if TYPE_CHECKING:
    from edge_gateway.intake import AssociationIntake

_LOG = logger("intake")


class StoreIntake:
    """One data set on its way in: `write` each fragment, then `finish`, `submit` or `abort`.

    The first 64 KiB are looked at for the identifying UIDs; everything else only passes. After
    `submit` its association goes on, and asks `decided` when something has moved, or is due.
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
        # What the verdict will be once it is durable.
        self._judged: Status = status.PROCESSING_FAILURE
        self._is_levelled = False
        self._finished_s = 0.0
        self._when_moved: Callable[[], None] = lambda: None
        self._submission: Submission | None = None
        self._wait: Wait | None = None
        self._is_abandoned = False
        self._attempt(self._begin)

    def write(self, fragment: memoryview) -> None:
        """Takes a fragment; after a refusal it is dropped, since an answer needs the last one."""
        if self._verdict is None:
            self._attempt(lambda: self._write(fragment))

    def catch_up(self) -> None:
        """Does what there is to do while no fragment is here."""
        if self._sink is not None and self._verdict is None:
            self._attempt(self._sink.catch_up)

    def finish(self) -> Answer:
        """The answer to the last fragment. What it says kept is durable, its receipt appended."""
        self._finished_s = time.monotonic()
        if self._verdict is None:
            self._attempt(self._commit)
        if self._lacks_level:
            self._attempt(self._await_level)
        return self._answer()

    def submit(self, when_moved: Callable[[], None]) -> None:
        """Begins what `finish` does, and waits for nothing but room in the spool's queue.

        `when_moved` is called, from any thread, when it is time to ask `decided`.
        """
        self._finished_s, self._when_moved = time.monotonic(), when_moved
        if self._verdict is None:
            self._attempt(self._submit)

    def decided(self) -> Answer | None:
        """After `submit`: the answer, once and as `finish` gives it; None while it is open."""
        if self._submission is not None and not self._submission.is_over:
            return None
        if self._submission is not None:
            self._attempt(self._settle)
        if self._lacks_level and self._wait is None:
            self._attempt(self._ask_level)
        if self._wait is not None:
            if not (self._wait.is_over or self._is_abandoned):
                return None
            self._attempt(self._settle_level)
        return self._answer()

    @property
    def due_s(self) -> float:
        """When `decided` has the answer at the latest (monotonic clock)."""
        if self._submission is not None:
            return self._submission.deadline_s
        return self._wait.until_s if self._wait is not None else 0.0

    def abandon(self) -> None:
        """Nobody will hear the answer: it is decided without a wait for the level."""
        self._is_abandoned = True

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

    def _submit(self) -> None:
        assert self._sink is not None
        self._judged, reason = self._judge()
        # It may be held on to for long, by many: not with what it has no more use for.
        self._head = bytearray()
        self._submission = self._sink.submit(reason, self._when_moved)

    def _settle(self) -> None:
        submission, self._submission = self._submission, None
        assert submission is not None
        self._delivery = submission.delivery()
        self._verdict = self._judged

    @property
    def _lacks_level(self) -> bool:
        is_kept = self._verdict is status.SUCCESS
        return is_kept and self._association.peer.level is not Level.DISK and not self._is_levelled

    @property
    def _confirmations(self) -> Confirmations | None:
        return self._association.intake.confirmations.get(self._association.peer.level)

    def _await_level(self) -> None:
        confirmations = self._confirmations
        self._note_level(confirmations is not None and confirmations.is_reached(self._question()))

    def _ask_level(self) -> None:
        confirmations = self._confirmations
        if confirmations is None or self._is_abandoned:
            self._note_level(False)
        else:
            self._wait = confirmations.ask(self._question(), self._when_moved)

    def _settle_level(self) -> None:
        confirmations, wait = self._confirmations, self._wait
        self._wait = None
        assert confirmations is not None and wait is not None
        self._note_level(confirmations.settle(wait))

    def _question(self) -> Question:
        delivery, peer = self._delivery, self._association.peer
        assert delivery is not None
        return Question(
            delivery.delivery_id, delivery.content_sha256, peer.level, peer.answer_within_ms
        )

    def _note_level(self, is_reached: bool) -> None:
        """Ours stays in the spool either way: a resend is another delivery of the same content."""
        self._is_levelled = True
        if not is_reached:
            self._verdict = status.LEVEL_NOT_REACHED
        outcome = "reached" if is_reached else "late"
        level = self._association.peer.level.value
        metrics = self._association.intake.metrics
        metrics.count("hilum_store_level_total", level=level, outcome=outcome)

    def _answer(self) -> Answer:
        # Undecided would be a fault of ours, and never a success.
        verdict = self._verdict or status.PROCESSING_FAILURE
        association = self._association
        association.note_answer(self._request, self._delivery, self._delivery_id, verdict.value)
        elapsed_s = time.monotonic() - self._finished_s
        association.intake.metrics.observe("hilum_store_seconds", elapsed_s)
        return Answer(verdict.value, status.comment(verdict, self._delivery_id))

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
