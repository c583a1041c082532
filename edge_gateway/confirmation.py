"""The receive process's side of the levels: waits until another process confirms a delivery.

Invariant: a wait ends in time, whatever that process does, and only its word for this very
delivery ends it well; nobody who does not wait is held up. Must not read ledger or spool.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edge_gateway.bell import Bell
from edge_gateway.levels import (
    MESSAGE_BYTES_MAX,
    MIRROR_SOCKET_NAME,
    QUESTIONS_OPEN_MAX,
    SOCKET_NAME,
    Level,
    Question,
    connect,
    encode_question,
)
from infra.telemetry import logger

# While somebody waits and the other process is away.
CONNECT_AGAIN_S = 0.1
# The other side forgets a question some time after its end: this many can never be too many there.
WAITS_MAX = QUESTIONS_OPEN_MAX // 2
_STOP_WAIT_S = 1.0
_LOG = logger("confirmation")


@dataclass(eq=False, slots=True)
class Wait:
    """One question under way. `when_over` is called when its end is known, from another thread."""

    question: Question
    when_over: Callable[[], None]
    until_s: float
    is_confirmed: bool = False
    # Confirmed, or nobody will answer any more.
    has_ended: bool = False

    @property
    def is_over(self) -> bool:
        """Whether there is no more to wait for: its end is known, or its time is over."""
        return self.has_ended or time.monotonic() >= self.until_s


class Confirmations:
    """Questions of all associations over one connection, which its own thread reads.

    The thread begins with the first question: a gateway that promises its disk alone has none.
    """

    def __init__(self, directory: Path, socket_name: str = SOCKET_NAME) -> None:
        self._directory = directory
        self._socket_name = socket_name
        self._changed = threading.Condition()
        self._waits: dict[str, Wait] = {}
        # Questions that did not fit into the connection yet, in order.
        self._unasked: deque[Wait] = deque()
        self._bell = Bell()
        self._connection: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def is_reached(self, question: Question) -> bool:
        """Whether the level was confirmed within `within_ms`; waits for that. From any thread."""
        over = threading.Event()
        wait = self.ask(question, over.set)
        if not wait.is_over:
            over.wait(max(0.0, wait.until_s - time.monotonic()))
        return self.settle(wait)

    def ask(self, question: Question, when_over: Callable[[], None]) -> Wait:
        """Begins a wait, which `settle` has to end. From any thread; never waits itself.

        One that cannot begin is over at once, and `when_over` is not called for it.
        """
        wait = Wait(question, when_over, time.monotonic() + question.within_ms / 1000)
        with self._changed:
            if self._stopped.is_set() or len(self._waits) >= WAITS_MAX:
                wait.has_ended = True
                return wait
            self._waits[question.delivery_id] = wait
            self._begin()
            if self._connection is not None:
                self._ask_after_others(wait)
            self._changed.notify()
        return wait

    def settle(self, wait: Wait) -> bool:
        """Ends a wait, now: whether the level was confirmed."""
        with self._changed:
            self._waits.pop(wait.question.delivery_id, None)
            return wait.is_confirmed

    def stop(self) -> None:
        """Ends every wait, unconfirmed, and the thread."""
        self._stopped.set()
        with self._changed:
            for wait in self._waits.values():
                wait.has_ended = True
                wait.when_over()
            self._hang_up()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(_STOP_WAIT_S)
        if thread is None or not thread.is_alive():
            self._bell.close()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="levels", daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        is_away = False
        while self._await_somebody():
            try:
                connection = connect(self._directory, self._socket_name)
            except OSError as cause:
                if not is_away:
                    _LOG.warning("nobody confirms", socket=self._socket_name, reason=str(cause))
                is_away = True
                self._stopped.wait(CONNECT_AGAIN_S)
                continue
            is_away = False
            with connection:
                self._converse(connection)
            self._stopped.wait(CONNECT_AGAIN_S)

    def _await_somebody(self) -> bool:
        with self._changed:
            while not self._waits and not self._stopped.is_set():
                self._changed.wait()
        return not self._stopped.is_set()

    def _converse(self, connection: socket.socket) -> None:
        """Asks and takes answers until the connection ends."""
        connection.setblocking(False)
        with self._changed:
            self._connection = connection
            self._unasked = deque(self._waits.values())
            if self._stopped.is_set():
                self._hang_up()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._bell, selectors.EVENT_READ)
                selector.register(connection, selectors.EVENT_READ)
                while self._step(selector, connection):
                    pass
        except OSError as cause:
            _LOG.warning("a connection ended", socket=self._socket_name, reason=str(cause))
        finally:
            with self._changed:
                self._connection = None
                self._unasked.clear()

    def _step(self, selector: selectors.BaseSelector, connection: socket.socket) -> bool:
        """One wait, and what it was for; False at the end of the connection."""
        self._bell.hear()
        with self._changed:
            self._ask_unasked()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unasked else 0)
        selector.modify(connection, events)
        for key, mask in selector.select():
            if key.fileobj is connection and mask & selectors.EVENT_READ:
                return self._take_answers(connection)
        return True

    def _take_answers(self, connection: socket.socket) -> bool:
        while True:
            try:
                message = connection.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return True
            if not message:
                return False
            self._confirm(message.decode("ascii", "replace"))

    def _confirm(self, delivery_id: str) -> None:
        with self._changed:
            wait = self._waits.get(delivery_id)
            if wait is not None:
                wait.is_confirmed = wait.has_ended = True
                wait.when_over()

    def _ask_after_others(self, wait: Wait) -> None:
        """Asks at once where nobody stands before it; else the thread asks in turn."""
        self._unasked.append(wait)
        if len(self._unasked) == 1:
            self._ask_unasked()
        if self._unasked:
            self._bell.ring()

    def _ask_unasked(self) -> None:
        """Asks as many as the connection takes now; what is over by then is passed over."""
        while self._unasked and self._connection is not None:
            if not self._is_asked(self._connection, self._unasked[0]):
                return
            self._unasked.popleft()

    def _is_asked(self, connection: socket.socket, wait: Wait) -> bool:
        question = wait.question
        remaining_ms = int((wait.until_s - time.monotonic()) * 1000)
        if remaining_ms <= 0 or question.delivery_id not in self._waits:
            return True
        try:
            connection.send(encode_question(replace(question, within_ms=remaining_ms)))
        except BlockingIOError:
            return False
        except OSError:
            # All that is open is asked on the next connection.
            self._hang_up()
        return True

    def _hang_up(self) -> None:
        if self._connection is not None:
            # The reading thread sees the end; one that the other side ended has no more to end.
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)


def confirmations_by_level(directory: Path) -> dict[Level, Confirmations]:
    """Whom to ask for which level: the forward process, or the one that mirrors."""
    forwarder = Confirmations(directory)
    mirror = Confirmations(directory, MIRROR_SOCKET_NAME)
    return {Level.MIRROR: mirror, Level.KAFKA: forwarder, Level.ARCHIVE: forwarder}
