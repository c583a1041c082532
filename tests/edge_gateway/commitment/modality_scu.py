"""A modality that asks for storage commitment with pynetdicom and listens for the report.

Invariant: what it received is kept as it came; its listener is gone when the block ends.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from edge_gateway.commitment.request import Reference

CT = str(CTImageStorage)
_DEADLINE_S = 120.0


@dataclass(frozen=True)
class TakenReport:
    """One N-EVENT-REPORT as a modality understands it."""

    event_type: int
    transaction_uid: str
    committed: frozenset[Reference]
    failed: dict[Reference, int]
    is_from_scp: bool


@dataclass
class ModalityScu:
    """`answer` is the status that its listener gives to reports."""

    ae_title: str
    port: int = 0
    answer: int = 0x0000
    reports: list[TakenReport] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, event: Event) -> tuple[int, None]:
        found = event.event_information
        report = TakenReport(
            event_type=event.request.EventTypeID,
            transaction_uid=str(found.TransactionUID),
            committed=frozenset(_reference(i) for i in found.get("ReferencedSOPSequence", [])),
            failed={
                _reference(i): int(i.FailureReason) for i in found.get("FailedSOPSequence", [])
            },
            is_from_scp=_is_from_scp(event),
        )
        with self.lock:
            if self.answer == 0:
                self.reports.append(report)
            return self.answer, None


def _is_from_scp(event: Event) -> bool:
    """Whether role selection said so (PS3.7 D.3.3.4)."""
    role = event.assoc.requestor.role_selection[StorageCommitmentPushModel]
    return bool(role.scp_role and not role.scu_role)


def _reference(item: Dataset) -> Reference:
    return Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))


@contextmanager
def listening(
    ae_title: str, port: int = 0, answer: int = 0x0000, tls: ssl.SSLContext | None = None
) -> Iterator[ModalityScu]:
    """A modality whose listener takes reports, on a free port where none is named."""
    found = ModalityScu(ae_title, answer=answer)
    ae = AE(ae_title)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, found.take)],
        ssl_context=tls,
    )
    assert server is not None
    found.port = server.socket.getsockname()[1]
    try:
        yield found
    finally:
        server.shutdown()


def action_information(
    references: Sequence[Reference], transaction_uid: str | None = None
) -> Dataset:
    found = Dataset()
    found.TransactionUID = transaction_uid or generate_uid()
    items = []
    for reference in references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class_uid
        item.ReferencedSOPInstanceUID = reference.sop_instance_uid
        items.append(item)
    found.ReferencedSOPSequence = ItemSequence(items)
    return found


def ask(
    port: int,
    ae_title: str,
    information: Dataset | None,
    *,
    beside_storage: bool = False,
    action_type: int = 1,
    instance_uid: str = str(StorageCommitmentPushModelInstance),
) -> int | None:
    """The status of an N-ACTION; None where the context was refused."""
    ae = AE(ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = _DEADLINE_S
    ae.add_requested_context(StorageCommitmentPushModel)
    ae.add_requested_context(Verification)
    if beside_storage:
        ae.add_requested_context(CTImageStorage)
    association = ae.associate("127.0.0.1", port, ae_title="NORTH")
    assert association.is_established
    try:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        if str(StorageCommitmentPushModel) not in accepted:
            return None
        assert association.send_c_echo().get("Status") == 0, "C-ECHO"
        _let_go_on(association)
        status, _ = association.send_n_action(
            information, action_type, StorageCommitmentPushModel, UID(instance_uid)
        )
        assert "Status" in status, "no response to the N-ACTION"
        return int(status.Status)
    finally:
        association.release()


def _let_go_on(association: Association) -> None:
    """Waits until the association's own thread runs again after a request.

    Until then pynetdicom takes it for paused still, and when it comes to run it may take the next
    response out of the queue that the next request waits at: that one then waits for ever.
    """
    end = time.monotonic() + _DEADLINE_S
    while association._is_paused:
        assert time.monotonic() < end, "pynetdicom does not go on"
        time.sleep(0.0005)
