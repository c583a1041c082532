"""The thread that listens to the centre: custody, requests, and this gateway's own state records.

Invariant: records are handed on in the order of their log together with the log's identity, so
that the main loop can pass an offset only with its effect; it goes on after any failure. Must not
touch the ledger or the spool: it only fills the inbox.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.failures import FatalError, RetryableError
from contracts.topics import CUSTODY, GATEWAY_REQUEST, GATEWAY_STATE, PAYLOAD, RECEIVED
from edge_gateway.backoff import Backoff
from edge_gateway.forward_health import ForwardHealth
from edge_gateway.pace import WAITED_FOR
from infra.broker import partition_for_key
from infra.clock import Clock
from infra.cluster_view import ClusterView, TopicCopies
from infra.seams import ConsumedRecord, OffsetGoneError
from infra.settings import KafkaSettings
from infra.telemetry import logger
from infra.topic_tail import TopicTail

INBOX_BATCHES_MAX = 64
# Also notices a broker that is gone, which a waiting poll does not.
IDENTITY_CHECK_S = 10.0
# Below it an acknowledgement by "all in-sync replicas" may be that of one machine.
COPIES_MIN = 2
_PUT_WAIT_S = 0.2
# The thread may stand in a question to a broker that is gone; it holds nothing to be saved.
_STOP_WAIT_S = 1.0
PUBLISHED_TOPICS = (PAYLOAD.name, RECEIVED.name)
HEARD_TOPICS = (CUSTODY, GATEWAY_REQUEST, GATEWAY_STATE)
_LOG = logger("centre")


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The next offset to read in a log; `log` is the cluster's and the topic's id."""

    log: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Heard:
    """Records of one topic in order, and where to go on after them."""

    topic: str
    records: tuple[ConsumedRecord, ...]
    after: LogPosition


