"""An association of ours that delivers N-EVENT-REPORTs: we are the SCP and call (PS3.4 J.3.3).

Invariant: a report is taken only where the peer answered success or a warning; every wait has its
limit, and whatever the peer does is told as `NotDelivered`. Must not decide when to try again.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context, build_role

from contracts.failures import FatalError
from contracts.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from edge_gateway.association.tls import TlsClient, client_context
from edge_gateway.commitment.ledger import DueReport
from edge_gateway.commitment.request import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    TRANSFER_SYNTAXES,
    Reference,
)
from edge_gateway.status import meaning_of, reject_meaning
from infra.settings_commitment import CommitmentPeer

ALL_COMMITTED = 1
FAILURES_EXIST = 2
_PDU_BYTES_MAX = 64 * 1024
# What pynetdicom raises over a peer that breaks the protocol (its own assertions are among it).
_FAULTS = (
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
# Success, and the warnings of PS3.7 annex C: the peer has the report.
_TAKEN = frozenset((0x0000, 0x0001, 0x0107, 0x0116))
_EXPLICIT_LITTLE_ENDIAN, _IMPLICIT_LITTLE_ENDIAN, _ = TRANSFER_SYNTAXES


class NotDelivered(Exception):
    """The peer could not be reached, rejected us, or did not take the report."""


@dataclass(frozen=True, slots=True)
class ReportTimeouts:
    """How long a peer may take: to connect, to associate, to answer a report."""

    connect_s: float = 10.0
    associate_s: float = 10.0
    answer_s: float = 60.0


class ReportAssociation:
    """An established association to one peer."""

    def __init__(self, association: Association) -> None:
        self._association = association

    def deliver(self, report: DueReport) -> None:
        """On return the peer has taken the report. Raises NotDelivered."""
        event_type = FAILURES_EXIST if report.failures else ALL_COMMITTED
        try:
            status, _ = self._association.send_n_event_report(
                event_information(report),
                event_type,
                UID(PUSH_MODEL),
                UID(PUSH_MODEL_INSTANCE),
            )
        except _FAULTS as cause:
            raise NotDelivered(f"sending the report: {type(cause).__name__}") from cause
        value = status.get("Status")
        if value is None:
            raise NotDelivered("no answer to the report")
        if int(value) not in _TAKEN and not 0xB000 <= int(value) <= 0xBFFF:
            raise NotDelivered(f"peer answered {int(value):04X}: {meaning_of(int(value))}")


@contextmanager
def report_association(
    peer: CommitmentPeer, calling_ae_title: str, timeouts: ReportTimeouts
) -> Iterator[ReportAssociation]:
    """Associates as SCP of the Push Model class, and releases. Raises NotDelivered."""
    ae = AE(calling_ae_title)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = timeouts.connect_s
    ae.acse_timeout = timeouts.associate_s
    ae.dimse_timeout = timeouts.answer_s
    ae.network_timeout = timeouts.answer_s
    assert peer.host is not None and peer.port is not None  # the settings were validated
    context = build_context(PUSH_MODEL, [_EXPLICIT_LITTLE_ENDIAN, _IMPLICIT_LITTLE_ENDIAN])
    try:
        association = ae.associate(
            peer.host,
            peer.port,
            [context],
            peer.ae_title.strip(),
            _PDU_BYTES_MAX,
            [build_role(PUSH_MODEL, scp_role=True)],
            tls_args=_tls(peer),
        )
    except (*_FAULTS, FatalError) as cause:  # the files of our TLS are looked at here, too
        raise NotDelivered(f"associating: {cause}") from cause
    if not association.is_established:
        raise NotDelivered(_why_not(association))
    try:
        yield ReportAssociation(association)
    finally:
        if association.is_established:
            association.release()


def event_information(report: DueReport) -> Dataset:
    """The Event Information of a report: every requested instance, referenced or failed."""
    references = report.request.references
    committed = [_item(r) for i, r in enumerate(references) if i not in report.failures]
    failed = []
    for position, reason in sorted(report.failures.items()):
        item = _item(references[position])
        item.FailureReason = reason
        failed.append(item)
    found = Dataset()
    found.TransactionUID = report.request.transaction_uid
    if committed:
        found.ReferencedSOPSequence = ItemSequence(committed)
    if failed:
        found.FailedSOPSequence = ItemSequence(failed)
    return found


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item


def _tls(peer: CommitmentPeer) -> tuple[ssl.SSLContext, str] | None:
    """Certificates are read anew for each association, so that they can be replaced."""
    if peer.tls is None:
        return None
    assert peer.host is not None
    files = TlsClient(peer.tls.ca_file, peer.tls.certificate_file, peer.tls.key_file)
    return client_context(files), peer.host


def _why_not(association: Association) -> str:
    if association.is_rejected:
        answer = association.acceptor.primitive
        if answer is not None and answer.result is not None:
            facts = (answer.result, answer.result_source or 0, answer.diagnostic or 0)
            return "association rejected {}/{}/{}: {}".format(*facts, reject_meaning(*facts))
    if association.rejected_contexts:
        return "peer does not take the Storage Commitment Push Model class"
    return "peer cannot be reached, or aborted"
