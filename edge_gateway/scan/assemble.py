"""Attribute objects as bytes, and their join into one DICOM JSON Model object (PS3.18 F.2.2).

Invariant: a joined object has its attributes in ascending order and each tag once.
It must not parse DICOM.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import islice


def attribute(tag: int, members: bytes) -> bytes:
    """`"00080060":{members}`: one attribute object under its name."""
    return b'"%08X":{%s}' % (tag, members)


def sequence_members(items: Sequence[bytes]) -> bytes:
    """The members of a sequence; an empty one has no Value (F.2.5)."""
    return b'"vr":"SQ","Value":[%s]' % b",".join(items) if items else b'"vr":"SQ"'


def bulk_members(vr: str, sha256: str, length_bytes: int) -> bytes:
    """The members of a value that is named, not carried; `sha256` is '' where nobody hashed it."""
    uri = f"sha256:{sha256}?length={length_bytes}"
    return b'"vr":"%s","BulkDataURI":"%s"' % (vr.encode(), uri.encode())


def tag_key(fragment: bytes) -> bytes:
    """The eight hexadecimal digits that an attribute object begins with."""
    return fragment[1:9]


def in_order(fragments: list[bytes]) -> tuple[list[bytes], bool]:
    """The attribute objects by ascending tag, and whether each tag was there only once.

    Of a repeated tag the last one counts, as it does for readers that keep a map.
    """
    keys = list(map(tag_key, fragments))
    if not any(map(operator.ge, keys, islice(keys, 1, None))):
        return fragments, True
    by_tag = dict(zip(keys, fragments, strict=True))
    return [by_tag[key] for key in sorted(by_tag)], len(by_tag) == len(fragments)


def json_object(fragments: Sequence[bytes]) -> bytes:
    """The object that has these attribute objects."""
    return b"{%s}" % b",".join(fragments)
