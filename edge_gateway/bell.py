"""A descriptor that other threads ring and one thread waits for beside its sockets.

Invariant: no ring is lost before it was heard, and one after `close` does nothing. Must not say
what it is rung for.
"""

from __future__ import annotations

import os
import threading


class Bell:
    """Readable while it is rung; several rings before it is heard are one."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self.is_rung = False
        self._is_closed = False

    def fileno(self) -> int:
        return self._descriptor

    def ring(self) -> None:
        """Wakes who waits; from any thread, and quick."""
        with self._lock:
            if not self.is_rung and not self._is_closed:
                self.is_rung = True
                os.eventfd_write(self._descriptor, 1)

    def hear(self) -> None:
        """What it was rung for is looked at from now on: it can be rung again."""
        with self._lock:
            if self.is_rung:
                self.is_rung = False
                os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Frees the descriptor; nobody may wait any more, but others may still ring."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._descriptor)