@dataclass(frozen=True, slots=True)
class Connected:
    """Kafka answers; `published_to` names the logs that payload and events go to now.

    `too_few_copies`: why an acknowledgement there is one machine's word, '' where it is not
    or where nobody asked.
    """

    published_to: str
    too_few_copies: str = ""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything that stood on the three topics when they were opened has been handed on."""


@dataclass(frozen=True, slots=True)
class NewLog:
    """A topic is read from its beginning, because it is another one than before."""

    topic: str


InboxItem = Heard | Connected | CaughtUp | NewLog


class LogIdentity(Protocol):
    """What tells one log from another that has the same name."""

    def cluster_id(self) -> str: ...

    def topic_id(self, topic: str) -> str | None: ...


class CopiesView(Protocol):
    """How many copies a topic keeps."""

    def copies(self, topic: str) -> TopicCopies: ...


class CentreListener:
    """Fills `inbox` from its own thread until `stop`."""

    def __init__(
        self,
        kafka: KafkaSettings,
        gateway_id: str,
        start: Mapping[str, LogPosition],
        health: ForwardHealth,
        clock: Clock,
        *,
        checks_copies: bool = False,
        poll_s: float = WAITED_FOR.poll_s,
    ) -> None:
        self.inbox: queue.Queue[InboxItem] = queue.Queue(INBOX_BATCHES_MAX)
        self._kafka = kafka
        self._key = gateway_id.encode()
        self._after = dict(start)
        self._health = health
        self._clock = clock
        self._checks_copies = checks_copies
        # The topics take turns.
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="centre", daemon=True)
        self._tails: dict[str, TopicTail] = {}
        self._ends: dict[str, int] = {}
        self._published_to = ""
        self._is_told = False
        self._checked_at = 0.0

    def start(self) -> None:
        """Begins to listen; the broker may be down."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; waits a few seconds at most."""
        self._stop.set()
        self._thread.join(_STOP_WAIT_S)

    def _listen(self) -> None:
        backoff = Backoff(self._clock)
        while not self._stop.is_set():
            try:
                self.connect()
                backoff.succeeded()
                while not self._stop.is_set() and self.follow():
                    pass
                continue
            except RetryableError as problem:
                delay_s = backoff.failed()
                self._health.impede("bus", f"Kafka unreachable: {problem}")
            except FatalError as problem:
                delay_s = backoff.failed(is_fatal=True)
                self._health.impede("bus", f"Kafka refuses this gateway: {problem}")
            finally:
                self.disconnect()
            _LOG.warning("not connected", reason=self._health.readiness().reason)
            self._clock.wait(self._stop, delay_s)

    def connect(self) -> None:
        """Opens the three topics where the ledger left them. Raises RetryableError, FatalError."""
        view = ClusterView(self._kafka)
        try:
            published_to = log_identity(view, PUBLISHED_TOPICS)
            logs = {topic.name: log_identity(view, (topic.name,)) for topic in HEARD_TOPICS}
            too_few = too_few_copies(view, PUBLISHED_TOPICS) if self._checks_copies else ""
        finally:
            view.close()
        for topic in HEARD_TOPICS:
            self._open(topic.name, partition_for_key(self._key, topic.partitions), logs[topic.name])
        self._published_to = published_to
        self._is_told = False
        self._checked_at = self._clock.monotonic()
        self._put(Connected(published_to, too_few))
        self._health.clear("bus")
        _LOG.info("connected", logs=published_to)

    def _open(self, topic: str, partition: int, log: str) -> None:
        known = self._after.get(topic)
        start: dict[int, int] = {}
        if known is not None and known.log == log and known.partition == partition:
            start[partition] = known.offset
        else:
            self._put(NewLog(topic))
        tail = TopicTail(self._kafka, topic, (partition,), start)
        self._tails[topic] = tail
        self._ends[topic] = tail.end_offsets()[partition]
        begin = tail.beginning_offsets()[partition]
        self._after[topic] = LogPosition(log, partition, start.get(partition, begin))

    def follow(self) -> bool:
        """Reads each topic once; False where the logs are others now. Raises as `connect`."""
        for topic in self._tails:
            self._read(topic)
        if not self._is_told and self._has_caught_up():
            self._is_told = True
            self._put(CaughtUp())
        if self._clock.monotonic() - self._checked_at < IDENTITY_CHECK_S:
            return True
        self._checked_at = self._clock.monotonic()
        if self._is_same_cluster():
            return True
        _LOG.warning("the logs are others than before, connecting anew")
        return False

    def _read(self, topic: str) -> None:
        tail = self._tails[topic]
        after = self._after[topic]
        try:
            records = tail.poll(self._poll_s)
        except OffsetGoneError:
            # Retention was quicker than we: what custody said then is lost, and a delivery that
            # it spoke of is published again in time and archived as a repeat.
            _LOG.warning("offset gone, reading from the beginning", topic=topic)
            tail.seek_to_beginning(after.partition)
            return
        if records:
            following = LogPosition(after.log, after.partition, records[-1].offset + 1)
            self._put(Heard(topic, tuple(records), following))
            self._after[topic] = following

    def _has_caught_up(self) -> bool:
        return all(
            tail.position(self._after[topic].partition) >= self._ends[topic]
            for topic, tail in self._tails.items()
        )

    def _is_same_cluster(self) -> bool:
        view = ClusterView(self._kafka)
        try:
            return log_identity(view, PUBLISHED_TOPICS) == self._published_to and all(
                log_identity(view, (topic,)) == position.log
                for topic, position in self._after.items()
            )
        finally:
            view.close()

    def disconnect(self) -> None:
        """Closes the topics."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def _put(self, item: InboxItem) -> None:
        while not self._stop.is_set():
            try:
                self.inbox.put(item, timeout=_PUT_WAIT_S)
            except queue.Full:
                continue
            return


def log_identity(view: LogIdentity, topics: Sequence[str]) -> str:
    """Cluster and topic ids in one text, another one once any of the logs is another.

    Raises RetryableError for a topic that does not exist: provisioning may still be under way.
    """
    found = [view.cluster_id()]
    for topic in topics:
        topic_id = view.topic_id(topic)
        if topic_id is None:
            raise RetryableError(f"looking for the topic {topic}: it does not exist")
        found.append(topic_id)
    return "/".join(found)


def too_few_copies(view: CopiesView, topics: Sequence[str]) -> str:
    """Why these topics do not carry level `kafka`; '' where each record has two copies at least.

    Raises RetryableError.
    """
    for topic in topics:
        try:
            copies = view.copies(topic)
        except FatalError as problem:  # such as no right to read it: the rest of the work goes on
            return f"the copies of {topic} cannot be read: {problem}"
        if copies.in_sync_min < COPIES_MIN:
            return f"{topic} has min.insync.replicas {copies.in_sync_min}, {COPIES_MIN} is needed"
        if copies.replicas < COPIES_MIN:
            return f"{topic} has {copies.replicas} replica(s), {COPIES_MIN} are needed"
    return ""
