"""Items and texts of the A-ASSOCIATE PDUs (PS3.8 9.3.2), as they are read and written.

Invariant: whatever bytes stand in a field, its text is bounded and nothing is raised.
"""

from __future__ import annotations

import struct

_UID_BYTES = 64


def encode_item(item_type: int, value: bytes) -> bytes:
    """An item or sub-item: type, reserved byte, length, value."""
    return struct.pack(">BBH", item_type, 0, len(value)) + value


def uid_text(value: bytes) -> str:
    """The text of a UID field without its padding, valid or not."""
    # Beyond 64 characters it is no UID whatever it says; the cut keeps our answers small.
    return value.rstrip(b"\0 ").decode("latin-1")[: _UID_BYTES + 1]


def ae_title(field: bytes) -> str:
    """The AE title in a 16-byte field, or '' where it is none (PS3.5 6.2, VR AE).

    Leading and trailing spaces do not count; NUL padding is tolerated because devices send it.
    """
    text = field.rstrip(b"\0").decode("latin-1").strip(" ")
    is_valid = all(" " <= character <= "~" and character != "\\" for character in text)
    return text if is_valid else ""
