"""When the spool says that it is full, before the disk does.

Invariant: the answer is never older than `REFRESH_S_MAX`, so it accepts again by itself within
5 s after room returned (04-faults.md row 3). Must not refuse for any reason but room and health.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from edge_gateway.spool.errors import SpoolMismatch
from edge_gateway.spool.family import measure_all
from edge_gateway.spool.filesystem import FileSystem
from edge_gateway.spool.health import SpoolHealth
from edge_gateway.spool.layout import GatewayIdentity
from edge_gateway.spool.limits import (
    SEGMENT_BYTES_MIN,
    SEGMENTS_MIN,
    Admission,
    SpoolLimits,
    Usage,
    default_free_bytes_min,
)
from edge_gateway.spool.supply import SegmentSupply

REFRESH_S_MIN = 0.5
REFRESH_S_MAX = 3.0
# Counting a directory may take one twentieth of the time, however many objects it holds.
_REFRESH_PER_COST = 20


class Watermarks:
    """Both watermarks of a gateway, over all its spools, and the present answer."""

    def __init__(
        self,
        fs: FileSystem,
        gateway_directory: Path,
        identity: GatewayIdentity,
        limits: SpoolLimits,
    ) -> None:
        self._fs = fs
        self._directory = gateway_directory
        room = fs.disk_space(gateway_directory)
        default_free = default_free_bytes_min(room.total_bytes)
        given_max, given_min = limits.spool_bytes_max, limits.free_bytes_min
        self.spool_bytes_max = identity.spool_bytes_max if given_max is None else given_max
        self.free_bytes_min = default_free if given_min is None else given_min
        self._require_sense(limits)
        self._lock = threading.Lock()
        self._answer = Admission(True, "")
        self._fresh_until_s = 0.0
        self._counted_bytes = 0
        self._taken_bytes = 0

    def taken(self, size_bytes: int) -> None:
        """Tells of a data set that was just taken, by this process.

        What came since the last count may reach the watermark long before the next one is due: a
        fast sender fills 80 MiB in half a second.
        """
        with self._lock:
            self._taken_bytes += size_bytes
            if self._counted_bytes + self._taken_bytes >= self.spool_bytes_max:
                self._fresh_until_s = 0.0

    def admission(self, health: SpoolHealth, supply: SegmentSupply) -> Admission:
        """Whether to accept; cheap enough for every association and object."""
        if health.broken is not None:
            return Admission(False, f"spool broken: {health.broken}")
        if supply.failure is not None:
            return Admission(False, f"spool full: {supply.failure}")
        with self._lock:
            if time.monotonic() >= self._fresh_until_s:
                self._refresh()
            return self._answer

    def _refresh(self) -> None:
        started_s = time.monotonic()
        try:
            self._answer = self._ask_disk()
        except OSError as error:
            self._answer = Admission(False, f"measuring the spool: {error.strerror}")
        now_s = time.monotonic()
        pause_s = (now_s - started_s) * _REFRESH_PER_COST
        self._fresh_until_s = now_s + min(max(pause_s, REFRESH_S_MIN), REFRESH_S_MAX)

    def _ask_disk(self) -> Admission:
        usage = measure_all(self._fs, self._directory)
        self._counted_bytes, self._taken_bytes = usage.bytes, 0
        text = lack_of_room(usage, self.spool_bytes_max, self.free_bytes_min)
        return Admission(not text, text)

    def _require_sense(self, limits: SpoolLimits) -> None:
        if limits.segment_bytes < SEGMENT_BYTES_MIN or limits.segment_bytes % 4096:
            raise SpoolMismatch(
                f"opening the spool: segments of {limits.segment_bytes} bytes",
                f"set segment_bytes to a multiple of 4096 that is at least {SEGMENT_BYTES_MIN}",
            )
        if self.spool_bytes_max < SEGMENTS_MIN * limits.segment_bytes:
            raise SpoolMismatch(
                f"opening the spool: {self.spool_bytes_max} bytes hold less than {SEGMENTS_MIN}"
                f" segments of {limits.segment_bytes}",
                "lower segment_bytes, raise spool_bytes_max, or give the spool a larger disk",
            )


def lack_of_room(usage: Usage, spool_bytes_max: int, free_bytes_min: int) -> str:
    """Which of both watermarks is reached; '' where there is room."""
    if usage.bytes >= spool_bytes_max:
        return f"spool full: {usage.bytes} of {spool_bytes_max} bytes are taken"
    if usage.disk_free_bytes <= free_bytes_min:
        return f"disk full: {usage.disk_free_bytes} bytes free, {free_bytes_min} kept back"
    return ""
