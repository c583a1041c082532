"""An established association, acceptor's side: DIMSE messages in, responses out (PS3.7, PS3.8).

Invariant: fragments are handed on as they come and never gathered (a command set aside); what
breaks the protocol ends this association and nothing else. A peer that negotiated no window is
answered before anything more is read from it; one that did, before it is read beyond its window.
Must not decide a storage status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_gateway import status
from edge_gateway.association.command_set import (
    Command,
    Operation,
    decode_command,
    encode_response,
)
from edge_gateway.association.connection import Connection
from edge_gateway.association.contexts import VERIFICATION, is_storage, is_stored
from edge_gateway.association.limits import (
    COMMAND_SET_BYTES_MAX,
    OTHER_OPERATION_PAUSE_S,
    OVERSIZE_DRAIN_BYTES_MAX,
    AssociationLimits,
)
from edge_gateway.association.outstanding import Operation as OpenOperation
from edge_gateway.association.outstanding import Outstanding
from edge_gateway.association.pdu import (
    AbortReason,
    AnsweredContext,
    Fragment,
    InvalidPdu,
    PduType,
    ProtocolError,
    encode_command,
    encode_release_response,
    fragments,
)
from edge_gateway.association.pdu_reader import Pdu, PduReader
from edge_gateway.association.user_information import SYNCHRONOUS
from edge_gateway.commitment.intake import ActionIntake, ActionRequest
from edge_gateway.commitment.request import PUSH_MODEL
from edge_gateway.intake import AssociationIntake
from edge_gateway.store_intake import StoreIntake
from edge_gateway.store_request import Answer, StoreRequest


class PeerAborted(Exception):
    """The peer sent an A-ABORT."""


class _Incoming:
    """The message under way once its command set is known: where its data set goes."""

    def __init__(
        self, context_id: int, command: Command, store: StoreIntake | ActionIntake | None
    ) -> None:
        self.context_id = context_id
        self.command = command
        self.store = store
        self.size_bytes = 0


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What an A-ASSOCIATE-AC agreed to: accepted contexts by id, the longest PDU that the peer
    takes (0: any), and how many operations it may have open at once.
    """

    contexts: Mapping[int, AnsweredContext]
    peer_pdu_bytes_max: int
    window: int


