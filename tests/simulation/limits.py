"""The simulated gateway's limits: small, so that every one of them is met in a short run.

Invariant: a segment holds a handful of instances, the window fewer than a study has.
"""

from __future__ import annotations

from datetime import timedelta

from edge_gateway.spool import SpoolLimits
from infra.settings import KafkaSettings

GATEWAY_ID = "01980000-0000-7000-8000-0000000000aa"
SITE = "north"
KIB = 1024
SEGMENT_BYTES = 64 * KIB
SPOOL_BYTES_MAX = 10 * SEGMENT_BYTES
WINDOW_BYTES = 40 * KIB
IN_FLIGHT_BYTES = 32 * KIB
CHUNK_BYTES = 4 * KIB
HOLD_S = 300
REPUBLISH_AFTER = timedelta(hours=12)
LEDGER = "progress.sqlite"
LIMITS = SpoolLimits(
    segment_bytes=SEGMENT_BYTES,
    object_in_memory_bytes_max=8 * KIB,
    memory_bytes_max=64 * KIB,
    hashed_late_from_bytes=2 * KIB,
    spool_bytes_max=SPOOL_BYTES_MAX,
    free_bytes_min=0,
)
FRAGMENT_BYTES = 3_000
KAFKA = KafkaSettings(bootstrap_servers="127.0.0.1:1")
