"""Three real Kafka brokers with small heaps on this machine, to be killed and stopped.

A controller of their own, as larger clusters have it, is never touched: three that vote on a busy
machine would elect all the time.

Invariant: every process is ended by its own pid with the set, also one that stands still; data
and ports are this set's alone. Kept in three copies, two have to acknowledge.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from contracts.failures import RetryableError
from infra.broker_errors import translated
from infra.cluster_view import admin_client
from infra.engines.kafka import KafkaNode, kafka_cluster
from infra.local_stack import local_stack_tree
from infra.provision_topics import topics_state
from infra.settings import KafkaSettings, Settings, validate
from operations.ports import free_ports
from tests.consumers.bus import eventually
from tests.engines import RunningEngines

T = TypeVar("T")

# Small, and compiled quickly instead of well: these are killed and started again all the time.
JAVA_OPTIONS = ("-Xms64m", "-Xmx256m", "-XX:TieredStopAtLevel=1")
BROKERS = (1, 2, 3)
CONTROLLER = 4
HEALED_WITHIN_S = 120.0


def with_quick_answers(settings: Settings) -> Settings:
    """The same with a short `request_timeout_ms`: what a broker that hangs costs.

    The default of 30 s would only make a test longer.
    """
    kafka = settings.kafka.model_copy(update={"request_timeout_ms": 5_000})
    return settings.model_copy(update={"kafka": kafka})


class Cluster:
    """Brokers 1, 2 and 3, all running to begin with."""

    def __init__(self, engines: RunningEngines) -> None:
        self.engines = engines
        self.settings = engines.settings
        self._standing: set[int] = set()

    def kill(self, broker: int) -> None:
        """kill -9; returns once it is gone."""
        self.go_on(broker)
        self.engines.kill(_name(broker))

    def start(self, broker: int) -> None:
        """Starts one that was killed; does not wait for it."""
        self.engines.start(_name(broker))

    def stand_still(self, broker: int) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        os.kill(self._process(broker).pid, signal.SIGSTOP)
        self._standing.add(broker)

    def go_on(self, broker: int) -> None:
        """SIGCONT."""
        if broker in self._standing:
            os.kill(self._process(broker).pid, signal.SIGCONT)
            self._standing.discard(broker)

    def heal(self) -> None:
        """On return all three run, take requests and are members of the cluster."""
        for broker in BROKERS:
            self.go_on(broker)
            if self._process(broker).poll() is not None:
                self.start(broker)
        self.engines.await_ready()
        eventually(self._has_all_brokers, "three brokers in the cluster", HEALED_WITHIN_S)

    def wait_in_sync(self, kafka: KafkaSettings) -> None:
        """On return every topic of these settings has its replicas in sync."""

        def is_in_sync() -> bool:
            try:
                state = topics_state(kafka.model_copy(update={"min_insync_replicas": 3}))
            except RetryableError:
                return False
            return not state.too_few_in_sync

        eventually(is_in_sync, "all replicas in sync", HEALED_WITHIN_S)

    def coordinator(self, kafka: KafkaSettings, group: str) -> int:
        """The broker that coordinates a group."""

        def ask(admin: Any) -> int:
            (row,) = admin.describe_topics(["__consumer_offsets"])
            by_number = {p["partition_index"]: p["leader_id"] for p in row["partitions"]}
            return int(by_number[_java_hash(kafka.topic_prefix + group) % len(by_number)])

        return self._ask(ask)

    def leader(self, kafka: KafkaSettings, topic: str, partition: int) -> int:
        """The broker that leads a partition."""

        def ask(admin: Any) -> int:
            (row,) = admin.describe_topics([kafka.topic_prefix + topic])
            (found,) = [p for p in row["partitions"] if p["partition_index"] == partition]
            return int(found["leader_id"])

        return self._ask(ask)

    def stop(self) -> None:
        """Ends all three."""
        for broker in BROKERS:
            self.go_on(broker)
        self.engines.stop()

    def _has_all_brokers(self) -> bool:
        return self._ask(lambda admin: len(admin.describe_cluster()["brokers"])) == len(BROKERS)

    def _ask(self, question: Callable[[Any], T]) -> T:
        """The answer; asked again while a broker that hangs was asked."""
        until = time.monotonic() + HEALED_WITHIN_S
        while True:
            try:
                admin = admin_client(self.settings.kafka)
                try:
                    with translated("asking the cluster"):
                        return question(admin)
                finally:
                    admin.close()
            except RetryableError:
                if time.monotonic() > until:
                    raise

    def _process(self, broker: int) -> Any:
        return self.engines.processes[_name(broker)]


def _name(broker: int) -> str:
    return f"kafka-{broker}"


def _java_hash(text: str) -> int:
    """String.hashCode without its sign, by which Kafka puts a group on a partition."""
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value & 0x7FFFFFFF


def start_cluster(directory: Path) -> Cluster:
    """Three nodes under `directory`, formatted and ready on return."""
    *ports, controller_port = free_ports(len(BROKERS) + 1)
    nodes = [
        KafkaNode(CONTROLLER, directory / _name(CONTROLLER), None, controller_port),
        *(
            KafkaNode(n, directory / _name(n), port, None)
            for n, port in zip(BROKERS, ports, strict=True)
        ),
    ]
    tree = local_stack_tree(directory, 0)
    tree["kafka"] = {
        "bootstrap_servers": ",".join(f"127.0.0.1:{port}" for port in ports),
        "replication_factor": 3,
        "min_insync_replicas": 2,
    }
    engines = RunningEngines(validate(tree, "tests"), tree, directory)
    engines.programs = {p.name: p for p in kafka_cluster(nodes, JAVA_OPTIONS)}
    cluster = Cluster(engines)
    try:
        engines.start(_name(CONTROLLER))
        engines.await_ready()
        for broker in BROKERS:
            engines.start(_name(broker))
        cluster.heal()
    except BaseException:
        cluster.stop()
        raise
    return cluster
