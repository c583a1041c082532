"""How much a scan does, counted and not timed: no header costs more than its length."""

from __future__ import annotations

import sys
from types import FrameType

from edge_gateway.scan import HeaderReason, scan_header
from tests.edge_gateway.scan.oracle import EXPLICIT
from tests.edge_gateway.scan.synthetic import element, item


def calls_of(encoded: bytes) -> int:
    """How many functions, Python's own too, a scan calls: its work, whatever else runs here."""
    calls = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        header = scan_header(encoded, len(encoded), EXPLICIT)
    finally:
        sys.setprofile(None)
    assert header.reason is HeaderReason.MALFORMED
    return calls


def test_work_grows_with_the_bytes_only() -> None:
    # Elements of the least size that no memo helps with: the slowest header there is, 5 µs each.
    items = item(element(0x00081140, "SQ", b"") * 2_000)
    one, twenty = (calls_of(element(0x00081140, "SQ", items * count)) for count in (1, 20))
    print(f"{one} calls for 2,000 elements, {twenty} for 40,000")
    assert one > 2_000
    assert twenty <= 21 * one
