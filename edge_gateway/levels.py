"""What 0x0000 can mean beyond the gateway's disk, and how its processes speak of it.

Invariant: a level is reached only by what is known to have happened: the record flushed in the
mirror, the event acknowledged by all replicas in sync, or custody with the same sha256. Must not
touch ledger or spool.

The receive process asks, the forward process (level `mirror`: the mirror process) answers, by whole
messages over a socket in the spool's directory, whose permissions are the ledger's: whoever may
write there is believed anyway.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edge_gateway.progress_rows import DeliveryState

SOCKET_NAME = "levels.socket"
# The mirror process listens for itself: it answers while the forward process is away.
MIRROR_SOCKET_NAME = "mirror.socket"
MESSAGE_BYTES_MAX = 256
CONNECTIONS_MAX = 64
# More than there usually are: an association may wait for as many as its window is wide.
QUESTIONS_OPEN_MAX = 8_192
_ON_THE_BUS = frozenset(
    (DeliveryState.PUBLISHED, DeliveryState.ARCHIVED, DeliveryState.QUARANTINED)
)


class Level(StrEnum):
    """What has to hold a delivery before its sender is answered 0x0000."""

    DISK = "disk"
    MIRROR = "mirror"
    KAFKA = "kafka"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Question:
    """Tell when this delivery has reached the level; after `within_ms` nobody waits any more."""

    delivery_id: str
    content_sha256: str
    level: Level
    within_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a delivery is. `is_archived`: custody once said so, with the spool's sha256."""

    content_sha256: str
    state: DeliveryState
    is_archived: bool


def is_reached(question: Question, standing: Standing) -> bool:
    """Whether the level asked for is reached.

    What custody calls quarantined lies in a pack of the archive and counts: a sender that was
    answered otherwise would send the same bytes again and again.
    """
    if standing.content_sha256 != question.content_sha256:
        return False
    if standing.is_archived or standing.state is DeliveryState.QUARANTINED:
        return True
    return question.level is Level.KAFKA and standing.state in _ON_THE_BUS


def encode_question(question: Question) -> bytes:
    """One message of MESSAGE_BYTES_MAX at most."""
    parts = (question.delivery_id, question.content_sha256, question.level, question.within_ms)
    return " ".join(map(str, parts)).encode()


def decode_question(message: bytes) -> Question | None:
    """The question in a message; None for anything else."""
    parts = message.decode("ascii", "replace").split(" ")
    try:
        delivery_id, content_sha256, level, within_ms = parts
        return Question(delivery_id, content_sha256, Level(level), int(within_ms))
    except ValueError:
        return None


def listen(directory: Path, name: str = SOCKET_NAME) -> socket.socket:
    """A non-blocking socket that takes questions, in place of one that a former process left.

    Raises OSError.
    """
    with _reached_by(directory) as place:
        fresh = Path(place, f"{name}.new")
        fresh.unlink(missing_ok=True)
        listening = _socket()
        try:
            listening.bind(str(fresh))
            fresh.chmod(0o600)
            listening.listen(CONNECTIONS_MAX)
            listening.setblocking(False)
            fresh.replace(Path(place, name))
        except OSError:
            listening.close()
            raise
    return listening


def connect(directory: Path, name: str = SOCKET_NAME) -> socket.socket:
    """A connection to the process that answers there. Raises OSError while it is not there."""
    connection = _socket()
    try:
        with _reached_by(directory) as place:
            connection.connect(f"{place}/{name}")
    except OSError:
        connection.close()
        raise
    return connection


def _socket() -> socket.socket:
    # Whole messages in order: nothing has to be put together again.
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@contextmanager
def _reached_by(directory: Path) -> Iterator[str]:
    """The directory by a short name: a socket's address takes 107 bytes, a path has 4,096."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
