"""What a consumer is: its inputs, its limits and its writer, and nothing about polling.

Invariant: a consumer is one file with a `SPEC` and one line in `catalog.py`; all delivery rules
(gathering, retries, dead letters, commits) are the runner's and none of them is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from contracts.events import Event
from contracts.failures import Reason
from contracts.topics import Topic

if TYPE_CHECKING:
    from infra.connect import Engines

E = TypeVar("E", covariant=True)


@dataclass(frozen=True, slots=True)
class Record(Generic[E]):
    """An event and where it stood. `topic` is the plain name of the topic table."""

    event: E
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that its consumer will never be able to write.

    `detail` goes into a header of the dead letter: ids, names of fields and numbers, nothing of
    a patient.
    """

    record: Record[Any]
    reason: Reason
    detail: str


class Writer(Protocol):
    """The sink side of one consumer, called from one thread only."""

    def write(self, batch: Sequence[Record[Any]]) -> Sequence[Rejection]:
        """Writes a batch of at least one record.

        On return every record that is not in a Rejection is durable in the sink, and whatever
        was published because of it is acknowledged. Idempotent: the same records may come again,
        in other batches and in another order. Bounded by the spec's `write_deadline_s`.

        Raises RetryableError (the same batch will come again), PoisonError (some record, unknown
        which, cannot be written: the runner bisects), FatalError (stop, a person decides).
        """

    def tick(self) -> None:
        """Periodic work, about once a second between batches; short, and idempotent like `write`.

        Raises RetryableError (called again later), FatalError.
        """

    def close(self) -> None:
        """Releases what the writer holds; called once, also after a failure."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is complete, and how long its write may take.

    A batch ends with the first limit that is reached: `records_max`, `bytes_max` (the sum of the
    spec's `size_bytes`; a larger record is a batch of its own) or `age_ms_max` since its first
    record. Two more end it where waiting buys nothing: `quiet_ms` of silence after records that
    came close together, and `ripe_bytes` once no more is there at the moment. `write_deadline_s`
    stays below half of `poll_interval_ms_max`, so that a write never costs the member its place in
    the group.
    """

    records_max: int
    bytes_max: int
    age_ms_max: int
    poll_interval_ms_max: int = 300_000
    write_deadline_s: float = 120.0
    quiet_ms: int | None = None
    ripe_bytes: int | None = None

    def __post_init__(self) -> None:
        assert self.records_max >= 1 and self.bytes_max >= 1 and self.age_ms_max >= 0
        assert self.write_deadline_s * 2_000 < self.poll_interval_ms_max


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """One consumer. Its `name` is its process, its consumer group and its settings table.

    `size_bytes(event)` says what an event counts against `limits.bytes_max`. `holds_packs` where
    the settings of packs in memory mean something.
    """

    name: str
    inputs: Mapping[Topic, type[Event]]
    limits: BatchLimits
    size_bytes: Callable[[Any], int]
    build: Callable[[Engines], Writer]
    holds_packs: bool = False
