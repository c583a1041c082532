"""A storage commitment request: its data set to values, within limits (PS3.4 J.3.2).

Invariant: whatever bytes a peer sends give a request or an `InvalidRequest` with the status that it
is answered; nothing is stored and nothing is looked up here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from contracts.identity import is_uid
from edge_gateway import status
from edge_gateway.scan import ScanLimits, scan_header
from edge_gateway.status import Status

PUSH_MODEL = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_ACTION = 1
# What a data set of this service may be encoded in: the rest would have to be inflated.
TRANSFER_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2")
_TRANSACTION_UID = "00081195"
_REFERENCED_SOP_SEQUENCE = "00081199"
_REFERENCED_SOP_CLASS_UID = "00081150"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
# A sequence of items that hold two UIDs; what lies deeper is not ours.
_DEPTH_MAX = 8


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """One requested instance, as the peer wrote it."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a peer asks to be held; each reference once."""

    transaction_uid: str
    references: tuple[Reference, ...]

    @property
    def digest(self) -> str:
        """The same for the same references in any order: a repeat is told from another request."""
        pairs = [(r.sop_class_uid, r.sop_instance_uid) for r in sorted(self.references)]
        return hashlib.sha256(orjson.dumps(pairs)).hexdigest()


class InvalidRequest(Exception):
    """It cannot be taken; `status` is what the peer is told (PS3.7 10.1.4.1.10)."""

    def __init__(self, answer: Status) -> None:
        super().__init__(answer.meaning)
        self.status = answer


def decode_request(
    data_set: bytes, transfer_syntax_uid: str, references_max: int
) -> CommitmentRequest:
    """The request in an N-ACTION's data set. Raises InvalidRequest.

    The scan of instances' headers reads it: it is bounded, and no content makes it raise.
    """
    size_bytes = len(data_set)
    limits = ScanLimits(
        depth_max=_DEPTH_MAX,
        element_bytes_max=max(1, size_bytes),
        header_bytes_max=max(1, size_bytes),
    )
    header = scan_header(data_set, size_bytes, transfer_syntax_uid, limits)
    if not header.is_complete:
        raise InvalidRequest(status.INVALID_ARGUMENT)
    found: dict[str, Any] = orjson.loads(header.header_json)
    transaction_uid = _uid(found, _TRANSACTION_UID)
    items = _values(found, _REFERENCED_SOP_SEQUENCE)
    if not items:
        raise InvalidRequest(status.INVALID_ARGUMENT)
    if len(items) > references_max:
        raise InvalidRequest(status.RESOURCE_LIMITATION)
    references = dict.fromkeys(_reference(item) for item in items)
    return CommitmentRequest(transaction_uid, tuple(references))


def _reference(item: object) -> Reference:
    if not isinstance(item, dict):
        raise InvalidRequest(status.INVALID_ARGUMENT)
    return Reference(
        _uid(item, _REFERENCED_SOP_CLASS_UID), _uid(item, _REFERENCED_SOP_INSTANCE_UID)
    )


def _uid(elements: dict[str, Any], tag: str) -> str:
    values = _values(elements, tag)
    if len(values) != 1 or not isinstance(values[0], str) or not is_uid(values[0]):
        raise InvalidRequest(status.INVALID_ARGUMENT)
    return values[0]


def _values(elements: dict[str, Any], tag: str) -> Sequence[Any]:
    values = elements.get(tag, {}).get("Value", ())
    return values if isinstance(values, list) else ()
