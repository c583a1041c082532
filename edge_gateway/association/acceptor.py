"""One connection's life: TLS, A-ASSOCIATE, the session, and how it ended (PS3.8 9.2).

Invariant: a place that admission gave is given back, what the spool heard opened it hears
closed, and the peer is told why wherever it can still hear it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from contracts.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from edge_gateway import status
from edge_gateway.admission import Admitted, Gate, Refusal
from edge_gateway.association.connection import (
    Connection,
    ConnectionLost,
    DeadlinePassed,
    Stopping,
)
from edge_gateway.association.contexts import answer_context, is_stored
from edge_gateway.association.limits import PEER_PDU_BYTES_MIN, AssociationLimits
from edge_gateway.association.log_budget import LogBudget
from edge_gateway.association.pdu import (
    APPLICATION_CONTEXT_UID,
    AbortReason,
    AnsweredContext,
    AssociateRequest,
    ContextResult,
    ProtocolError,
    decode_associate_request,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
)
from edge_gateway.association.pdu_reader import PduReader
from edge_gateway.association.session import Negotiated, PeerAborted, Session
from edge_gateway.association.tls import TlsCertificates, identities_of
from edge_gateway.association.user_information import encode_answers
from edge_gateway.association.waiting_room import Room
from edge_gateway.commitment.intake import ActionDesk
from edge_gateway.intake import AssociationIntake, Intake
from edge_gateway.levels import Level
from edge_gateway.spool import Ending
from edge_gateway.store_request import Peer
from infra.telemetry import logger

_LOG = logger("association")


@dataclass(frozen=True, slots=True)
class AcceptorParts:
    """What a connection works with; but gate and room it shares all with the others."""

    admission: Gate
    intake: Intake
    limits: AssociationLimits
    certificates: TlsCertificates | None
    waiting_room: Room
    budget: LogBudget
    actions: ActionDesk


class Acceptor:
    """Serves one connection from its accept to its close. Used by one thread."""

    def __init__(self, parts: AcceptorParts, connection: Connection) -> None:
        self._parts = parts
        self._connection = connection
        self._reader = PduReader(connection, parts.limits)

    def serve(self) -> None:
        """Returns when the connection is closed; a peer's faults do not leave this method."""
        try:
            self._serve()
        except ProtocolError as fault:
            self._warn("protocol", str(fault))
            self._tell(encode_abort(fault.reason))
        except DeadlinePassed:
            self._warn("silent", "no whole A-ASSOCIATE-RQ in time")
        except OSError:
            self._warn("descriptors", "none left for the bell of an association")
        except (ConnectionLost, Stopping):
            pass  # ends before it began, as port checks do: nothing to tell, nothing was promised
        finally:
            self._parts.waiting_room.leave(self._connection)
            self._connection.close()

    def _serve(self) -> None:
        deadline = time.monotonic() + self._parts.limits.request_timeout_s
        identities = self._shake_hands(deadline)
        request = decode_associate_request(self._reader.read_request(deadline))
        judged = _check_protocol(request) or self._parts.admission.enter(
            request.calling_ae_title,
            request.called_ae_title,
            self._connection.address,
            identities,
        )
        if isinstance(judged, Refusal):
            self._refuse(judged, request.calling_ae_title, identities)
            return
        self._parts.waiting_room.leave(self._connection)
        try:
            self._associate(request, judged)
        finally:
            self._parts.admission.leave(judged)
        self._linger()

    def _shake_hands(self, deadline: float) -> frozenset[str]:
        if self._parts.certificates is None:
            return frozenset()
        self._connection.handshake(self._parts.certificates.context, deadline)
        return identities_of(self._connection.peer_certificate())

    def _refuse(self, refusal: Refusal, calling: str, identities: frozenset[str]) -> None:
        reject = refusal.reject
        self._parts.intake.metrics.count("hilum_association_rejected_total", reason=reject.code)
        # Who it said it was and what it showed: that is what a person compares with the settings.
        shown = sorted(name for name in identities if name.startswith(("sha256:", "subject:")))
        self._warn(reject.code, refusal.reason, calling=calling, certificate=shown)
        self._tell(encode_associate_reject(reject.result, reject.source, reject.reason))

    def _associate(self, request: AssociateRequest, admitted: Admitted) -> None:
        actions, calling = self._parts.actions, request.calling_ae_title
        serves_commitment = actions.serves(calling)
        contexts = tuple(
            answer_context(
                proposed,
                serves_commitment=serves_commitment,
                syntaxes=admitted.rule.transfer_syntaxes,
                has_role=not request.user.is_left_without_a_role(proposed.abstract_syntax),
            )
            for proposed in request.contexts
        )
        negotiated = Negotiated(
            contexts={
                context.context_id: context
                for context in contexts
                if context.result == ContextResult.ACCEPTANCE
            },
            peer_pdu_bytes_max=request.user.pdu_bytes_max,
            window=request.user.window(self._parts.limits.operations_window_max),
        )
        session = Session(
            self._connection,
            self._reader,
            self._parts.limits,
            negotiated,
            begin_action=partial(actions.begin, calling) if serves_commitment else None,
        )
        peer = self._peer(request, admitted)
        intake = self._parts.intake.open_association(peer, self._connection.cut)
        ending = Ending.LOST
        try:
            accept = self._accept(request, contexts, negotiated)
            self._connection.send(accept, time.monotonic() + self._parts.limits.send_timeout_s)
            ending = self._run(session, intake)
        except (ConnectionLost, DeadlinePassed):
            ending = Ending.LOST
        finally:
            session.close()
            self._note_end(intake, ending)

    def _accept(
        self,
        request: AssociateRequest,
        contexts: tuple[AnsweredContext, ...],
        negotiated: Negotiated,
    ) -> bytes:
        accepted = [context.abstract_syntax for context in negotiated.contexts.values()]
        storage = [uid for uid in accepted if is_stored(uid)]
        return encode_associate_accept(
            request,
            contexts,
            self._parts.limits.pdu_bytes_max,
            (IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
            encode_answers(request.user, accepted, storage, negotiated.window),
        )

    def _run(self, session: Session, intake: AssociationIntake) -> Ending:
        try:
            session.serve(intake)
            return Ending.RELEASED
        except PeerAborted:
            return Ending.ABORTED
        except ProtocolError as fault:
            self._warn("protocol", str(fault))
            reason = fault.reason
        except DeadlinePassed:
            self._warn("timeout", "idle, or a PDU not whole in time")
            reason = AbortReason.NOT_SPECIFIED
        except Stopping:
            reason = AbortReason.NOT_SPECIFIED
        self._say(encode_abort(reason))
        return Ending.ABORTED

    def _note_end(self, intake: AssociationIntake, ending: Ending) -> None:
        responses = intake.close(ending)
        peer = intake.peer
        _LOG.info(
            "association ended",
            association_id=intake.association_id,
            calling=peer.calling_ae_title,
            called=peer.called_ae_title,
            peer=peer.address,
            ending=ending.value,
            responses=responses,
        )

    def _peer(self, request: AssociateRequest, admitted: Admitted) -> Peer:
        return Peer(
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            address=self._connection.address,
            implementation_class_uid=request.user.implementation_class_uid,
            implementation_version_name=request.user.implementation_version_name,
            mismatch=admitted.rule.mismatch,
            level=Level(admitted.rule.level),
            answer_within_ms=admitted.rule.answer_within_ms,
            unarchived_bytes_max=admitted.rule.unarchived_bytes_max,
            object_bytes_max=admitted.rule.object_bytes_max,
        )

    def _tell(self, data: bytes) -> None:
        self._say(data)
        self._connection.close_after_answer(time.monotonic() + self._parts.limits.linger_timeout_s)

    def _say(self, data: bytes) -> None:
        # A last word is worth a moment, not the time that a stalled peer would like to take.
        try:
            self._connection.send(data, time.monotonic() + self._parts.limits.linger_timeout_s)
        except (ConnectionLost, DeadlinePassed):
            return

    def _linger(self) -> None:
        # Without a place of its own any more: it waits where it may be evicted.
        self._parts.waiting_room.enter(self._connection)
        self._connection.close_after_answer(time.monotonic() + self._parts.limits.linger_timeout_s)

    def _warn(self, kind: str, reason: str, **facts: object) -> None:
        address = self._connection.address
        self._parts.budget.warn("peer refused", address, kind, reason=reason, **facts)


def _check_protocol(request: AssociateRequest) -> Refusal | None:
    if not request.protocol_version & 1:
        return Refusal(status.UNSUPPORTED_VERSION, "protocol version 1 not offered")
    if request.application_context != APPLICATION_CONTEXT_UID:
        return Refusal(status.UNSUPPORTED_APPLICATION_CONTEXT, "unknown application context")
    if 0 < request.user.pdu_bytes_max < PEER_PDU_BYTES_MIN:
        return Refusal(status.PDU_TOO_SMALL, "maximum length too small")
    return None
