"""The connections that a process serves, each in a thread of its own, and how they end together.

Invariant: a connection is closed once and by its own thread; on return of `finish` none is served
any more, or what is left could not be ended. Must not accept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edge_gateway.association.acceptor import Acceptor, AcceptorParts
from edge_gateway.association.connection import Connection, StopSignal
from infra.telemetry import logger

_LOG = logger("listener")
_CUT_TIMEOUT_S = 5.0


class Serving:
    """Threads and their connections; `stop` is what each connection waits for as well."""

    def __init__(self, drain_timeout_s: float) -> None:
        self.stop = StopSignal()
        self._drain_timeout_s = drain_timeout_s
        self._lock = threading.Lock()
        self._serving: dict[threading.Thread, Connection] = {}

    def begin(
        self,
        connection: Connection,
        parts: AcceptorParts,
        when_over: Callable[[], None] = lambda: None,
    ) -> None:
        """Serves it from now on; `when_over` is called once it is closed, whatever happened."""
        thread = threading.Thread(
            target=self._serve, args=(connection, parts, when_over), name="association", daemon=True
        )
        with self._lock:
            self._serving[thread] = connection
        try:
            thread.start()
        except RuntimeError:
            _LOG.error("starting a thread for a connection failed")
            self._forget(thread, connection, parts, when_over)

    def finish(self) -> None:
        """Lets C-STOREs under way finish, then cuts the rest; `stop` has to be set before.

        Returns within the drain time-out and a few seconds.
        """
        self._join_until(time.monotonic() + self._drain_timeout_s)
        with self._lock:
            for connection in self._serving.values():
                connection.cut()
        self._join_until(time.monotonic() + _CUT_TIMEOUT_S)
        if not self._serving:
            self.stop.close()

    def _serve(
        self, connection: Connection, parts: AcceptorParts, when_over: Callable[[], None]
    ) -> None:
        try:
            Acceptor(parts, connection).serve()
        finally:
            self._forget(threading.current_thread(), connection, parts, when_over)

    def _forget(
        self,
        thread: threading.Thread,
        connection: Connection,
        parts: AcceptorParts,
        when_over: Callable[[], None],
    ) -> None:
        parts.waiting_room.leave(connection)
        with self._lock:
            self._serving.pop(thread, None)
            connection.close()
        when_over()

    def _join_until(self, deadline: float) -> None:
        with self._lock:
            threads = list(self._serving)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
