"""The one table of what a gateway answers: DIMSE statuses and association rejects, with sources.

Invariant: every answer of the gateway is a row here, and every row names where it comes from.
Only overload is transient and only identity is permanent: modalities disable a node that
rejects them permanently, and retry for ever what says "out of resources".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """A DIMSE status. `code` is the short word in our Error Comment and logs; '' where none."""

    value: int
    code: str
    meaning: str
    source: str


@dataclass(frozen=True, slots=True)
class Reject:
    """An A-ASSOCIATE-RJ: result, source, reason (PS3.8 table 9-21), and our word for it."""

    result: int
    source: int
    reason: int
    code: str
    meaning: str


SUCCESS = Status(0x0000, "", "stored, at the level that the site chose", "PS3.4 B.2.3")
OUT_OF_RESOURCES = Status(
    0xA700, "out-of-resources", "no room or no disk; the sender keeps its copy", "PS3.4 B.2.3"
)
OBJECT_TOO_LARGE = Status(
    0xA700, "object-too-large", "data set over the gateway's limit", "PS3.4 B.2.3"
)
QUOTA_REACHED = Status(
    0xA700,
    "quota",
    "the AE title's quota of unarchived bytes is here; the sender keeps its copy",
    "PS3.4 B.2.3",
)
LEVEL_NOT_REACHED = Status(
    0xA700,
    "level-not-reached",
    "kept here, but not in time where the site wants it; the sender keeps its copy",
    "PS3.4 B.2.3",
)
UID_MISMATCH = Status(
    0xA900, "uid-mismatch", "data set and command set name different instances", "PS3.4 B.2.3"
)
UNREADABLE = Status(
    0xC000, "unreadable", "SOP Class or Instance UID of the data set not readable", "PS3.4 B.2.3"
)
PROCESSING_FAILURE = Status(0x0110, "internal", "a fault of the gateway", "PS3.7 C.5.15")
INVALID_INSTANCE = Status(
    0x0117, "invalid-instance-uid", "Affected SOP Instance UID is no UID", "PS3.7 C.5.11"
)
SOP_CLASS_NOT_SUPPORTED = Status(
    0x0122, "sop-class", "Affected SOP Class UID is none that is stored", "PS3.7 C.5.25"
)
NOT_AUTHORISED = Status(0x0124, "not-authorised", "the peer may not do this", "PS3.7 C.5.17")
UNRECOGNISED_OPERATION = Status(
    0x0211, "operation", "a DIMSE operation that is not served here", "PS3.7 C.5.27"
)
# Of an N-ACTION for storage commitment.
NO_SUCH_INSTANCE = Status(
    0x0112, "no-such-instance", "not the well-known instance", "PS3.7 10.1.4.1.10"
)
INVALID_ARGUMENT = Status(
    0x0115, "invalid-argument", "data set not readable, or a UID is missing", "PS3.7 10.1.4.1.10"
)
NO_SUCH_CLASS = Status(0x0118, "no-such-class", "not the context's class", "PS3.7 10.1.4.1.10")
NO_SUCH_ACTION = Status(0x0123, "no-such-action", "action type is not 1", "PS3.7 10.1.4.1.10")
RESOURCE_LIMITATION = Status(
    0x0213, "resource-limitation", "over a limit of the gateway", "PS3.7 10.1.4.1.10"
)

STATUSES: tuple[Status, ...] = (
    SUCCESS,
    OUT_OF_RESOURCES,
    OBJECT_TOO_LARGE,
    QUOTA_REACHED,
    LEVEL_NOT_REACHED,
    UID_MISMATCH,
    UNREADABLE,
    PROCESSING_FAILURE,
    INVALID_INSTANCE,
    SOP_CLASS_NOT_SUPPORTED,
    NOT_AUTHORISED,
    UNRECOGNISED_OPERATION,
    NO_SUCH_INSTANCE,
    INVALID_ARGUMENT,
    NO_SUCH_CLASS,
    NO_SUCH_ACTION,
    RESOURCE_LIMITATION,
)

UNSUPPORTED_VERSION = Reject(1, 2, 2, "protocol-version", "upper layer version 1 not offered")
UNSUPPORTED_APPLICATION_CONTEXT = Reject(
    1, 1, 2, "application-context", "not the DICOM application context"
)
PDU_TOO_SMALL = Reject(1, 1, 1, "maximum-length", "peer's maximum PDU length holds no message")
UNKNOWN_CALLING = Reject(1, 1, 3, "unknown-calling-ae-title", "calling AE title not recognised")
# On the wire the same as above: a stranger does not learn that the AE title is known here.
CERTIFICATE_MISMATCH = Reject(
    1, 1, 3, "certificate-mismatch", "client certificate is not the calling AE title's"
)
UNKNOWN_CALLED = Reject(1, 1, 7, "unknown-called-ae-title", "called AE title not recognised")
CONGESTION = Reject(2, 3, 1, "congestion", "temporary congestion; try again later")
LIMIT_EXCEEDED = Reject(2, 3, 2, "limit-exceeded", "local limit exceeded; try again later")

REJECTS: tuple[Reject, ...] = (
    UNSUPPORTED_VERSION,
    UNSUPPORTED_APPLICATION_CONTEXT,
    PDU_TOO_SMALL,
    UNKNOWN_CALLING,
    CERTIFICATE_MISMATCH,
    UNKNOWN_CALLED,
    CONGESTION,
    LIMIT_EXCEEDED,
)

# Classes of C-STORE status that a sender meets and we do not give (PS3.4 table B.2-1).
_RANGES: tuple[tuple[int, int, str], ...] = (
    (0xA700, 0xA7FF, "refused: out of resources"),
    (0xA900, 0xA9FF, "data set does not match SOP class"),
    (0xB000, 0xBFFF, "stored, with a warning"),
    (0xC000, 0xCFFF, "cannot understand"),
)


def is_stored(value: int) -> bool:
    """Whether a peer that answered `value` has taken the instance: success or a warning.

    0111 (duplicate SOP Instance) is one too: some archives answer it to a resend.
    """
    return value == SUCCESS.value or 0xB000 <= value <= 0xBFFF or value in (0x0001, 0x0107, 0x0111)


def meaning_of(value: int) -> str:
    """What a status means, for people."""
    for status in STATUSES:
        if status.value == value:
            return status.meaning
    for first, last, meaning in _RANGES:
        if first <= value <= last:
            return meaning
    return "a status of PS3.7 annex C" if value < 0x1000 else "a status the standard does not name"


def reject_meaning(result: int, source: int, reason: int) -> str:
    """What an A-ASSOCIATE-RJ means, for people."""
    for reject in REJECTS:
        if (reject.result, reject.source, reject.reason) == (result, source, reason):
            return reject.meaning
    return "temporary, try again later" if result == 2 else "no reason that the table knows"


def comment(status: Status, delivery_id: str) -> str:
    """The Error Comment (0000,0902), LO: code and delivery id, 64 characters, no patient data."""
    return f"{status.code} {delivery_id}" if status.code else ""
