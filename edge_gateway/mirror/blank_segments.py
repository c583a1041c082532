"""A segment filled with zeros before the mirror needs it, beside the copying.

Invariant: one blank at most waits in free/, under a number that no segment ever has; where it
cannot be made, the one who needs it meets the same error himself. Must not touch what is in use.
"""

from __future__ import annotations

import threading

from edge_gateway.spool import FileSystem
from edge_gateway.spool.layout import SpoolLayout
from edge_gateway.spool.supply import fill_blank
from infra.telemetry import logger

_LOG = logger("mirror")


class BlankSegments:
    """The blank of one mirror; filling 256 MiB takes a disk longer than a sender may wait."""

    def __init__(self, fs: FileSystem, layout: SpoolLayout, segment_bytes: int) -> None:
        self._fs = fs
        self._layout = layout
        self._segment_bytes = segment_bytes
        self._thread: threading.Thread | None = None

    def prepare(self) -> None:
        """Begins to fill one where none is ready; returns at once."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._fill, name="mirror-blank", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """On return nothing is filled any more."""
        if self._thread is not None:
            self._thread.join()

    def _fill(self) -> None:
        try:
            fill_blank(self._fs, self._layout, self._segment_bytes)
        except OSError as problem:
            _LOG.warning("no blank segment made ahead", reason=str(problem))