class Session:
    """Serves one association until it is released or breaks. Used by one thread."""

    def __init__(
        self,
        connection: Connection,
        reader: PduReader,
        limits: AssociationLimits,
        negotiated: Negotiated,
        *,
        begin_action: Callable[[ActionRequest], ActionIntake] | None = None,
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._limits = limits
        self._contexts = negotiated.contexts
        self._peer_pdu_bytes_max = negotiated.peer_pdu_bytes_max
        self._begin_action = begin_action
        self._command = bytearray()
        self._command_context_id: int | None = None
        self._incoming: _Incoming | None = None
        # None: one operation at a time, whose thread flushes by itself and waits for nobody.
        self._outstanding: Outstanding | None = None
        if negotiated.window > SYNCHRONOUS:
            self._outstanding = Outstanding(negotiated.window, self._respond_to_all)
            connection.errand = self._outstanding

    def serve(self, intake: AssociationIntake) -> None:
        """Returns when the peer released the association and was told so.

        Raises PeerAborted, ProtocolError, ConnectionLost, DeadlinePassed, Stopping. A data set
        that was under way then leaves nothing behind; `close` is to be called in every case.
        """
        try:
            while True:
                pdu = self._next_pdu()
                if pdu.pdu_type == PduType.P_DATA:
                    for fragment in fragments(pdu.body):
                        self._take(fragment, intake)
                elif pdu.pdu_type == PduType.RELEASE_RQ:
                    # What is open is still answered: the peer takes P-DATA until our response
                    # (PS3.8 9.2.3, state 7).
                    self._answer_all()
                    self._send(encode_release_response())
                    return
                elif pdu.pdu_type == PduType.ABORT:
                    raise PeerAborted
                else:
                    raise ProtocolError(
                        AbortReason.UNEXPECTED_PDU, f"{pdu.pdu_type.name} in an association"
                    )
        finally:
            if self._incoming is not None and self._incoming.store is not None:
                self._incoming.store.abort()

    def close(self) -> None:
        """On return nothing of the association is open: what was is decided, and has its receipt.

        The peer hears no more. Takes as long as the disk may take for an answer, at most.
        """
        if self._outstanding is not None:
            self._outstanding.abandon()

    def _next_pdu(self) -> Pdu:
        is_between = self._incoming is None and self._command_context_id is None
        if self._outstanding is not None and self._outstanding.is_called:
            self._outstanding.attend()
        while is_between and self._outstanding and not self._reader.has_bytes:
            # No idle time runs here: each operation that is open has a deadline of its own.
            if self._connection.await_errand(is_listening=not self._connection.is_stopping):
                break
        if is_between and self._connection.is_stopping:
            self._answer_all()
        if not is_between and not self._reader.has_pdu:
            self._catch_up()
        return self._reader.read(is_between and not self._outstanding)

    def _catch_up(self) -> None:
        # The data set's end would have to wait for it, if it were left until then.
        if self._incoming is not None and isinstance(self._incoming.store, StoreIntake):
            self._incoming.store.catch_up()

    def _answer_all(self) -> None:
        while self._outstanding:
            self._connection.await_errand(is_listening=False)

    def _take(self, fragment: Fragment, intake: AssociationIntake) -> None:
        if fragment.context_id not in self._contexts:
            raise InvalidPdu("PDV of a presentation context that was not accepted")
        if fragment.is_command:
            self._take_command(fragment, intake)
        else:
            self._take_data(fragment)

    def _take_command(self, fragment: Fragment, intake: AssociationIntake) -> None:
        if self._incoming is not None:
            raise InvalidPdu("command fragment inside a data set")
        if self._command_context_id not in (None, fragment.context_id):
            raise InvalidPdu("message across two presentation contexts")
        if len(self._command) + len(fragment.data) > COMMAND_SET_BYTES_MAX:
            raise InvalidPdu("command set over its limit")
        self._command_context_id = fragment.context_id
        self._command += fragment.data
        if fragment.is_last:
            command = decode_command(bytes(self._command))
            self._command.clear()
            self._command_context_id = None
            self._begin(fragment.context_id, command, intake)

    def _begin(self, context_id: int, command: Command, intake: AssociationIntake) -> None:
        store: StoreIntake | ActionIntake | None = None
        if command.field == Operation.C_STORE:
            self._make_room(command)
            store = intake.begin(self._store_request(context_id, command))
        elif command.field == Operation.N_ACTION:
            store = self._action(context_id, command)
        self._incoming = _Incoming(context_id, command, store)
        if not command.has_data_set:
            self._finish()

    def _make_room(self, command: Command) -> None:
        """A peer that goes beyond its window is not read on until there is room again."""
        if self._outstanding is None:
            return
        self._outstanding.require_new(command.message_id)
        while self._outstanding.is_full:
            self._connection.await_errand(is_listening=False)

    def _action(self, context_id: int, command: Command) -> ActionIntake | None:
        """None where N-ACTION is no operation of the context's class."""
        context = self._contexts[context_id]
        if self._begin_action is None or context.abstract_syntax != PUSH_MODEL:
            return None
        return self._begin_action(
            ActionRequest(
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                action_type=command.action_type,
                transfer_syntax_uid=context.transfer_syntax,
            )
        )

    def _store_request(self, context_id: int, command: Command) -> StoreRequest:
        context = self._contexts[context_id]
        return StoreRequest(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            is_storage_class=is_stored(context.abstract_syntax)
            and is_storage(command.sop_class_uid),
        )

    def _take_data(self, fragment: Fragment) -> None:
        incoming = self._incoming
        if incoming is None or incoming.context_id != fragment.context_id:
            raise InvalidPdu("data set fragment without its command")
        incoming.size_bytes += len(fragment.data)
        if incoming.size_bytes > self._limits.object_bytes_max + OVERSIZE_DRAIN_BYTES_MAX:
            raise ProtocolError(AbortReason.NOT_SPECIFIED, "data set far over its limit")
        if incoming.store is not None:
            incoming.store.write(fragment.data)
        if fragment.is_last:
            self._finish()

    def _finish(self) -> None:
        incoming = self._incoming
        assert incoming is not None
        command, store = incoming.command, incoming.store
        if self._outstanding is not None and isinstance(store, StoreIntake):
            self._incoming = None
            self._outstanding.add(OpenOperation(incoming.context_id, command, store))
            return
        if store is not None:
            answer = store.finish()
            self._incoming = None
            self._send(self._response(incoming.context_id, command, answer))
            return
        self._incoming = None
        if command.field == Operation.C_ECHO:
            self._respond(incoming, status.SUCCESS.value, (VERIFICATION, ""))
        elif command.field != Operation.C_CANCEL:
            # A C-CANCEL has no response of its own (PS3.7 9.3.2.3), and nothing to cancel here.
            self._respond(incoming, status.UNRECOGNISED_OPERATION.value)
        if self._connection.is_stopping:
            self._answer_all()
        self._connection.pause(OTHER_OPERATION_PAUSE_S)

    def _respond_to_all(self, answers: Sequence[tuple[OpenOperation, Answer]]) -> None:
        # In one write, as they were flushed together.
        responses = (self._response(one.context_id, one.command, answer) for one, answer in answers)
        self._send(b"".join(responses))

    def _response(self, context_id: int, command: Command, answer: Answer) -> bytes:
        uids = (command.sop_class_uid, command.sop_instance_uid)
        response = encode_response(command, answer.status, answer.comment, uids)
        return encode_command(context_id, response, self._peer_pdu_bytes_max)

    def _respond(self, incoming: _Incoming, value: int, uids: tuple[str, str] = ("", "")) -> None:
        response = encode_response(incoming.command, value, "", uids)
        self._send(encode_command(incoming.context_id, response, self._peer_pdu_bytes_max))

    def _send(self, data: bytes) -> None:
        self._connection.send(data, time.monotonic() + self._limits.send_timeout_s)
