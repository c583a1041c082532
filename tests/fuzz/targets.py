"""The fuzz targets by name."""

from __future__ import annotations

from tests.fuzz import pdu_seeds, pdu_target, scan_seeds, scan_target
from tests.fuzz.target import Target

MIB = 1 << 20
PDU = Target(
    name="pdu",
    check=pdu_target.check,
    seeds=pdu_seeds.seeds,
    tokens=pdu_seeds.TOKENS,
    sources=tuple(
        f"edge_gateway/association/{name}.py"
        for name in ("pdu", "pdu_reader", "command_set", "contexts", "negotiation")
    ),
    memory_bytes_max=4 * MIB,
    steps_max=60_000,
)
SCAN = Target(
    name="scan",
    check=scan_target.check,
    seeds=scan_seeds.seeds,
    tokens=scan_seeds.TOKENS,
    sources=("edge_gateway/scan",),
    memory_bytes_max=64 * MIB,
    # Ten scans of 8 KiB in elements of twelve bytes, for instance.
    steps_max=1_000_000,
)
TARGETS = {target.name: target for target in (PDU, SCAN)}
