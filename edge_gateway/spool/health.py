"""Whether the spool may still acknowledge, shared by all its parts.

Invariant: broken is for good. After a failed flush the kernel may have dropped the pages and
called them clean, so a later flush that succeeds proves nothing about them. Must not log.
"""

from __future__ import annotations

import threading

from edge_gateway.spool.errors import SpoolBroken


class SpoolHealth:
    """The one flag that stops every acknowledgement."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None

    @property
    def broken(self) -> str | None:
        """Why nothing is acknowledged any more; None while all is well."""
        return self._reason

    def declare_broken(self, reason: str) -> None:
        """The first reason stays: what follows is mostly its consequence."""
        with self._lock:
            if self._reason is None:
                self._reason = reason

    def require(self) -> None:
        """Raises SpoolBroken when the spool is broken."""
        if self._reason is not None:
            raise SpoolBroken(self._reason)
