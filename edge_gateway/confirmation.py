"""The receive process's side of the levels: waits until the forward process confirms a delivery.

Invariant: a wait ends in time, whatever the forward process does, and only its word for this very
delivery ends it well; nobody who does not wait is held up. Must not read ledger or spool.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_gateway.levels import MESSAGE_BYTES_MAX, Question, connect, encode_question
from infra.telemetry import logger

# While somebody waits and the forward process is away.
CONNECT_AGAIN_S = 0.1
_STOP_WAIT_S = 1.0
_LOG = logger("confirmation")


@dataclass(eq=False, slots=True)
class _Wait:
    question: Question
    until: float
    is_confirmed: bool = False
    over: threading.Event = field(default_factory=threading.Event)


class Confirmations:
    """Questions of all associations over one connection, which its own thread reads.

    The thread begins with the first question: a gateway that promises its disk alone has none.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._changed = threading.Condition()
        self._waits: dict[str, _Wait] = {}
        self._connection: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def is_reached(self, question: Question) -> bool:
        """Whether the level was confirmed within `within_ms`; waits for that. From any thread."""
        wait = _Wait(question, time.monotonic() + question.within_ms / 1000)
        with self._changed:
            if self._stopped.is_set():
                return False
            self._waits[question.delivery_id] = wait
            self._ask(wait)
            self._begin()
            self._changed.notify()
        wait.over.wait(max(0.0, wait.until - time.monotonic()))
        with self._changed:
            del self._waits[question.delivery_id]
            return wait.is_confirmed

    def stop(self) -> None:
        """Ends every wait, unconfirmed, and the thread."""
        self._stopped.set()
        with self._changed:
            for wait in self._waits.values():
                wait.over.set()
            self._hang_up()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(_STOP_WAIT_S)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="levels", daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        is_away = False
        while self._await_somebody():
            try:
                connection = connect(self._directory)
            except OSError as cause:
                if not is_away:
                    _LOG.warning("the forward process is away", reason=str(cause))
                is_away = True
                self._stopped.wait(CONNECT_AGAIN_S)
                continue
            is_away = False
            with connection:
                self._hear(connection)
            self._stopped.wait(CONNECT_AGAIN_S)

    def _await_somebody(self) -> bool:
        with self._changed:
            while not self._waits and not self._stopped.is_set():
                self._changed.wait()
        return not self._stopped.is_set()

    def _hear(self, connection: socket.socket) -> None:
        """Takes answers until the connection ends."""
        with self._changed:
            self._connection = connection
            for wait in self._waits.values():
                self._ask(wait)
            if self._stopped.is_set():
                self._hang_up()
        try:
            while message := connection.recv(MESSAGE_BYTES_MAX):
                self._confirm(message.decode("ascii", "replace"))
        except OSError as cause:
            _LOG.warning("the connection to the forward process ended", reason=str(cause))
        finally:
            with self._changed:
                self._connection = None

    def _confirm(self, delivery_id: str) -> None:
        with self._changed:
            wait = self._waits.get(delivery_id)
            if wait is not None:
                wait.is_confirmed = True
                wait.over.set()

    def _ask(self, wait: _Wait) -> None:
        """Asks where there is a connection; what does not get through is asked on the next."""
        remaining_ms = int((wait.until - time.monotonic()) * 1000)
        if self._connection is None or remaining_ms <= 0:
            return
        asked = encode_question(replace(wait.question, within_ms=remaining_ms))
        try:
            self._connection.send(asked, socket.MSG_DONTWAIT)
        except OSError:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            # The reading thread sees the end; one that the other side ended has no more to end.
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
