"""One worker process as its acceptor sees it: started, spoken to, restarted, ended.

Invariant: nothing here waits: what the worker does not take at once is kept in order, and a socket
that it does not take is still the caller's. Must not know what the messages mean.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from contracts.failures import EXIT_FATAL
from edge_gateway.backoff import Backoff
from edge_gateway.workers.messages import (
    MESSAGE_BYTES_MAX,
    Message,
    Passed,
    ReloadCertificates,
    Standing,
    decode,
    encode,
    pair,
)
from edge_gateway.workers.order import WorkerOrder
from infra.clock import Clock
from infra.telemetry import logger

_LOG = logger("workers")
# Who served so long begins its back-off anew.
STABLE_S = 60.0
MESSAGES_AT_ONCE_MAX = 256
# More than a worker may have connections: who leaves so many unread stands still.
UNSAID_MAX = 10_000
STARTING = Standing("starting", "")


class Child:
    """A worker's process, or its place while there is none. Used by the acceptor's main thread."""

    def __init__(self, order: WorkerOrder, clock: Clock) -> None:
        self.number = order.number
        self.standing = STARTING
        self.is_serving = False
        # Exit code 78: a person has to look, and the others go on.
        self.is_given_up = False
        self.restarts = 0
        self.control: socket.socket | None = None
        self._order = order
        self._clock = clock
        self._backoff = Backoff(clock)
        self._process: subprocess.Popen[bytes] | None = None
        self._serving_since = 0.0
        self._unsaid: deque[bytes] = deque()

    @property
    def is_alive(self) -> bool:
        """Whether there is a process, serving or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int | None:
        """The process that there is now."""
        return self._process.pid if self._process is not None else None

    @property
    def has_unsaid(self) -> bool:
        """Whether messages wait for the worker to read."""
        return bool(self._unsaid)

    def start_if_due(self) -> bool:
        """Starts the process where there is none and it is time; whether it did."""
        if self.control is not None or self.is_given_up or self.is_alive:
            return False
        if self._process is not None:
            self._note_end(self._process)
            return False
        if not self._backoff.is_due():
            return False
        self._start()
        return True

    def serves(self) -> None:
        """The worker said that its spool is open."""
        self.is_serving = True
        self._serving_since = self._clock.monotonic()

    def say(self, message: Message) -> None:
        """Sends it, now or as soon as the worker reads, in order."""
        if self.control is None:
            return
        self._unsaid.append(encode(message))
        self.flush()
        if len(self._unsaid) > UNSAID_MAX and self._process is not None:
            _LOG.error("worker ended: it does not listen any more", worker=self.number)
            self._process.kill()

    def reload_certificates(self) -> None:
        """It reads the TLS files again."""
        self.say(ReloadCertificates())

    def flush(self) -> None:
        """Sends what waits, as far as the worker takes it."""
        while self._unsaid and self.control is not None:
            try:
                self.control.send(self._unsaid[0])
            except BlockingIOError:
                return
            except OSError:
                # Its end is seen where it is read.
                self._unsaid.clear()
                return
            self._unsaid.popleft()

    def takes(self, connection: Passed, accepted: socket.socket) -> bool:
        """Passes a socket; False where the worker does not take it now."""
        if self.control is None or self._unsaid:
            return False
        try:
            socket.send_fds(self.control, [encode(connection)], [accepted.fileno()])
        except OSError:
            return False
        return True

    def heard(self) -> Iterator[Message | None]:
        """What the worker said, some of it at a time; None is its end."""
        for _ in range(MESSAGES_AT_ONCE_MAX):
            if self.control is None:
                return
            try:
                datagram = self.control.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                datagram = b""
            yield decode(datagram) if datagram else None

    def let_go(self) -> None:
        """After its end was seen: nothing is said or heard any more."""
        if self.control is not None:
            self.control.close()
        if self.is_serving and self._clock.monotonic() - self._serving_since >= STABLE_S:
            self._backoff.succeeded()
        self.control, self.is_serving, self.standing = None, False, STARTING
        self._unsaid.clear()

    def ask_to_stop(self) -> None:
        """It reads our end, finishes what is under way and ends; it may still speak."""
        if self.control is not None:
            with suppress(OSError):
                self.control.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """Ends it where it did not end by itself."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        ours, theirs = pair()
        order = os.memfd_create("order")
        try:
            os.write(order, self._order.model_dump_json().encode())
            os.lseek(order, 0, os.SEEK_SET)
            command = [sys.executable, "-m", "edge_gateway.workers", str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=order, pass_fds=(theirs.fileno(),))
        except OSError as cause:
            ours.close()
            delay_s = self._backoff.failed()
            _LOG.error("starting a worker failed", worker=self.number, reason=str(cause))
            _LOG.debug("again", in_s=delay_s)
            return
        finally:
            os.close(order)
            theirs.close()
        self.control = ours

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        """It is gone, and why decides whether there is another."""
        code = process.returncode
        self._process = None
        if code == EXIT_FATAL:
            self.is_given_up = True
            _LOG.error("worker given up: its last line on stderr says why", worker=self.number)
            return
        self.restarts += 1
        again_in_s = self._backoff.failed()
        ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        _LOG.error("worker ended", worker=self.number, ended=ended, again_in_s=round(again_in_s, 1))
