"""The named limits of the header scan and the closed set of reasons for an incomplete header.

Invariant: every loop, buffer and recursion of the scan is bounded by a field here.
It must not know how anything is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

KIB = 1024
MIB = 1024 * KIB


class HeaderReason(StrEnum):
    """Why a header is not the whole header. Closed: it travels as `header_reason`."""

    TRUNCATED = "truncated"  # the data set ends inside an element
    DEPTH = "depth"  # sequences nested deeper than any real object
    ELEMENT_TOO_LARGE = "element_too_large"  # a value too large to be hashed was passed over
    HEADER_TOO_LARGE = "header_too_large"  # elements, fragments or JSON beyond all measure
    INFLATE_LIMIT = "inflate_limit"  # a deflated data set grew beyond the cap
    PRIVATE_TRANSFER_SYNTAX = "private_transfer_syntax"  # nobody but its owner knows the encoding
    OVERSIZE = "oversize"  # the event had to give up its largest sequences
    MALFORMED = "malformed"  # some part breaks the encoding rules of PS3.5 7
    SCANNER_FAULT = "scanner_fault"  # our own defect, met by input that no test has


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """What one scan may cost. Lengths are of encoded bytes unless the name says JSON."""

    depth_max: int = 32
    element_bytes_max: int = 16 * MIB
    header_bytes_max: int = 64 * MIB
    json_bytes_max: int = 64 * MIB
    inflate_bytes_max: int = 256 * MIB
    # Binary above this, and anything above value_bytes_max, is named by its hash only.
    inline_bytes_max: int = KIB
    value_bytes_max: int = 64 * KIB
    # 8 bytes each: without a limit 4 GiB of empty fragments would keep a worker for minutes.
    pixel_fragments_max: int = 1_000_000
    # Zero bytes behind the last element are padding (seen from PACS that store in blocks).
    padding_bytes_max: int = MIB


@dataclass(frozen=True, slots=True)
class EventLimits:
    """How large a header may be inside `InstanceReceived`.

    The event's own limits are 900 KiB compressed and 16 MiB plain; 64 KiB of each are left to its
    other fields (the payload offsets of a 4 GiB data set are the largest of them).
    """

    plain_bytes_max: int = 16 * MIB - 64 * KIB
    compressed_bytes_max: int = (900 - 64) * KIB


class ScanStop(Exception):
    """The scan cannot go on behind this point. Never leaves the package."""

    def __init__(self, reason: HeaderReason) -> None:
        super().__init__(reason.value)
        self.reason = reason
