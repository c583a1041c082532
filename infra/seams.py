"""The seams that consumers, gateways and operations are written against.

Invariant: a seam's docstring is its contract; its implementations live in `broker`,
`object_store` and `clickhouse`, and no client library's type or exception passes through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from contracts.envelope import Headers
from contracts.events import Event, InstanceReceived


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """One record to publish. `partition` None lets the key decide (Kafka's murmur2).

    Key and value may be None only so that a dead letter can repeat a foreign record untouched.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class ConsumedRecord:
    """One record as read. `topic` is the plain name, `timestamp` the broker's append time."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers


class OffsetGoneError(Exception):
    """Offsets that are no longer (or not) in a topic: the reader decides where to go on.

    `offsets` names what was asked for by partition.
    """

    def __init__(self, topic: str, offsets: Mapping[int, int]) -> None:
        asked = ", ".join(f"{partition}@{offset}" for partition, offset in sorted(offsets.items()))
        super().__init__(f"reading {topic}: no such offset {asked}")
        self.topic = topic
        self.offsets = dict(offsets)


@dataclass(frozen=True, slots=True)
class PublishedAt:
    """Where a published record stands; every in-sync replica has it."""

    topic: str
    partition: int
    offset: int


class PendingPublication(Protocol):
    """A record on its way."""

    def done(self) -> bool:
        """Whether `result` would answer at once."""

    def result(self, timeout_s: float) -> PublishedAt:
        """Waits for the acknowledgement of all in-sync replicas.

        Raises RetryableError (not acknowledged: may or may not be in the log), PoisonError
        (record too large), FatalError.
        """


class Publisher(Protocol):
    """Records to topics, acks=all. Returning from `publish` alone means nothing."""

    def publish(self, record: OutgoingRecord) -> PendingPublication:
        """Queues a record; the caller bounds what is in flight. Raises as `result` does."""

    def publish_event(self, event: Event, key: bytes, event_id: str) -> PendingPublication:
        """`publish` of an event on its own topic, encoded, with CloudEvents headers."""

    def publish_all(self, records: Sequence[OutgoingRecord], timeout_s: float) -> None:
        """On return every record is acknowledged. Raises like `result`; then any of them may be."""

    def close(self) -> None:
        """Gives up what is not acknowledged; waits 5 s at most."""


class PayloadGoneError(Exception):
    """The bytes that an event names are no longer (or not) there: ask the gateway to republish."""


class PayloadReader(Protocol):
    """The bytes of a delivery out of the payload topic."""

    def open(self, event: InstanceReceived) -> Iterator[bytes]:
        """The data set's bytes in order, chunk by chunk.

        Checks delivery_id, chunk_index and chunk_count; the caller checks the sha256. Raises
        PayloadGoneError (offset out of range or another record there), RetryableError.
        """

    def close(self) -> None:
        """Releases the connections."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store describes it; `sha256` is None where the store keeps none."""

    bucket: str
    key: str
    size_bytes: int
    sha256: str | None
    metadata: Mapping[str, str]


class ObjectStore(Protocol):
    """A bucket that is only ever added to."""

    @property
    def bucket(self) -> str:
        """The bucket's name."""

    def put_file(
        self, key: str, path: Path, sha256: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """Stores a file under a key that is its own hash and reads back size and checksum.

        On return the object is durable and has that size and sha256. An object already there
        with the same size and checksum is success (its own metadata counts). Up to 128 MiB one
        PUT with a sha256 checksum, above multipart of 16 MiB. Raises RetryableError, PoisonError
        (the store takes no object of this size), FatalError (credentials, bucket).
        """

    def put_buffers(
        self, key: str, buffers: Sequence[bytes], sha256: str, metadata: Mapping[str, str]
    ) -> StoredObject:
        """`put_file` of the buffers' bytes in order, which are not copied."""

    def head(self, key: str) -> StoredObject | None:
        """The object's description, or None where there is none."""

    def read(self, key: str, offset_bytes: int = 0, length_bytes: int | None = None) -> bytes:
        """A range of an object. Raises RetryableError, KeyError (no such object)."""

    def open(
        self, key: str, offset_bytes: int = 0, length_bytes: int | None = None
    ) -> Iterator[bytes]:
        """An object, or a range of it, in chunks of 1 MiB at most. Raises like `read`."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object under a prefix (sizes only; sha256 None, metadata empty)."""


class Table(Protocol):
    """One ClickHouse table, written by columns."""

    @property
    def name(self) -> str:
        """The table's name, without the database."""

    def insert(self, columns: Mapping[str, Sequence[object]]) -> None:
        """Inserts rows given as equal-long columns, synchronously: on return they are in a part.

        Columns left out take their defaults. Raises RetryableError, PoisonError (a value does
        not fit), FatalError (no such table or column, credentials).
        """


class Database(Protocol):
    """One site's ClickHouse database."""

    @property
    def name(self) -> str:
        """The database's name."""

    def table(self, name: str) -> Table:
        """A table of this database by name."""

    def query(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[dict[str, object]]:
        """Rows of a SELECT as dicts; `{name:Type}` in the text takes parameters.

        Raises like Table.
        """

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        """Runs a statement that answers nothing (DDL, SYSTEM). Raises like Table."""


@dataclass(frozen=True, slots=True)
class StoreSite:
    """One site's stores: its name, its bucket and its database."""

    name: str
    object_store: ObjectStore
    database: Database
