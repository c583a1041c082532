"""What a measurement needs of a C-STORE receiver, ours or a peer: start, look at, clear, end.

Invariant: outside of `running` no process of a receiver is left, however the block ended. A
receiver that is not installed says so by its version; it never raises for that. Must not send.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from load.senders.model import Target


class RunningReceiver(Protocol):
    """A receiver that has answered a C-ECHO and waits for associations."""

    @property
    def target(self) -> Target:
        """Where it listens, and as whom."""

    def process_ids(self) -> tuple[int, ...]:
        """Its processes at this moment, children included; () when it has died."""

    def cpu_s(self) -> float:
        """CPU seconds of all its processes since its start, ended children included."""

    def clear(self) -> None:
        """Frees the disk of what was received; off the clock, with no association in a C-STORE.

        On return it takes instances as before, also the same ones again.
        """

    def flushes(self) -> int | None:
        """Flushes to disk since its start; None where the receiver does not say."""


class Receiver(Protocol):
    """A kind of receiver. `key` names it on command lines, `title` in reports.

    `is_durable` is whether an acknowledged instance's bytes survive a power loss; `note` says
    what else a reader of a comparison must know. `package` is Debian's, '' for our own.
    """

    @property
    def key(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def is_durable(self) -> bool: ...
    @property
    def package(self) -> str: ...
    @property
    def note(self) -> str: ...

    def version(self) -> str | None:
        """The version that would run; None when it is not installed."""

    def running(self, directory: Path) -> AbstractContextManager[RunningReceiver]:
        """Runs it in a directory of its own, made if missing, on free ports of loopback.

        What it received is removed at the end of the block, settings and log stay. Raises
        FatalError with its last log lines when it is not ready in time or not installed.
        """


@dataclass(frozen=True, slots=True)
class ReceiverKind:
    """A receiver as data: who it is, how its version is asked and how it is run."""

    key: str
    title: str
    is_durable: bool
    package: str
    note: str
    ask_version: Callable[[], str | None]
    run: Callable[[Path], AbstractContextManager[RunningReceiver]]

    def version(self) -> str | None:
        """The version that would run; None when it is not installed."""
        return self.ask_version()

    def running(self, directory: Path) -> AbstractContextManager[RunningReceiver]:
        """See Receiver."""
        return self.run(directory)
