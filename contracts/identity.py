"""Who is who: deliveries, contents and the keys under which Kafka and ClickHouse know them.

Invariant: an identity is made of bytes we hashed or ids we minted; a peer's UIDs are data to it.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from dataclasses import dataclass

# What Hilum writes into group 0002 and associations about itself (PS3.7 D.3.3.2, PS3.10 7.1).
IMPLEMENTATION_CLASS_UID = "2.25.209338361904478912470326541278903354197"
IMPLEMENTATION_VERSION_NAME = "HILUM_1"

_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class ContentKey:
    """One content: the same data set bytes are the same content wherever they came from.

    `sop_instance_uid` is the command set's; `content_sha256` is lowercase hex over the data set's
    bytes as received, without group 2. Study and Series UID are '' where the data set has no
    valid one.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    content_sha256: str


def is_uid(text: str) -> bool:
    """Whether `text` has the form of a UID (PS3.5 9.1): digits and dots, 64 characters at most.

    Leading zeros in a component are tolerated: devices send them and the UID is data to us.
    """
    return _UID.fullmatch(text) is not None


def is_sha256(text: str) -> bool:
    """Whether `text` is a SHA-256 in lowercase hex."""
    return _SHA256.fullmatch(text) is not None


def record_key(content: ContentKey) -> bytes:
    """The Kafka key of every imaging record: the study, or without one the SOP Instance."""
    return (content.study_instance_uid or content.sop_instance_uid).encode()


class DeliveryIds:
    """Mints delivery ids: UUIDv7 (RFC 9562), strictly increasing inside one process.

    Order inside a process is what lets packs and tables cluster by time of acceptance; nothing
    decides anything by the clock inside the id.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def mint(self) -> str:
        """A new id as canonical UUID text; safe from any thread."""
        milliseconds = time.time_ns() // 1_000_000
        random_bits = int.from_bytes(os.urandom(10), "big") & ((1 << 74) - 1)
        with self._lock:
            # The 74 random bits act as the monotonic counter (RFC 9562 6.2, method 2).
            stamp = max((milliseconds << 74) | random_bits, self._last + 1)
            self._last = stamp
        high, low = stamp >> 62, stamp & ((1 << 62) - 1)
        unix_ms, rand_a = high >> 12, high & 0xFFF
        value = (unix_ms << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | low
        return str(uuid.UUID(int=value))
