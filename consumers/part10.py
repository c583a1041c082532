"""The Part-10 head of an archived member: preamble, prefix and file meta information.

Invariant: the head follows from the event alone, so a member's bytes are the same on every
retry; the data set behind it is stored exactly as received. Source: PS3.10 7.1.
"""

from __future__ import annotations

import struct

from contracts.events import InstanceReceived
from contracts.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_PREAMBLE = bytes(128) + b"DICM"
_VERSION_VALUE = b"\x00\x01"
_AE_TITLE_CHARACTERS_MAX = 16
_LONG_VRS = frozenset({"OB"})  # 2 reserved bytes and a 32-bit length (PS3.5 7.1.2)


def part10_head(event: InstanceReceived) -> bytes:
    """Everything of the Part-10 member that stands before the data set.

    Explicit VR Little Endian whatever the data set's transfer syntax is. AE titles tell where
    the data set came from: (0002,0016) and (0002,0017) the calling, (0002,0018) the called one.
    """
    body = b"".join(
        (
            _element(0x0001, "OB", _VERSION_VALUE),
            _element(0x0002, "UI", _uid(event.sop_class_uid)),
            _element(0x0003, "UI", _uid(event.content.sop_instance_uid)),
            _element(0x0010, "UI", _uid(event.transfer_syntax_uid)),
            _element(0x0012, "UI", _uid(IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, "SH", _text(IMPLEMENTATION_VERSION_NAME)),
            _element(0x0016, "AE", _ae_title(event.calling_ae_title)),
            _element(0x0017, "AE", _ae_title(event.calling_ae_title)),
            _element(0x0018, "AE", _ae_title(event.called_ae_title)),
        )
    )
    return _PREAMBLE + _element(0x0000, "UL", struct.pack("<I", len(body))) + body


def _element(number: int, vr: str, value: bytes) -> bytes:
    if vr in _LONG_VRS:
        return struct.pack("<HH2s2xI", 0x0002, number, vr.encode(), len(value)) + value
    return struct.pack("<HH2sH", 0x0002, number, vr.encode(), len(value)) + value


def _uid(text: str) -> bytes:
    encoded = text.encode("ascii", "replace")
    return encoded + b"\0" * (len(encoded) % 2)


def _text(text: str) -> bytes:
    encoded = text.encode("ascii", "replace")
    return encoded + b" " * (len(encoded) % 2)


def _ae_title(title: str) -> bytes:
    return _text(title.strip()[:_AE_TITLE_CHARACTERS_MAX])
