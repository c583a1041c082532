"""Apache Kafka for one machine: jars by a small pom, KRaft nodes; one alone has both roles.

Invariant: broker limits are the stock ones (`message.max.bytes` above all), so what works here
works on any Kafka. It must not create topics: provisioning does, and auto-creation is off.
"""

from __future__ import annotations

import base64
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.engines.cache import Report, engine_directory, obtain, run_tool, silent
from infra.engines.program import Probe, Program

KAFKA_VERSION = "4.3.0"
# Of this pom's shape: a change of the jars is another directory in the cache.
_CACHE_NAME = f"kafka-{KAFKA_VERSION}-1"
_HERE = Path(__file__).parent
JAVA_OPTIONS = ("-Xms128m", "-Xmx512m")
OFFSETS_KEPT_MINUTES = 90 * 24 * 60
# Copies of Kafka's own topics, and how many of them have to acknowledge, where there are nodes.
_REPLICAS, _IN_SYNC_MIN = 3, 2


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """One node: its id, its directory, its ports on loopback; None for a role it does not have."""

    number: int
    data: Path
    port: int | None
    controller_port: int | None

    @property
    def probe(self) -> Probe:
        """Whether it takes requests."""
        port = self.port or self.controller_port
        assert port is not None, "a broker, a controller, or both"
        return Probe("kafka", port)


def is_kafka_cached() -> bool:
    """Whether nothing has to be downloaded."""
    return engine_directory(_CACHE_NAME).is_dir()


def kafka_jars(report: Report = silent) -> Path:
    """The directory of all jars, fetched from Maven's repositories once."""

    def build(directory: Path) -> None:
        report(f"fetching Kafka {KAFKA_VERSION}")
        shutil.copy(_HERE / "pom.xml", directory / "pom.xml")
        goal = "dependency:copy-dependencies"
        command = ("mvn", "-B", "-ntp", goal, f"-DoutputDirectory={directory / 'lib'}")
        run_tool(command, {}, directory, report)

    return obtain(_CACHE_NAME, build) / "lib"


def kafka_program(data: Path, port: int, controller_port: int, report: Report = silent) -> Program:
    """A formatted node that keeps everything under `data` and listens on loopback alone."""
    (program,) = kafka_cluster([KafkaNode(1, data, port, controller_port)], JAVA_OPTIONS, report)
    return program


def kafka_cluster(
    nodes: Sequence[KafkaNode], java_options: Sequence[str], report: Report = silent
) -> list[Program]:
    """Formatted nodes of one cluster, a single one called `kafka`, others by their numbers.

    Kafka's own topics are on as many brokers as there are, three at most.
    """
    classpath = f"{kafka_jars(report)}{os.sep}*"
    _format(nodes, ("java", "-cp", classpath), report)
    options = (*java_options, "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")
    logging = f"-Dlog4j2.configurationFile={_HERE / 'kafka-log4j2.properties'}"
    java = ("java", *options, logging, "-cp", classpath, "kafka.Kafka")
    return [
        Program(
            name="kafka" if len(nodes) == 1 else f"kafka-{node.number}",
            command=(*java, str(_configuration(node))),
            directory=node.data,
            probe=node.probe,
        )
        for node in nodes
    ]


def _configuration(node: KafkaNode) -> Path:
    return node.data / "server.properties"


def _format(nodes: Sequence[KafkaNode], java: tuple[str, ...], report: Report) -> None:
    first, *others = nodes
    for node in nodes:
        node.data.mkdir(parents=True, exist_ok=True)
        _configuration(node).write_text(_properties(node, nodes), encoding="utf-8")
    if not _metadata(first).exists():
        report("formatting Kafka's storage")
        tool = ("kafka.tools.StorageTool", "format", "-t", _random_id())
        arguments = ("-c", str(_configuration(first)), "--ignore-formatted")
        run_tool((*java, *tool, *arguments), {}, first.data, silent)
    for node in others:
        if not _metadata(node).exists():
            _format_like(first, node)


def _format_like(first: KafkaNode, node: KafkaNode) -> None:
    """What the tool would write for another node of the cluster: a JVM less, which is seconds."""
    shutil.copytree(_metadata(first).parent, _metadata(node).parent)
    lines = _metadata(first).read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    values |= {"node.id": str(node.number), "directory.id": _random_id()}
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    _metadata(node).write_text(text, encoding="utf-8")


def _metadata(node: KafkaNode) -> Path:
    return node.data / "log" / "meta.properties"


def _random_id() -> str:
    # Kafka refuses ids that begin with a dash: its tools would take them for an option.
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _properties(node: KafkaNode, nodes: Sequence[KafkaNode]) -> str:
    voters = [
        f"{each.number}@127.0.0.1:{each.controller_port}" for each in nodes if each.controller_port
    ]
    ports = {"broker": node.port, "controller": node.controller_port}
    roles = [role for role, port in ports.items() if port]
    names = {"broker": "PLAINTEXT", "controller": "CONTROLLER"}
    listeners = {role: f"{names[role]}://127.0.0.1:{ports[role]}" for role in roles}
    brokers = sum(each.port is not None for each in nodes)
    replicas, in_sync_min = str(min(_REPLICAS, brokers)), str(min(_IN_SYNC_MIN, brokers))
    values = {
        "process.roles": ",".join(roles),
        "node.id": str(node.number),
        "controller.quorum.voters": ",".join(voters),
        "listeners": ",".join(listeners.values()),
        **({"advertised.listeners": listeners["broker"]} if node.port else {}),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(node.data / "log"),
        "auto.create.topics.enable": "false",
        "min.insync.replicas": in_sync_min,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync_min,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync_min,
        # Where a group goes on is kept for so long once all of it has stopped (7 days by default).
        "offsets.retention.minutes": str(OFFSETS_KEPT_MINUTES),
        # Consumers start one after the other and stay: waiting 3 s for more buys nothing.
        "group.initial.rebalance.delay.ms": "0",
        # After a kill -9 a node is let in again when its old session is over (9 s by default).
        # Several on a busy machine are not to lose theirs for want of a processor.
        "broker.session.timeout.ms": "3000" if brokers == 1 else "6000",
        "broker.heartbeat.interval.ms": "1000",
        "initial.broker.registration.timeout.ms": "180000",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())
