"""Our side of an association's negotiation, encoded and read with pynetdicom (PS3.8 9.3.2, 9.3.3).

Invariant: a peer's answer decodes or `InvalidPdu` is raised. It shares no code with the acceptor's
reading of the same PDUs, so that the two have something to differ from.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from contracts.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from edge_gateway.association.limits import PDU_HEADER_BYTES, PDV_HEADER_BYTES
from edge_gateway.association.pdu import APPLICATION_CONTEXT_UID, InvalidPdu, PduType

# What pynetdicom raises over a hostile A-ASSOCIATE-AC (its own assertions are among it).
_DECODE_FAULTS = (
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to call. `tls` is a client context; `host` is the name its certificate must carry."""

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str
    tls: ssl.SSLContext | None = None


def encode_associate_request(
    peer: Peer, contexts: Iterable[tuple[str, str]], pdu_bytes_max: int
) -> bytes:
    """An A-ASSOCIATE-RQ; context ids are 1, 3, 5 … in order. Raises ValueError (AE titles)."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT_UID
    primitive.calling_ae_title = peer.calling_ae_title
    primitive.called_ae_title = peer.called_ae_title
    proposed = []
    for index, (abstract_syntax, transfer_syntax) in enumerate(contexts):
        context = PresentationContext()
        context.context_id = 2 * index + 1
        context.abstract_syntax = UID(abstract_syntax)
        context.add_transfer_syntax(transfer_syntax)
        proposed.append(context)
    primitive.presentation_context_definition_list = proposed
    length = MaximumLengthNotification()
    length.maximum_length_received = pdu_bytes_max
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    primitive.user_information = [length, class_uid, version]
    encoded: bytes = A_ASSOCIATE_RQ(primitive).encode()
    return encoded


def decode_associate_accept(body: bytes) -> tuple[frozenset[int], int]:
    """The accepted context ids and the peer's maximum PDU length. Raises InvalidPdu."""
    try:
        accept = A_ASSOCIATE_AC()
        accept.decode(struct.pack(">BBI", PduType.ASSOCIATE_AC, 0, len(body)) + body)
        accepted = frozenset(
            item.presentation_context_id
            for item in accept.presentation_context
            if item.result_reason == 0
        )
        pdu_bytes_max = int(accept.user_information.maximum_length or 0)
    except _DECODE_FAULTS as cause:
        raise InvalidPdu("A-ASSOCIATE-AC cannot be read") from cause
    if 0 < pdu_bytes_max <= PDU_HEADER_BYTES + PDV_HEADER_BYTES:
        raise InvalidPdu("peer's maximum PDU length holds no message")
    return accepted, pdu_bytes_max
